//! TRIM any: the oldest go, finished or not. What was removed counts as finished, so whatever it
//! held up goes on, and neither leases nor lags notice more than that.

use crate::failing::{ack, events, nack, pending};
use crate::harness::{PATIENCE, Value, each_server, must, until};
use crate::kept::{held_up, kept, ring_with, until_kept};
use crate::pull::{P, Pull, block, pull, say, take, trigger, woken};

const TEN: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

#[test]
fn the_oldest_go_finished_or_not() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 3 TRIM any");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let ids = trigger(&mut conn, &TEN);
        until_kept(&mut conn, &ids[7..]);
        assert_eq!(held_up(&mut conn), None);
        assert_eq!(take(&mut conn, "WORKER w COUNT 10").ids, ids[7..]);
    });
}

#[test]
fn age_does_not_ask_either() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXAGE 200 TRIM any");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        trigger(&mut conn, &TEN);
        until_kept(&mut conn, &[]);
        assert!(pull(&mut conn, "WORKER w NOBLOCK").is_none());
        // At once, or it would be too old by then.
        must!(conn, "MULTI").ok();
        must!(conn, "EVQ.TRIGGER", "k", "next", "RING", "r");
        must!(conn, "EVQ.CONSUME", P, "WORKER", "w", "NOBLOCK");
        let replies = must!(conn, "EXEC");
        let given = Pull::of(replies.at(1)).expect("an event");
        assert_eq!(given.ids, [replies.at(0).at(1).str()]);
    });
}

#[test]
fn what_was_held_behind_a_removed_event_goes_on() {
    each_server(|server| {
        for (settings, delay) in [("", "DELAY 100000000"), ("MAXATTEMPTS 1 ONDEAD hold", "")] {
            let mut conn = ring_with(&server, "MAXLEN 4 TRIM any");
            let mut worker = server.connect();
            say(&mut conn, &format!("EVQ.GROUP default RING r FROM first {settings}")).ok();
            let keys = [("a", "0"), ("b", "1"), ("a", "2"), ("a", "3")];
            let ids = events(&mut conn, &keys);
            take(&mut worker, "COUNT 4");
            assert_eq!(nack(&mut worker, &ids[0], delay), ids[2..]);
            ack(&mut worker, &ids[3], "");
            block(&mut conn, &mut worker, "BLOCK 0 AHEAD");
            // The failed event is pushed out by the next, and the owner that waits is called.
            events(&mut conn, &[("c", "4")]);
            // Which of the two comes first depends on how soon that is.
            let first = Pull::of(&woken(&mut worker)).unwrap();
            let second = say(&mut worker, &format!("EVQ.CONSUME {P} BLOCK 60000 AHEAD"));
            let second = Pull::of(&second).unwrap();
            let mut given = [first.payloads, second.payloads].concat();
            given.sort_unstable();
            assert_eq!(given, ["2", "4"], "{settings}");
            assert_eq!(kept(&mut conn).first(), Some(&ids[1]));
            ack(&mut worker, &ids[2], "");
            assert_eq!(take(&mut worker, "AHEAD").payloads, ["3"]);
            say(&mut conn, "EVQ.DROP r").ok();
        }
    });
}

#[test]
fn a_lease_outlives_what_it_had_in_flight() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 3 TRIM any");
        say(&mut conn, "EVQ.GROUP default RING r FROM first BACKOFF 0 0").ok();
        let ids = events(&mut conn, &[("a", "0"), ("b", "1"), ("a", "2")]);
        let epoch = take(&mut conn, "WORKER w COUNT 3").epoch;
        nack(&mut conn, &ids[0], "WORKER w DELAY 0");
        ack(&mut conn, &ids[1], "WORKER w");
        assert_eq!(take(&mut conn, "WORKER w").payloads, ["0"]);
        // A redelivery and its neighbours are in flight when they go.
        let more = events(&mut conn, &[("a", "3"), ("b", "4"), ("c", "5"), ("d", "6")]);
        until_kept(&mut conn, &more[1..]);
        assert_eq!(pending(&mut conn, ""), []);
        // Neither is anybody's fault.
        let id = &ids[0];
        assert_eq!(ack(&mut conn, id, "WORKER w"), 0);
        let refused = say(&mut conn, &format!("EVQ.NACK {P} {id} WORKER w"));
        assert_eq!(refused.err_code(), "EVQBADID");
        let pull = take(&mut conn, "WORKER w COUNT 10");
        assert_eq!((pull.epoch, &pull.ids[..]), (epoch, &more[1..]));
        // Fresh events in flight: to fail is to be finished, to acknowledge passes them.
        let last = events(&mut conn, &[("a", "7"), ("a", "8"), ("a", "9")]);
        until_kept(&mut conn, &last);
        assert_eq!(nack(&mut conn, &more[1], "WORKER w"), [""; 0]);
        assert_eq!(ack(&mut conn, &more[3], "WORKER w"), 1);
        assert_eq!(take(&mut conn, "WORKER w COUNT 10").ids, last);
        assert_eq!(ack(&mut conn, &last[2], "WORKER w"), 1);
        assert_eq!(say(&mut conn, "EVQ.GROUPS RING r").at(0).get("lag").int(), 0);
    });
}

#[test]
fn the_lag_is_what_is_left() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 4 TRIM any");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let ids = trigger(&mut conn, &["0", "1", "2", "3"]);
        take(&mut conn, "WORKER w COUNT 3");
        nack(&mut conn, &ids[0], "WORKER w DELAY 100000");
        let lag = |conn: &mut _| {
            let group = say(conn, "EVQ.GROUPS RING r").at(0).clone();
            (group.get("lag").int(), group.get("lag-exact").int())
        };
        // One waits, two are held behind it, one is new.
        assert_eq!(lag(&mut conn), (4, 1));
        let more = trigger(&mut conn, &["4", "5"]);
        until_kept(&mut conn, &[&ids[2..], &more[..]].concat());
        assert_eq!(lag(&mut conn), (4, 1));
        let state = |row: &(String, String)| row.1.clone();
        let states: Vec<_> = pending(&mut conn, "").iter().map(state).collect();
        assert_eq!(states, ["retry"]);
    });
}

#[test]
fn maxdepth_pushes_back_all_the_same() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXDEPTH 3 MAXAGE 0 TRIM any");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let ids = trigger(&mut conn, &["0", "1", "2"]);
        let full = must_fail(&mut conn);
        assert_eq!(full, "EVQFULL");
        assert_eq!(held_up(&mut conn), Some(("default".to_owned(), ids[0].clone())));
    });
}

fn must_fail(conn: &mut crate::harness::Conn) -> String {
    let reply: Value = say(conn, "EVQ.TRIGGER k p RING r");
    reply.err_code().to_owned()
}

#[test]
fn a_group_far_behind_meets_what_is_left_of_a_long_backlog() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 100 TRIM any");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let mut batch = vec![b"EVQ.MTRIGGER".to_vec(), b"5000".to_vec()];
        batch.extend((0..10_000).map(|n| (n % 7).to_string().into_bytes()));
        batch.extend([b"RING".to_vec(), b"r".to_vec()]);
        for _ in 0..4 {
            conn.must(&batch);
        }
        until(PATIENCE, || must!(conn, "XLEN", P).int() == 100);
        let left = kept(&mut conn);
        let pull = take(&mut conn, "WORKER w COUNT 1000");
        assert_eq!(pull.ids, left);
        assert_eq!(ack(&mut conn, pull.last(), "WORKER w"), 1);
    });
}
