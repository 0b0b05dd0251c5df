//! EVQ.RESIZE: a moved key's events wait until those before are finished where they were, through
//! failures, replays, chains of resizes and the end of a partition; everything else goes on.
//!
//! The ring `r` begins with one partition, so every key begins on 0, and where it goes from there
//! is known from rings that are made with more.

use crate::failing::attempt;
use crate::harness::{Conn, PATIENCE, Value, each_server, must, until};
use crate::pull::{Pull, refused, ring, say, start, until_blocked, woken};

/// A key that lives on these partitions in rings of 1, 2, 3 and so on.
pub(crate) fn key_on(conn: &mut Conn, partitions: &[i64]) -> String {
    for n in 1..=partitions.len() {
        must!(conn, "EVQ.CREATE", format!("of{n}"), n).ok();
    }
    let lives = |conn: &mut Conn, key: &str, n: usize| {
        must!(conn, "EVQ.ROUTE", key, "RING", format!("of{}", n + 1)).at(0).int()
    };
    let mut keys = (0..100_000).map(|n| format!("key{n}"));
    let key = keys.find(|key| {
        let mut sizes = partitions.iter().enumerate();
        sizes.all(|(n, partition)| lives(conn, key, n) == *partition)
    });
    key.expect("a key that moves like this")
}

/// Triggers an event; gives its partition and its id.
#[track_caller]
pub(crate) fn event(conn: &mut Conn, key: &str, payload: &str) -> (i64, String) {
    let reply = must!(conn, "EVQ.TRIGGER", key, payload, "RING", "r");
    (reply.at(0).int(), reply.at(1).str().to_owned())
}

/// Pulls from a partition at once: payloads, in one line; empty for null.
#[track_caller]
pub(crate) fn payloads(conn: &mut Conn, p: i64, line: &str) -> String {
    let reply = say(conn, &format!("EVQ.CONSUME {p} RING r COUNT 100 NOBLOCK {line}"));
    Pull::of(&reply).map(|pull| pull.payloads.join(" ")).unwrap_or_default()
}

#[track_caller]
pub(crate) fn ack(conn: &mut Conn, p: i64, id: &str, line: &str) -> i64 {
    say(conn, &format!("EVQ.ACK {p} {id} RING r {line}")).int()
}

#[track_caller]
pub(crate) fn resize(conn: &mut Conn, partitions: i64) -> i64 {
    must!(conn, "EVQ.RESIZE", "r", partitions).int()
}

/// What EVQ.RING says of a group's way to the end of the resize.
#[track_caller]
fn unfinished(conn: &mut Conn, group: &str) -> i64 {
    let ring = must!(conn, "EVQ.RING", "r");
    let groups = ring.get("resizing").get("groups").array().to_vec();
    let of = groups.iter().find(|of| of.get("group").str() == group).expect("the group");
    assert_eq!(of.get("exact").int(), 1);
    of.get("unfinished").int()
}

/// The partitions in which a group has something of before the resize to finish.
#[track_caller]
fn draining(conn: &mut Conn) -> Vec<i64> {
    let ring = must!(conn, "EVQ.RING", "r");
    ring.get("resizing").get("draining").array().iter().map(Value::int).collect()
}

/// Whether a partition has disappeared.
pub(crate) fn is_gone(conn: &mut Conn, p: i64) -> bool {
    let reply = say(conn, &format!("EVQ.PENDING {p} RING r"));
    reply.is_error() && reply.err_code() == "EVQNOPARTITION"
}

#[track_caller]
pub(crate) fn remove_all_events(conn: &mut Conn, partitions: i64) {
    for p in 0..partitions {
        must!(conn, "XTRIM", format!("evq:{{r:{p}}}"), "MAXLEN", 0);
    }
}

#[test]
fn a_moved_key_waits_until_its_old_partition_is_drained_and_nobody_else_does() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let (moves, stays) = (key_on(&mut conn, &[0, 1]), key_on(&mut conn, &[0, 0]));
        event(&mut conn, &moves, "m1");
        let (_, last) = event(&mut conn, &stays, "s1");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        assert_eq!(resize(&mut conn, 2), 2);
        assert_eq!(event(&mut conn, &moves, "m2").0, 1);
        assert_eq!(event(&mut conn, &stays, "s2").0, 0);
        assert_eq!(unfinished(&mut conn, "default"), 2);
        assert_eq!(draining(&mut conn), [0]);
        // What stays goes on at once; what moved waits, also where somebody waits for it.
        assert_eq!(payloads(&mut conn, 0, ""), "m1 s1 s2");
        assert_eq!(payloads(&mut worker, 1, ""), "");
        assert_eq!(payloads(&mut worker, 1, "WORKER other"), "");
        start(&mut worker, "EVQ.CONSUME 1 RING r BLOCK 0");
        until_blocked(&mut conn, 1);
        event(&mut conn, &moves, "m3");
        assert!(worker.try_read(std::time::Duration::from_millis(300)).is_none());
        // The last event from before: the barrier opens, and the worker is called.
        assert_eq!(ack(&mut conn, 0, &last, ""), 1);
        let given = woken(&mut worker);
        assert_eq!(Pull::of(&given).unwrap().payloads, ["m2"]);
        assert_eq!(payloads(&mut worker, 1, "AHEAD"), "m3");
        assert_eq!(unfinished(&mut conn, "default"), 0);
        assert!(draining(&mut conn).is_empty());
    });
}

#[test]
fn each_group_waits_for_itself_also_one_that_is_made_later() {
    each_server(|server| {
        let mut conn = ring(&server);
        let moves = key_on(&mut conn, &[0, 1]);
        let (_, first) = event(&mut conn, &moves, "m1");
        assert_eq!(payloads(&mut conn, 0, "GROUP quick"), "m1");
        ack(&mut conn, 0, &first, "GROUP quick");
        resize(&mut conn, 2);
        event(&mut conn, &moves, "m2");
        assert_eq!(payloads(&mut conn, 1, "GROUP quick"), "m2");
        assert_eq!(payloads(&mut conn, 1, "GROUP late"), "");
        assert_eq!((unfinished(&mut conn, "quick"), unfinished(&mut conn, "late")), (0, 1));
        assert_eq!(payloads(&mut conn, 0, "GROUP late"), "m1");
        assert_eq!(payloads(&mut conn, 1, "GROUP late"), "");
        ack(&mut conn, 0, &first, "GROUP late");
        assert_eq!(payloads(&mut conn, 1, "GROUP late"), "m2");
        // One that takes none of the old events has nothing to wait for.
        say(&mut conn, "EVQ.GROUP typed RING r TYPES 1 other").ok();
        must!(conn, "EVQ.TRIGGER", moves, "m3", "RING", "r", "TYPE", "other");
        assert_eq!(payloads(&mut conn, 1, "GROUP typed"), "m3");
        say(&mut conn, "EVQ.GROUP now RING r FROM last").ok();
        event(&mut conn, &moves, "m4");
        assert_eq!(payloads(&mut conn, 1, "GROUP now"), "m4");
    });
}

#[test]
fn a_failed_event_holds_its_own_key_in_the_new_partition_and_nothing_else() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let fails = key_on(&mut conn, &[0, 1]);
        // What failed is due at once, but nobody pulls from its partition for now.
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "BACKOFF", 0, 0).ok();
        let (_, failed) = event(&mut conn, &fails, "f1");
        let other = {
            let mut keys = (0..).map(|n| format!("other{n}"));
            keys.find(|key| must!(conn, "EVQ.ROUTE", key, "RING", "of2").at(0).int() == 1).unwrap()
        };
        let (_, last) = event(&mut conn, &other, "o1");
        assert_eq!(payloads(&mut conn, 0, ""), "f1 o1");
        must!(conn, "EVQ.NACK", 0, failed, "RING", "r");
        resize(&mut conn, 2);
        let (_, held) = event(&mut conn, &fails, "f2");
        let (_, next) = event(&mut conn, &other, "o2");
        let (_, behind) = event(&mut conn, &fails, "f3");
        assert_eq!(payloads(&mut worker, 1, ""), "");
        ack(&mut conn, 0, &last, "");
        // The barrier is open, and only the failed key waits.
        assert_eq!(payloads(&mut worker, 1, ""), "o2");
        ack(&mut worker, 1, &next, "");
        assert_eq!(payloads(&mut worker, 1, ""), "");
        let rows = say(&mut conn, "EVQ.PENDING 1 RING r");
        let row = |at: usize| {
            let row = rows.at(at);
            [row.get("id"), row.get("state"), row.get("behind")].map(|v| v.str().to_owned())
        };
        assert_eq!(row(0), [held.clone(), "held".to_owned(), format!("0:{failed}")]);
        assert_eq!(row(1), [behind.clone(), "held".to_owned(), held.clone()]);
        let stats = must!(conn, "EVQ.STATS", "r");
        let of = stats.get("partitions").at(1).get("groups").at(0);
        assert_eq!((of.get("held").int(), of.get("retrying").int()), (2, 0));
        // It goes on when the failed one is finished, one after the other.
        start(&mut worker, "EVQ.CONSUME 1 RING r BLOCK 0");
        until_blocked(&mut conn, 1);
        assert_eq!(payloads(&mut conn, 0, ""), "f1");
        ack(&mut conn, 0, &failed, "");
        let given = woken(&mut worker);
        assert_eq!(Pull::of(&given).unwrap().payloads, ["f2"]);
        assert_eq!(attempt(given.at(2).at(0)), Some(1));
        ack(&mut worker, 1, &held, "");
        assert_eq!(payloads(&mut worker, 1, ""), "f3");
    });
}

#[test]
fn a_dead_event_under_hold_holds_its_key_until_an_operator_decides() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let dies = key_on(&mut conn, &[0, 1]);
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 1 ONDEAD hold").ok();
        for retry in [true, false] {
            let (_, dead) = event(&mut conn, &dies, "d1");
            assert_eq!(payloads(&mut conn, 0, ""), "d1");
            must!(conn, "EVQ.NACK", 0, dead, "RING", "r");
            resize(&mut conn, 2);
            let (_, held) = event(&mut conn, &dies, "d2");
            assert_eq!(payloads(&mut worker, 1, ""), "");
            start(&mut worker, "EVQ.CONSUME 1 RING r BLOCK 0");
            until_blocked(&mut conn, 1);
            if retry {
                assert_eq!(
                    must!(conn, "EVQ.DEAD", "default", "RETRY", "*", "*", "RING", "r").int(),
                    1
                );
                assert_eq!(payloads(&mut conn, 0, ""), "d1");
                assert!(worker.try_read(std::time::Duration::from_millis(200)).is_none());
                ack(&mut conn, 0, &dead, "");
            } else {
                assert_eq!(
                    must!(conn, "EVQ.DEAD", "default", "SKIP", 0, dead, "RING", "r").int(),
                    1
                );
            }
            let given = woken(&mut worker);
            assert_eq!(Pull::of(&given).unwrap().payloads, ["d2"]);
            assert_eq!(attempt(given.at(2).at(0)), Some(1));
            assert_eq!(ack(&mut worker, 1, &held, ""), 1);
            // Back to one partition, so that the second round begins as the first.
            resize(&mut conn, 1);
            remove_all_events(&mut conn, 2);
            until(PATIENCE, || must!(conn, "EVQ.RING", "r").get("resizing").is_null());
        }
    });
}

#[test]
fn a_chain_of_resizes_keeps_the_order_before_the_first_has_drained() {
    each_server(|server| {
        let mut conn = ring(&server);
        let key = key_on(&mut conn, &[0, 1, 2]);
        let (p0, first) = event(&mut conn, &key, "1");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        resize(&mut conn, 2);
        let (p1, second) = event(&mut conn, &key, "2");
        resize(&mut conn, 3);
        let (p2, third) = event(&mut conn, &key, "3");
        // And back to where it began.
        assert_eq!(resize(&mut conn, 1), 4);
        let (back, _) = event(&mut conn, &key, "4");
        assert_eq!([p0, p1, p2, back], [0, 1, 2, 0]);
        let all = |conn: &mut Conn| [0, 1, 2].map(|p| payloads(conn, p, "")).join("|");
        assert_eq!(all(&mut conn), "1||");
        ack(&mut conn, 0, &first, "");
        assert_eq!(all(&mut conn), "|2|");
        ack(&mut conn, 1, &second, "");
        assert_eq!(all(&mut conn), "||3");
        ack(&mut conn, 2, &third, "");
        assert_eq!(all(&mut conn), "4||");
    });
}

#[test]
fn a_group_that_is_put_back_waits_again() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let moves = key_on(&mut conn, &[0, 1]);
        let (_, first) = event(&mut conn, &moves, "m1");
        resize(&mut conn, 2);
        assert_eq!(payloads(&mut conn, 0, ""), "m1");
        ack(&mut conn, 0, &first, "");
        let (_, second) = event(&mut conn, &moves, "m2");
        assert_eq!(payloads(&mut worker, 1, ""), "m2");
        ack(&mut worker, 1, &second, "");
        // A worker that waits as if nothing could be in its way learns that something is.
        start(&mut worker, "EVQ.CONSUME 1 RING r BLOCK 0");
        until_blocked(&mut conn, 1);
        say(&mut conn, "EVQ.SEEK default 0 first RING r").ok();
        event(&mut conn, &moves, "m3");
        assert!(worker.try_read(std::time::Duration::from_millis(300)).is_none());
        assert_eq!(payloads(&mut conn, 0, ""), "m1");
        ack(&mut conn, 0, &first, "");
        assert_eq!(Pull::of(&woken(&mut worker)).unwrap().payloads, ["m3"]);
        // All back to the beginning, and ahead to the end.
        say(&mut conn, "EVQ.SEEK default * first RING r").ok();
        assert_eq!(payloads(&mut worker, 1, ""), "");
        say(&mut conn, "EVQ.SEEK default 0 last RING r").ok();
        assert_eq!(payloads(&mut worker, 1, ""), "m2 m3");
    });
}

#[test]
fn a_leaving_partition_drains_and_then_disappears() {
    each_server(|server| {
        let (mut conn, mut worker) = (server.connect(), server.connect());
        must!(conn, "EVQ.CREATE", "r", 2).ok();
        let moves = key_on(&mut conn, &[0, 1]);
        let (_, last) = event(&mut conn, &moves, "m1");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        assert_eq!(resize(&mut conn, 1), 2);
        let (p, next) = event(&mut conn, &moves, "m2");
        assert_eq!(p, 0);
        let ring = must!(conn, "EVQ.RING", "r");
        let states = ring.get("partitions").array().iter().map(|p| p.get("state").str().to_owned());
        assert_eq!(states.collect::<Vec<_>>(), ["active", "leaving"]);
        assert_eq!(ring.get("partitions").at(1).get("share").double(), 0.0);
        // Its worker goes on, and waits for more as anywhere.
        assert_eq!(payloads(&mut worker, 1, ""), "m1");
        assert_eq!(payloads(&mut conn, 0, ""), "");
        assert_eq!(ack(&mut worker, 1, &last, ""), 1);
        assert_eq!(payloads(&mut conn, 0, ""), "m2");
        start(&mut worker, "EVQ.CONSUME 1 RING r BLOCK 0");
        until_blocked(&mut conn, 1);
        // While it holds events it is there, though all are finished.
        assert_eq!(must!(conn, "EVQ.STATS", "r").get("partitions").array().len(), 2);
        must!(conn, "XTRIM", "evq:{r:1}", "MAXLEN", 0);
        let told = worker.try_read(PATIENCE).expect("the worker is told");
        assert_eq!(told.err_code(), "EVQNOPARTITION");
        for line in [
            "EVQ.CONSUME 1 RING r",
            "EVQ.ACK 1 1-1 RING r",
            "EVQ.PENDING 1 RING r",
            "EVQ.SEEK default 1 first RING r",
        ] {
            assert_eq!(refused(&mut conn, line), "EVQNOPARTITION", "{line}");
        }
        for key in ["evq:{r:1}", "evq:{r:1}:groups", "evq:{r:1}:dead:default"] {
            assert_eq!(must!(conn, "EXISTS", key).int(), 0, "{key}");
        }
        // The history is forgotten with the last event from before.
        ack(&mut conn, 0, &next, "");
        until(PATIENCE, || must!(conn, "EVQ.RING", "r").get("resizing").is_null());
        // A partition of this number that comes back is a new one.
        assert_eq!(resize(&mut conn, 2), 3);
        let (p, again) = event(&mut conn, &moves, "m3");
        assert_eq!(p, 1);
        assert!(again > last, "{again} after {last}");
        assert_eq!(payloads(&mut worker, 1, ""), "m3");
    });
}

#[test]
fn a_leaving_partition_with_dead_letters_waits_for_the_operator() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2).ok();
        let key = key_on(&mut conn, &[0, 1]);
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 1").ok();
        let (_, dead) = event(&mut conn, &key, "d");
        assert_eq!(payloads(&mut conn, 1, ""), "d");
        must!(conn, "EVQ.NACK", 1, dead, "RING", "r");
        resize(&mut conn, 1);
        remove_all_events(&mut conn, 2);
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert_eq!(must!(conn, "EVQ.DEAD", "default", "LIST", 1, "RING", "r").array().len(), 1);
        must!(conn, "EVQ.DEAD", "default", "SKIP", "*", "*", "RING", "r");
        until(PATIENCE, || is_gone(&mut conn, 1));
    });
}

#[test]
fn workers_of_any_partition_pick_up_new_ones_and_drop_those_that_are_gone() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let key = key_on(&mut conn, &[0, 1, 1, 3]);
        start(&mut worker, "EVQ.CONSUME * RING r BLOCK 0");
        until_blocked(&mut conn, 1);
        resize(&mut conn, 4);
        event(&mut conn, &key, "1");
        let given = woken(&mut worker);
        assert_eq!((given.at(0).int(), Pull::of(&given).unwrap().payloads), (3, vec!["1".into()]));
        resize(&mut conn, 1);
        let (_, second) = event(&mut conn, &key, "2");
        let line = format!("EVQ.CONSUME * RING r NOBLOCK ACK 3 {}", given.at(2).at(0).at(0).str());
        let given = say(&mut worker, &line);
        assert_eq!(Pull::of(&given).unwrap().payloads, ["2"]);
        say(&mut worker, &format!("EVQ.ACK 0 {second} RING r"));
        remove_all_events(&mut conn, 4);
        until(PATIENCE, || is_gone(&mut conn, 3));
        start(&mut worker, "EVQ.CONSUME * RING r BLOCK 0");
        until_blocked(&mut conn, 1);
        event(&mut conn, &key, "3");
        assert_eq!(Pull::of(&woken(&mut worker)).unwrap().payloads, ["3"]);
    });
}
