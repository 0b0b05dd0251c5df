//! Tokens that are too old go: a few with each new one, the rest in the background, so that memory
//! shrinks when producers stop and nobody waits for a million of them.

use super::{many, trigger};
use crate::harness::{Conn, PATIENCE, Server, each_binary, must, until, wait_for_sync};
use crate::leaks::used_memory;

fn usage(conn: &mut Conn) -> i64 {
    let reply = must!(conn, "MEMORY", "USAGE", "evq:{r:0}:unique");
    if reply.is_null() { 0 } else { reply.int() }
}

/// On every server: what MEMORY USAGE tells is what it takes, and at most 64 bytes for each.
#[test]
fn memory_usage_is_right_and_at_most_64_bytes_for_a_token() {
    each_binary(|binary| {
        let lines = ["slowlog-max-len 0", "latency-tracking no"];
        let server = Server::with(binary).config(&lines).start();
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "UNIQUEFOR", 3_600_000);
        many(&mut conn, 0, 2000);
        for (count, at_most) in [(10_000, 64), (100_000, 64), (300_000, 64)] {
            let (before, told) = (used_memory(&mut conn), usage(&mut conn));
            // The copies are tokens alone, without events.
            many(&mut conn, 10_000_000 + count, count);
            let events = must!(conn, "MEMORY", "USAGE", "evq:{r:0}", "SAMPLES", 0).int();
            must!(conn, "XTRIM", "evq:{r:0}", "MAXLEN", 0);
            let _ = events;
            let grown = used_memory(&mut conn) - before;
            let more = usage(&mut conn) - told;
            assert!((more - grown).abs() * 10 <= grown, "{count}: {more} told, {grown} taken");
            let each = more / i64::try_from(count).unwrap();
            assert!(each <= at_most, "{each} bytes for each of {count}");
        }
        for n in 0..3 {
            let before = used_memory(&mut conn);
            must!(conn, "COPY", "evq:{r:0}:unique", format!("copy:{n}"));
            let grown = used_memory(&mut conn) - before;
            let told = must!(conn, "MEMORY", "USAGE", format!("copy:{n}")).int();
            assert!((told - grown).abs() * 10 <= grown, "a copy: {told} told, {grown} taken");
        }
    });
}

#[test]
fn memory_shrinks_when_producers_stop() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        many(&mut conn, 0, 50_000);
        // What a slow replica has not read yet is memory of the server as well.
        wait_for_sync(&primary, &replica);
        let (full, before) = (usage(&mut conn), used_memory(&mut conn));
        assert!(full > 50_000 * 48, "{full}");
        must!(conn, "CONFIG", "SET", "evq.unique-ms", 1);
        until(PATIENCE, || usage(&mut conn) == 0);
        until(PATIENCE, || used_memory(&mut conn) < before - full / 10 * 9);
        assert_eq!(must!(conn, "EXISTS", "evq:{r:0}:unique").int(), 0, "nothing is left");
        wait_for_sync(&primary, &replica);
        assert_eq!(primary.digest(), replica.digest());
        // And it begins anew.
        must!(conn, "CONFIG", "SET", "evq.unique-ms", 3_600_000);
        let first = trigger(&mut conn, "k", "p", "token:0000000001");
        assert_eq!(trigger(&mut conn, "k", "p", "token:0000000001"), first);
    });
}

/// Judged by the server's own figures: the longest that the sweep took, in its log of latencies.
#[test]
fn nobody_waits_for_all_that_is_forgotten() {
    each_binary(|binary| {
        let server = Server::with(binary).start();
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        many(&mut conn, 0, 300_000);
        must!(conn, "CONFIG", "SET", "latency-monitor-threshold", 1);
        must!(conn, "LATENCY", "RESET");
        must!(conn, "CONFIG", "SET", "evq.unique-ms", 1);
        let mut steps = 0;
        until(PATIENCE, || {
            steps += 1;
            trigger(&mut conn, "k", "p", &format!("{steps}"));
            usage(&mut conn) < 100_000
        });
        // It took many rounds, between which clients were served.
        assert!(steps > 10, "{steps}");
    });
}
