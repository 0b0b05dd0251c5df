//! MEMORY USAGE of EVQ's own types is what they take: within a tenth of what the server's
//! `used_memory` grows by when many such values come into being, large and small, however made.

use crate::harness::{Conn, Server, args, each_binary, must};
use crate::leaks::used_memory;
use crate::pull::P;

/// What `make` makes grow and what MEMORY USAGE tells of it: of all keys that it makes.
fn measure(conn: &mut Conn, make: impl FnOnce(&mut Conn)) -> (i64, i64) {
    let keys = |conn: &mut Conn| {
        let reply = must!(conn, "KEYS", "*");
        reply.array().iter().map(|key| key.str().to_owned()).collect::<Vec<_>>()
    };
    let before = keys(conn);
    let used = used_memory(conn);
    make(conn);
    let grown = used_memory(conn) - used;
    let made = keys(conn).into_iter().filter(|key| !before.contains(key));
    let told = made.map(|key| must!(conn, "MEMORY", "USAGE", key, "SAMPLES", 0).int()).sum();
    (grown, told)
}

fn assert_close(what: &str, (grown, told): (i64, i64)) {
    assert!((told - grown).abs() * 10 <= grown, "{what}: {told} bytes told, {grown} taken");
}

/// Many copies: what the server needs only once, as tables and buffers, must not count.
fn with_copies(conn: &mut Conn, key: &str, count: usize) -> (i64, i64) {
    measure(conn, |conn| {
        for n in 0..count {
            must!(conn, "COPY", key, format!("copy:{n}"));
        }
    })
}

/// A server that keeps nothing about what it runs.
fn fresh(binary: &crate::harness::Binary) -> (Server, Conn) {
    let server = Server::with(binary).config(&["slowlog-max-len 0", "latency-tracking no"]).start();
    let mut conn = server.connect();
    // The first of everything: tables, shared strings, the connection's own buffers.
    must!(conn, "EVQ.CREATE", "first", 1);
    must!(conn, "EVQ.CONSUME", 0, "RING", "first", "NOBLOCK");
    must!(conn, "KEYS", "*");
    (server, conn)
}

#[test]
fn of_rings_with_few_and_with_many_points() {
    each_binary(|binary| {
        // Of a ring of a few points, much is what the server needs for a key.
        for (partitions, vnodes, count) in [(16, 160, 50), (100, 160, 10), (1024, 256, 2)] {
            let (_server, mut conn) = fresh(binary);
            let what = format!("rings of {partitions} x {vnodes}");
            let made = measure(&mut conn, |conn| {
                for n in 0..count {
                    must!(conn, "EVQ.CREATE", format!("r{n}"), partitions, "VNODES", vnodes);
                }
            });
            assert_close(&what, made);
            let copies = with_copies(&mut conn, "evq:{r0}", count);
            assert_close(&format!("copies of {what}"), copies);
        }
    });
}

#[test]
fn of_rings_with_many_groups() {
    each_binary(|binary| {
        let (_server, mut conn) = fresh(binary);
        must!(conn, "EVQ.CREATE", "r", 16, "VNODES", 1);
        for p in 0..16 {
            must!(conn, "XADD", format!("evq:{{r:{p}}}"), "*", "key", "k");
        }
        // Several of them: what else the server does meanwhile is some thousand bytes.
        let made = measure(&mut conn, |conn| {
            for ring in ["many", "more", "most", "all"] {
                must!(conn, "EVQ.CREATE", ring, 16, "VNODES", 1);
                for n in 0..256 {
                    let group = format!("a-group-of-a-usual-length-{n}");
                    must!(conn, "EVQ.GROUP", group, "RING", ring, "TYPES", 2, "Posted", "Liked");
                }
            }
        });
        assert_close("rings with 256 groups and types", made);
        let copies = with_copies(&mut conn, "evq:{many}", 10);
        assert_close("its copies", copies);
        let made = measure(&mut conn, |conn| {
            for n in 0..200 {
                must!(conn, "EVQ.GROUP", format!("g{n}"), "RING", "r", "FROM", "last");
            }
            // The ring was there before: a copy of it is what it takes, but its first bytes.
            must!(conn, "COPY", "evq:{r}", "evq:{s}");
        });
        let told = must!(conn, "MEMORY", "USAGE", "evq:{r}").int();
        assert_close("a ring whose groups begin at the end", (made.0, made.1 + told));
    });
}

/// Events 1-1, 1-2 and so on; `keys` of them in turn.
fn fill(conn: &mut Conn, events: usize, keys: usize) {
    let add = |n: usize| {
        args!["XADD", P, format!("1-{}", n + 1), "key", n % keys, "payload", "p"].to_vec()
    };
    conn.pipeline(&(0..events).map(add).collect::<Vec<_>>());
}

#[test]
fn of_partitions_with_many_groups() {
    each_binary(|binary| {
        let (_server, mut conn) = fresh(binary);
        must!(conn, "EVQ.CREATE", "r", 1);
        fill(&mut conn, 100, 100);
        let group = |n: usize| format!("a-group-of-a-usual-length-{n}");
        for n in 0..256 {
            must!(conn, "EVQ.GROUP", group(n), "RING", "r", "FROM", "first").ok();
        }
        for n in 0..256 {
            must!(conn, "EVQ.CONSUME", P, "GROUP", group(n), "WORKER", "w", "NOBLOCK");
        }
        let with_leases = must!(conn, "MEMORY", "USAGE", "evq:{r:0}:groups").int();
        let copies = with_copies(&mut conn, "evq:{r:0}:groups", 10);
        assert_close("copies of a partition with 256 groups", copies);
        // What a lease holds (its owner's name, what it was given) is told too, and copied to none.
        assert!(with_leases > copies.1 / 10 + 256 * 100, "{with_leases} {copies:?}");
    });
}

#[test]
fn of_partitions_with_many_exceptions() {
    each_binary(|binary| {
        for (events, keys) in [(9_000, 9_000), (9_000, 1), (1_000, 100)] {
            let (_server, mut conn) = fresh(binary);
            must!(conn, "EVQ.CREATE", "r", 1);
            must!(conn, "EVQ.GROUP", "g", "RING", "r", "FROM", "first").ok();
            fill(&mut conn, events, keys);
            let made = measure(&mut conn, |conn| {
                let nack = |n: usize| {
                    let id = format!("1-{}", n + 1);
                    args!["EVQ.NACK", P, id, "GROUP", "g", "WORKER", "w", "DELAY", 1_000_000]
                        .to_vec()
                };
                let pull =
                    ["EVQ.CONSUME", P, "GROUP", "g", "WORKER", "w", "NOBLOCK", "COUNT", "100"];
                // The first of each key fails; with one key, all the others are held behind it.
                for some in (0..keys).collect::<Vec<_>>().chunks(100) {
                    must!(conn, pull[0], pull[1], "GROUP", "g", "WORKER", "w", "COUNT", some.len());
                    conn.pipeline(&some.iter().map(|n| nack(*n)).collect::<Vec<_>>());
                }
                assert!(events == keys || conn.must(&pull).is_null());
            });
            let what = format!("{events} events of {keys} keys that failed or are held");
            assert_close(&what, made);
            let copies = with_copies(&mut conn, "evq:{r:0}:groups", 10);
            assert_close(&format!("copies of {what}"), copies);
        }
    });
}
