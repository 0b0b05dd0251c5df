//! What EVQ.RESIZE says and takes: the mapping, DRYRUN, refusals, limits, transactions, events.

use crate::harness::{Conn, each_server, must};
use crate::pull::{refused, ring, say};
use crate::resize::order::{event, key_on, payloads, remove_all_events, resize};

#[test]
fn the_mapping_is_that_of_a_ring_made_with_these_partitions() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 8, "VNODES", 40);
        for (line, made) in [
            ("12", "12"),
            ("5", "5"),
            ("5 WEIGHTS 1 2 1 3 1", "5 WEIGHTS 1 2 1 3 1"),
            // Those that stay keep their weights.
            ("7", "7 WEIGHTS 1 2 1 3 1 1 1"),
            ("2", "2 WEIGHTS 1 2"),
        ] {
            say(&mut conn, &format!("EVQ.RESIZE r {line}")).int();
            say(&mut conn, &format!("EVQ.CREATE made {made} VNODES 40")).ok();
            let points = |conn: &mut Conn, ring| must!(conn, "EVQ.POINTS", "RING", ring);
            assert_eq!(points(&mut conn, "r"), points(&mut conn, "made"), "{line}");
            must!(conn, "EVQ.DROP", "made");
        }
    });
}

#[test]
fn a_dry_run_tells_what_would_move_and_moves_nothing() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 8);
        for n in 0..300 {
            let key = format!("k{n}");
            must!(conn, "EVQ.MTRIGGER", 2, key, "p", key, "p", "RING", "r");
        }
        let before = server.digest();
        let told = say(&mut conn, "EVQ.RESIZE r 9 DRYRUN");
        assert_eq!(server.digest(), before);
        assert_eq!((told.get("generation").int(), told.get("partitions").int()), (2, 9));
        let share = told.get("share").double();
        assert!((0.06..0.17).contains(&share), "{share} of the hash space, a ninth is fair");
        assert_eq!((told.get("keys").int(), told.get("events").int()), (300, 600));
        let moving = told.get("keys-moving").int();
        assert_eq!(told.get("events-moving").int(), 2 * moving);
        assert_eq!(told.get("all-events-seen").int(), 1);
        assert_eq!(say(&mut conn, "EVQ.RESIZE r 9").int(), 2);
        let moved = (0..300)
            .filter(|n| must!(conn, "EVQ.ROUTE", format!("k{n}"), "RING", "r").at(0).int() == 8);
        assert_eq!(moved.count() as i64, moving, "all that move go to the new partition");
        let nothing = say(&mut conn, "EVQ.RESIZE r 9 DRYRUN");
        assert_eq!((nothing.get("share").double(), nothing.get("generation").int()), (0.0, 2));
    });
}

#[test]
fn a_resize_that_is_refused_or_changes_nothing_leaves_no_trace() {
    each_server(|server| {
        let mut conn = ring(&server);
        event(&mut conn, "k", "p");
        let before = server.digest();
        assert_eq!(resize(&mut conn, 1), 1, "the same again");
        for (line, code) in [
            ("EVQ.RESIZE none 2", "EVQNORING"),
            ("EVQ.RESIZE r", "ERR"),
            ("EVQ.RESIZE r 0", "ERR"),
            ("EVQ.RESIZE r 1025", "EVQLIMIT"),
            ("EVQ.RESIZE r 2 WEIGHTS 1", "ERR"),
            ("EVQ.RESIZE r 2 WEIGHTS 1 0", "ERR"),
            ("EVQ.RESIZE r 2 WEIGHTS 1 1001", "EVQLIMIT"),
            ("EVQ.RESIZE r 2 WEIGHTS 1 1 DRYRUN DRYRUN", "ERR"),
            ("EVQ.RESIZE r 1024 WEIGHTS 1", "ERR"),
            ("EVQ.RESIZE a{b 2", "EVQNAME"),
        ] {
            assert_eq!(refused(&mut conn, line), code, "{line}");
        }
        assert_eq!(server.digest(), before);
        // A key that should be a stream is found before anything changes.
        must!(conn, "SET", "evq:{r:1}", "a string");
        assert_eq!(resize(&mut conn, 2), 2);
        assert_eq!(refused(&mut conn, "EVQ.RESIZE r 3"), "WRONGTYPE");
    });
}

#[test]
fn as_many_resizes_are_remembered_as_the_limit_says() {
    each_server(|server| {
        let mut conn = ring(&server);
        event(&mut conn, "k", "p");
        for n in 0..16 {
            assert_eq!(resize(&mut conn, 2 - n % 2), n + 2);
        }
        let refusal = must_fail(&mut conn, "EVQ.RESIZE r 2");
        assert!(refusal.starts_with("EVQLIMIT") && refusal.contains("16"), "{refusal}");
        // With the events of before goes what is remembered of them.
        remove_all_events(&mut conn, 2);
        assert_eq!(resize(&mut conn, 2), 18);
    });
}

#[test]
fn one_transaction_may_trigger_before_and_after() {
    each_server(|server| {
        let mut conn = ring(&server);
        let moves = key_on(&mut conn, &[0, 1]);
        must!(conn, "MULTI");
        must!(conn, "EVQ.TRIGGER", moves, "1", "RING", "r");
        must!(conn, "EVQ.RESIZE", "r", 2);
        must!(conn, "EVQ.TRIGGER", moves, "2", "RING", "r");
        let replies = must!(conn, "EXEC");
        assert_eq!((replies.at(0).at(0).int(), replies.at(2).at(0).int()), (0, 1));
        let script = "redis.call('EVQ.RESIZE', 'r', 1) \
                      return redis.call('EVQ.TRIGGER', ARGV[1], '3', 'RING', 'r')";
        assert_eq!(must!(conn, "EVAL", script, 0, moves).at(0).int(), 0);
        assert_eq!(payloads(&mut conn, 1, ""), "");
        assert_eq!(payloads(&mut conn, 0, ""), "1");
    });
}

#[test]
fn who_listens_hears_of_it() {
    each_server(|server| {
        let (mut conn, mut listener) = (ring(&server), server.connect());
        must!(conn, "CONFIG", "SET", "notify-keyspace-events", "EAdg");
        must!(listener, "PSUBSCRIBE", "__keyevent@0__:evq.*");
        let mut next = || {
            let message = listener.read();
            (message.at(2).str().replace("__keyevent@0__:", ""), message.at(3).str().to_owned())
        };
        resize(&mut conn, 2);
        assert_eq!(next(), ("evq.resize".into(), "evq:{r}".into()));
        resize(&mut conn, 1);
        assert_eq!(next(), ("evq.resize".into(), "evq:{r}".into()));
        assert_eq!(next(), ("evq.retire".into(), "evq:{r:1}".into()));
    });
}

#[track_caller]
fn must_fail(conn: &mut Conn, line: &str) -> String {
    say(conn, line).err().to_owned()
}
