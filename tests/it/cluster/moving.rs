//! Slots that move under a ring: half-moved partitions, workers that wait while theirs leaves.

use std::collections::BTreeSet;
use std::thread::{scope, sleep};
use std::time::Duration;

use super::scene::{ELSEWHERE, PARTITIONS, RING, Scene, asking, numbers, slot_of, stream};
use crate::harness::{Conn, Move, PATIENCE, Value, args, cmd, each_binary, must, until};
use crate::pull::{IN_TIME, Pull, QUIET, until_blocked};

/// A code by which the server or the module says that a command belongs elsewhere, or to later.
fn is_elsewhere(reply: &Value) -> bool {
    reply.is_error() && ELSEWHERE.contains(&reply.err_code())
}

/// A partition with every key that one can have: events with tokens, a group with progress, a dead
/// letter, a scheduled event. Event 0 is dead; 1 and 2 are unfinished.
#[track_caller]
fn fill(scene: &mut Scene, p: u32) {
    let stream = stream(p);
    must!(scene.client, "EVQ.GROUP", "g", "RING", RING, "MAXATTEMPTS", 1).ok();
    let keys = [0, 1, 2].map(|n| scene.mapping.key_in(p, n));
    for (n, key) in keys.iter().enumerate() {
        must!(scene.client, "EVQ.APPEND", stream, key, n, "UNIQUE", format!("t{n}"));
    }
    let worker = args!["GROUP", "g", "WORKER", "w"];
    let with = |words: &[Vec<u8>]| [words, &worker[..]].concat();
    let pulled = scene.client.must(&with(&args!["EVQ.CONSUME", stream]));
    let id = Pull::of(&pulled).expect("an event").ids[0].clone();
    scene.client.must(&with(&args!["EVQ.NACK", stream, id]));
    scene.client.must(&with(&args!["EVQ.RELEASE", stream])).ok();
    // A worker that takes over from itself counts as one that died.
    must!(scene.client, "EVQ.GROUP", "g", "RING", RING, "MAXATTEMPTS", 100).ok();
    must!(scene.client, "EVQ.SCHEDULE", keys[0], "later", "IN", 86_400_000, "RING", RING);
}

/// Sends what workers and producers send to both ends of a move. Returns the payloads that were
/// appended.
#[track_caller]
fn probe(scene: &Scene, moving: &Move<'_>, p: u32, step: &str) -> Vec<String> {
    let (stream, key) = (stream(p), scene.mapping.key_in(p, 0));
    let mut source = scene.cluster.connect(moving.from());
    let mut target = scene.cluster.connect(moving.to());
    let mut appended = Vec::new();
    let mut at_each = |words: &[Vec<u8>], check: &mut dyn FnMut(&Value)| {
        for reply in [source.cmd(words), asking(&mut target, words)] {
            if !is_elsewhere(&reply) {
                check(&reply);
            }
        }
    };
    for end in 0..2 {
        let payload = format!("{step}:{end}");
        let words = args!["EVQ.APPEND", stream, key, payload];
        at_each(&words, &mut |reply| {
            assert!(!reply.is_error(), "{step}: APPEND replied {reply:?}");
            appended.push(payload.clone());
        });
    }
    let words = args!["EVQ.CONSUME", stream, "GROUP", "g", "WORKER", "probe", "NOBLOCK"];
    at_each(&words, &mut |reply| {
        let pulled = Pull::of(reply).unwrap_or_else(|| panic!("{step}: CONSUME replied null"));
        assert_eq!(pulled.payloads, ["1"], "{step}");
    });
    let words = args!["EVQ.ACK", stream, "0-1", "GROUP", "g", "WORKER", "probe"];
    at_each(&words, &mut |reply| {
        let fenced = reply.is_error() && reply.err_code() == "EVQFENCED";
        assert!(fenced || *reply == Value::Int(0), "{step}: ACK replied {reply:?}");
    });
    let words = args!["EVQ.PENDING", stream, "GROUP", "g"];
    at_each(&words, &mut |reply| {
        assert!(!reply.is_error(), "{step}: PENDING replied {reply:?}");
    });
    appended
}

/// No key of the partition is at both ends. Returns all that there are.
#[track_caller]
fn assert_apart(moving: &Move<'_>, step: &str) -> BTreeSet<Vec<u8>> {
    let (here, there) = (moving.keys(), moving.keys_at(moving.to()));
    let both: BTreeSet<_> = here.iter().chain(&there).cloned().collect();
    assert_eq!(both.len(), here.len() + there.len(), "{step}: {here:?} and {there:?}");
    both
}

/// The keys of the partition are where they were moved, each at one end.
#[track_caller]
fn assert_whole(moving: &Move<'_>, all: &BTreeSet<Vec<u8>>, step: &str) {
    assert_eq!(assert_apart(moving, step), *all, "{step}");
}

#[test]
fn a_half_moved_partition_is_served_whole_or_not_at_all() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        let (p, home) = scene.elsewhere();
        fill(&mut scene, p);
        let mut expected = numbers(0..3);
        let away = scene.authority();
        for (to, backwards) in [(away, false), (home, true)] {
            let moving = scene.cluster.begin_move(slot_of(p), to);
            let mut keys = moving.keys();
            assert_eq!(keys.len(), 6, "every kind of key: {keys:?}");
            let all = keys.iter().cloned().collect();
            if backwards {
                keys.reverse();
            }
            for (n, key) in keys.iter().enumerate() {
                let step = format!("{} before {n} to {to}", key.escape_ascii());
                expected.extend(probe(&scene, &moving, p, &step));
                assert_whole(&moving, &all, &step);
                moving.migrate(key);
            }
            expected.extend(probe(&scene, &moving, p, &format!("all to {to}")));
            assert_whole(&moving, &all, "all");
            moving.finish();
        }
        assert!(expected.len() > 3, "nothing was ever served");
        assert_eq!(scene.stored(p), expected);
        let letters = must!(scene.client, "EVQ.DEAD", "g", "LIST", "*", "RING", RING);
        assert_eq!(letters.array().len(), 1, "{letters:?}");
        let waiting = must!(scene.client, "EVQ.SCHEDULED", "*", "RING", RING);
        assert_eq!(waiting.array().len(), 1, "{waiting:?}");
        let key = scene.mapping.key_in(p, 2);
        must!(scene.client, "EVQ.APPEND", stream(p), key, "again", "UNIQUE", "t2");
        assert_eq!(scene.stored(p), expected, "the token has moved along");
        let words = args!["EVQ.RELEASE", stream(p), "GROUP", "g", "WORKER", "probe"];
        scene.client.must(&words).ok();
        assert_eq!(scene.consume_all(p, "g"), expected[1..]);
    });
}

/// Moves a slot: key by key, or at once where the server can.
type Mover = fn(&Scene, u32, usize);

fn movers(scene: &Scene) -> Vec<Mover> {
    let mut movers: Vec<Mover> = vec![|scene, p, to| scene.cluster.move_slot(slot_of(p), to)];
    if scene.cluster.moves_at_once() {
        movers.push(|scene, p, to| scene.cluster.move_at_once(slot_of(p), to));
    }
    movers
}

/// The error by which a waiting worker learns that its partition has left.
#[track_caller]
fn told(conn: &mut Conn) -> String {
    let reply = conn.try_read(IN_TIME).expect("a reply in time");
    assert!(reply.is_error(), "{reply:?}");
    reply.err_code().to_owned()
}

#[test]
fn a_worker_that_waits_learns_that_its_partition_leaves() {
    each_binary(|binary| {
        let scene = &mut Scene::start(binary, 0);
        let (p, home) = scene.elsewhere();
        let away = scene.authority();
        let consume = args!["EVQ.CONSUME", stream(p), "GROUP", "g", "BLOCK", 0];
        for mover in movers(scene) {
            for (from, to) in [(home, away), (away, home)] {
                let (mut owner, mut standby) =
                    (scene.cluster.connect(from), scene.cluster.connect(from));
                let mut control = scene.cluster.connect(from);
                owner.send(&consume);
                until_blocked(&mut control, 1);
                standby.send(&consume);
                until_blocked(&mut control, 2);
                mover(scene, p, to);
                // The server tells those that wait for the stream, the module those that are parked
                // and, if it is faster, the others too.
                for worker in [&mut owner, &mut standby] {
                    let told = told(worker);
                    assert!(["MOVED", "TRYAGAIN"].contains(&&*told), "{told}");
                }
                assert_eq!(cmd!(standby, "EVQ.CONSUME", stream(p)).err_code(), "MOVED");
            }
        }
        scene.append_all(p, 2);
        assert_eq!(scene.consume_all(p, "g"), numbers(0..2));
    });
}

#[test]
fn a_standby_goes_on_behind_its_partition_with_what_was_in_flight() {
    each_binary(|binary| {
        let scene = &mut Scene::start(binary, 0);
        let (p, home) = scene.elsewhere();
        let away = scene.authority();
        let mut ends = [(home, away), (away, home)].into_iter().cycle();
        for mover in movers(scene) {
            scene.append_all(p, 3);
            let (from, to) = ends.next().expect("an endless round");
            let mut owner = scene.cluster.connect(from);
            let words = args!["EVQ.CONSUME", stream(p), "GROUP", "g", "WORKER", "a", "COUNT", 2];
            let held = Pull::of(&owner.must(&words)).expect("events");
            let mut standby = scene.cluster.client();
            let waits = args!["EVQ.CONSUME", stream(p), "GROUP", "g", "COUNT", 2, "BLOCK", 0];
            let mut control = scene.cluster.connect(from);
            let got = scope(|threads| {
                let standby = threads.spawn(|| Pull::of(&standby.must(&waits)));
                until_blocked(&mut control, 1);
                mover(scene, p, to);
                standby.join().unwrap().expect("events")
            });
            assert_eq!((&got.ids, &got.payloads), (&held.ids, &held.payloads));
            assert!(got.epoch > held.epoch, "{got:?} after {held:?}");
            // The lease did not move: its epoch is worth nothing any more.
            let words = args!["EVQ.ACK", stream(p), held.last(), "GROUP", "g", "EPOCH", held.epoch];
            assert_eq!(scene.client.cmd(&words).err_code(), "EVQFENCED");
            must!(standby, "EVQ.ACK", stream(p), got.last(), "GROUP", "g");
            must!(standby, "EVQ.RELEASE", stream(p), "GROUP", "g").ok();
            assert_eq!(scene.consume_all(p, "g"), ["2"]);
        }
    });
}

#[test]
fn a_worker_of_a_shard_serves_what_is_left_of_it_and_learns_that_nothing_is() {
    each_binary(|binary| {
        let scene = &mut Scene::start(binary, 0);
        let from =
            scene.cluster.masters().into_iter().max_by_key(|n| scene.partitions_at(*n).len());
        let from = from.expect("a master");
        let here = scene.partitions_at(from);
        let (p, other) = (here[0], here[1]);
        let mut worker = scene.cluster.connect(from);
        let words = args!["EVQ.CONSUME", stream(p), "ANY", "GROUP", "g", "BLOCK", 0];
        let mut control = scene.cluster.connect(from);
        worker.send(&words);
        until_blocked(&mut control, 1);
        let id = scene.append(other, "work");
        let reply = worker.try_read(IN_TIME).expect("a reply in time");
        assert_eq!(reply.at(0).int(), i64::from(other), "{reply:?}");
        let mut with = words.to_vec();
        with.extend(args!["ACK", other, id]);
        worker.send(&with);
        until_blocked(&mut control, 1);
        let to = (0..3).find(|n| *n != from).expect("another master");
        scene.cluster.move_slot(slot_of(p), to);
        scene.append(p, "gone");
        assert_eq!(worker.try_read(QUIET), None, "that is another shard's now");
        let id = scene.append(other, "more");
        let reply = worker.try_read(IN_TIME).expect("a reply in time");
        assert_eq!(reply.at(0).int(), i64::from(other), "{reply:?}");
        let with = |p: u32, more: &[Vec<u8>]| {
            let words = args!["EVQ.CONSUME", stream(p), "ANY", "GROUP", "g", "BLOCK", 0];
            [&words[..], more].concat()
        };
        assert_eq!(worker.cmd(&with(p, &args!["ACK", other, id])).err_code(), "MOVED");
        worker.send(&with(other, &args!["ACK", other, id]));
        until_blocked(&mut control, 1);
        here[1..].iter().for_each(|p| scene.cluster.move_slot(slot_of(*p), to));
        let told = told(&mut worker);
        assert!(["MOVED", "TRYAGAIN"].contains(&&*told), "{told}");
    });
}

/// A worker goes on through any number of moves: each event in order, and again under a higher
/// epoch only.
#[test]
fn a_partition_is_worked_on_while_it_moves() {
    each_binary(|binary| {
        let scene = &mut Scene::start(binary, 0);
        let (p, home) = scene.elsewhere();
        let away = scene.authority();
        let mut worker = scene.cluster.client();
        let (mut producer, key) = (scene.cluster.client(), scene.mapping.key_in(p, 0));
        let seen = scope(|threads| {
            threads.spawn(move || {
                for n in 0..400 {
                    must!(producer, "EVQ.APPEND", stream(p), key, n);
                }
            });
            let working = threads.spawn(move || {
                let (mut seen, mut last) = (Vec::<(i64, u64)>::new(), None);
                while seen.last().is_none_or(|(_, n)| *n < 399) {
                    let mut words = args!["EVQ.CONSUME", stream(p), "GROUP", "g"].to_vec();
                    words.extend(args!["WORKER", "w", "COUNT", 7, "BLOCK", 200]);
                    words.extend(last.take().into_iter().flat_map(|id: String| args!["ACK", id]));
                    let reply = worker.cmd(&words);
                    if reply.is_error() {
                        // The lease stayed behind.
                        assert_eq!(reply.err_code(), "EVQFENCED", "{reply:?}");
                        continue;
                    }
                    let Some(pulled) = Pull::of(&reply) else { continue };
                    let n = |payload: &String| payload.parse().expect("a number");
                    seen.extend(pulled.payloads.iter().map(|it| (pulled.epoch, n(it))));
                    last = Some(pulled.last().to_owned());
                }
                seen
            });
            for to in [away, home, away, home] {
                scene.cluster.move_somehow(slot_of(p), to);
                sleep(Duration::from_millis(50));
            }
            working.join().unwrap()
        });
        for pair in seen.windows(2) {
            let [(before, n), (epoch, next)] = [pair[0], pair[1]];
            let goes_on = epoch == before && next == n + 1;
            let again = epoch > before && next <= n + 1;
            assert!(goes_on || again, "{next} under {epoch} after {n} under {before}");
        }
        assert_eq!(seen[0].1, 0);
    });
}

/// What is due while a slot moves happens once, at the end that has it.
#[test]
fn what_falls_due_during_a_move_happens_once() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        let (p, _) = scene.elsewhere();
        let key = scene.mapping.key_in(p, 0);
        scene.append(p, "fails");
        let pulled = Pull::of(&must!(scene.client, "EVQ.CONSUME", stream(p), "GROUP", "g"));
        let id = pulled.expect("an event").ids[0].clone();
        must!(scene.client, "EVQ.NACK", stream(p), id, "GROUP", "g", "DELAY", 200);
        for n in 0..20 {
            must!(scene.client, "EVQ.SCHEDULE", key, n, "IN", 100 + 20 * n, "RING", RING);
        }
        scene.client.close();
        let moving = scene.cluster.begin_move(slot_of(p), scene.authority());
        for key in moving.keys() {
            sleep(Duration::from_millis(60));
            moving.migrate(&key);
            assert_apart(&moving, &key.escape_ascii().to_string());
        }
        sleep(Duration::from_millis(200));
        assert_eq!(moving.keys(), Vec::<Vec<u8>>::new(), "all have moved, and the slot has not");
        moving.finish();
        until(PATIENCE, || scene.stored(p).len() >= 21);
        let mut expected = vec!["fails".to_owned()];
        expected.extend(numbers(0..20));
        assert_eq!(scene.stored(p), expected);
        let mut again = scene.consume_all(p, "g");
        // The failed event has no place among the others: it comes when it is due.
        let failed = again.iter().position(|payload| payload == "fails").expect("a redelivery");
        assert_eq!(failed, 0, "its key waits behind it: {again:?}");
        again.remove(0);
        assert_eq!(again, numbers(0..20));
        assert_eq!(scene.length(), 21);
        assert_eq!((0..PARTITIONS).filter(|p| !scene.stored(*p).is_empty()).count(), 1);
    });
}
