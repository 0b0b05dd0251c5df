//! UNIQUE of EVQ.SCHEDULE: a repeated call schedules nothing and gets the reply of the first.

use super::{FAR, payloads, until_none_waits, waiting};
use crate::harness::{Conn, PATIENCE, Value, each_server, must, until};

#[track_caller]
fn scheduled(conn: &mut Conn, key: &str, token: &str, ms: u64) -> Value {
    must!(conn, "EVQ.SCHEDULE", key, "p", "IN", ms, "RING", "r", "UNIQUE", token)
}

#[test]
fn a_repeated_schedule_does_nothing_and_gets_the_first_reply() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4);
        let first = scheduled(&mut conn, "k", "t", FAR);
        let digest = conn.digest();
        for ms in [FAR, 0, 5] {
            assert_eq!(scheduled(&mut conn, "k", "t", ms), first, "the first time wins");
        }
        assert_eq!(conn.digest(), digest);
        assert_ne!(scheduled(&mut conn, "k", "u", FAR), first, "another token");
        assert_ne!(scheduled(&mut conn, "l", "t", FAR), first, "another key");
        assert_eq!(waiting(&mut conn), 3);
        must!(conn, "DEBUG", "RELOAD");
        assert_eq!(scheduled(&mut conn, "k", "t", FAR), first);
    });
}

#[test]
fn it_is_compared_with_other_schedules_only_and_the_append_has_no_token() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "EVQ.TRIGGER", "k", "triggered", "RING", "r", "UNIQUE", "t");
        scheduled(&mut conn, "k", "t", 0);
        until_none_waits(&mut conn);
        scheduled(&mut conn, "k", "u", 0);
        until_none_waits(&mut conn);
        must!(conn, "EVQ.TRIGGER", "k", "triggered", "RING", "r", "UNIQUE", "u");
        assert_eq!(payloads(&mut conn, 0), ["triggered", "p", "p", "triggered"]);
    });
}

#[test]
fn a_token_holds_for_the_window_after_the_event_was_appended() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        // Also while it waits for longer than the window.
        must!(conn, "CONFIG", "SET", "evq.unique-ms", 1);
        let first = scheduled(&mut conn, "k", "t", 300);
        std::thread::sleep(std::time::Duration::from_millis(20));
        assert_eq!(scheduled(&mut conn, "k", "t", 0), first);
        must!(conn, "CONFIG", "SET", "evq.unique-ms", 3_600_000);
        until_none_waits(&mut conn);
        for how in ["RELOAD", "RELOAD"] {
            assert_eq!(scheduled(&mut conn, "k", "t", 0), first);
            must!(conn, "DEBUG", how);
        }
        let full = must!(conn, "MEMORY", "USAGE", "evq:{r:0}:later").int();
        must!(conn, "CONFIG", "SET", "evq.unique-ms", 1);
        // Forgotten in the background.
        until(PATIENCE, || must!(conn, "MEMORY", "USAGE", "evq:{r:0}:later").int() < full);
        assert_ne!(scheduled(&mut conn, "k", "t", 0), first);
    });
}

#[test]
fn cancel_frees_a_token() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let first = scheduled(&mut conn, "k", "t", FAR);
        must!(conn, "EVQ.CANCEL", first.at(1).int(), "RING", "r");
        let second = scheduled(&mut conn, "k", "t", FAR);
        assert!(second.at(1).int() > first.at(1).int());
        assert_eq!(waiting(&mut conn), 1);
    });
}

/// A key that moves takes what waits with it; of what was appended the old partition knows.
#[test]
fn a_token_is_known_wherever_its_key_has_lived() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2, "UNIQUEFOR", 3_600_000, "MAXAGE", 1);
        let keys: Vec<_> = (0..30).map(|n| format!("k{n}")).collect();
        let mut first: Vec<_> = keys.iter().map(|k| scheduled(&mut conn, k, "due", 0)).collect();
        until_none_waits(&mut conn);
        first.extend(keys.iter().map(|key| scheduled(&mut conn, key, "far", FAR)));
        for partitions in [5, 3, 8, 1, 2] {
            must!(conn, "EVQ.RESIZE", "r", partitions);
            for round in 0..2 {
                let mut again: Vec<_> =
                    keys.iter().map(|key| scheduled(&mut conn, key, "due", 0)).collect();
                again.extend(keys.iter().map(|key| scheduled(&mut conn, key, "far", FAR)));
                assert_eq!(again, first, "{partitions} {round}");
                assert_eq!(waiting(&mut conn), 30);
                must!(conn, "DEBUG", "RELOAD");
            }
        }
    });
}
