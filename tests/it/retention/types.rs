//! Retention and groups with TYPES: an event of a type that no group takes is finished at once,
//! whether or not a worker has passed it, and what a group takes stays until it is done with it.

use crate::failing::{ack, again, nack, pending};
use crate::harness::{
    Conn, PATIENCE, Server, Value, args, each_binary, each_server, must, until, wait_for_sync,
};
use crate::kept::{held_up, kept, ring_with, total, until_kept, until_looked};
use crate::pull::{P, block, pull, say, take, woken};

/// The ring `r` with these options, and a group `g` that takes the type X from the first event on.
fn typed(server: &Server, options: &str) -> Conn {
    let mut conn = ring_with(server, options);
    say(&mut conn, "EVQ.GROUP g RING r FROM first TYPES 1 X").ok();
    conn
}

/// Triggers an event of each of these types; gives the ids.
#[track_caller]
fn of_types(conn: &mut Conn, types: &str) -> Vec<String> {
    let mut ids = Vec::new();
    for (n, kind) in types.split(' ').enumerate() {
        let reply = must!(conn, "EVQ.TRIGGER", kind, n, "RING", "r", "TYPE", kind);
        ids.push(reply.at(1).str().to_owned());
    }
    ids
}

fn code(conn: &mut Conn, kind: &str) -> String {
    let reply = say(conn, &format!("EVQ.TRIGGER k p RING r TYPE {kind}"));
    if reply.is_error() { reply.err_code().to_owned() } else { String::new() }
}

/// A field that EVQ.STATS has of `g` in [`P`].
fn stat(conn: &mut Conn, field: &str) -> Value {
    let stats = say(conn, "EVQ.STATS r");
    let groups = stats.get("partitions").at(0).get("groups").array().to_vec();
    let of = groups.iter().find(|of| of.get("group").str() == "g").expect("the group");
    of.get(field).clone()
}

#[test]
fn producers_are_not_pushed_back_by_what_an_idle_group_does_not_take() {
    each_server(|server| {
        let mut conn = typed(&server, "MAXDEPTH 3");
        let ids = of_types(&mut conn, "Y Y Y Y Y Y");
        assert_eq!(kept(&mut conn), ids[3..]);
        assert_eq!(stat(&mut conn, "lag").int(), 0);
        assert_eq!(stat(&mut conn, "cursor").str(), "0-0");
        assert_eq!(held_up(&mut conn), None);
        // A batch makes its room at once; an event without a type is of another type too.
        let batch = say(&mut conn, "EVQ.MTRIGGER 3 k 0 k 1 k 2 RING r TYPE Y");
        assert_eq!(batch.array().len(), 3);
        say(&mut conn, "EVQ.MTRIGGER 3 k 0 k 1 k 2 RING r").array();
        assert_eq!(code(&mut conn, "Y"), "");
        assert_eq!(kept(&mut conn).len(), 3);
        assert_eq!(total(&mut conn, "refused_full"), 0);
        assert!(pull(&mut conn, "GROUP g NOBLOCK").is_none());
    });
}

#[test]
fn what_the_group_takes_pushes_back_until_it_is_finished() {
    each_server(|server| {
        let mut conn = typed(&server, "MAXDEPTH 3");
        // What comes before it makes room, and what comes after it does not.
        let ids = of_types(&mut conn, "Y X Y Y");
        assert_eq!(kept(&mut conn), ids[1..]);
        assert_eq!(code(&mut conn, "Y"), "EVQFULL");
        assert_eq!(held_up(&mut conn), Some(("g".to_owned(), ids[1].clone())));
        // In flight it is needed as well.
        assert_eq!(take(&mut conn, "GROUP g WORKER w COUNT 9").ids, ids[1..2]);
        assert_eq!(code(&mut conn, "Y"), "EVQFULL");
        // Once it is finished all is, though no worker asks again.
        ack(&mut conn, &ids[1], "GROUP g WORKER w");
        for _ in 0..6 {
            assert_eq!(code(&mut conn, "Y"), "");
        }
        assert_eq!(stat(&mut conn, "lag").int(), 0);
        assert_eq!(stat(&mut conn, "cursor").str(), ids[1]);
    });
}

#[test]
fn an_event_that_waits_for_its_retry_keeps_those_behind_it_whatever_their_type() {
    each_server(|server| {
        let mut conn = typed(&server, "MAXDEPTH 4");
        let ids = of_types(&mut conn, "Y X Y Y");
        take(&mut conn, "GROUP g WORKER w");
        nack(&mut conn, &ids[1], "GROUP g WORKER w DELAY 100000");
        // The cursor has not passed it, and then it has.
        for passed in [false, true] {
            if passed {
                assert!(pull(&mut conn, "GROUP g WORKER w NOBLOCK").is_none());
            }
            until_looked(&mut conn);
            assert_eq!(code(&mut conn, "Y"), if passed { "EVQFULL" } else { "" });
            assert_eq!(kept(&mut conn)[0], ids[1]);
        }
        assert_eq!(code(&mut conn, "Y"), "EVQFULL");
        assert_eq!(held_up(&mut conn), Some(("g".to_owned(), ids[1].clone())));
        let waiting = [(ids[1].clone(), "retry".to_owned())];
        assert_eq!(pending(&mut conn, "GROUP g"), waiting);
        // The event of a key that is held behind it is needed too.
        say(&mut conn, "EVQ.SEEK g * first RING r").ok();
        let given = take(&mut conn, "GROUP g WORKER w");
        nack(&mut conn, given.last(), "GROUP g WORKER w DELAY 0");
        let (given, attempt) = again(&mut conn, "GROUP g WORKER w");
        assert_eq!((given.ids, attempt), (vec![ids[1].clone()], 2));
        ack(&mut conn, &ids[1], "GROUP g WORKER w");
        assert_eq!(code(&mut conn, "Y"), "");
    });
}

#[test]
fn an_event_that_died_makes_room_though_the_cursor_has_not_passed_it() {
    each_server(|server| {
        for kinds in ["", "TYPES 1 X"] {
            let mut conn = server.connect();
            say(&mut conn, "EVQ.CREATE r 1 MAXDEPTH 3").ok();
            let settings = format!("FROM first MAXATTEMPTS 1 {kinds}");
            say(&mut conn, &format!("EVQ.GROUP g RING r {settings}")).ok();
            let ids = of_types(&mut conn, "X X X");
            take(&mut conn, "GROUP g WORKER w COUNT 3");
            nack(&mut conn, &ids[0], "GROUP g WORKER w");
            assert_eq!(stat(&mut conn, "lag").int(), 2);
            assert_eq!(code(&mut conn, "X"), "");
            assert_eq!(kept(&mut conn)[..2], ids[1..]);
            assert_eq!(code(&mut conn, "X"), "EVQFULL");
            assert_eq!(stat(&mut conn, "lag").int(), 3);
            assert_eq!(stat(&mut conn, "oldest-unfinished-id").str(), ids[1]);
            // The worker goes on as if nothing had happened.
            assert_eq!(ack(&mut conn, &ids[2], "GROUP g WORKER w"), 1);
            assert_eq!(take(&mut conn, "GROUP g WORKER w COUNT 9").ids.len(), 1);
            must!(conn, "EVQ.DROP", "r").ok();
        }
    });
}

#[test]
fn the_lag_of_a_long_backlog_is_right_after_what_died_in_front_of_it_has_gone() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 10");
        say(&mut conn, "EVQ.GROUP g RING r FROM first MAXATTEMPTS 1").ok();
        let ids = of_types(&mut conn, &["X"; 300].join(" "));
        take(&mut conn, "GROUP g WORKER w COUNT 300");
        nack(&mut conn, &ids[0], "GROUP g WORKER w");
        until_kept(&mut conn, &ids[1..]);
        assert_eq!((stat(&mut conn, "lag").int(), stat(&mut conn, "lag-exact").int()), (299, 1));
        assert_eq!(ack(&mut conn, &ids[149], "GROUP g WORKER w"), 1);
        assert_eq!((stat(&mut conn, "lag").int(), stat(&mut conn, "lag-exact").int()), (150, 1));
    });
}

#[test]
fn other_types_go_by_number_and_by_age_though_nobody_asks() {
    each_server(|server| {
        for (options, left) in [("MAXLEN 1", 1), ("MAXAGE 1", 0)] {
            let mut conn = typed(&server, options);
            let ids = of_types(&mut conn, "Y Y Y Y Y Y");
            until_kept(&mut conn, &ids[6 - left..]);
            assert_eq!(held_up(&mut conn), None);
            assert_eq!(total(&mut conn, "trim_held_up_partitions"), 0);
            // An unfinished event is named, and not before those in front of it have gone.
            let more = of_types(&mut conn, "Y X Y Y");
            until_kept(&mut conn, &more[1..]);
            assert_eq!(held_up(&mut conn), Some(("g".to_owned(), more[1].clone())));
            assert_eq!(total(&mut conn, "trim_held_up_partitions"), 1);
            let idlest = conn.info("evq", "evq_trim_held_up_by_idlest").unwrap();
            assert_eq!(idlest, "0/r/g");
            assert_eq!(stat(&mut conn, "oldest-unfinished-id").str(), more[1]);
            // The worker acknowledges it and never comes again.
            assert_eq!(take(&mut conn, "GROUP g WORKER w").ids, more[1..2]);
            ack(&mut conn, &more[1], "GROUP g WORKER w");
            until_kept(&mut conn, &more[4 - left..]);
            assert_eq!(held_up(&mut conn), None);
            assert_eq!(stat(&mut conn, "lag").int(), 0);
            must!(conn, "EVQ.DROP", "r").ok();
        }
    });
}

#[test]
fn the_group_that_has_not_finished_is_named_and_not_the_one_that_does_not_take_it() {
    each_server(|server| {
        let mut conn = typed(&server, "MAXLEN 1");
        say(&mut conn, "EVQ.GROUP all RING r FROM first").ok();
        say(&mut conn, "EVQ.GROUP ys RING r FROM first TYPES 1 Y").ok();
        let ids = of_types(&mut conn, "Z X Y Z Z");
        for (group, first) in [("all", 0), ("g", 1), ("ys", 2)] {
            until_kept(&mut conn, &ids[first..]);
            let (by, at) = held_up(&mut conn).unwrap();
            assert_eq!(at, ids[first]);
            assert!(first > 0 || by == group, "{by}");
            take(&mut conn, &format!("GROUP {group} WORKER w COUNT 9"));
            ack(
                &mut conn,
                &ids[if first == 0 { 4 } else { first }],
                &format!("GROUP {group} WORKER w"),
            );
        }
        until_kept(&mut conn, &ids[4..]);
    });
}

#[test]
fn a_long_run_of_other_types_goes_in_steps() {
    each_server(|server| {
        let mut conn = typed(&server, "MAXLEN 10");
        let one = args!["XADD", P, "*", "key", "k", "payload", "p", "type", "Y"].to_vec();
        conn.pipeline(&vec![one; 5000]);
        let ids = of_types(&mut conn, "X Y Y");
        until(PATIENCE, || must!(conn, "XLEN", P).int() == 10);
        assert_eq!(stat(&mut conn, "lag").int(), 1);
        let one = args!["XADD", P, "*", "key", "k", "payload", "p", "type", "Y"].to_vec();
        conn.pipeline(&vec![one; 5000]);
        until(PATIENCE, || must!(conn, "XLEN", P).int() == 5003);
        until_looked(&mut conn);
        assert_eq!(kept(&mut conn)[0], ids[0]);
        assert_eq!(held_up(&mut conn), Some(("g".to_owned(), ids[0].clone())));
    });
}

#[test]
fn the_type_is_found_wherever_an_entry_has_it() {
    each_server(|server| {
        let mut conn = typed(&server, "MAXLEN 1");
        let mut ids = Vec::new();
        for fields in [
            "type Y key k payload p",
            "key k type Y",
            "a 1 b 2 c 3 type Y type X",
            "key k payload X a X b X",
            "payload X",
            "type Y",
            "key k payload type h:a type",
            "a 1 b 2 c 3 type X type Y",
            "key k",
            "key k",
        ] {
            let id = say(&mut conn, &format!("XADD {P} * {fields}"));
            ids.push(id.str().to_owned());
        }
        until_kept(&mut conn, &ids[7..]);
        assert_eq!(held_up(&mut conn), Some(("g".to_owned(), ids[7].clone())));
        for fields in ["type X key k", "key k type X", "a 1 type X b 2 c 3"] {
            must!(conn, "EVQ.DROP", "r").ok();
            conn = typed(&server, "MAXLEN 1");
            let mut add =
                |fields: &str| say(&mut conn, &format!("XADD {P} * {fields}")).str().to_owned();
            let ids = [add("type Y"), add(fields), add("key k"), add("key k")];
            until_kept(&mut conn, &ids[1..]);
        }
    });
}

#[test]
fn types_that_change_count_from_then_on() {
    each_server(|server| {
        let mut conn = typed(&server, "MAXLEN 2");
        let ids = of_types(&mut conn, "Y Y X Y Y");
        until_kept(&mut conn, &ids[2..]);
        // What went is gone, and what is left is needed now.
        say(&mut conn, "EVQ.GROUP g RING r TYPES 0").ok();
        assert_eq!(take(&mut conn, "GROUP g WORKER w COUNT 9").ids, ids[2..]);
        ack(&mut conn, &ids[2], "GROUP g WORKER w");
        until_kept(&mut conn, &ids[3..]);
        let more = of_types(&mut conn, "Z Z Z");
        until_kept(&mut conn, &[&ids[3..], &more[..]].concat());
        // Those in flight are taken no longer; their worker may still acknowledge them.
        say(&mut conn, "EVQ.GROUP g RING r TYPES 1 Z").ok();
        until_kept(&mut conn, &more);
        assert_eq!(ack(&mut conn, &ids[4], "GROUP g WORKER w"), 1);
        assert_eq!(take(&mut conn, "GROUP g WORKER w COUNT 9").ids, more);
    });
}

#[test]
fn at_the_depth_limit_the_group_behind_is_named() {
    each_server(|server| {
        for trim in ["finished", "any"] {
            let mut conn = ring_with(&server, &format!("MAXDEPTH 2 TRIM {trim}"));
            say(&mut conn, "EVQ.GROUP g RING r FROM first").ok();
            let ids = of_types(&mut conn, "X");
            until_looked(&mut conn);
            assert_eq!(held_up(&mut conn), None);
            assert_eq!(total(&mut conn, "trim_held_up_partitions"), 0);
            let ids = [ids, of_types(&mut conn, "X")].concat();
            assert_eq!(code(&mut conn, "X"), "EVQFULL");
            assert_eq!(held_up(&mut conn), Some(("g".to_owned(), ids[0].clone())));
            until(PATIENCE, || total(&mut conn, "trim_held_up_partitions") == 1);
            assert_eq!(conn.info("evq", "evq_trim_held_up_by_idlest").unwrap(), "0/r/g");
            // What is finished is kept until its place is needed, and holds nobody up.
            take(&mut conn, "GROUP g WORKER w");
            ack(&mut conn, &ids[0], "GROUP g WORKER w");
            assert_eq!(held_up(&mut conn), None);
            until(PATIENCE, || total(&mut conn, "trim_held_up_partitions") == 0);
            assert_eq!(kept(&mut conn), ids);
            must!(conn, "EVQ.DROP", "r").ok();
        }
    });
}

#[test]
fn a_replica_holds_the_same_and_decides_nothing() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().config(&["appendonly yes"]).start();
        let replica = Server::replica_of(&primary);
        let (mut conn, mut reader) = (primary.connect(), replica.connect());
        for (ring, options) in [("r", "MAXDEPTH 5"), ("len", "MAXLEN 3"), ("age", "MAXAGE 1")] {
            say(&mut conn, &format!("EVQ.CREATE {ring} 1 {options}")).ok();
            say(&mut conn, &format!("EVQ.GROUP g RING {ring} FROM first TYPES 1 X")).ok();
            for n in 0..40 {
                let kind = if n % 15 == 14 { "X" } else { "Y" };
                conn.cmd(&args!["EVQ.TRIGGER", n % 7, n, "RING", ring, "TYPE", kind]);
            }
        }
        until(PATIENCE, || must!(conn, "XLEN", "evq:{age:0}").int() == 26);
        until(PATIENCE, || must!(conn, "XLEN", "evq:{len:0}").int() == 26);
        let given = take(&mut conn, "GROUP g WORKER w");
        ack(&mut conn, given.last(), "GROUP g WORKER w");
        for _ in 0..8 {
            must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r", "TYPE", "Y");
        }
        until_looked(&mut conn);
        wait_for_sync(&primary, &replica);
        assert_eq!(conn.digest(), reader.digest());
        assert_eq!(kept(&mut conn), kept(&mut reader));
        assert_eq!(total(&mut reader, "trimmed"), 0);
        let digest = conn.digest();
        must!(conn, "DEBUG", "LOADAOF").ok();
        assert_eq!(conn.digest(), digest);
    });
}

#[test]
fn a_worker_that_waits_gets_what_it_takes_after_much_has_gone_before_it() {
    each_server(|server| {
        let (mut conn, mut worker) = (typed(&server, "MAXLEN 1 MAXDEPTH 3"), server.connect());
        block(&mut conn, &mut worker, "GROUP g BLOCK 0");
        of_types(&mut conn, "Y Y Y Y Y Y Y Y");
        until(PATIENCE, || kept(&mut conn).len() == 1);
        let ids = of_types(&mut conn, "Y X");
        assert_eq!(woken(&mut worker).at(2).at(0).at(0).str(), ids[1]);
        assert_eq!(ack(&mut worker, &ids[1], "GROUP g"), 1);
        assert_eq!(stat(&mut conn, "lag").int(), 0);
    });
}
