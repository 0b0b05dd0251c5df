//! Dead letters: what they say, where they lie, and what EVQ.DEAD does with them under ONDEAD skip
//! and hold.

use crate::failing::{ack, again, attempt, clock_ms, events, letters, nack, pending};
use crate::harness::{Conn, Value, args, each_server, must};
use crate::pull::{P, block, pull, ring, say, take, until_blocked, woken};

const LETTERS: &str = "evq:{r:0}:dead:default";

/// The ring `r` whose default group gives up after `attempts`.
fn brittle(conn: &mut Conn, attempts: u32, policy: &str) {
    let line = format!("EVQ.GROUP default RING r MAXATTEMPTS {attempts} ONDEAD {policy}");
    say(conn, &line).ok();
}

/// Hands the event `id`, which is next, out to worker `w` until it is dead.
fn kill(conn: &mut Conn, id: &str, attempts: u32) {
    for _ in 0..attempts {
        assert_eq!(take(conn, "WORKER w").ids, [id]);
        nack(conn, id, "WORKER w DELAY 0 REASON boom");
    }
}

fn retry(conn: &mut Conn, words: &str) -> i64 {
    say(conn, &format!("EVQ.DEAD default RETRY {words} RING r")).int()
}

fn skip(conn: &mut Conn, words: &str) -> i64 {
    say(conn, &format!("EVQ.DEAD default SKIP {words} RING r")).int()
}

/// All that can be pulled now, each acknowledged: payloads.
fn drain(conn: &mut Conn) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(pull) = pull(conn, "WORKER w NOBLOCK") {
        ack(conn, pull.last(), "WORKER w");
        all.extend(pull.payloads);
    }
    all
}

#[test]
fn a_letter_is_the_event_between_its_id_and_how_it_failed() {
    each_server(|server| {
        let mut conn = ring(&server);
        brittle(&mut conn, 2, "skip");
        let event =
            args!["EVQ.TRIGGER", "k\0", b"\xff\r\n", "RING", "r", "TYPE", "T", "HEADER", "h"];
        let id = conn.must(&[&event[..], &args!["v"]].concat()).at(1).str().to_owned();
        let entry = must!(conn, "XRANGE", P, "-", "+").at(0).at(1).clone();
        let before = clock_ms(&mut conn);
        let next = format!("EVQ.CONSUME {P} WORKER w BLOCK 60000");
        assert!(attempt(say(&mut conn, &next).at(2).at(0)).is_none());
        nack(&mut conn, &id, "WORKER w DELAY 20 REASON first");
        let between = clock_ms(&mut conn);
        assert_eq!(attempt(say(&mut conn, &next).at(2).at(0)), Some(2));
        must!(conn, "EVQ.NACK", P, id, "WORKER", "w", "REASON", b"no \0 \xff \r\n");
        let after = clock_ms(&mut conn);

        let fields = letters(&mut conn, "default").remove(0);
        let own = entry.array().len();
        assert_eq!(fields.array()[..2], [Value::bulk("id"), Value::bulk(&id)]);
        assert_eq!(&fields.array()[2..2 + own], entry.array());
        let rest = Value::Array(fields.array()[2 + own..].to_vec());
        let names: Vec<_> = rest.map().iter().map(|(name, _)| name.str().to_owned()).collect();
        assert_eq!(names, ["attempts", "reason", "worker", "first-ms", "last-ms"]);
        assert_eq!(rest.get("attempts").str(), "2");
        assert_eq!(rest.get("reason").bytes(), b"no \0 \xff \r\n");
        assert_eq!(rest.get("worker").str(), "w");
        let ms = |field| rest.get(field).str().parse::<u64>().unwrap();
        assert!((before..=between).contains(&ms("first-ms")), "{rest:?}");
        assert!((between..=after).contains(&ms("last-ms")), "{rest:?}");
        assert!(ms("first-ms") < ms("last-ms"));

        // Any tool can read it: the same, under an automatic id.
        let native = must!(conn, "XRANGE", LETTERS, "-", "+").at(0).clone();
        assert_eq!(native.at(1), &fields);
        let listed = say(&mut conn, "EVQ.DEAD default LIST 0 RING r");
        assert_eq!(listed.at(0).array()[..2], [Value::Int(0), native.at(0).clone()]);
        let letter_ms = native.at(0).str().split('-').next().unwrap().parse::<u64>().unwrap();
        assert!((between..=after).contains(&letter_ms));
        assert_eq!(must!(conn, "TYPE", LETTERS), Value::Simple("stream".to_owned()));
    });
}

#[test]
fn a_reason_is_cut_at_1024_bytes_and_may_be_missing() {
    each_server(|server| {
        let mut conn = ring(&server);
        brittle(&mut conn, 1, "skip");
        let ids = events(&mut conn, &[("a", "1"), ("b", "2"), ("c", "3")]);
        take(&mut conn, "COUNT 3");
        let long = [vec![b'\xff'; 1024], vec![b'x'; 5000]].concat();
        must!(conn, "EVQ.NACK", P, ids[0], "REASON", long);
        must!(conn, "EVQ.NACK", P, ids[1], "REASON", &long[..1024]);
        must!(conn, "EVQ.NACK", P, ids[2]);
        let reasons: Vec<_> = letters(&mut conn, "default")
            .iter()
            .map(|letter| letter.get("reason").bytes().to_vec())
            .collect();
        assert_eq!(reasons, [long[..1024].to_vec(), long[..1024].to_vec(), Vec::new()]);
        let worker = format!("connection {}", conn.id());
        assert_eq!(letters(&mut conn, "default")[0].get("worker").str(), worker);
    });
}

#[test]
fn with_skip_the_key_goes_on_without_the_dead_event() {
    each_server(|server| {
        let mut conn = ring(&server);
        brittle(&mut conn, 2, "skip");
        let ids = events(&mut conn, &[("a", "a1"), ("a", "a2"), ("b", "b1")]);
        assert_eq!(take(&mut conn, "WORKER w COUNT 3").ids, ids);
        assert_eq!(nack(&mut conn, &ids[0], "WORKER w DELAY 0"), ids[1..2]);
        ack(&mut conn, &ids[2], "WORKER w");
        assert_eq!(again(&mut conn, "WORKER w NOBLOCK").1, 2);
        assert!(nack(&mut conn, &ids[0], "WORKER w").is_empty());
        assert_eq!(drain(&mut conn), ["a2"]);
        assert!(pending(&mut conn, "").is_empty());
        assert_eq!(letters(&mut conn, "default").len(), 1);
        // What is skipped is skipped: neither a new lease nor a restart brings it back.
        say(&mut conn, &format!("EVQ.RELEASE {P} WORKER w")).ok();
        must!(conn, "DEBUG", "RELOAD");
        assert!(drain(&mut conn).is_empty());
        // Its retry is late, but it comes, at attempt 1, and its letter goes.
        assert_eq!(retry(&mut conn, &format!("0 {}", ids[0])), 1);
        assert_eq!(letters(&mut conn, "default"), []);
        let (pull, attempt) = again(&mut conn, "WORKER w NOBLOCK");
        assert_eq!((pull.ids[0].as_str(), attempt), (ids[0].as_str(), 1));
        ack(&mut conn, &ids[0], "WORKER w");
        assert_eq!(retry(&mut conn, "* *"), 0);
    });
}

#[test]
fn with_hold_the_key_stays_until_retry_and_then_comes_in_order() {
    each_server(|server| {
        let mut conn = ring(&server);
        brittle(&mut conn, 2, "hold");
        let ids = events(&mut conn, &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")]);
        kill(&mut conn, &ids[0], 2);
        assert_eq!(drain(&mut conn), ["b1"]);
        let rows = say(&mut conn, &format!("EVQ.PENDING {P}"));
        let states: Vec<_> = rows.array().iter().map(|row| row.get("state").str()).collect();
        assert_eq!(states, ["dead", "held", "held"]);
        assert_eq!(rows.at(2).get("behind").str(), ids[0]);
        events(&mut conn, &[("a", "a4")]);
        assert!(drain(&mut conn).is_empty());
        must!(conn, "DEBUG", "RELOAD");
        assert!(drain(&mut conn).is_empty());
        assert_eq!(retry(&mut conn, "* *"), 1);
        assert_eq!(again(&mut conn, "WORKER w NOBLOCK").1, 1);
        // It may fail again, as often as before.
        nack(&mut conn, &ids[0], "WORKER w DELAY 0");
        assert_eq!(again(&mut conn, "WORKER w NOBLOCK").1, 2);
        ack(&mut conn, &ids[0], "WORKER w");
        assert_eq!(drain(&mut conn), ["a2", "a3", "a4"]);
        assert!(pending(&mut conn, "").is_empty());
    });
}

#[test]
fn with_hold_skip_finishes_the_event_and_the_held_ones_go_on() {
    each_server(|server| {
        let mut conn = ring(&server);
        brittle(&mut conn, 1, "hold");
        let ids = events(&mut conn, &[("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")]);
        kill(&mut conn, &ids[0], 1);
        kill(&mut conn, &ids[2], 1);
        assert!(drain(&mut conn).is_empty());
        assert_eq!(skip(&mut conn, &format!("0 {}", ids[0])), 1);
        assert_eq!(drain(&mut conn), ["a2"]);
        assert_eq!(letters(&mut conn, "default").len(), 1);
        assert_eq!(skip(&mut conn, &format!("0 {}", ids[0])), 0);
        assert_eq!(skip(&mut conn, "* *"), 1);
        assert_eq!(drain(&mut conn), ["b2"]);
        assert_eq!(letters(&mut conn, "default"), []);
        assert!(pending(&mut conn, "").is_empty());
    });
}

#[test]
fn a_blocked_worker_is_woken_by_retry_and_by_skip() {
    each_server(|server| {
        let (mut control, mut worker) = (ring(&server), server.connect());
        brittle(&mut control, 1, "hold");
        for (action, payload) in [("RETRY", "1"), ("SKIP", "2")] {
            let ids = events(&mut control, &[("a", "1"), ("a", "2")]);
            take(&mut worker, "");
            nack(&mut worker, &ids[0], "");
            block(&mut control, &mut worker, "BLOCK 0");
            let done = say(&mut control, &format!("EVQ.DEAD default {action} 0 {} RING r", ids[0]));
            assert_eq!(done.int(), 1);
            let reply = woken(&mut worker);
            assert_eq!(reply.at(2).at(0).at(1).get("payload").str(), payload);
            let id = reply.at(2).at(0).at(0).str().to_owned();
            assert_eq!(ack(&mut worker, &id, ""), 1);
            if action == "RETRY" {
                let (pull, _) = again(&mut worker, "NOBLOCK");
                assert_eq!(
                    (pull.payloads[0].as_str(), ack(&mut worker, pull.last(), "")),
                    ("2", 1)
                );
            }
        }
        until_blocked(&mut control, 0);
    });
}

#[test]
fn letters_are_listed_retried_and_skipped_by_id_by_partition_and_all() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "s", 3);
        say(&mut conn, "EVQ.GROUP g RING s MAXATTEMPTS 1").ok();
        let mut per_partition = [0; 3];
        for n in 0..30 {
            let reply = must!(conn, "EVQ.TRIGGER", n, n, "RING", "s");
            per_partition[usize::try_from(reply.at(0).int()).unwrap()] += 1;
        }
        for p in 0..3 {
            let all = say(&mut conn, &format!("EVQ.CONSUME {p} RING s GROUP g COUNT 100 NOBLOCK"));
            for event in all.at(2).array() {
                must!(conn, "EVQ.NACK", p, event.at(0).bytes(), "RING", "s", "GROUP", "g");
            }
        }
        let list = |conn: &mut Conn, words: &str| say(conn, &format!("EVQ.DEAD g LIST {words}"));
        assert_eq!(list(&mut conn, "* RING s").array().len(), 30);
        assert_eq!(list(&mut conn, "* COUNT 7 RING s").array().len(), 7);
        assert!(per_partition.iter().all(|n| *n > 2), "{per_partition:?}");
        for (p, n) in per_partition.into_iter().enumerate() {
            let of = list(&mut conn, &format!("evq:{{s:{p}}}"));
            assert_eq!(of.array().len(), n);
            assert!(
                of.array().iter().all(|letter| letter.at(0).int() == i64::try_from(p).unwrap())
            );
            let ids: Vec<_> =
                of.array().iter().map(|letter| letter.at(2).get("id").str()).collect();
            let numbers =
                |id: &&str| id.split('-').map(|n| n.parse::<u64>().unwrap()).collect::<Vec<_>>();
            assert!(ids.iter().map(numbers).is_sorted(), "{ids:?}");
        }
        let id = list(&mut conn, "1 RING s").at(0).at(2).get("id").str().to_owned();
        let act = |conn: &mut Conn, words: &str| say(conn, &format!("EVQ.DEAD g {words}")).int();
        assert_eq!(act(&mut conn, &format!("RETRY 1 {id} RING s")), 1);
        assert_eq!(act(&mut conn, &format!("RETRY 1 {id} RING s")), 0);
        assert_eq!(act(&mut conn, "SKIP 1 * RING s"), per_partition[1] as i64 - 1);
        assert_eq!(
            act(&mut conn, "RETRY * * RING s"),
            (per_partition[0] + per_partition[2]) as i64
        );
        assert_eq!(list(&mut conn, "* RING s").array().len(), 0);
        let events = say(&mut conn, "EVQ.STATS s");
        let lag = |p: usize| {
            let group = events.get("partitions").at(p).get("groups").at(0).clone();
            (group.get("lag").int(), group.get("dead-letters").int())
        };
        let expected = [per_partition[0] as i64, 1, per_partition[2] as i64].map(|lag| (lag, 0));
        assert_eq!([lag(0), lag(1), lag(2)], expected);
    });
}

#[test]
fn a_held_key_can_be_resolved_though_its_letter_was_deleted() {
    each_server(|server| {
        let mut conn = ring(&server);
        brittle(&mut conn, 1, "hold");
        let keys = ["a", "b", "c", "d"];
        let of: Vec<_> = keys.iter().flat_map(|key| [(*key, "1"), (*key, "2")]).collect();
        let ids = events(&mut conn, &of);
        (0..4).for_each(|n| kill(&mut conn, &ids[2 * n], 1));
        let letter = must!(conn, "XRANGE", LETTERS, "-", "+").at(0).at(0).str().to_owned();
        must!(conn, "XDEL", LETTERS, letter);
        assert_eq!(retry(&mut conn, &format!("0 {}", ids[0])), 1);
        assert_eq!(drain(&mut conn), ["1", "2"]);
        must!(conn, "DEL", LETTERS);
        assert_eq!(letters(&mut conn, "default"), []);
        assert_eq!(skip(&mut conn, &format!("0 {}", ids[2])), 1);
        assert_eq!(drain(&mut conn), ["2"]);
        assert_eq!(retry(&mut conn, "* *"), 2);
        assert_eq!(drain(&mut conn), ["1", "1", "2", "2"]);
        assert!(pending(&mut conn, "").is_empty());
    });
}

#[test]
fn an_event_that_was_trimmed_away_cannot_be_retried_but_skipped() {
    each_server(|server| {
        for policy in ["skip", "hold"] {
            let mut conn = ring(&server);
            brittle(&mut conn, 1, policy);
            let ids = events(&mut conn, &[("a", "a1"), ("a", "a2"), ("b", "b1")]);
            kill(&mut conn, &ids[0], 1);
            must!(conn, "XTRIM", P, "MINID", ids[1]);
            assert_eq!(retry(&mut conn, "* *"), 0);
            // The letter is all that is left of it: it stays until it is skipped.
            assert_eq!(letters(&mut conn, "default").len(), 1);
            assert_eq!(skip(&mut conn, "* *"), 1);
            assert_eq!(letters(&mut conn, "default"), []);
            let mut rest = drain(&mut conn);
            rest.sort_unstable();
            assert_eq!(rest, ["a2", "b1"], "{policy}");
            assert!(pending(&mut conn, "").is_empty());
            must!(conn, "EVQ.DROP", "r").ok();
        }
    });
}

#[test]
fn letters_that_somebody_wrote_by_hand_do_no_harm() {
    each_server(|server| {
        let mut conn = ring(&server);
        brittle(&mut conn, 1, "skip");
        let ids = events(&mut conn, &[("a", "a1")]);
        for fields in [["id", "nonsense"], ["id", "9-9"], ["no", "id"], ["id", ""]] {
            must!(conn, "XADD", LETTERS, "*", fields[0], fields[1]);
        }
        assert_eq!(letters(&mut conn, "default").len(), 4);
        assert_eq!(retry(&mut conn, "* *"), 0);
        assert_eq!(skip(&mut conn, "0 9-9"), 1);
        assert_eq!(letters(&mut conn, "default").len(), 3);
        assert_eq!(take(&mut conn, "").ids, ids);
    });
}
