//! Epochs only grow: over releases, takeovers, restarts, crashes, reloads and changes of role; and
//! each of those ends the lease, so that an old epoch is fenced. And where there is no connection
//! to speak of, in MULTI and in scripts: who may consume there, and that nobody ever waits.

use std::time::Duration;

use crate::harness::{Conn, PATIENCE, Server, each_binary, each_server, must, until};
use crate::pull::{IN_TIME, P, Pull, block, blocked, pull, refused, ring, say, take, trigger};

/// Takes the partition, whoever had it, and checks that the lease before has ended.
#[track_caller]
fn next_epoch(server: &Server, before: &Pull) -> Pull {
    let mut conn = server.connect();
    let ack = format!("EVQ.ACK {P} {} EPOCH {}", before.last(), before.epoch);
    assert_eq!(refused(&mut conn, &ack), "EVQFENCED");
    let named = format!("EVQ.ACK {P} {} WORKER w", before.last());
    assert_eq!(refused(&mut conn, &named), "EVQFENCED");
    let next = take(&mut conn, "WORKER w LEASE 60000");
    assert!(next.epoch > before.epoch, "{} after {}", next.epoch, before.epoch);
    assert_eq!(next.ids, before.ids, "not acknowledged, so given again");
    next
}

#[test]
fn epochs_grow_over_restarts_crashes_reloads_and_changes_of_role() {
    each_binary(|binary| {
        let mut server =
            Server::with(binary).config(&["appendonly yes", "appendfsync always"]).start();
        let mut conn = ring(&server);
        trigger(&mut conn, &["a"]);
        let mut last = take(&mut conn, "WORKER w LEASE 60000");
        for _ in 0..2 {
            must!(conn, "DEBUG", "RELOAD").ok();
            last = next_epoch(&server, &last);
            must!(conn, "REPLICAOF", "127.0.0.1", 1).ok();
            must!(conn, "REPLICAOF", "NO", "ONE").ok();
            last = next_epoch(&server, &last);
            server.restart();
            last = next_epoch(&server, &last);
            server.kill9();
            server.restart();
            last = next_epoch(&server, &last);
            conn = server.connect();
            must!(conn, "BGREWRITEAOF");
            conn.until_saved();
            server.kill9();
            server.restart();
            last = next_epoch(&server, &last);
            conn = server.connect();
        }
    });
}

#[test]
fn what_was_in_flight_at_a_change_of_role_is_not_under_suspicion() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a", "b", "c"]);
        assert_eq!(take(&mut conn, "WORKER w COUNT 9").ids, ids);
        must!(conn, "REPLICAOF", "127.0.0.1", 1).ok();
        must!(conn, "REPLICAOF", "NO", "ONE").ok();
        assert_eq!(take(&mut conn, "WORKER v COUNT 9").ids, ids, "nobody is to blame");
    });
}

#[test]
fn epochs_grow_over_releases_takeovers_and_even_a_deleted_key() {
    each_server(|server| {
        let mut conn = ring(&server);
        trigger(&mut conn, &["a"]);
        let mut last = take(&mut conn, "");
        for round in 0..40 {
            let mut other = server.connect();
            match round % 4 {
                0 => say(&mut conn, &format!("EVQ.RELEASE {P}")).ok(),
                1 => {
                    say(&mut conn, &format!("EVQ.EXTEND {P} LEASE 1")).ok();
                    std::thread::sleep(Duration::from_millis(2));
                }
                2 => assert_eq!(must!(conn, "DEL", crate::pull::GROUPS).int(), 1),
                _ => drop(std::mem::replace(&mut conn, server.connect())),
            }
            let mut next = None;
            until(PATIENCE, || {
                next = pull(&mut other, "NOBLOCK");
                next.is_some()
            });
            let next = next.unwrap();
            assert!(next.epoch > last.epoch, "round {round}");
            (conn, last) = (other, next);
        }
    });
}

#[test]
fn a_promoted_replica_has_no_leases_but_all_the_progress() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let mut conn = ring(&primary);
        let ids = trigger(&mut conn, &["a", "b", "c"]);
        let replica = Server::replica_of(&primary);
        let first = take(&mut conn, "WORKER w LEASE 60000 COUNT 2");
        assert_eq!(say(&mut conn, &format!("EVQ.ACK {P} {}", ids[0])).int(), 1);
        crate::harness::wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), primary.digest());
        let mut promoted = replica.connect();
        assert_eq!(refused(&mut promoted, &format!("EVQ.CONSUME {P}")), "READONLY");
        must!(promoted, "REPLICAOF", "NO", "ONE").ok();
        let ack = format!("EVQ.ACK {P} {} EPOCH {}", ids[1], first.epoch);
        assert_eq!(refused(&mut promoted, &ack), "EVQFENCED");
        let next = take(&mut promoted, "COUNT 9");
        assert!(next.epoch > first.epoch && next.ids == ids[1..]);
    });
}

#[test]
fn a_transaction_consumes_as_its_connection_and_never_waits() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a", "b"]);
        let transaction = |conn: &mut Conn, lines: &[&str]| {
            must!(conn, "MULTI").ok();
            lines.iter().for_each(|line| assert_eq!(say(conn, line).str(), "QUEUED"));
            must!(conn, "EXEC")
        };
        let consume = format!("EVQ.CONSUME {P} BLOCK 0 LEASE 60000");
        let ahead = format!("{consume} AHEAD");
        let ack = format!("EVQ.ACK {P} {}", ids[0]);
        let replies = transaction(&mut conn, &[&consume, &ack, &consume, &ahead]);
        assert_eq!(Pull::of(replies.at(0)).unwrap().ids, ids[..1]);
        assert_eq!(replies.at(1).int(), 1);
        assert_eq!(Pull::of(replies.at(2)).unwrap().ids, ids[1..]);
        assert!(replies.at(3).is_null(), "nothing left, and no waiting for more");
        let mut other = server.connect();
        let replies = transaction(&mut other, &[&consume, &ack]);
        assert!(replies.at(0).is_null(), "no waiting for the lease either");
        assert_eq!(replies.at(1).err_code(), "EVQFENCED");
        assert_eq!(say(&mut conn, &format!("EVQ.ACK {P} {}", ids[1])).int(), 1, "it has the lease");
        assert_eq!(blocked(&mut other), 0);
    });
}

#[test]
fn a_script_consumes_as_a_named_worker_and_never_waits() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a", "b"]);
        let script = |conn: &mut Conn, line: &str| {
            let mut words = vec!["EVAL", "return redis.call(unpack(ARGV))", "0"];
            words.extend(line.split_whitespace());
            conn.cmd(&words)
        };
        let consume = format!("EVQ.CONSUME {P} BLOCK 0 LEASE 60000");
        assert_eq!(script(&mut conn, &consume).err_code(), "ERR", "its connection is not a worker");
        assert_eq!(script(&mut conn, &format!("{consume} EPOCH 1")).err_code(), "ERR");
        for command in ["ACK", "EXTEND", "RELEASE"] {
            let id = if command == "ACK" { &ids[0] } else { "" };
            let reply = script(&mut conn, &format!("EVQ.{command} {P} {id}"));
            assert_eq!(reply.err_code(), "ERR", "{command}");
        }
        let first = Pull::of(&script(&mut conn, &format!("{consume} WORKER w"))).unwrap();
        assert_eq!(first.ids, ids[..1]);
        let again = Pull::of(&script(&mut conn, &format!("{consume} WORKER w"))).unwrap();
        assert!(again.epoch > first.epoch && again.ids == first.ids, "no epoch: a new one");
        let epoch = again.epoch;
        let on = format!("{consume} AHEAD WORKER w EPOCH {epoch}");
        assert_eq!(Pull::of(&script(&mut conn, &on)).unwrap().ids, ids[1..]);
        assert!(script(&mut conn, &on).is_null(), "nothing left, and no waiting for more");
        assert!(script(&mut conn, &format!("{consume} WORKER v")).is_null(), "nor for the lease");
        let ack = |who: &str| format!("EVQ.ACK {P} {} {who}", ids[0]);
        assert_eq!(script(&mut conn, &ack("WORKER v")).err_code(), "EVQFENCED");
        assert_eq!(
            script(&mut conn, &ack(&format!("EPOCH {}", first.epoch))).err_code(),
            "EVQFENCED"
        );
        assert_eq!(script(&mut conn, &ack(&format!("EPOCH {epoch}"))).int(), 1);
        assert_eq!(script(&mut conn, &ack("WORKER w")).int(), 0);
        assert_eq!(script(&mut conn, &format!("EVQ.EXTEND {P} WORKER w")).str(), "OK");
        assert_eq!(script(&mut conn, &format!("EVQ.RELEASE {P} EPOCH {epoch}")).str(), "OK");
        assert_eq!(blocked(&mut conn), 0);
        let mut waiting = server.connect();
        assert_eq!(take(&mut conn, "LEASE 60000").ids, ids[1..]);
        block(&mut conn, &mut waiting, "BLOCK 0");
        assert!(
            script(&mut conn, &format!("{consume} WORKER w")).is_null(),
            "nobody jumps the line"
        );
    });
}

#[test]
fn a_script_that_goes_on_with_a_connections_lease_leaves_it_the_connections() {
    each_server(|server| {
        let mut conn = ring(&server);
        let mut owner = server.connect();
        let ids = trigger(&mut conn, &["a", "b"]);
        let first = take(&mut owner, "LEASE 60000");
        let consume =
            "return redis.call('EVQ.CONSUME', ARGV[1], 'AHEAD', 'WORKER', 'w', 'EPOCH', ARGV[2])";
        let reply = must!(owner, "EVAL", consume, 0, P, first.epoch);
        assert_eq!(Pull::of(&reply).unwrap().ids, ids[1..]);
        assert_eq!(say(&mut owner, &format!("EVQ.ACK {P} {}", ids[0])).int(), 1);
        // A name that is given later does not make the lease a name's.
        let mut pooled = server.connect();
        assert_eq!(
            pull(&mut pooled, &format!("AHEAD NOBLOCK WORKER w EPOCH {}", first.epoch)),
            None
        );
        drop(owner);
        must!(pooled, "EVQ.EXTEND", P, "LEASE", 60_000).ok();
        assert_eq!(pull(&mut conn, "NOBLOCK"), None, "it has moved to the other connection");
        drop(pooled);
        until(IN_TIME, || pull(&mut conn, "NOBLOCK").is_some());
    });
}
