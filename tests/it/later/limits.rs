//! The bounds of a partition: a million events and 256 MiB, saved and loaded like any other.

use super::FAR;
use crate::harness::{Conn, PATIENCE, Server, args, cmd, each_binary, must};
use crate::leaks::used_memory;

fn many(conn: &mut Conn, from: usize, count: usize) {
    for begin in (from..from + count).step_by(1000) {
        let all: Vec<_> = (begin..(begin + 1000).min(from + count))
            .map(|n| args!["EVQ.SCHEDULE", format!("k{n}"), "p", "IN", FAR, "RING", "r"])
            .collect();
        assert!(conn.pipeline(&all).iter().all(|reply| !reply.is_error()));
    }
}

#[test]
fn at_a_million_events_one_more_is_refused_and_all_are_saved_and_loaded() {
    each_binary(|binary| {
        let server = Server::with(binary).start();
        // A reload of a million events is one command.
        let mut conn = server.connect().with_patience(5 * PATIENCE);
        must!(conn, "EVQ.CREATE", "r", 1);
        many(&mut conn, 0, 999_999);
        let last = must!(conn, "EVQ.SCHEDULE", "k", "p", "IN", FAR, "RING", "r", "UNIQUE", "t");
        let over = cmd!(conn, "EVQ.SCHEDULE", "k", "p", "IN", FAR, "RING", "r");
        assert_eq!(over.err_code(), "EVQLIMIT");
        // A repeated one is none more.
        let again = cmd!(conn, "EVQ.SCHEDULE", "k", "p", "IN", FAR, "RING", "r", "UNIQUE", "t");
        assert_eq!(again, last);
        let digest = conn.digest();
        must!(conn, "DEBUG", "RELOAD");
        assert_eq!(conn.digest(), digest);
        assert_eq!(must!(conn, "EVQ.CANCEL", last.at(1).int(), "RING", "r").int(), 1);
        must!(conn, "EVQ.SCHEDULE", "k", "p", "IN", FAR, "RING", "r");
    });
}

#[test]
fn at_256_mib_one_more_is_refused_and_all_are_saved_and_loaded() {
    each_binary(|binary| {
        let server = Server::with(binary).start();
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let payload = vec![b'x'; 16_000_000];
        let mut taken = 0;
        let refused = loop {
            let reply = cmd!(conn, "EVQ.SCHEDULE", "k", payload, "IN", FAR, "RING", "r");
            if reply.is_error() {
                break reply;
            }
            taken += 1;
        };
        assert_eq!((refused.err_code(), taken), ("EVQLIMIT", 16));
        must!(conn, "EVQ.SCHEDULE", "k", "small", "IN", FAR, "RING", "r");
        let digest = conn.digest();
        must!(conn, "DEBUG", "RELOAD");
        assert_eq!(conn.digest(), digest);
    });
}

#[test]
fn memory_usage_is_right() {
    each_binary(|binary| {
        let lines = ["slowlog-max-len 0", "latency-tracking no"];
        let server = Server::with(binary).config(&lines).start();
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        many(&mut conn, 0, 2000);
        let usage = |conn: &mut Conn| must!(conn, "MEMORY", "USAGE", "evq:{r:0}:later").int();
        let (before, told) = (used_memory(&mut conn), usage(&mut conn));
        many(&mut conn, 2000, 20_000);
        let grown = used_memory(&mut conn) - before;
        let more = usage(&mut conn) - told;
        assert!((more - grown).abs() * 10 <= grown, "{more} told, {grown} taken");
        let before = used_memory(&mut conn);
        must!(conn, "COPY", "evq:{r:0}:later", "copy");
        let grown = used_memory(&mut conn) - before;
        let told = must!(conn, "MEMORY", "USAGE", "copy").int();
        assert!((told - grown).abs() * 10 <= grown, "a copy: {told} told, {grown} taken");
    });
}
