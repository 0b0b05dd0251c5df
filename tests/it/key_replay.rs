//! EVQ.REPLAY: the events of one key come again, in order and alone, and everything else goes on.

use crate::failing::{ack, attempt, events, letters, nack, pending};
use crate::harness::{Conn, Server, each_binary, each_server, must, wait_for_sync};
use crate::pull::{GROUPS, P, Pull, block, pull, refused, ring, say, take, trigger, woken};

/// EVQ.REPLAY for the group `default` with these words.
#[track_caller]
fn replay(conn: &mut Conn, line: &str) -> i64 {
    say(conn, &format!("EVQ.REPLAY default {line} RING r")).int()
}

/// Pulls and acknowledges everything: each reply's payloads, and the attempt if it shows one.
#[track_caller]
fn drain(conn: &mut Conn) -> Vec<(String, Option<u64>)> {
    let mut all = Vec::new();
    loop {
        let reply = say(conn, &format!("EVQ.CONSUME {P} WORKER w COUNT 10 NOBLOCK"));
        let Some(given) = Pull::of(&reply) else { return all };
        all.push((given.payloads.join(" "), attempt(reply.at(2).at(0))));
        for id in &given.ids {
            ack(conn, id, "WORKER w");
        }
    }
}

fn payloads(all: &[(String, Option<u64>)]) -> Vec<&str> {
    all.iter().map(|(payloads, _)| payloads.as_str()).collect()
}

#[test]
fn a_key_comes_again_in_order_and_alone_and_its_later_events_wait() {
    each_server(|server| {
        let mut conn = ring(&server);
        events(&mut conn, &[("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3")]);
        assert_eq!(payloads(&drain(&mut conn)), ["a1 b1 a2 a3"]);
        events(&mut conn, &[("a", "a4"), ("b", "b2"), ("c", "c1")]);
        assert_eq!(replay(&mut conn, "a"), 3);
        let given = drain(&mut conn);
        let of_a = given.iter().filter(|(payload, _)| payload.starts_with('a'));
        let expected = ["a1", "a2", "a3", "a4"].map(|payload| (payload.to_owned(), Some(1)));
        assert_eq!(of_a.cloned().collect::<Vec<_>>(), expected, "alone, at their first attempt");
        let others = given.iter().position(|(payload, _)| payload == "b2 c1");
        assert!(others.is_some_and(|at| at < 2), "others have the second turn: {given:?}");
        // All of it is finished once more, and nothing is left of it.
        assert_eq!(pull(&mut conn, "WORKER w NOBLOCK"), None);
        assert!(pending(&mut conn, "").is_empty());
        // A key of which nothing was handed out, or that has no event.
        trigger(&mut conn, &["fresh"]);
        let digest = conn.digest();
        assert_eq!((replay(&mut conn, "k"), replay(&mut conn, "none")), (0, 0));
        assert_eq!(conn.digest(), digest);
    });
}

#[test]
fn what_is_in_flight_joins_and_its_acknowledgement_finishes_nothing() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = events(&mut conn, &[("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")]);
        take(&mut conn, "WORKER w COUNT 3");
        assert_eq!(replay(&mut conn, "a"), 2);
        let states = pending(&mut conn, "");
        let of = |n: usize| states.iter().find(|(id, _)| *id == ids[n]).map(|(_, s)| s.as_str());
        assert_eq!([0, 1, 2].map(of), [Some("retry"), Some("in-flight"), Some("held")]);
        // Each of its own, and one that passes both: only what is of another key is finished.
        assert_eq!(ack(&mut conn, &ids[0], "WORKER w"), 0);
        assert_eq!(ack(&mut conn, &ids[2], "WORKER w"), 1, "b");
        assert_eq!(ack(&mut conn, &ids[2], "WORKER w"), 0);
        let line = format!("EVQ.NACK {P} {} WORKER w", ids[0]);
        assert_eq!(refused(&mut conn, &line), "EVQBADID", "it is not in flight");
        let mut given = drain(&mut conn);
        given.retain(|(payload, _)| payload != "4");
        assert_eq!(given, [("1".to_owned(), Some(1)), ("3".to_owned(), Some(1))]);
        // A redelivery in flight as well.
        let ids = events(&mut conn, &[("q", "5")]);
        take(&mut conn, "WORKER w");
        nack(&mut conn, &ids[0], "WORKER w DELAY 0");
        assert_eq!(take(&mut conn, "WORKER w").ids, ids);
        assert_eq!(replay(&mut conn, "q"), 1);
        assert_eq!(ack(&mut conn, &ids[0], "WORKER w"), 0);
        assert_eq!(drain(&mut conn), [("5".to_owned(), Some(1))]);
    });
}

#[test]
fn what_is_retrying_held_or_dead_joins_at_attempt_1() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 2 ONDEAD hold").ok();
        let of = [("d", "d1"), ("r", "r1"), ("d", "d2"), ("r", "r2"), ("r", "r0")];
        let ids = events(&mut conn, &of);
        take(&mut conn, "WORKER w COUNT 9");
        assert_eq!(nack(&mut conn, &ids[0], "WORKER w DELAY 0"), [ids[2].clone()]);
        assert_eq!(nack(&mut conn, &ids[1], "WORKER w DELAY 3600000"), ids[3..]);
        assert_eq!(take(&mut conn, "WORKER w").ids, ids[..1]);
        nack(&mut conn, &ids[0], "WORKER w");
        assert_eq!(letters(&mut conn, "default").len(), 1);
        // FROM leaves nothing out that is not finished.
        let from = format!("r FROM {}", ids[3]);
        assert_eq!((replay(&mut conn, "d"), replay(&mut conn, &from)), (2, 3));
        let given = drain(&mut conn);
        let of = |key: char| {
            let of_key = given.iter().filter(move |(payload, _)| payload.starts_with(key));
            of_key.map(|(payload, attempt)| (payload.as_str(), *attempt)).collect::<Vec<_>>()
        };
        assert_eq!(of('d'), [("d1", Some(1)), ("d2", Some(1))]);
        assert_eq!(of('r'), [("r1", Some(1)), ("r2", Some(1)), ("r0", Some(1))]);
        // The letter stays readable; the event is finished, so a RETRY brings it once more.
        assert_eq!(letters(&mut conn, "default").len(), 1);
        assert_eq!(say(&mut conn, "EVQ.DEAD default RETRY * * RING r").int(), 1);
        assert_eq!(payloads(&drain(&mut conn)), ["d1"]);
    });
}

#[test]
fn from_says_where_it_begins() {
    each_server(|server| {
        let mut conn = ring(&server);
        for n in [10, 20, 30] {
            must!(conn, "XADD", P, format!("{n}-1"), "key", "k", "payload", n);
        }
        drain(&mut conn);
        for (from, expected) in [
            ("", "10 20 30"),
            ("FROM first", "10 20 30"),
            ("FROM 20", "20 30"),
            ("FROM 10-1", "20 30"),
            ("FROM 20-0", "20 30"),
            ("FROM 31", ""),
            ("FROM 30-1", ""),
        ] {
            let replayed = replay(&mut conn, &format!("k {from}"));
            let given = drain(&mut conn);
            assert_eq!(payloads(&given).join(" "), expected, "{from}");
            assert_eq!(replayed, i64::try_from(given.len()).unwrap(), "{from}");
        }
        let digest = conn.digest();
        for (line, code) in [
            ("EVQ.REPLAY default k FROM last RING r", "EVQBADID"),
            ("EVQ.REPLAY default k FROM x RING r", "EVQBADID"),
            ("EVQ.REPLAY default k FROM", "ERR"),
            ("EVQ.REPLAY default k FROM 1 FROM 2 RING r", "ERR"),
            ("EVQ.REPLAY default k COUNT 1 RING r", "ERR"),
            ("EVQ.REPLAY none k RING r", "EVQNOGROUP"),
            ("EVQ.REPLAY default k RING none", "EVQNORING"),
        ] {
            assert_eq!(refused(&mut conn, line), code, "{line}");
        }
        assert_eq!(conn.digest(), digest);
    });
}

#[test]
fn types_that_the_group_does_not_take_and_removed_events_stay_out() {
    each_server(|server| {
        let mut conn = ring(&server);
        let mut ids = Vec::new();
        for kind in ["x", "y", "x", "x"] {
            let reply = must!(conn, "EVQ.TRIGGER", "k", kind, "TYPE", kind, "RING", "r");
            ids.push(reply.at(1).str().to_owned());
        }
        say(&mut conn, "EVQ.GROUP default RING r FROM first TYPES 1 x").ok();
        take(&mut conn, "WORKER w COUNT 9");
        // The first one waits for an hour, and is removed before anybody has found that.
        assert_eq!(nack(&mut conn, &ids[0], "WORKER w DELAY 3600000"), ids[2..]);
        must!(conn, "MULTI").ok();
        must!(conn, "XDEL", P, ids[0]);
        say(&mut conn, "EVQ.REPLAY default k RING r");
        assert_eq!(must!(conn, "EXEC").at(1).int(), 2);
        assert_eq!(payloads(&drain(&mut conn)), ["x", "x"]);
        assert!(pending(&mut conn, "").is_empty());
    });
}

#[test]
fn a_key_that_moved_comes_again_from_every_partition_in_order() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "s", 2).ok();
        let of =
            |conn: &mut Conn, key: &str| must!(conn, "EVQ.ROUTE", key, "RING", "s").at(0).int();
        let keys: Vec<String> = (0..60).map(|n| format!("key:{n}")).collect();
        let before: Vec<i64> = keys.iter().map(|key| of(&mut conn, key)).collect();
        for key in &keys {
            must!(conn, "EVQ.MTRIGGER", 2, key, 1, key, 2, "RING", "s");
        }
        let drain = |conn: &mut Conn| {
            let mut all = Vec::new();
            loop {
                let reply = say(conn, "EVQ.CONSUME * RING s WORKER w COUNT 100 NOBLOCK");
                let Some(given) = Pull::of(&reply) else { return all };
                for (event, id) in reply.at(2).array().iter().zip(&given.ids) {
                    all.push((event.at(1).get("key").clone(), event.at(1).get("payload").clone()));
                    say(conn, &format!("EVQ.ACK {} {id} RING s WORKER w", reply.at(0).int())).int();
                }
            }
        };
        drain(&mut conn);
        must!(conn, "EVQ.RESIZE", "s", 3);
        for key in &keys {
            must!(conn, "EVQ.MTRIGGER", 2, key, 3, key, 4, "RING", "s");
        }
        drain(&mut conn);
        let moved = keys.iter().zip(before).find(|(key, before)| of(&mut conn, key) != *before);
        let (moved, _) = moved.expect("a key that moves");
        must!(conn, "EVQ.TRIGGER", moved, 5, "RING", "s");
        assert_eq!(must!(conn, "EVQ.REPLAY", "default", moved, "RING", "s").int(), 4);
        let given = drain(&mut conn);
        assert!(given.iter().all(|(key, _)| key.str() == moved), "no other key: {given:?}");
        let payloads: Vec<&str> = given.iter().map(|(_, payload)| payload.str()).collect();
        assert_eq!(payloads, ["1", "2", "3", "4", "5"]);
        // A partition that is gone has nothing, and a key of another type refuses all.
        must!(conn, "SET", "evq:{s:0}:groups", "a string");
        must!(conn, "SET", "evq:{s:1}:groups", "a string");
        let (one, two) =
            (conn.digest(), refused(&mut conn, &format!("EVQ.REPLAY default {moved} RING s")));
        assert_eq!((two.as_str(), conn.digest()), ("WRONGTYPE", one));
    });
}

#[test]
fn a_blocked_worker_and_a_worker_of_any_get_it_and_a_transaction_is_aborted() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let ids = events(&mut conn, &[("a", "1")]);
        drain(&mut conn);
        block(&mut conn, &mut worker, "WORKER w BLOCK 0");
        assert_eq!(replay(&mut conn, "a"), 1);
        assert_eq!(Pull::of(&woken(&mut worker)).unwrap().ids, ids);
        assert_eq!(ack(&mut worker, &ids[0], "WORKER w"), 1);
        say(&mut worker, &format!("EVQ.RELEASE {P} WORKER w")).ok();
        crate::pull::start(&mut worker, "EVQ.CONSUME * RING r BLOCK 0");
        crate::pull::until_blocked(&mut conn, 1);
        assert_eq!(replay(&mut conn, "a"), 1);
        assert_eq!(Pull::of(&woken(&mut worker)).unwrap().ids, ids);
        // Its event is taken from it, so what it does with it must not be committed.
        must!(worker, "WATCH", GROUPS).ok();
        assert_eq!(replay(&mut conn, "a"), 1);
        must!(worker, "MULTI").ok();
        must!(worker, "SET", "done", 1);
        assert!(must!(worker, "EXEC").is_null());
    });
}

#[test]
fn it_survives_a_crash_and_a_replica_holds_the_same() {
    each_binary(|binary| {
        let options = Server::with(binary).config(&["appendonly yes", "appendfsync always"]);
        let mut primary = options.tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = ring(&primary);
        let ids = events(&mut conn, &[("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")]);
        take(&mut conn, "WORKER w COUNT 3");
        ack(&mut conn, &ids[0], "WORKER w");
        assert_eq!(replay(&mut conn, "a"), 2);
        wait_for_sync(&primary, &replica);
        assert_eq!(primary.digest(), replica.digest());
        let states = |conn: &mut Conn| {
            let mut states = pending(conn, "");
            states.retain(|(_, state)| state != "in-flight");
            states
        };
        let before = states(&mut conn);
        assert_eq!(before.len(), 2);
        must!(conn, "DEBUG", "RELOAD").ok();
        assert_eq!(states(&mut conn), before);
        primary.kill9();
        primary.restart();
        let mut conn = primary.connect();
        assert_eq!(states(&mut conn), before);
        let given = drain(&mut conn);
        let of_a = given.iter().flat_map(|(payloads, _)| payloads.split(' '));
        let of_a: Vec<&str> = of_a.filter(|payload| *payload != "2").collect();
        assert_eq!(of_a, ["1", "3", "4"]);
    });
}

/// So many events of one key.
fn many(conn: &mut Conn, key: &str, count: usize) {
    for _ in 0..count / 10_000 {
        let mut batch = vec!["EVQ.MTRIGGER".to_owned(), "10000".to_owned()];
        batch.extend((0..10_000).flat_map(|_| [key.to_owned(), "x".to_owned()]));
        batch.extend(["RING".to_owned(), "r".to_owned()]);
        conn.must(&batch);
    }
    for _ in 0..count % 10_000 {
        must!(conn, "EVQ.TRIGGER", key, "x", "RING", "r");
    }
}

#[test]
fn more_than_half_the_bound_or_too_many_entries_are_refused_and_nothing_changes() {
    each_server(|server| {
        let mut conn = ring(&server);
        many(&mut conn, "a", 5000);
        say(&mut conn, "EVQ.GROUP default RING r FROM last").ok();
        assert_eq!(replay(&mut conn, "a"), 5000);
        say(&mut conn, &format!("EVQ.SEEK default {P} last")).ok();
        many(&mut conn, "a", 1);
        say(&mut conn, &format!("EVQ.SEEK default {P} last")).ok();
        let digest = conn.digest();
        assert_eq!(refused(&mut conn, "EVQ.REPLAY default a RING r"), "EVQLIMIT");
        assert_eq!(conn.digest(), digest);
        // One that needs to be read to the end.
        many(&mut conn, "b", 94_999);
        say(&mut conn, &format!("EVQ.SEEK default {P} last")).ok();
        assert_eq!(replay(&mut conn, "none"), 0);
        many(&mut conn, "c", 1);
        say(&mut conn, &format!("EVQ.SEEK default {P} last")).ok();
        let digest = conn.digest();
        assert_eq!(refused(&mut conn, "EVQ.REPLAY default none RING r"), "EVQLIMIT");
        assert_eq!(conn.digest(), digest);
        let all = must!(conn, "XREVRANGE", P, "+", "-", "COUNT", 2);
        let before = all.at(1).at(0).str().to_owned();
        assert_eq!(replay(&mut conn, &format!("c FROM {before}")), 1);
    });
}

#[test]
fn where_failures_have_taken_the_room_it_is_refused() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = events(&mut conn, &[("a", "1"), ("a", "2")]);
        drain(&mut conn);
        many(&mut conn, "b", 9999);
        let given = take(&mut conn, "WORKER w COUNT 9999");
        assert_eq!(nack(&mut conn, &given.ids[0], "WORKER w DELAY 3600000").len(), 9998);
        let digest = conn.digest();
        assert_eq!(refused(&mut conn, "EVQ.REPLAY default a RING r"), "EVQLIMIT");
        assert_eq!(conn.digest(), digest);
        assert_eq!(replay(&mut conn, &format!("a FROM {}", ids[0])), 1);
        assert_eq!(payloads(&drain(&mut conn)), ["2"]);
    });
}
