//! Resizing and what else can be in its way: commands that only read, keys changed by hand, a
//! leaving partition among those that `EVQ.CONSUME *` goes through.

use std::collections::BTreeMap;

use crate::harness::wait_for_sync;
use crate::harness::{Conn, PATIENCE, Server, args, each_binary, each_server, must, until};
use crate::pull::{Pull, ring, say, start, until_blocked, woken};
use crate::resize::order::{ack, event, is_gone, key_on, payloads, remove_all_events, resize};

/// A group that takes nothing of the 25,000 events of before, which it has yet to look at.
fn blind_group(conn: &mut Conn) {
    let moves = key_on(conn, &[0, 1]);
    say(conn, "EVQ.GROUP blind RING r TYPES 1 other").ok();
    let mut batch = args!["EVQ.MTRIGGER", 5000].to_vec();
    batch.extend((0..5000).flat_map(|n| args![&moves, n]));
    batch.extend(args!["RING", "r"]);
    (0..5).for_each(|_| drop(conn.must(&batch)));
    resize(conn, 2);
    must!(conn, "EVQ.TRIGGER", moves, "new", "RING", "r", "TYPE", "other");
}

#[test]
fn commands_that_only_read_change_nothing_on_the_way() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().config(&["appendonly yes"]).start();
        let replica = Server::replica_of(&primary);
        let mut conn = ring(&primary);
        blind_group(&mut conn);
        wait_for_sync(&primary, &replica);
        let before = primary.digest();
        must!(conn, "CLIENT", "PAUSE", 60_000, "WRITE").ok();
        for server in [&primary, &replica] {
            let mut conn = server.connect();
            for line in ["EVQ.STATS r", "EVQ.PENDING 1 RING r GROUP blind", "EVQ.RING r"] {
                assert!(!say(&mut conn, line).is_error());
            }
            assert_eq!(server.digest(), before);
        }
        must!(conn, "CLIENT", "UNPAUSE").ok();
        // Who pulls gets there, in bounded steps.
        let mut given = String::new();
        until(PATIENCE, || {
            given = payloads(&mut conn, 1, "GROUP blind");
            !given.is_empty()
        });
        assert_eq!(given, "new");
        // And what it took to get there is not done again.
        assert!(
            say(&mut conn, "EVQ.STATS r")
                .get("partitions")
                .at(0)
                .get("groups")
                .at(0)
                .get("cursor")
                .str()
                > "0-0"
        );
    });
}

#[test]
fn any_worker_goes_round_though_partitions_are_leaving() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 8).ok();
        for n in 0..400 {
            event(&mut conn, &n.to_string(), "p");
        }
        // All leave but the first, and all but the last of those are empty and go.
        resize(&mut conn, 1);
        for p in 1..7 {
            must!(conn, "XTRIM", format!("evq:{{r:{p}}}"), "MAXLEN", 0);
        }
        until(PATIENCE, || is_gone(&mut conn, 6));
        resize(&mut conn, 4);
        for n in 0..400 {
            event(&mut conn, &n.to_string(), "q");
        }
        let mut served: BTreeMap<i64, u32> = BTreeMap::new();
        for _ in 0..40 {
            let reply = say(&mut conn, "EVQ.CONSUME * RING r NOBLOCK");
            let pull = Pull::of(&reply).expect("all have work");
            let p = reply.at(0).int();
            say(&mut conn, &format!("EVQ.ACK {p} {} RING r", pull.last()));
            *served.entry(p).or_default() += 1;
        }
        // Those that gained keys wait for these two.
        assert_eq!(served, [(0, 20), (7, 20)].into());
    });
}

#[test]
fn a_key_that_is_in_the_way_keeps_its_partition_and_no_longer_than_it_is_there() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 3).ok();
        say(&mut conn, "EVQ.GROUP g RING r FROM first").ok();
        for n in 0..30 {
            event(&mut conn, &n.to_string(), "p");
        }
        must!(conn, "SET", "evq:{r:1}:dead:g", "a string").ok();
        resize(&mut conn, 1);
        remove_all_events(&mut conn, 3);
        until(PATIENCE, || is_gone(&mut conn, 2));
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert!(!is_gone(&mut conn, 1), "a key is in the way");
        must!(conn, "DEL", "evq:{r:1}:dead:g");
        until(PATIENCE, || is_gone(&mut conn, 1));
        until(PATIENCE, || must!(conn, "EVQ.RING", "r").get("resizing").is_null());
    });
}

#[test]
fn what_was_deleted_with_its_stream_holds_nobody() {
    each_server(|server| {
        let mut conn = ring(&server);
        let fails = key_on(&mut conn, &[0, 1]);
        let (_, failed) = event(&mut conn, &fails, "f1");
        assert_eq!(payloads(&mut conn, 0, ""), "f1");
        must!(conn, "EVQ.NACK", 0, failed, "RING", "r", "DELAY", 600_000);
        resize(&mut conn, 2);
        event(&mut conn, &fails, "f2");
        assert_eq!(payloads(&mut conn, 1, ""), "");
        must!(conn, "DEL", "evq:{r:0}");
        assert_eq!(payloads(&mut conn, 1, ""), "f2");
    });
}

#[test]
fn a_standby_waits_behind_the_barrier_that_a_seek_of_all_partitions_has_closed() {
    each_server(|server| {
        let (mut conn, mut standby) = (ring(&server), server.connect());
        let key = key_on(&mut conn, &[0, 1]);
        must!(conn, "EVQ.DROP", "r").ok();
        must!(conn, "EVQ.CREATE", "r", 2).ok();
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let (p, old) = event(&mut conn, &key, "old");
        assert_eq!(p, 1);
        assert_eq!(resize(&mut conn, 1), 2);
        assert_eq!(payloads(&mut conn, 1, ""), "old");
        assert_eq!(ack(&mut conn, 1, &old, ""), 1);
        event(&mut conn, &key, "new");
        assert_eq!(payloads(&mut conn, 0, ""), "new");
        start(&mut standby, "EVQ.CONSUME 0 RING r BLOCK 0");
        until_blocked(&mut conn, 1);
        say(&mut conn, "EVQ.SEEK default * first RING r").ok();
        assert_eq!(standby.try_read(std::time::Duration::from_millis(100)), None);
        assert_eq!(payloads(&mut conn, 1, ""), "old");
        assert_eq!(ack(&mut conn, 1, &old, ""), 1);
        assert_eq!(Pull::of(&woken(&mut standby)).unwrap().payloads, ["new"]);
    });
}
