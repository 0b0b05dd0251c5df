//! EVQ.NACK: the event comes again after its delay, only its key waits, and what was held behind it
//! is released in order.

use std::time::{Duration, Instant};

use crate::failing::{ack, again, clock_ms, events, nack, pending};
use crate::harness::{Conn, Value, cmd, each_server, must};
use crate::pull::{GROUPS, P, block, pull, refused, ring, say, start, take, woken};

/// A ring with events `a1 b1 a2 a3 b2` in flight with worker `w`; gives their ids.
fn in_flight(conn: &mut Conn) -> [String; 5] {
    let of = [("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3"), ("b", "b2")];
    let ids = events(conn, &of);
    assert_eq!(take(conn, "WORKER w COUNT 10").ids, ids);
    ids.try_into().unwrap()
}

#[test]
fn a_nacked_event_comes_again_alone_after_its_delay_with_its_attempt() {
    each_server(|server| {
        let mut conn = ring(&server);
        let [id, other] =
            <[_; 2]>::try_from(events(&mut conn, &[("a", "a1"), ("b", "b1")])).unwrap();
        take(&mut conn, "WORKER w COUNT 2");
        let start = Instant::now();
        // At once, or it may be due by then.
        must!(conn, "MULTI").ok();
        say(&mut conn, &format!("EVQ.NACK {P} {id} WORKER w DELAY 150"));
        say(&mut conn, &format!("EVQ.CONSUME {P} AHEAD WORKER w NOBLOCK"));
        let replies = must!(conn, "EXEC");
        assert!(replies.at(0).array().is_empty() && replies.at(1).is_null(), "{replies:?}");
        assert_eq!(ack(&mut conn, &other, "WORKER w"), 1);
        let (pull, attempt) = again(&mut conn, "WORKER w BLOCK 60000");
        assert!(start.elapsed() >= Duration::from_millis(140), "{:?}", start.elapsed());
        assert_eq!((pull.ids, pull.payloads, attempt), (vec![id.clone()], vec!["a1".into()], 2));
        assert!(nack(&mut conn, &id, "WORKER w DELAY 0").is_empty());
        let (_, attempt) = again(&mut conn, "WORKER w NOBLOCK");
        assert_eq!(attempt, 3);
        assert_eq!(ack(&mut conn, &id, "WORKER w"), 1);
        assert_eq!(ack(&mut conn, &id, "WORKER w"), 0);
        assert!(pending(&mut conn, "").is_empty());
    });
}

#[test]
fn the_backoff_doubles_up_to_its_cap_and_delay_replaces_it() {
    each_server(|server| {
        let mut conn = ring(&server);
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "BACKOFF", 40, 130).ok();
        let id = events(&mut conn, &[("a", "a1")]).remove(0);
        take(&mut conn, "WORKER w");
        for (n, (line, delay_ms)) in
            [("", 40), ("", 80), ("DELAY 5", 5), ("", 130), ("", 130)].into_iter().enumerate()
        {
            let before = clock_ms(&mut conn);
            nack(&mut conn, &id, &format!("WORKER w {line}"));
            let after = clock_ms(&mut conn);
            let row = must!(conn, "EVQ.PENDING", P).at(0).clone();
            let due = u64::try_from(row.get("due-ms").int()).unwrap();
            assert!((before + delay_ms..=after + delay_ms).contains(&due), "{n}: {row:?}");
            assert_eq!(row.get("attempts").int(), i64::try_from(n).unwrap() + 1);
            let (_, attempt) = again(&mut conn, "WORKER w BLOCK 60000");
            assert!(clock_ms(&mut conn) >= due);
            assert_eq!(attempt, n as u64 + 2);
        }
    });
}

#[test]
fn later_events_of_the_key_are_held_and_come_in_order_behind_it() {
    each_server(|server| {
        let mut conn = ring(&server);
        let [a1, b1, a2, a3, b2] = in_flight(&mut conn);
        assert_eq!(nack(&mut conn, &a1, "WORKER w DELAY 0"), [a2.clone(), a3.clone()]);
        let states = pending(&mut conn, "").into_iter().map(|(_, state)| state);
        let expected = ["retry", "in-flight", "held", "held", "in-flight"];
        assert_eq!(states.collect::<Vec<_>>(), expected);
        // Another event of the key comes last, one of another key does not wait at all.
        let more = events(&mut conn, &[("a", "a4"), ("c", "c1")]);
        // Acknowledging past the held ones does not finish them.
        assert_eq!(ack(&mut conn, &b2, "WORKER w"), 1);
        assert_eq!(ack(&mut conn, &a2, "WORKER w"), 0);
        assert_eq!(ack(&mut conn, &b1, "WORKER w"), 0);
        let mut given = Vec::new();
        for (id, expected) in [(&a1, 2), (&a2, 1), (&a3, 1)] {
            let (pull, attempt) = again(&mut conn, "WORKER w NOBLOCK");
            assert_eq!((&pull.ids[0], attempt), (id, expected));
            given.extend(pull.payloads);
            // While it is in flight no other event of its key comes; `c1` does, once.
            if id == &a1 {
                let other = take(&mut conn, "WORKER w COUNT 10 AHEAD");
                assert_eq!(other.ids, more[1..]);
                assert_eq!(pull_nothing(&mut conn), None);
                assert_eq!(ack(&mut conn, other.last(), "WORKER w"), 1);
            }
            assert_eq!(ack(&mut conn, id, "WORKER w"), 1);
        }
        let (last, attempt) = again(&mut conn, "WORKER w NOBLOCK");
        assert_eq!((last.payloads, attempt), (vec!["a4".to_owned()], 1));
        assert_eq!(given, ["a1", "a2", "a3"]);
        assert_eq!(ack(&mut conn, &more[0], "WORKER w"), 1);
        assert!(pending(&mut conn, "").is_empty());
    });
}

fn pull_nothing(conn: &mut Conn) -> Option<crate::pull::Pull> {
    pull(conn, "WORKER w AHEAD NOBLOCK COUNT 10")
}

#[test]
fn an_event_between_two_of_its_key_holds_only_the_later_one() {
    each_server(|server| {
        let mut conn = ring(&server);
        let [a1, _, a2, a3, b2] = in_flight(&mut conn);
        assert_eq!(nack(&mut conn, &a2, "WORKER w DELAY 0"), std::slice::from_ref(&a3));
        // Not before the cursor has reached it: an earlier event of another key is in flight.
        assert_eq!(pull_nothing(&mut conn), None);
        assert_eq!(ack(&mut conn, &a1, "WORKER w"), 1);
        assert_eq!(pull_nothing(&mut conn), None);
        assert_eq!(ack(&mut conn, &b2, "WORKER w"), 1);
        for id in [a2, a3] {
            assert_eq!(again(&mut conn, "WORKER w NOBLOCK").0.ids[0], id);
            assert_eq!(ack(&mut conn, &id, "WORKER w"), 1);
        }
        assert_eq!(pull_nothing(&mut conn), None);
    });
}

#[test]
fn the_nack_of_a_redelivery_keeps_what_is_held_where_it_is() {
    each_server(|server| {
        let mut conn = ring(&server);
        let [a1, _, a2, a3, b2] = in_flight(&mut conn);
        nack(&mut conn, &a1, "WORKER w DELAY 0");
        ack(&mut conn, &b2, "WORKER w");
        for attempt in 2..5 {
            assert_eq!(again(&mut conn, "WORKER w NOBLOCK").1, attempt);
            // They are held already; nothing new was in flight.
            assert!(nack(&mut conn, &a1, "WORKER w DELAY 0").is_empty());
            let states = pending(&mut conn, "").into_iter().map(|(_, state)| state);
            assert_eq!(states.collect::<Vec<_>>(), ["retry", "held", "held"]);
        }
        for id in [a1, a2, a3] {
            assert_eq!(again(&mut conn, "WORKER w NOBLOCK").0.ids[0], id);
            assert_eq!(ack(&mut conn, &id, "WORKER w"), 1);
        }
    });
}

#[test]
fn who_lost_the_lease_cannot_nack() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = in_flight(&mut conn);
        let old = must!(conn, "EVQ.PENDING", P).at(0).get("id").str().to_owned();
        assert_eq!(old, ids[0]);
        let epoch = take(&mut server.connect(), "WORKER w").epoch;
        let digest = conn.digest();
        for line in ["", "WORKER other", "EPOCH 1", &format!("EPOCH {}", epoch - 1)] {
            let code = refused(&mut conn, &format!("EVQ.NACK {P} {old} {line}"));
            assert_eq!(code, "EVQFENCED", "{line}");
        }
        let reply =
            cmd!(conn, "EVAL", "return redis.pcall('EVQ.NACK', KEYS[1], ARGV[1])", 1, P, old);
        assert_eq!(reply.err_code(), "ERR");
        assert_eq!(conn.digest(), digest);
        say(&mut conn, &format!("EVQ.RELEASE {P} WORKER w")).ok();
        let line = format!("EVQ.NACK {P} {old} WORKER w EPOCH {epoch}");
        assert_eq!(refused(&mut conn, &line), "EVQFENCED");
    });
}

#[test]
fn only_what_is_in_flight_can_be_nacked() {
    each_server(|server| {
        let mut conn = ring(&server);
        let [a1, b1, a2, a3, b2] = in_flight(&mut conn);
        let next = events(&mut conn, &[("d", "d1")]).remove(0);
        ack(&mut conn, &a1, "WORKER w");
        nack(&mut conn, &a2, "WORKER w DELAY 100000");
        let digest = conn.digest();
        // Finished, held, not handed out, nonsense.
        for id in [&a1, &a3, &next, "99999999999999-0", "0-0", "nonsense"] {
            let code = refused(&mut conn, &format!("EVQ.NACK {P} {id} WORKER w"));
            assert_eq!(code, "EVQBADID", "{id}");
        }
        assert_eq!(conn.digest(), digest);
        assert_eq!(nack(&mut conn, &b1, "WORKER w DELAY 100000"), std::slice::from_ref(&b2));
        let code = refused(&mut conn, &format!("EVQ.NACK {P} {b2} WORKER w"));
        assert_eq!(code, "EVQBADID", "it is held");
    });
}

#[test]
fn an_entry_that_was_deleted_by_hand_has_nothing_to_fail() {
    each_server(|server| {
        let mut conn = ring(&server);
        let [a1, _, a2, _, b2] = in_flight(&mut conn);
        must!(conn, "XDEL", P, a1);
        assert!(nack(&mut conn, &a1, "WORKER w").is_empty());
        // One that waits for its retry, and one that is held behind it.
        nack(&mut conn, &a2, "WORKER w DELAY 0");
        must!(conn, "XDEL", P, a2);
        ack(&mut conn, &b2, "WORKER w");
        assert_eq!(again(&mut conn, "WORKER w NOBLOCK").0.payloads, ["a3"]);
    });
}

#[test]
fn nack_works_in_multi_and_in_scripts() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = events(&mut conn, &[("a", "a1"), ("b", "b1"), ("a", "a2"), ("b", "b2")]);
        let epoch = take(&mut conn, "WORKER w COUNT 10").epoch;
        must!(conn, "MULTI");
        must!(conn, "EVQ.NACK", P, ids[0], "EPOCH", epoch, "DELAY", 0);
        must!(conn, "SET", "written", 1);
        let reply = must!(conn, "EXEC");
        assert_eq!(reply.at(0).array(), [Value::bulk(&ids[2])]);
        let script =
            "return redis.call('EVQ.NACK', KEYS[1], ARGV[1], 'EPOCH', ARGV[2], 'DELAY', 0)";
        let reply = must!(server.connect(), "EVAL", script, 1, P, ids[1], epoch);
        assert_eq!(reply.array(), [Value::bulk(&ids[3])]);
        let mut given = Vec::new();
        for _ in 0..4 {
            let (pull, _) = again(&mut conn, "WORKER w NOBLOCK");
            assert_eq!(ack(&mut conn, pull.last(), "WORKER w"), 1);
            given.extend(pull.payloads);
        }
        given.sort_by_key(|payload| payload.as_bytes()[0]);
        assert_eq!(given, ["a1", "a2", "b1", "b2"]);
    });
}

#[test]
fn a_blocked_owner_is_woken_when_a_retry_is_due() {
    each_server(|server| {
        let (mut control, mut worker) = (ring(&server), server.connect());
        let id = events(&mut control, &[("a", "a1")]).remove(0);
        let epoch = take(&mut worker, "").epoch;
        // Its own, and one that somebody else reports while it is blocked; with and without end.
        for (n, wait) in ["BLOCK 0", "BLOCK 60000"].into_iter().enumerate() {
            let begun = Instant::now();
            nack(&mut worker, &id, "DELAY 120");
            start(&mut worker, &format!("EVQ.CONSUME {P} {wait}"));
            let reply = woken(&mut worker);
            assert!(begun.elapsed() >= Duration::from_millis(100), "{:?}", begun.elapsed());
            assert_eq!(reply.at(2).at(0).at(1).get("attempt").str(), (2 + 2 * n).to_string());

            block(&mut control, &mut worker, &format!("AHEAD {wait}"));
            let begun = Instant::now();
            nack(&mut control, &id, &format!("EPOCH {epoch} DELAY 120"));
            let reply = woken(&mut worker);
            assert!(begun.elapsed() >= Duration::from_millis(110), "{:?}", begun.elapsed());
            assert_eq!(reply.at(2).at(0).at(1).get("attempt").str(), (3 + 2 * n).to_string());
        }
    });
}

#[test]
fn a_promoted_standby_is_woken_when_a_retry_is_due() {
    each_server(|server| {
        let (mut control, mut owner, mut standby) =
            (ring(&server), server.connect(), server.connect());
        let id = events(&mut control, &[("a", "a1")]).remove(0);
        take(&mut owner, "");
        block(&mut control, &mut standby, "WORKER s BLOCK 0");
        nack(&mut owner, &id, "DELAY 150");
        say(&mut owner, &format!("EVQ.RELEASE {P}")).ok();
        let reply = woken(&mut standby);
        assert_eq!(reply.at(2).at(0).at(1).get("attempt").str(), "2");
    });
}

#[test]
fn the_ack_of_a_redelivery_wakes_the_blocked_owner_for_the_next_held_one() {
    each_server(|server| {
        let (mut control, mut worker) = (ring(&server), server.connect());
        let ids = events(&mut control, &[("a", "a1"), ("a", "a2")]);
        let epoch = take(&mut worker, "COUNT 2").epoch;
        nack(&mut worker, &ids[0], "DELAY 0");
        again(&mut worker, "NOBLOCK");
        block(&mut control, &mut worker, "AHEAD BLOCK 0");
        assert_eq!(ack(&mut control, &ids[0], &format!("EPOCH {epoch}")), 1);
        let reply = woken(&mut worker);
        assert_eq!(reply.at(2).at(0).at(0), &Value::bulk(&ids[1]));
    });
}

#[test]
fn an_event_that_is_held_wakes_nobody() {
    each_server(|server| {
        let (mut control, mut worker) = (ring(&server), server.connect());
        let id = events(&mut control, &[("a", "a1")]).remove(0);
        take(&mut worker, "");
        nack(&mut worker, &id, "DELAY 100000");
        block(&mut control, &mut worker, "BLOCK 0");
        events(&mut control, &[("a", "a2")]);
        must!(control, "XADD", P, "*", "key", "a", "payload", "a3");
        assert_eq!(worker.try_read(Duration::from_millis(100)), None);
        events(&mut control, &[("b", "b1")]);
        assert_eq!(woken(&mut worker).at(2).at(0).at(1).get("payload").str(), "b1");
    });
}

#[test]
fn keys_are_told_apart_by_their_bytes() {
    each_server(|server| {
        let mut conn = ring(&server);
        let keys: [&[u8]; 5] = [b"", b"\0", b"k\0", b"k", b"\xff\xfe"];
        for round in ["1", "2"] {
            for key in keys {
                must!(conn, "EVQ.TRIGGER", key, round, "RING", "r");
            }
        }
        // By hand and without a key: as the empty one.
        let last = must!(conn, "XADD", P, "*", "payload", "3");
        let ids = take(&mut conn, "WORKER w COUNT 20").ids;
        for (n, key) in keys.iter().enumerate() {
            let expected = match key.is_empty() {
                true => vec![ids[n + 5].clone(), last.str().to_owned()],
                false => vec![ids[n + 5].clone()],
            };
            assert_eq!(nack(&mut conn, &ids[n], "WORKER w DELAY 0"), expected);
        }
        let state = conn.digest();
        must!(conn, "DEBUG", "RELOAD");
        assert_eq!(conn.digest(), state);
        assert_eq!(must!(conn, "EXISTS", GROUPS).int(), 1);
        start(&mut conn, &format!("EVQ.PENDING {P}"));
        assert_eq!(conn.read().array().len(), 11);
    });
}
