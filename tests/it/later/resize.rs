//! EVQ.RESIZE between a schedule and its time.

use super::{FAR, clock_ms, schedule, until_none_waits, waiting};
use crate::harness::{
    Conn, PATIENCE, Server, cmd, each_binary, each_server, must, until, wait_for_sync,
};

/// The number of each partition that the ring has.
fn partitions(conn: &mut Conn) -> Vec<i64> {
    let ring = must!(conn, "EVQ.RING", "r");
    ring.get("partitions").array().iter().map(|p| p.get("partition").int()).collect()
}

/// The keys of all events of a partition.
fn keys(conn: &mut Conn, p: i64) -> Vec<String> {
    let entries = must!(conn, "XRANGE", format!("evq:{{r:{p}}}"), "-", "+");
    entries.array().iter().map(|entry| entry.at(1).at(1).str().to_owned()).collect()
}

#[test]
fn an_event_goes_to_the_partition_its_key_belongs_to_then() {
    each_server(|server| {
        let mut conn = server.connect();
        for (from, to) in [(2, 7), (7, 3)] {
            // A machine that stands still may append some before the resize: those who wait longer
            // find out.
            let all_waited = [300, 3000, 30_000].into_iter().any(|ms| {
                must!(conn, "EVQ.CREATE", "r", from);
                let at_ms = clock_ms(&mut conn) + ms;
                for n in 0..50 {
                    schedule(&mut conn, &format!("k{n}"), "p", "AT", at_ms);
                }
                must!(conn, "EVQ.RESIZE", "r", to);
                let all = waiting(&mut conn) == 50;
                if all {
                    until_none_waits(&mut conn);
                    assert_eq!(at_their_owners(&mut conn, to), 50);
                }
                must!(conn, "EVQ.DROP", "r");
                all
            });
            assert!(all_waited, "50 calls took half a minute");
        }
    });
}

/// How many events the first partitions have, each in that to which its key belongs.
#[track_caller]
fn at_their_owners(conn: &mut Conn, partitions: i64) -> usize {
    let mut count = 0;
    for p in 0..partitions {
        for key in keys(conn, p) {
            let owner = must!(conn, "EVQ.ROUTE", key, "RING", "r").at(0).int();
            assert_eq!(owner, p, "{key}");
            count += 1;
        }
    }
    count
}

/// The barrier: an event of a key that moved is given out after those of its old partition.
#[test]
fn barriers_hold_for_it_as_for_any_other_event() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "EVQ.RESIZE", "r", 8);
        let key = (0..)
            .map(|n| format!("k{n}"))
            .find(|key| must!(conn, "EVQ.ROUTE", key, "RING", "r").at(0).int() == 5);
        let key = key.unwrap();
        must!(conn, "EVQ.DROP", "r");
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "FROM", "first");
        must!(conn, "EVQ.TRIGGER", key, "old", "RING", "r");
        let ticket = schedule(&mut conn, &key, "new", "IN", FAR);
        must!(conn, "EVQ.RESIZE", "r", 8);
        must!(conn, "EVQ.CANCEL", ticket, "RING", "r");
        schedule(&mut conn, &key, "new", "AT", 1);
        until(PATIENCE, || must!(conn, "XLEN", "evq:{r:5}").int() == 1);
        assert!(must!(conn, "EVQ.CONSUME", 5, "RING", "r", "WORKER", "w", "NOBLOCK").is_null());
        let old = must!(conn, "EVQ.CONSUME", 0, "RING", "r", "WORKER", "w", "NOBLOCK");
        must!(conn, "EVQ.ACK", 0, old.at(2).at(0).at(0).bytes(), "RING", "r", "WORKER", "w");
        until(PATIENCE, || {
            !must!(conn, "EVQ.CONSUME", 5, "RING", "r", "WORKER", "w", "NOBLOCK").is_null()
        });
    });
}

#[test]
fn a_leaving_partition_hands_its_events_over_before_it_disappears() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().config(&["appendonly yes"]).start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        must!(conn, "EVQ.CREATE", "r", 8);
        let tickets: Vec<_> =
            (0..3000).map(|n| schedule(&mut conn, &format!("k{n}"), "p", "IN", FAR)).collect();
        must!(conn, "EVQ.RESIZE", "r", 2);
        until(PATIENCE, || partitions(&mut conn) == [0, 1]);
        assert_eq!(waiting(&mut conn), 3000);
        for row in must!(conn, "EVQ.SCHEDULED", "*", "RING", "r", "COUNT", 3000).array() {
            let owner = must!(conn, "EVQ.ROUTE", row.get("key").bytes(), "RING", "r").at(0).int();
            assert_eq!(row.get("partition").int(), owner);
        }
        assert_eq!(must!(conn, "KEYS", "*:later").array().len(), 2);
        wait_for_sync(&primary, &replica);
        assert_eq!(primary.digest(), replica.digest());
        // And the ring forgets the resize.
        until(PATIENCE, || must!(conn, "EVQ.RING", "r").get("resizing").is_null());
        for ticket in tickets {
            assert_eq!(must!(conn, "EVQ.CANCEL", ticket, "RING", "r").int(), 1);
        }
        assert_eq!(waiting(&mut conn), 0);
        must!(conn, "DEBUG", "LOADAOF");
        assert_eq!(waiting(&mut conn), 0);
    });
}

#[test]
fn cancel_finds_an_event_wherever_a_resize_has_moved_it() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 3);
        let tickets: Vec<_> =
            (0..200).map(|n| schedule(&mut conn, &format!("k{n}"), "p", "IN", FAR)).collect();
        for (part, partitions) in tickets.chunks(50).zip([7, 1, 4, 2]) {
            must!(conn, "EVQ.RESIZE", "r", partitions);
            for ticket in part {
                assert_eq!(must!(conn, "EVQ.CANCEL", ticket, "RING", "r").int(), 1);
                assert_eq!(must!(conn, "EVQ.CANCEL", ticket, "RING", "r").int(), 0);
            }
        }
        assert_eq!(waiting(&mut conn), 0);
    });
}

/// What moves to a partition that is full waits there, and others that waited beside it go on.
#[test]
fn an_event_whose_new_partition_is_full_waits_and_others_go_on() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "MAXDEPTH", 1);
        must!(conn, "EVQ.GROUP", "g", "RING", "r", "FROM", "first");
        let at_ms = clock_ms(&mut conn) + 400;
        for n in 0..20 {
            schedule(&mut conn, &format!("k{n}"), "p", "AT", at_ms);
        }
        must!(conn, "EVQ.RESIZE", "r", 4);
        let filled: Vec<_> = (0..40)
            .map(|n| cmd!(conn, "EVQ.TRIGGER", format!("k{n}"), "first", "RING", "r"))
            .filter(|reply| !reply.is_error())
            .collect();
        assert!(filled.len() <= 4);
        must!(conn, "EVQ.DELGROUP", "g", "RING", "r");
        until(PATIENCE, || waiting(&mut conn) == 0);
    });
}
