//! Events that wait for a retry, are held or dead, and are removed by hand: each is finished, and
//! its key goes on by itself.

use crate::failing::{events, letters, nack, pending};
use crate::harness::{Conn, each_server, must};
use crate::pull::{GROUPS, P, Pull, block, ring, say, take, woken};

/// How the first event of the stream is removed.
const REMOVALS: [&str; 5] = ["XDEL", "XTRIM MINID", "XTRIM MAXLEN", "DEL", "UNLINK"];

/// Removes the first two events of four, or all.
fn remove(conn: &mut Conn, how: &str, ids: &[String]) {
    match how {
        "XDEL" => must!(conn, "XDEL", P, ids[0], ids[1]),
        "XTRIM MINID" => must!(conn, "XTRIM", P, "MINID", ids[2]),
        "XTRIM MAXLEN" => must!(conn, "XTRIM", P, "MAXLEN", ids.len() - 2),
        how => must!(conn, how, P),
    };
}

#[test]
fn what_waits_and_is_removed_by_hand_lets_its_key_go_on_to_a_blocked_worker() {
    each_server(|server| {
        for (how, on_dead) in REMOVALS.into_iter().flat_map(|how| [(how, false), (how, true)]) {
            let (mut conn, mut worker) = (ring(&server), server.connect());
            let attempts = if on_dead { 1 } else { 9 };
            must!(
                conn,
                "EVQ.GROUP",
                "g",
                "RING",
                "r",
                "MAXATTEMPTS",
                attempts,
                "ONDEAD",
                "hold",
                "BACKOFF",
                3_600_000,
                3_600_000
            )
            .ok();
            let ids = events(&mut conn, &[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4")]);
            take(&mut worker, "GROUP g WORKER w COUNT 4");
            assert_eq!(nack(&mut worker, &ids[0], "GROUP g WORKER w"), ids[1..]);
            block(&mut conn, &mut worker, "GROUP g WORKER w BLOCK 0");
            remove(&mut conn, how, &ids);
            if how == "DEL" || how == "UNLINK" {
                // Nothing of it is left, and what comes is delivered at once.
                let id = events(&mut conn, &[("a", "5")]).remove(0);
                assert_eq!(Pull::of(&woken(&mut worker)).unwrap().ids, [id], "{how}");
            } else {
                assert_eq!(Pull::of(&woken(&mut worker)).unwrap().ids, [ids[2].clone()], "{how}");
            }
            let left = pending(&mut conn, "GROUP g");
            assert!(left.iter().all(|(id, _)| *id != ids[0] && *id != ids[1]), "{how}: {left:?}");
            // A dead letter stays readable and cannot be retried.
            assert_eq!(letters(&mut conn, "g").len(), usize::from(on_dead), "{how}");
            assert_eq!(must!(conn, "EVQ.DEAD", "g", "RETRY", "*", "*", "RING", "r").int(), 0);
            assert_eq!(letters(&mut conn, "g").len(), usize::from(on_dead), "{how}");
            drop(worker);
            must!(conn, "EVQ.DROP", "r").ok();
        }
    });
}

#[test]
fn what_was_removed_is_found_after_a_restart_as_well() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let ids = events(&mut conn, &[("a", "1"), ("a", "2")]);
        take(&mut worker, "WORKER w COUNT 2");
        nack(&mut worker, &ids[0], "WORKER w DELAY 3600000");
        must!(conn, "MULTI").ok();
        must!(conn, "XDEL", P, ids[0]);
        must!(conn, "DEBUG", "RELOAD");
        must!(conn, "EXEC");
        block(&mut conn, &mut worker, "WORKER v BLOCK 0");
        assert_eq!(Pull::of(&woken(&mut worker)).unwrap().ids, [ids[1].clone()]);
    });
}

#[test]
fn skip_finds_what_was_removed_by_hand_in_any_case() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let ids = events(&mut conn, &[("a", "1"), ("a", "2")]);
        take(&mut worker, "WORKER w COUNT 2");
        nack(&mut worker, &ids[0], "WORKER w DELAY 3600000");
        // At once, before it is found.
        must!(conn, "MULTI").ok();
        must!(conn, "XDEL", P, ids[0]);
        must!(conn, "EVQ.DEAD", "default", "SKIP", P, ids[1]);
        must!(conn, "EVQ.DEAD", "default", "SKIP", P, ids[0]);
        let done = must!(conn, "EXEC");
        assert_eq!((done.at(1).int(), done.at(2).int()), (0, 1), "only what is gone");
        assert_eq!(take(&mut worker, "WORKER w").ids, [ids[1].clone()]);
        assert!(!must!(conn, "EXISTS", GROUPS).is_null());
        say(&mut conn, "EVQ.STATS r");
    });
}

#[test]
fn what_waits_in_a_partition_before_a_resize_and_is_removed_lets_its_key_go_on() {
    each_server(|server| {
        let mut conn = ring(&server);
        // Of many keys some move to the new partition.
        let keys: Vec<String> = (0..40).map(|n| format!("key:{n}")).collect();
        let all: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "1")).collect();
        let ids = events(&mut conn, &all);
        let mut worker = server.connect();
        take(&mut worker, "WORKER w COUNT 100");
        for id in &ids {
            nack(&mut worker, id, "WORKER w DELAY 3600000");
        }
        must!(conn, "EVQ.RESIZE", "r", 2);
        let moved =
            keys.iter().find(|key| must!(conn, "EVQ.ROUTE", key, "RING", "r").at(0).int() == 1);
        let moved = moved.expect("a key that moves");
        let id = must!(conn, "EVQ.TRIGGER", moved, "2", "RING", "r").at(1).str().to_owned();
        let mut next = server.connect();
        next.send(&crate::pull::words("EVQ.CONSUME evq:{r:1} BLOCK 0"));
        assert_eq!(next.try_read(std::time::Duration::from_millis(300)), None);
        must!(conn, "DEL", P);
        assert_eq!(Pull::of(&woken(&mut next)).unwrap().ids, [id]);
    });
}
