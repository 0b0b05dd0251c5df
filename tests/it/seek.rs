//! EVQ.SEEK: replay and skipping ahead, by id, time, first and last; it fences the running worker,
//! drops what waited for a retry or was held, and leaves the dead letters.

use crate::failing::{ack, attempt, events, letters, nack, pending};
use crate::harness::{Value, each_server, must};
use crate::pull::{P, Pull, block, pull, refused, ring, say, take, woken};

#[test]
fn a_group_goes_on_from_where_it_is_put_in_order() {
    each_server(|server| {
        let mut conn = ring(&server);
        for n in [10, 20, 30, 40] {
            must!(conn, "XADD", P, format!("{n}-1"), "key", "k", "payload", n);
        }
        let all = take(&mut conn, "WORKER w COUNT 9");
        ack(&mut conn, all.last(), "WORKER w");
        for (to, expected) in [
            ("first", "10 20 30 40"),
            ("20-1", "30 40"),
            ("20", "20 30 40"),
            ("20-0", "20 30 40"),
            ("21", "30 40"),
            ("LAST", ""),
            ("0-0", "10 20 30 40"),
            ("99999999999999", ""),
            ("99999999999999-9", ""),
        ] {
            say(&mut conn, &format!("EVQ.SEEK default 0 {to} RING r")).ok();
            let given = pull(&mut conn, "WORKER w COUNT 9 NOBLOCK");
            let payloads = given.map(|pull| pull.payloads.join(" ")).unwrap_or_default();
            assert_eq!(payloads, expected, "{to}");
        }
        // In the future is the last event at that moment: nothing that comes is skipped.
        must!(conn, "XADD", P, "50-1", "key", "k", "payload", 50);
        assert_eq!(take(&mut conn, "WORKER w COUNT 9").payloads, ["50"]);
    });
}

#[test]
fn one_partition_or_all_of_them_are_moved() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "s", 4).ok();
        for p in 0..4 {
            must!(conn, "XADD", format!("evq:{{s:{p}}}"), "1-1", "payload", p);
        }
        let lags = |conn: &mut crate::harness::Conn| {
            let stats = say(conn, "EVQ.STATS s");
            let lag = |p: &Value| p.get("groups").at(0).get("lag").int();
            stats.get("partitions").array().iter().map(lag).collect::<Vec<_>>()
        };
        say(&mut conn, "EVQ.GROUP g RING s FROM first").ok();
        say(&mut conn, "EVQ.SEEK g * last RING s").ok();
        assert_eq!(lags(&mut conn), [0, 0, 0, 0]);
        say(&mut conn, "EVQ.SEEK g 2 first RING s").ok();
        say(&mut conn, "EVQ.SEEK g evq:{s:3} first").ok();
        assert_eq!(lags(&mut conn), [0, 0, 1, 1]);
        // One partition that cannot be moved, and none is.
        must!(conn, "SET", "evq:{s:3}:groups", "a string");
        assert_eq!(refused(&mut conn, "EVQ.SEEK g * last RING s"), "WRONGTYPE");
        must!(conn, "DEL", "evq:{s:3}:groups");
        assert_eq!(lags(&mut conn), [0, 0, 1, 1]);
        say(&mut conn, "EVQ.SEEK g * first RING s").ok();
        assert_eq!(lags(&mut conn), [1, 1, 1, 1]);
    });
}

#[test]
fn a_running_worker_is_fenced_and_a_blocked_one_is_told() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let ids = events(&mut conn, &[("k", "1"), ("k", "2")]);
        let old = take(&mut worker, "WORKER w COUNT 2");
        say(&mut conn, "EVQ.SEEK default * first RING r").ok();
        for line in [
            format!("EVQ.ACK {P} {} WORKER w", ids[0]),
            format!("EVQ.ACK {P} {} EPOCH {}", ids[0], old.epoch),
            format!("EVQ.NACK {P} {} WORKER w", ids[0]),
            format!("EVQ.EXTEND {P} WORKER w"),
            format!("EVQ.CONSUME {P} WORKER w NOBLOCK ACK {}", ids[1]),
        ] {
            assert_eq!(refused(&mut worker, &line), "EVQFENCED", "{line}");
        }
        let new = take(&mut worker, "WORKER w COUNT 2");
        assert!(new.epoch > old.epoch);
        assert_eq!(new.ids, ids);
        assert_eq!(ack(&mut worker, &ids[1], "WORKER w"), 1);
        block(&mut conn, &mut worker, "WORKER w BLOCK 0");
        say(&mut conn, "EVQ.SEEK default 0 last RING r").ok();
        assert_eq!(woken(&mut worker).err_code(), "EVQFENCED");
    });
}

#[test]
fn a_standby_and_a_worker_of_any_get_what_is_replayed() {
    each_server(|server| {
        let (mut conn, mut owner, mut waiting) =
            (ring(&server), server.connect(), server.connect());
        let ids = events(&mut conn, &[("k", "1")]);
        for what in [P, "* RING r"] {
            take(&mut owner, "WORKER o");
            ack(&mut owner, &ids[0], "WORKER o");
            crate::pull::start(&mut waiting, &format!("EVQ.CONSUME {what} WORKER s BLOCK 0"));
            crate::pull::until_blocked(&mut conn, 1);
            say(&mut conn, "EVQ.SEEK default 0 first RING r").ok();
            assert_eq!(Pull::of(&woken(&mut waiting)).unwrap().ids, ids);
            say(&mut conn, "EVQ.SEEK default 0 first RING r").ok();
        }
    });
}

#[test]
fn retries_and_held_events_are_dropped_and_letters_stay() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 2 ONDEAD hold").ok();
        let of = [("d", "d1"), ("r", "r1"), ("d", "d2"), ("r", "r2"), ("s", "s1")];
        let ids = events(&mut conn, &of);
        for to in ["first", "last"] {
            take(&mut conn, "WORKER w COUNT 9");
            for n in [0, 1] {
                nack(&mut conn, &ids[n], "WORKER w DELAY 0");
            }
            ack(&mut conn, &ids[4], "WORKER w");
            assert_eq!(take(&mut conn, "WORKER w").ids, ids[..1]);
            nack(&mut conn, &ids[0], "WORKER w");
            assert_eq!(pending(&mut conn, "").len(), 4);
            say(&mut conn, &format!("EVQ.SEEK default 0 {to} RING r")).ok();
            assert!(pending(&mut conn, "").is_empty());
        }
        assert_eq!(letters(&mut conn, "default").len(), 2);
        assert_eq!(pull(&mut conn, "WORKER w NOBLOCK"), None);
        // What failed starts anew, at its first attempt.
        say(&mut conn, "EVQ.SEEK default 0 first RING r").ok();
        let reply = say(&mut conn, &format!("EVQ.CONSUME {P} WORKER w COUNT 9 NOBLOCK"));
        assert_eq!(Pull::of(&reply).unwrap().ids, ids);
        assert!(reply.at(2).array().iter().all(|event| attempt(event).is_none()));
        ack(&mut conn, &ids[4], "WORKER w");
        // A letter can still be retried: two letters of one event bring it once.
        assert_eq!(say(&mut conn, "EVQ.DEAD default RETRY * * RING r").int(), 2);
        assert_eq!(take(&mut conn, "WORKER w COUNT 9").ids, ids[..1]);
        assert_eq!(ack(&mut conn, &ids[0], "WORKER w"), 1);
        assert_eq!(pull(&mut conn, "WORKER w NOBLOCK"), None);
    });
}
