//! Groups: where they begin, what they take, how they go, and that each sees every event.

use std::time::Duration;

use crate::failing::{events, letters, nack, pending};
use crate::harness::{Conn, Value, args, each_server, must};
use crate::pull::{P, Pull, block, pull, refused, ring, say, start, take, until_blocked, woken};

/// The payloads that `group` has yet to be given.
fn rest(conn: &mut Conn, group: &str) -> Vec<String> {
    pull(conn, &format!("GROUP {group} WORKER w COUNT 100 NOBLOCK"))
        .map(|pull| pull.payloads)
        .unwrap_or_default()
}

#[test]
fn a_group_is_made_changed_and_described() {
    each_server(|server| {
        let mut conn = ring(&server);
        assert_eq!(refused(&mut conn, "EVQ.GROUP g RING r"), "EVQNOGROUP");
        say(&mut conn, "EVQ.GROUP g RING r BACKOFF 5 7 ondead HOLD").ok();
        let shown = |conn: &mut Conn| {
            let group = say(conn, "EVQ.GROUP g RING r");
            let types: Vec<_> = group.get("types").array().iter().map(Value::str).collect();
            let number = |field| group.get(field).int();
            let numbers = ["max-attempts", "backoff-min-ms", "backoff-max-ms"].map(number);
            (types.join(" "), numbers, group.get("on-dead").str().to_owned())
        };
        assert_eq!(shown(&mut conn), (String::new(), [10, 5, 7], "hold".to_owned()));
        // A change leaves the rest as it was.
        say(&mut conn, "EVQ.GROUP g RING r MAXATTEMPTS 3").ok();
        say(&mut conn, "EVQ.GROUP g RING r TYPES 2 A B").ok();
        assert_eq!(shown(&mut conn), ("A B".to_owned(), [3, 5, 7], "hold".to_owned()));
        for line in ["FROM first", "FROM last MAXATTEMPTS 5", "BACKOFF 2 1", "TYPES 65"] {
            let digest = conn.digest();
            let code = refused(&mut conn, &format!("EVQ.GROUP g RING r {line}"));
            assert_eq!(code, if line == "TYPES 65" { "EVQLIMIT" } else { "ERR" }, "{line}");
            assert_eq!(conn.digest(), digest);
        }
        must!(conn, "DEBUG", "RELOAD").ok();
        assert_eq!(shown(&mut conn), ("A B".to_owned(), [3, 5, 7], "hold".to_owned()));
        // The defaults, and the default ring, which it makes.
        say(&mut conn, "EVQ.GROUP g FROM last").ok();
        let group = say(&mut conn, "EVQ.GROUP g");
        assert_eq!(group.get("backoff-min-ms").int(), 1000);
        assert_eq!(group.get("on-dead").str(), "skip");
        assert_eq!(say(&mut conn, "EVQ.RINGS").array().len(), 2);
    });
}

#[test]
fn every_group_sees_every_event_at_its_own_pace() {
    each_server(|server| {
        let mut conn = ring(&server);
        for group in ["a", "b"] {
            say(&mut conn, &format!("EVQ.GROUP {group} RING r MAXATTEMPTS 1")).ok();
        }
        let ids = events(&mut conn, &[("k", "1"), ("k", "2"), ("k", "3")]);
        assert_eq!(rest(&mut conn, "a"), ["1", "2", "3"]);
        must!(conn, "EVQ.NACK", P, ids[0], "GROUP", "a", "WORKER", "w");
        must!(conn, "EVQ.ACK", P, ids[2], "GROUP", "a", "WORKER", "w");
        assert_eq!(letters(&mut conn, "a").len(), 1);
        // A failure in one is none in another, nor in one that comes later.
        for group in ["b", "late"] {
            assert_eq!(rest(&mut conn, group), ["1", "2", "3"]);
        }
        assert_eq!(letters(&mut conn, "b").len(), 0);
        let lags = say(&mut conn, "EVQ.GROUPS RING r");
        let lag = |row: &Value| (row.get("group").str().to_owned(), row.get("lag").int());
        let expected =
            [("a", 0), ("b", 3), ("late", 3)].map(|(group, lag)| (group.to_owned(), lag));
        assert_eq!(lags.array().iter().map(lag).collect::<Vec<_>>(), expected);
    });
}

#[test]
fn a_group_begins_where_from_says_in_every_partition() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "s", 2).ok();
        let payload = |n: u64| format!("{n}");
        for n in [10, 20, 30] {
            for p in 0..2_u64 {
                must!(
                    conn,
                    "XADD",
                    format!("evq:{{s:{p}}}"),
                    format!("{}-1", n + p),
                    "payload",
                    payload(n + p)
                );
            }
        }
        for (from, of_0, of_1) in [
            ("first", "10 20 30", "11 21 31"),
            ("last", "", ""),
            ("20-1", "30", "21 31"),
            ("20", "20 30", "21 31"),
            ("21", "30", "21 31"),
            ("20-0", "20 30", "21 31"),
            ("0", "10 20 30", "11 21 31"),
            ("30-1", "", "31"),
            ("99999999999999", "", ""),
        ] {
            say(&mut conn, &format!("EVQ.GROUP g RING s FROM {from}")).ok();
            for (p, expected) in [(0, of_0), (1, of_1)] {
                let line = format!("EVQ.CONSUME {p} RING s GROUP g COUNT 9 NOBLOCK");
                let given = Pull::of(&say(&mut conn, &line));
                let payloads = given.map(|pull| pull.payloads.join(" ")).unwrap_or_default();
                assert_eq!(payloads, expected, "{from} {p}");
            }
            say(&mut conn, "EVQ.DELGROUP g RING s").ok();
        }
        // Resolved at that moment: what comes after it is for the group, whatever the time says.
        say(&mut conn, "EVQ.GROUP g RING s FROM 99999999999999").ok();
        say(&mut conn, "EVQ.GROUP h RING s FROM last").ok();
        must!(conn, "XADD", "evq:{s:0}", "40-1", "payload", "40");
        for group in ["g", "h"] {
            let line = format!("EVQ.CONSUME 0 RING s GROUP {group} COUNT 9 NOBLOCK");
            assert_eq!(Pull::of(&say(&mut conn, &line)).unwrap().payloads, ["40"]);
        }
    });
}

#[test]
fn a_group_with_types_is_given_those_only_and_its_cursor_passes_the_rest() {
    each_server(|server| {
        let mut conn = ring(&server);
        must!(conn, "EVQ.GROUP", "g", "RING", "r", "TYPES", 2, "T", b"\xff\0").ok();
        say(&mut conn, "EVQ.GROUP untyped RING r TYPES 1 T").ok();
        must!(conn, "EVQ.GROUP", "untyped", "RING", "r", "TYPES", 1, "").ok();
        let kinds: [&[u8]; 5] = [b"T", b"t", b"\xff\0", b"TT", b""];
        for (n, kind) in kinds.iter().enumerate() {
            must!(conn, "EVQ.TRIGGER", "k", n, "RING", "r", "TYPE", kind);
        }
        events(&mut conn, &[("k", "no type")]);
        must!(conn, "XADD", P, "*", "payload", "by hand", "type", "T");
        assert_eq!(rest(&mut conn, "g"), ["0", "2", "by hand"]);
        assert_eq!(rest(&mut conn, "untyped"), ["4", "no type"]);
        assert_eq!(rest(&mut conn, "all").len(), 7);
        // All that it does not take is finished for it without an acknowledgement.
        say(&mut conn, "EVQ.GROUP none RING r TYPES 1 nothing").ok();
        assert!(rest(&mut conn, "none").is_empty());
        let stats = say(&mut conn, "EVQ.STATS r");
        let groups = stats.get("partitions").at(0).get("groups").array().to_vec();
        let none = groups.iter().find(|group| group.get("group").str() == "none").unwrap();
        let last = must!(conn, "XREVRANGE", P, "+", "-", "COUNT", 1).at(0).at(0).clone();
        assert_eq!((none.get("lag").int(), none.get("cursor")), (0, &last));
    });
}

#[test]
fn a_blocked_worker_is_woken_by_its_types_only() {
    each_server(|server| {
        let (mut control, mut worker) = (ring(&server), server.connect());
        say(&mut control, "EVQ.GROUP g RING r TYPES 1 T").ok();
        block(&mut control, &mut worker, "GROUP g BLOCK 0");
        let delivered = control.info("evq", "evq_delivered");
        for n in 0..50 {
            must!(control, "EVQ.TRIGGER", n, "p", "RING", "r", "TYPE", "U");
            must!(control, "XADD", P, "*", "key", n);
        }
        assert_eq!(worker.try_read(Duration::from_millis(80)), None);
        assert_eq!(control.info("evq", "evq_delivered"), delivered);
        until_blocked(&mut control, 1);
        for way in ["trigger", "by hand", "multi"] {
            match way {
                "trigger" => {
                    must!(control, "EVQ.TRIGGER", "k", "p", "RING", "r", "TYPE", "T");
                }
                "by hand" => {
                    must!(control, "XADD", P, "*", "key", "k", "type", "T");
                }
                _ => {
                    must!(control, "MULTI");
                    must!(control, "EVQ.TRIGGER", "k", "p", "RING", "r", "TYPE", "U");
                    must!(control, "EVQ.TRIGGER", "k", "p", "RING", "r", "TYPE", "T");
                    must!(control, "EXEC");
                }
            }
            let reply = woken(&mut worker);
            let id = reply.at(2).at(0).at(0).str().to_owned();
            assert_eq!(reply.at(2).at(0).at(1).get("type").str(), "T");
            must!(worker, "EVQ.ACK", P, id, "GROUP", "g");
            block(&mut control, &mut worker, "GROUP g BLOCK 0");
        }
    });
}

#[test]
fn many_filtered_events_are_passed_without_holding_the_server_up() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let group = "EVQ.GROUP g RING r FROM first TYPES 1 T";
        say(&mut conn, group).ok();
        let one = args!["XADD", P, "*", "key", "k", "type", "U"].to_vec();
        for _ in 0..34 {
            conn.pipeline(&vec![one.clone(); 5000]);
        }
        must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r", "TYPE", "T");
        // A command passes 160,000 at the most; what it has passed it has.
        assert_eq!(pull(&mut conn, "GROUP g NOBLOCK"), None);
        assert_eq!(take(&mut conn, "GROUP g").payloads, ["p"]);
        // For who waits the server goes on by itself.
        say(&mut conn, "EVQ.DELGROUP g RING r").ok();
        say(&mut conn, group).ok();
        start(&mut worker, &format!("EVQ.CONSUME {P} GROUP g BLOCK 0"));
        assert_eq!(Pull::of(&woken(&mut worker)).unwrap().payloads, ["p"]);
        assert_eq!(must!(conn, "EVQ.GROUPS", "RING", "r").at(0).get("lag").int(), 1);
    });
}

#[test]
fn a_deleted_group_leaves_nothing_and_begins_anew() {
    each_server(|server| {
        let (mut conn, mut owner, mut standby) =
            (ring(&server), server.connect(), server.connect());
        say(&mut conn, "EVQ.GROUP g RING r MAXATTEMPTS 1").ok();
        let ids = events(&mut conn, &[("k", "1"), ("k", "2")]);
        take(&mut conn, "GROUP g WORKER w COUNT 2");
        nack(&mut conn, &ids[0], "GROUP g WORKER w");
        must!(conn, "EVQ.ACK", P, ids[1], "GROUP", "g", "WORKER", "w");
        say(&mut conn, &format!("EVQ.RELEASE {P} GROUP g WORKER w")).ok();
        block(&mut conn, &mut owner, "GROUP g BLOCK 0");
        block(&mut conn, &mut standby, "GROUP g BLOCK 0");
        say(&mut conn, "EVQ.DELGROUP g RING r").ok();
        for worker in [&mut owner, &mut standby] {
            assert_eq!(woken(worker).err_code(), "EVQNOGROUP");
        }
        assert_eq!(must!(conn, "EXISTS", "evq:{r:0}:dead:g").int(), 0);
        for line in [
            "EVQ.DELGROUP g RING r".to_owned(),
            format!("EVQ.ACK {P} {} GROUP g WORKER w", ids[1]),
            format!("EVQ.CONSUME {P} GROUP g EPOCH 1 NOBLOCK"),
            format!("EVQ.PENDING {P} GROUP g"),
            "EVQ.SEEK g * first RING r".to_owned(),
        ] {
            assert_eq!(refused(&mut conn, &line), "EVQNOGROUP", "{line}");
        }
        // From the first event, at the first attempt, with the defaults.
        assert_eq!(rest(&mut conn, "g"), ["1", "2"]);
        assert!(nack(&mut conn, &ids[1], "GROUP g WORKER w").is_empty());
        assert_eq!(pending(&mut conn, "GROUP g")[1].1, "retry");
    });
}
