//! Tokens are as durable as events: after a restart, a reload, a failover or a copy the reply of
//! the first is given again.

use super::{events, many, trigger};
use crate::harness::{Conn, Server, Value, args, each_binary, must, wait_for_sync};

/// Events with tokens in four partitions, and what was replied.
fn fill(conn: &mut Conn) -> Vec<Value> {
    must!(conn, "EVQ.CREATE", "r", 4, "UNIQUEFOR", 3_600_000);
    (0..50).map(|n| trigger(conn, &format!("k{}", n % 20), "p", &format!("t{n}"))).collect()
}

#[track_caller]
fn assert_known(conn: &mut Conn, replies: &[Value]) {
    let before = events(conn);
    for (n, reply) in replies.iter().enumerate() {
        let again = trigger(conn, &format!("k{}", n % 20), "other", &format!("t{n}"));
        assert_eq!(again, *reply, "{n}");
    }
    assert_eq!(events(conn), before);
}

#[test]
fn after_a_reload_and_a_rewritten_append_only_file() {
    each_binary(|binary| {
        for preamble in ["yes", "no"] {
            let preamble = format!("aof-use-rdb-preamble {preamble}");
            let lines = ["appendonly yes", "appendfsync always", &preamble];
            let mut server = Server::with(binary).config(&lines).start();
            let mut conn = server.connect();
            let replies = fill(&mut conn);
            many(&mut conn, 0, 3000);
            let digest = conn.digest();
            for how in ["RELOAD", "LOADAOF"] {
                must!(conn, "DEBUG", how);
                assert_eq!(conn.digest(), digest, "{how}");
                assert_known(&mut conn, &replies);
            }
            must!(conn, "BGREWRITEAOF");
            conn.until_saved();
            trigger(&mut conn, "later", "p", "t");
            let digest = conn.digest();
            server.kill9();
            server.restart();
            let mut conn = server.connect();
            assert_eq!(conn.digest(), digest, "kill -9");
            assert_known(&mut conn, &replies);
        }
    });
}

#[test]
fn after_a_restart_from_a_snapshot() {
    each_binary(|binary| {
        let mut server = Server::with(binary).start();
        let mut conn = server.connect();
        let replies = fill(&mut conn);
        let digest = conn.digest();
        conn.save();
        server.kill9();
        server.restart();
        let mut conn = server.connect();
        assert_eq!(conn.digest(), digest);
        assert_known(&mut conn, &replies);
    });
}

#[test]
fn after_a_failover() {
    each_binary(|binary| {
        let mut primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        let replies = fill(&mut conn);
        wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), primary.digest());
        primary.kill9();
        let mut conn = replica.connect();
        must!(conn, "REPLICAOF", "NO", "ONE");
        assert_known(&mut conn, &replies);
        let new = trigger(&mut conn, "new", "p", "t");
        assert_eq!(trigger(&mut conn, "new", "p", "t"), new);
    });
}

#[test]
fn after_copy_dump_and_restore_rename_and_move() {
    each_binary(|binary| {
        let server = Server::start(binary);
        let mut conn = server.connect();
        let replies = fill(&mut conn);
        let keys = ["evq:{r}", "evq:{r:0}", "evq:{r:1}", "evq:{r:2}", "evq:{r:3}"];
        let tokens = (0..4).map(|p| format!("evq:{{r:{p}}}:unique"));
        let all: Vec<String> = keys.into_iter().map(str::to_owned).chain(tokens).collect();
        for key in &all {
            assert_eq!(must!(conn, "COPY", key, key, "DB", 3).int(), 1);
        }
        let mut other = server.connect();
        must!(other, "SELECT", 3);
        assert_known(&mut other, &replies);
        for key in &all {
            let dump = must!(conn, "DUMP", key);
            must!(conn, "DEL", key);
            must!(conn, "RESTORE", key, 0, dump.bytes());
        }
        assert_known(&mut conn, &replies);
        for key in &all {
            must!(conn, "RENAME", key, format!("other:{key}"));
            must!(conn, "RENAME", format!("other:{key}"), key);
            must!(other, "DEL", key);
            assert_eq!(must!(conn, "MOVE", key, 3).int(), 1);
        }
        assert_known(&mut other, &replies);
        must!(conn, "SWAPDB", 0, 3);
        assert_known(&mut conn, &replies);
    });
}

#[test]
fn hostile_bytes_are_refused_and_the_server_goes_on() {
    each_binary(|binary| {
        let server = Server::start(binary);
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        many(&mut conn, 0, 1200);
        let dump = must!(conn, "DUMP", "evq:{r:0}:unique");
        // A server that can look more closely is told not to; newer ones cannot.
        conn.cmd(&args!["CONFIG", "SET", "sanitize-dump-payload", "no"]);
        let bytes = dump.bytes();
        let (mut taken, mut refused) = (0, 0);
        for at in (0..bytes.len().min(250)).chain((250..bytes.len() - 10).step_by(1997)) {
            let mut bad = bytes.to_vec();
            bad[at] ^= 0x41;
            let end = bad.len() - 8;
            let sum = crc64(&bad[..end]).to_le_bytes();
            bad[end..].copy_from_slice(&sum);
            match conn.cmd(&args!["RESTORE", "copy", 0, bad, "REPLACE"]) {
                Value::Error(_) => refused += 1,
                _ => {
                    taken += 1;
                    must!(conn, "DUMP", "copy");
                    must!(conn, "MEMORY", "USAGE", "copy");
                    conn.digest();
                }
            }
        }
        assert!(taken > 0 && refused > 50, "{taken} taken, {refused} refused");
        must!(conn, "PING");
    });
}

/// The checksum at the end of a DUMP: CRC-64/Jones as the servers have it.
pub(crate) fn crc64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u64::from(*byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0x95ac_9329_ac4b_c9b5 } else { sum >> 1 }
        })
    })
}
