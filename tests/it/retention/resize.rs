//! Retention and resizes: a partition that leaves is trimmed like any other, and disappears by
//! itself once everybody is done with it and its events are too old; new ones are looked after too.

use crate::failing::nack;
use crate::harness::{
    Conn, PATIENCE, Server, each_binary, each_server, must, until, wait_for_sync,
};
use crate::kept::{kept, ring_with, total, until_looked};
use crate::pull::{P, Pull, say, start, take, until_blocked, woken};
use crate::resize::order::{event, is_gone, key_on, payloads, resize};

fn length(conn: &mut Conn, p: i64) -> i64 {
    must!(conn, "XLEN", format!("evq:{{r:{p}}}")).int()
}

#[test]
fn a_leaving_partition_is_emptied_and_disappears() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        let key = key_on(&mut conn, &[0, 1]);
        say(&mut conn, "EVQ.CREATE r 2 MAXAGE 300").ok();
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        assert_eq!(event(&mut conn, &key, "1").0, 1);
        let (_, last) = event(&mut conn, &key, "2");
        resize(&mut conn, 1);
        assert_eq!(event(&mut conn, &key, "3").0, 0);
        // Long past its age it is still there, because somebody needs it; and so is what follows.
        until(PATIENCE, || {
            let ms =
                say(&mut conn, "EVQ.STATS r").get("partitions").at(1).get("groups").at(0).clone();
            ms.get("oldest-unfinished-ms").int() > 1500
        });
        until_looked(&mut conn);
        assert_eq!((length(&mut conn, 0), length(&mut conn, 1)), (1, 2));
        assert_eq!(payloads(&mut conn, 0, ""), "");
        assert_eq!(payloads(&mut conn, 1, ""), "1 2");
        say(&mut conn, &format!("EVQ.ACK 1 {last} RING r"));
        until(PATIENCE, || is_gone(&mut conn, 1));
        assert_eq!(must!(conn, "EXISTS", "evq:{r:1}", "evq:{r:1}:groups").int(), 0);
        // What stays goes on as ever.
        assert_eq!(payloads(&mut conn, 0, ""), "3");
        wait_for_sync(&primary, &replica);
        assert_eq!(conn.digest(), replica.digest());
    });
}

#[test]
fn maxlen_alone_keeps_nothing_finished_in_a_partition_that_leaves() {
    each_server(|server| {
        let mut conn = server.connect();
        let key = key_on(&mut conn, &[0, 1]);
        say(&mut conn, "EVQ.CREATE r 2 MAXLEN 5 TRIM any").ok();
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        event(&mut conn, &key, "1");
        let (_, last) = event(&mut conn, &key, "2");
        until_looked(&mut conn);
        resize(&mut conn, 1);
        until_looked(&mut conn);
        // TRIM any speaks of those that are too many, and two are not.
        assert_eq!(length(&mut conn, 1), 2);
        assert_eq!(payloads(&mut conn, 1, ""), "1 2");
        say(&mut conn, &format!("EVQ.ACK 1 {last} RING r"));
        until(PATIENCE, || is_gone(&mut conn, 1));
    });
}

#[test]
fn partitions_that_are_added_are_looked_after() {
    each_server(|server| {
        let mut conn = server.connect();
        let key = key_on(&mut conn, &[0, 1]);
        say(&mut conn, "EVQ.CREATE r 1 MAXLEN 2").ok();
        resize(&mut conn, 2);
        for n in 0..5 {
            assert_eq!(event(&mut conn, &key, &n.to_string()).0, 1);
        }
        until(PATIENCE, || length(&mut conn, 1) == 2);
    });
}

#[test]
fn what_a_ring_keeps_outlives_a_resize() {
    each_server(|server| {
        let mut conn = server.connect();
        say(&mut conn, "EVQ.CREATE r 1 MAXDEPTH 9 MAXLEN 8 MAXAGE 70000 TRIM any").ok();
        resize(&mut conn, 3);
        let ring = must!(conn, "EVQ.RING", "r");
        let number = |field| ring.get(field).int();
        assert_eq!(
            (number("max-depth"), number("max-length"), number("max-age-ms")),
            (9, 8, 70_000)
        );
        assert_eq!(ring.get("trim").str(), "any");
    });
}

#[test]
fn what_waits_elsewhere_for_a_removed_event_goes_on() {
    each_server(|server| {
        let mut conn = server.connect();
        let key = key_on(&mut conn, &[0, 1]);
        let other = key_on(&mut conn, &[0, 0]);
        say(&mut conn, "EVQ.CREATE r 1 MAXLEN 3 TRIM any").ok();
        say(&mut conn, "EVQ.GROUP default RING r FROM first MAXATTEMPTS 1 ONDEAD hold").ok();
        let (_, first) = event(&mut conn, &key, "1");
        assert_eq!(payloads(&mut conn, 0, ""), "1");
        say(&mut conn, &format!("EVQ.NACK 0 {first} RING r"));
        resize(&mut conn, 2);
        // The dead event on 0 holds its key, which lives on 1 now.
        event(&mut conn, &key, "2");
        assert_eq!(payloads(&mut conn, 1, ""), "");
        for n in 0..4 {
            assert_eq!(event(&mut conn, &other, &n.to_string()).0, 0);
        }
        until(PATIENCE, || length(&mut conn, 0) == 3);
        assert_eq!(payloads(&mut conn, 1, ""), "2");
    });
}

/// Triggers an event of a type under a key; gives its partition.
fn event_of(conn: &mut Conn, key: &str, payload: &str, kind: &str) -> i64 {
    must!(conn, "EVQ.TRIGGER", key, payload, "RING", "r", "TYPE", kind).at(0).int()
}

#[test]
fn a_barrier_does_not_wait_for_what_the_group_does_not_take() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring_with(&server, ""), server.connect());
        say(&mut conn, "EVQ.GROUP g RING r FROM first TYPES 1 X").ok();
        let key = key_on(&mut conn, &[0, 1]);
        for n in 0..3 {
            assert_eq!(event_of(&mut conn, &key, &n.to_string(), "Y"), 0);
        }
        say(&mut conn, "EVQ.GROUP late RING r FROM first TYPES 1 X").ok();
        resize(&mut conn, 2);
        // Nobody ever asks for partition 0: neither who waits nor who comes is kept waiting.
        start(&mut worker, "EVQ.CONSUME 1 RING r GROUP g BLOCK 0");
        until_blocked(&mut conn, 1);
        assert_eq!(event_of(&mut conn, &key, "new", "X"), 1);
        assert_eq!(Pull::of(&woken(&mut worker)).unwrap().payloads, ["new"]);
        assert_eq!(payloads(&mut conn, 1, "GROUP late"), "new");
    });
}

#[test]
fn a_barrier_waits_for_what_the_group_takes_however_much_around_it_has_gone() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 1");
        say(&mut conn, "EVQ.GROUP g RING r FROM first TYPES 1 X").ok();
        let key = key_on(&mut conn, &[0, 1]);
        for (payload, kind) in [("0", "Y"), ("1", "Y"), ("old", "X"), ("2", "Y"), ("3", "Y")] {
            assert_eq!(event_of(&mut conn, &key, payload, kind), 0);
        }
        resize(&mut conn, 2);
        assert_eq!(event_of(&mut conn, &key, "new", "X"), 1);
        until(PATIENCE, || must!(conn, "XLEN", P).int() == 3);
        assert_eq!(payloads(&mut conn, 1, "GROUP g WORKER w"), "");
        let old = take(&mut conn, "GROUP g WORKER w COUNT 9");
        assert_eq!(old.payloads, ["old"]);
        // Failed, it holds its key there, and is kept for it.
        nack(&mut conn, old.last(), "GROUP g WORKER w DELAY 100000");
        until(PATIENCE, || total(&mut conn, "trim_held_up_partitions") == 1);
        assert_eq!(payloads(&mut conn, 1, "GROUP g WORKER w"), "");
        assert_eq!(kept(&mut conn)[0], old.ids[0]);
    });
}

#[test]
fn a_leaving_partition_with_other_types_only_disappears_though_nobody_asks() {
    each_server(|server| {
        let mut conn = server.connect();
        let key = key_on(&mut conn, &[0, 1]);
        say(&mut conn, "EVQ.CREATE r 2 MAXLEN 5").ok();
        say(&mut conn, "EVQ.GROUP g RING r FROM first TYPES 1 X").ok();
        assert_eq!(event_of(&mut conn, &key, "1", "Y"), 1);
        assert_eq!(event_of(&mut conn, &key, "2", "X"), 1);
        assert_eq!(event_of(&mut conn, &key, "3", "Y"), 1);
        resize(&mut conn, 1);
        until(PATIENCE, || must!(conn, "XLEN", "evq:{r:1}").int() == 2);
        let pull = say(&mut conn, "EVQ.CONSUME 1 RING r GROUP g WORKER w NOBLOCK COUNT 9");
        let given = Pull::of(&pull).unwrap();
        assert_eq!(given.payloads, ["2"]);
        say(&mut conn, &format!("EVQ.ACK 1 {} RING r GROUP g WORKER w", given.last()));
        until(PATIENCE, || is_gone(&mut conn, 1));
    });
}

#[test]
fn a_partition_that_comes_back_before_anybody_noticed_is_trimmed_too() {
    each_server(|server| {
        let mut conn = server.connect();
        say(&mut conn, "EVQ.CREATE r 2 MAXAGE 100").ok();
        let key = key_on(&mut conn, &[0, 1]);
        // The ring is looked at once a second, each partition ten times.
        for _ in 0..6 {
            event(&mut conn, &key, "p");
            until(PATIENCE, || length(&mut conn, 1) == 0);
            resize(&mut conn, 1);
            until(PATIENCE, || is_gone(&mut conn, 1));
            until_looked(&mut conn);
            resize(&mut conn, 2);
        }
        event(&mut conn, &key, "p");
        until(PATIENCE, || length(&mut conn, 1) == 0);
        until(PATIENCE, || must!(conn, "EVQ.RING", "r").get("resizing").is_null());
    });
}
