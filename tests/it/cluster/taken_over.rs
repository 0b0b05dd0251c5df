//! The ring of a single server that becomes a node of a cluster: EVQ.CREATE with the arguments that
//! made it takes it over, with its events, groups and cursors.

use super::scene::{Mapping, PARTITIONS, RING, numbers, stream};
use crate::harness::{
    Binary, Conn, PATIENCE, Server, Value, args, cmd, each_binary, free_port, must, until,
};
use crate::model::slots::SLOTS;
use crate::pull::Pull;

/// What makes a server a node of a cluster, with credentials.
fn cluster_lines() -> Vec<String> {
    let port = format!("cluster-port {}", free_port());
    let lines = ["cluster-enabled yes", &port, "user evq on >secret ~* &* +@all"];
    let more = ["evq.cluster-user evq", "evq.cluster-password secret"];
    lines.iter().chain(&more).map(|line| (*line).to_owned()).collect()
}

#[track_caller]
fn pull(conn: &mut Conn, p: u32, more: &[&str]) -> Option<Pull> {
    let words = args!["EVQ.CONSUME", stream(p), "GROUP", "g", "WORKER", "w", "COUNT", 100];
    let more = more.iter().map(|word| word.as_bytes().to_vec());
    Pull::of(&conn.must(&words.into_iter().chain(more).collect::<Vec<_>>()))
}

/// A server with a ring that is in use: some of each partition's events are acknowledged.
#[track_caller]
fn single(binary: &Binary, mapping: &Mapping) -> Server {
    let server = Server::with(binary).tcp().config(&["appendonly yes"]).start();
    let mut conn = server.connect();
    must!(conn, "EVQ.CREATE", RING, PARTITIONS, "MAXLEN", 1000).ok();
    must!(conn, "EVQ.GROUP", "g", "RING", RING, "FROM", "first", "MAXATTEMPTS", 7).ok();
    for p in 0..PARTITIONS {
        for n in 0..10 {
            must!(conn, "EVQ.TRIGGER", mapping.key_in(p, 0), n, "RING", RING, "UNIQUE", n);
        }
        let first = pull(&mut conn, p, &["NOBLOCK"]).expect("events");
        must!(conn, "EVQ.ACK", stream(p), first.ids[2], "GROUP", "g", "WORKER", "w");
    }
    server
}

/// All slots belong to this one node.
#[track_caller]
fn own_all_slots(conn: &mut Conn) {
    // It took those of its keys when it started.
    let words: Vec<_> = (0..SLOTS).map(|slot| args!["CLUSTER", "ADDSLOTS", slot]).collect();
    conn.pipeline(&words);
    until(PATIENCE, || must!(conn, "CLUSTER", "INFO").str().contains("cluster_state:ok"));
}

#[track_caller]
fn refused(reply: &Value) -> &str {
    assert!(reply.is_error(), "{reply:?}");
    reply.err_code()
}

#[test]
fn the_same_create_takes_over_the_ring_of_a_single_server() {
    each_binary(|binary| {
        let mapping = Mapping::of(PARTITIONS);
        let mut server = single(binary, &mapping);
        let lines = cluster_lines();
        server.restart_with(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        let mut conn = server.connect();
        own_all_slots(&mut conn);
        let digest = conn.digest();
        // Until then nobody is served, and nothing is made.
        let consume = args!["EVQ.CONSUME", stream(0), "GROUP", "g", "NOBLOCK"];
        assert_eq!(refused(&conn.cmd(&consume)), "EVQNORING");
        let trigger = cmd!(conn, "EVQ.TRIGGER", "k", "x", "RING", RING);
        assert_eq!(refused(&trigger), "EVQNORING");
        // Another shape is another ring.
        let other = cmd!(conn, "EVQ.CREATE", RING, PARTITIONS + 1);
        assert_eq!(refused(&other), "EVQRINGEXISTS");
        let other = cmd!(conn, "EVQ.CREATE", RING, PARTITIONS);
        assert_eq!(refused(&other), "EVQRINGEXISTS");
        assert_eq!(conn.digest(), digest);

        for _ in 0..2 {
            must!(conn, "EVQ.CREATE", RING, PARTITIONS, "MAXLEN", 1000).ok();
        }
        for p in 0..PARTITIONS {
            // A token of before still counts.
            let key = mapping.key_in(p, 0);
            must!(conn, "EVQ.TRIGGER", key, "again", "RING", RING, "UNIQUE", 9);
            assert_eq!(must!(conn, "XLEN", stream(p)).int(), 10);
            must!(conn, "EVQ.APPEND", stream(p), key, 10);
        }
        let group = must!(conn, "EVQ.GROUP", "g", "RING", RING);
        assert_eq!(group.get("max-attempts").int(), 7, "{group:?}");
        // And it stays that of the cluster after a restart.
        server.kill9();
        server.restart();
        let mut conn = server.connect();
        until(PATIENCE, || must!(conn, "CLUSTER", "INFO").str().contains("cluster_state:ok"));
        for p in 0..PARTITIONS {
            let pulled = pull(&mut conn, p, &["NOBLOCK"]).expect("events");
            assert_eq!(pulled.payloads, numbers(3..11), "partition {p}");
        }
        server.assert_healthy();
    });
}
