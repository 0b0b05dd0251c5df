//! Scheduled events are as durable as events: none is lost, early or twice.

use std::collections::BTreeMap;

use super::{FAR, clock_ms, durable, schedule, times, until_none_waits, waiting};
use crate::harness::{
    Conn, Server, Value, args, cmd, each_binary, each_server, must, wait_for_sync,
};
use crate::unique::lasting::crc64;

/// Events of every form: some with types, headers and tokens, some far ahead, some appended.
fn fill(conn: &mut Conn) {
    must!(conn, "EVQ.CREATE", "r", 3, "UNIQUEFOR", 3_600_000);
    let mut all = Vec::new();
    for n in 0..2500u64 {
        let ms = if n % 5 == 0 { 0 } else { FAR + n * 31 % 1000 };
        let mut words = args!["EVQ.SCHEDULE", format!("k{n}"), "p", "IN", ms, "RING", "r"].to_vec();
        if n % 2 == 0 {
            words.extend(args!["TYPE", "T", "HEADER", "h", n]);
        }
        if n % 3 == 0 {
            words.extend(args!["UNIQUE", n]);
        }
        all.push(words);
    }
    assert!(conn.pipeline(&all).iter().all(|reply| !reply.is_error()));
    super::until(crate::harness::PATIENCE, || waiting(conn) == 2000);
}

#[test]
fn a_reload_a_rewritten_file_and_a_replica_hold_the_same() {
    each_binary(|binary| {
        for preamble in ["yes", "no"] {
            let preamble = format!("aof-use-rdb-preamble {preamble}");
            let lines = ["appendonly yes", "appendfsync always", &preamble];
            let mut server = Server::with(binary).tcp().config(&lines).start();
            let replica = Server::replica_of(&server);
            let mut conn = server.connect();
            fill(&mut conn);
            let digest = conn.digest();
            for how in ["RELOAD", "LOADAOF"] {
                must!(conn, "DEBUG", how);
                assert_eq!(conn.digest(), digest, "{how}");
            }
            wait_for_sync(&server, &replica);
            assert_eq!(replica.digest(), digest);
            must!(conn, "BGREWRITEAOF");
            conn.until_saved();
            schedule(&mut conn, "k", "p", "IN", FAR);
            let digest = conn.digest();
            server.kill9();
            server.restart();
            let mut conn = server.connect();
            assert_eq!((conn.digest(), waiting(&mut conn)), (digest, 2001));
        }
    });
}

#[test]
fn copy_dump_and_restore_carry_them_over() {
    each_server(|server| {
        let mut conn = server.connect();
        fill(&mut conn);
        let value = |conn: &mut Conn, key: &str| {
            must!(conn, "DEBUG", "DIGEST-VALUE", key).at(0).str().to_owned()
        };
        let key = "evq:{r:0}:later";
        assert_eq!(must!(conn, "TYPE", key).str(), "evq-latr1");
        let digest = value(&mut conn, key);
        must!(conn, "COPY", key, "copy");
        assert_eq!(value(&mut conn, "copy"), digest);
        schedule(&mut conn, "k", "p", "IN", FAR);
        let dump = must!(conn, "DUMP", "copy");
        must!(conn, "RESTORE", key, 0, dump.bytes(), "REPLACE");
        assert_eq!(value(&mut conn, key), digest);
        let told = must!(conn, "MEMORY", "USAGE", key).int();
        assert!(told > 600 * 100, "{told}");
    });
}

#[test]
fn hostile_bytes_are_refused_and_the_server_goes_on() {
    each_binary(|binary| {
        let server = Server::start(binary);
        let mut conn = server.connect();
        fill(&mut conn);
        let dump = must!(conn, "DUMP", "evq:{r:0}:later");
        conn.cmd(&args!["CONFIG", "SET", "sanitize-dump-payload", "no"]);
        let bytes = dump.bytes();
        let (mut taken, mut refused) = (0, 0);
        for at in (0..bytes.len().min(400)).chain((400..bytes.len() - 10).step_by(997)) {
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

/// Killed again and again while events become due and others are scheduled. What was acknowledged
/// is appended once and not before its time.
#[test]
fn kill_9_loses_none_makes_none_early_and_none_twice() {
    each_binary(|binary| {
        let mut server = durable(binary);
        must!(server.connect(), "EVQ.CREATE", "r", 3);
        let mut due: BTreeMap<String, u64> = BTreeMap::new();
        for round in 0..6u64 {
            let mut conn = server.connect();
            let now_ms = clock_ms(&mut conn);
            for n in 0..150u64 {
                let (payload, at_ms) = (format!("{round}:{n}"), now_ms + n * 13 % 200);
                let key = format!("k{}", n % 20);
                let reply = cmd!(conn, "EVQ.SCHEDULE", key, payload, "AT", at_ms, "RING", "r");
                assert!(!reply.is_error(), "{reply:?}");
                due.insert(payload, at_ms);
            }
            std::thread::sleep(std::time::Duration::from_millis(20 + 17 * round));
            server.kill9();
            server.restart();
        }
        let mut conn = server.connect();
        until_none_waits(&mut conn);
        let mut seen = BTreeMap::new();
        for p in 0..3 {
            let all = super::payloads(&mut conn, p).into_iter().zip(times(&mut conn, p));
            for (payload, at_ms) in all {
                assert!(at_ms >= due[&payload], "{payload} is early");
                assert!(seen.insert(payload.clone(), at_ms).is_none(), "{payload} comes twice");
            }
        }
        assert_eq!(seen.len(), due.len(), "some are lost");
    });
}
