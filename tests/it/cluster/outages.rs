//! Slots that nobody owns, a cluster without a majority, a shard that stands still: every client is
//! told in time, none waits for ever, and all works again afterwards.
//!
//! What is replied in time is replied while the outage lasts: the tests end it only afterwards.

use super::scene::{AUTHORITY, PARTITIONS, RING, Scene, numbers, slot_of, stream};
use crate::harness::{Cluster, Conn, PATIENCE, Value, args, cmd, each_binary, must, until};
use crate::model::slots::Slot;
use crate::pull::{IN_TIME, QUIET};

/// How a wait in EVQ.CONSUME ends that an outage ends.
const ENDS: [&str; 4] = ["CLUSTERDOWN", "TRYAGAIN", "MOVED", "UNBLOCKED"];

/// Sends commands on a connection each, and returns what they are replied.
#[track_caller]
fn at_once(scene: &Scene, n: usize, commands: &[Vec<Vec<u8>>]) -> Vec<Value> {
    let send = |words: &Vec<Vec<u8>>| {
        let mut conn = scene.cluster.connect(n);
        conn.send(words);
        conn
    };
    let conns: Vec<_> = commands.iter().map(send).collect();
    conns.into_iter().map(|mut conn| conn.read()).collect()
}

/// A worker that waits at node `n`, by its stream key or for any partition there.
#[track_caller]
fn waiting(scene: &Scene, n: usize, p: u32, is_any: bool) -> Conn {
    let mut conn = scene.cluster.connect(n);
    let mut words = args!["EVQ.CONSUME", stream(p)].to_vec();
    words.extend(is_any.then(|| b"ANY".to_vec()));
    words.extend(args!["GROUP", "g", "BLOCK", 0]);
    conn.send(&words);
    assert_eq!(conn.try_read(QUIET), None);
    conn
}

/// One event more in each partition, by EVQ.TRIGGER through every node in turn; all of it is
/// consumed.
#[track_caller]
fn assert_all_works(scene: &mut Scene, before: i64) {
    scene.client.close();
    assert_eq!(scene.length(), before);
    let masters = scene.cluster.masters();
    for (p, n) in (0..PARTITIONS).zip(masters.iter().cycle()) {
        let key = scene.key_at(*n, p);
        must!(scene.cluster.connect(*n), "EVQ.TRIGGER", key, "last", "RING", RING);
    }
    must!(scene.client, "EVQ.GROUP", "late", "RING", RING, "FROM", "first").ok();
    for group in ["g", "late"] {
        for p in 0..PARTITIONS {
            let all = scene.consume_all(p, group);
            assert_eq!(all.last().map(String::as_str), Some("last"), "{group}, partition {p}");
        }
    }
    scene.cluster.assert_healthy();
}

/// Some slots around that of partition `p`, without those of other partitions and of the ring.
fn range_around(scene: &mut Scene, p: u32) -> Vec<u16> {
    let others: Vec<_> = (0..PARTITIONS).filter(|other| *other != p).map(slot_of).collect();
    let (slot, owner) = (slot_of(p).number(), scene.client.owner(slot_of(p)));
    let mut may = |n: &u16| {
        let slot = Slot::new(*n);
        slot.is_some_and(|slot| {
            let is_free = !others.contains(&slot) && slot != Slot::of(AUTHORITY.as_bytes());
            is_free && scene.client.owner(slot) == owner
        })
    };
    let below: Vec<_> = (slot.saturating_sub(20)..slot).rev().take_while(&mut may).collect();
    below.into_iter().rev().chain((slot..slot + 20).take_while(&mut may)).collect()
}

/// The code of an error; of anything else, OK.
fn code(reply: &Value) -> &str {
    if reply.is_error() { reply.err_code() } else { "OK" }
}

/// Every node forgets who had these slots.
#[track_caller]
fn disown(scene: &Scene, p: u32, slots: &[u16]) {
    let words: Vec<_> = slots.iter().map(|slot| args!["CLUSTER", "DELSLOTS", slot]).collect();
    let mut conns: Vec<_> = scene.cluster.up().map(|n| scene.cluster.connect(n)).collect();
    // A node may have heard of it already, or hear once more who had them.
    until(PATIENCE, || {
        conns.iter_mut().for_each(|conn| drop(conn.pipeline(&words)));
        conns.iter_mut().all(|conn| code(&cmd!(conn, "EXISTS", stream(p))) == "CLUSTERDOWN")
    });
}

/// Slots without an owner, where the other slots are served and where none is.
#[test]
fn slots_without_an_owner_are_refused_until_they_have_one() {
    each_binary(|binary| {
        for is_whole in [false, true] {
            let setup = Cluster::with(binary);
            let setup = if is_whole { setup.with_full_coverage() } else { setup };
            without_slots(&mut Scene::by(setup), is_whole);
        }
    });
}

#[track_caller]
fn without_slots(scene: &mut Scene, is_whole: bool) {
    let (lost, owner) = scene.elsewhere();
    let (here, beside) = (scene.authority(), scene.partitions_at(owner)[1]);
    let own = scene.partitions_at(here)[0];
    scene.append_all(lost, 3);
    let third = (0..3).find(|n| ![here, owner].contains(n)).unwrap();
    let far = scene.partitions_at(third)[0];
    let (key_of_lost, key) = (scene.key_at(here, lost), scene.key_at(here, beside));
    let slots = range_around(scene, lost);
    // Nothing is left there: a worker waits.
    assert_eq!(scene.consume_all(lost, "g"), numbers(0..3));
    let mut of_lost = waiting(scene, owner, lost, false);
    let live = [(owner, beside, false), (here, own, false), (third, far, true)];
    let mut others = live.map(|(n, p, is_any)| (waiting(scene, n, p, is_any), p));
    disown(scene, lost, &slots);

    // Who waits there is told.
    let told = of_lost.try_read(IN_TIME).expect("a reply in time");
    assert!(ENDS.contains(&code(&told)), "{told:?}");
    let mut groups = (0..).map(|n| format!("g{n}"));
    let port = Some(scene.cluster.port(here));
    let group = groups.find(|name| scene.client.owner(Slot::of(name.as_bytes())) == port).unwrap();
    let commands = [
        args!["EVQ.TRIGGER", key_of_lost, "lost", "RING", RING].to_vec(),
        args!["EVQ.MTRIGGER", 2, key_of_lost, "lost", key_of_lost, "lost", "RING", RING].to_vec(),
        args!["EVQ.SCHEDULE", key_of_lost, "lost", "IN", 1, "RING", RING].to_vec(),
        args!["EVQ.APPEND", stream(lost), key_of_lost, "lost"].to_vec(),
        args!["EVQ.CONSUME", stream(lost), "GROUP", "g", "NOBLOCK"].to_vec(),
        args!["EVQ.PENDING", stream(lost), "GROUP", "g"].to_vec(),
        args!["EVQ.GROUP", group, "RING", RING, "FROM", "first"].to_vec(),
    ];
    let replies = at_once(scene, here, &commands);
    for (words, reply) in commands.iter().zip(&replies) {
        let errors = match code(reply) {
            // Each event has its own.
            "OK" => reply.array().iter().map(|reply| code(reply).to_owned()).collect(),
            code => vec![code.to_owned()],
        };
        let fine = ["EVQUNREACHABLE", "CLUSTERDOWN"];
        let all = !errors.is_empty() && errors.iter().all(|code| fine.contains(&&**code));
        assert!(all, "{}: {reply:?}", String::from_utf8_lossy(&words.join(&b' ')));
    }
    let stats = cmd!(scene.cluster.connect(here), "EVQ.STATS", RING);
    let append = args!["EVQ.APPEND", stream(own), scene.mapping.key_in(own, 0), "own"];
    let reply = scene.cluster.connect(here).cmd(&append);
    if is_whole {
        assert_eq!((code(&stats), code(&reply)), ("CLUSTERDOWN", "CLUSTERDOWN"));
    } else {
        let slot = slot_of(lost).to_string();
        assert!(["OK", "MOVED"].contains(&code(&stats)), "{stats:?}");
        assert!(stats.is_error() || format!("{stats:?}").contains(&slot), "{stats:?}");
        assert_eq!(code(&reply), "OK", "{reply:?}");
        must!(scene.cluster.connect(here), "EVQ.TRIGGER", key, "x", "RING", RING);
    }

    let mut conn = scene.cluster.connect(owner);
    let words: Vec<_> = slots.iter().map(|slot| args!["CLUSTER", "ADDSLOTS", slot]).collect();
    conn.pipeline(&words).iter().for_each(Value::ok);
    scene.cluster.settle();
    assert_eq!(scene.stored(lost), numbers(0..3));
    // Who waited elsewhere is told, or is served now.
    scene.client.close();
    for p in [beside, own, far] {
        scene.append(p, "x");
    }
    assert_ended(&mut others);
    leave(&mut of_lost, lost);
    let length = scene.length();
    assert_all_works(scene, length);
}

/// Each of these workers is told or served, and leaves.
#[track_caller]
fn assert_ended(workers: &mut [(Conn, u32)]) {
    for (conn, p) in workers {
        let reply = conn.try_read(IN_TIME).expect("no wait lasts for ever");
        assert!(code(&reply) == "OK" || ENDS.contains(&code(&reply)), "{reply:?}");
        leave(conn, *p);
    }
}

/// Gives up the lease that a wait has taken.
#[track_caller]
fn leave(conn: &mut Conn, p: u32) {
    let reply = cmd!(conn, "EVQ.RELEASE", stream(p), "GROUP", "g");
    assert!(["OK", "EVQFENCED"].contains(&code(&reply)), "{reply:?}");
}

/// Two of three masters stand still: the third refuses everything until one of them is back.
#[test]
fn a_cluster_without_a_majority_refuses_everything_until_it_has_one() {
    each_binary(|binary| {
        let mut scene = Scene::by(Cluster::with(binary).heals());
        let (here, away) = (scene.authority(), scene.cluster.others(AUTHORITY));
        let [p, q] = scene.partitions_at(here)[..2] else { panic!("two partitions") };
        let r = scene.partitions_at(away[0])[0];
        (0..PARTITIONS).for_each(|p| scene.append_all(p, 2));
        let own = scene.partitions_at(here);
        own.into_iter().for_each(|p| drop(scene.consume_all(p, "g")));
        let (key, far) = (scene.key_at(here, p), scene.key_at(here, r));
        let mut workers =
            [(p, false), (q, true)].map(|(p, is_any)| (waiting(&scene, here, p, is_any), p));
        away.iter().for_each(|n| scene.cluster.pause(*n));
        let mut conn = scene.cluster.connect(here);
        // The node asks others before it knows. CLUSTERDOWN leaves the outcome of this one open.
        let words = args!["EVQ.TRIGGER", far, "early", "RING", RING].to_vec();
        let early = at_once(&scene, here, &[words]);
        let fine = ["EVQUNREACHABLE", "EVQUNKNOWN", "CLUSTERDOWN"];
        assert!(fine.contains(&code(&early[0])), "{early:?}");
        until(PATIENCE, || code(&cmd!(conn, "EXISTS", stream(p))) == "CLUSTERDOWN");

        let commands = [
            args!["EVQ.TRIGGER", key, "lost", "RING", RING].to_vec(),
            args!["EVQ.TRIGGER", far, "lost", "RING", RING].to_vec(),
            args!["EVQ.APPEND", stream(p), scene.mapping.key_in(p, 0), "lost"].to_vec(),
            args!["EVQ.CONSUME", stream(p), "GROUP", "g", "BLOCK", 0].to_vec(),
            args!["EVQ.CONSUME", stream(p), "ANY", "GROUP", "g", "BLOCK", 0].to_vec(),
            args!["EVQ.RING", RING].to_vec(),
            args!["EVQ.STATS", RING].to_vec(),
            args!["EVQ.DROP", RING].to_vec(),
        ];
        for (words, reply) in commands.iter().zip(at_once(&scene, here, &commands)) {
            let shown = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
            assert!(["CLUSTERDOWN", "MOVED"].contains(&code(&reply)), "{shown}: {reply:?}");
        }
        // These name no key, so it is the module that finds nobody.
        let keyless = [
            args!["EVQ.GROUPS", "RING", RING].to_vec(),
            args!["EVQ.POINTS", "RING", RING].to_vec(),
            args!["EVQ.RINGS"].to_vec(),
        ];
        for (words, reply) in keyless.iter().zip(at_once(&scene, here, &keyless)) {
            let shown = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
            let fine = ["EVQUNREACHABLE", "CLUSTERDOWN", "OK"];
            assert!(fine.contains(&code(&reply)), "{shown}: {reply:?}");
        }
        away.iter().for_each(|n| scene.cluster.resume(*n));
        scene.cluster.settle();
        scene.client.close();
        for p in [p, q] {
            scene.append(p, "x");
        }
        assert_ended(&mut workers);
        // A shard that stood still has taken nothing that was refused.
        let stored: Vec<_> = (0..PARTITIONS).flat_map(|p| scene.stored(p)).collect();
        let count = stored.iter().filter(|payload| *payload != "early").count();
        assert_eq!(count, 2 * PARTITIONS as usize + 2, "{stored:?}");
        assert!(!stored.iter().any(|payload| payload == "lost"), "{stored:?}");
        let length = scene.length();
        assert_all_works(&mut scene, length);
    });
}
