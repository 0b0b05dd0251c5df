//! What wakes a worker that waits in `EVQ.CONSUME *`, what ends its wait, and where it does not
//! wait.

use std::time::{Duration, Instant};

use crate::any_partition::pulls::{block, given, pull, ring, take, trigger, woken_for};
use crate::harness::{Conn, PATIENCE, cmd, each_server, must, until};
use crate::pull::{say, until_blocked, woken, woken_within};

/// As long as a worker waits that is told nothing else.
const BLOCK_MS: Duration = Duration::from_secs(5);

/// Brings an event into the stream of this name.
type Bring<'a> = &'a dyn Fn(&mut Conn, &str);

#[test]
fn every_way_to_bring_work_wakes_a_waiting_worker() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 4);
        let stream = |p: i64| format!("evq:{{s:{p}}}");
        let mut worker = server.connect();
        let brings: [Bring<'_>; 6] = [
            &|conn, key| drop(trigger(conn, key, "p")),
            &|conn, key| drop(must!(conn, "EVQ.MTRIGGER", 2, key, "1", key, "2", "RING", "s")),
            &|conn, key| {
                must!(conn, "MULTI");
                must!(conn, "EVQ.TRIGGER", key, "p", "RING", "s");
                must!(conn, "SET", "x", 1);
                must!(conn, "EXEC");
            },
            &|conn, key| {
                let script = "return redis.call('EVQ.TRIGGER', ARGV[1], 'p', 'RING', 's')";
                must!(conn, "EVAL", script, 0, key);
            },
            &|conn, key| {
                let p = must!(conn, "EVQ.ROUTE", key, "RING", "s").at(0).int();
                must!(conn, "XADD", stream(p), "*", "key", key);
            },
            &|conn, key| {
                let p = must!(conn, "EVQ.ROUTE", key, "RING", "s").at(0).int();
                must!(conn, "MULTI");
                must!(conn, "XADD", stream(p), "*", "key", key);
                must!(conn, "EXEC");
            },
        ];
        for (n, bring) in brings.iter().enumerate() {
            for (p, key) in keys.iter().enumerate() {
                block(&mut conn, &mut worker, "BLOCK 0 COUNT 10");
                bring(&mut conn, key);
                let woken = woken_within(&mut conn, &mut worker, 500);
                let (got, _, ids) = given(&woken).expect("events");
                assert_eq!(got, i64::try_from(p).unwrap(), "{n}");
                say(&mut worker, &format!("EVQ.ACK {got} {} RING s", ids[ids.len() - 1]));
            }
        }
        assert_eq!(pull(&mut worker, "NOBLOCK"), None);
    });
}

#[test]
fn work_that_came_by_hand_is_seen_at_once_though_another_partition_is_owned() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        let (mut owner, mut worker) = (server.connect(), server.connect());
        trigger(&mut conn, &keys[0], "p");
        assert_eq!(take(&mut owner, "LEASE 60000").0, 0);
        block(&mut conn, &mut worker, "BLOCK 0");
        must!(conn, "XADD", "evq:{s:1}", "*", "key", keys[1]);
        assert_eq!(given(&woken_within(&mut conn, &mut worker, 250)).expect("events").0, 1);
    });
}

#[test]
fn a_due_retry_and_an_ended_lease_wake_a_waiting_worker() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        let mut worker = server.connect();
        let id = trigger(&mut conn, &keys[1], "p");
        // A retry that is nobody's; then a lease that expires, one whose connection closes, and one
        // that is released.
        let (p, epoch, _) = take(&mut conn, "WORKER w");
        say(&mut conn, &format!("EVQ.NACK {p} {id} RING s EPOCH {epoch} DELAY 100"));
        say(&mut conn, "EVQ.RELEASE 1 RING s WORKER w").ok();
        block(&mut conn, &mut worker, "BLOCK 0 LEASE 50");
        assert_eq!(woken_for(&mut worker), 1);
        let mut second = server.connect();
        block(&mut conn, &mut second, "BLOCK 0");
        assert_eq!(woken_for(&mut second), 1);
        let mut third = server.connect();
        block(&mut conn, &mut third, "BLOCK 0");
        drop(second);
        assert_eq!(woken_for(&mut third), 1);
        block(&mut conn, &mut worker, "BLOCK 0");
        say(&mut third, "EVQ.RELEASE 1 RING s").ok();
        assert_eq!(woken_for(&mut worker), 1);
    });
}

#[test]
fn without_work_it_replies_null_at_once_or_when_its_time_is_up() {
    each_server(|server| {
        let (mut conn, _) = ring(&server, 3);
        let begun = Instant::now();
        assert_eq!(pull(&mut conn, "NOBLOCK"), None);
        must!(conn, "MULTI");
        must!(conn, "EVQ.CONSUME", "*", "RING", "s", "BLOCK", 0);
        assert!(must!(conn, "EXEC").at(0).is_null());
        let script = "return redis.call('EVQ.CONSUME', '*', 'RING', 's', 'WORKER', 'w')";
        assert!(must!(conn, "EVAL", script, 0).is_null());
        let script = "return redis.call('EVQ.CONSUME', '*', 'RING', 's')";
        assert_eq!(cmd!(conn, "EVAL", script, 0).err_code(), "ERR");
        assert!(begun.elapsed() < BLOCK_MS);
        let begun = Instant::now();
        assert_eq!(pull(&mut conn, "BLOCK 120"), None);
        assert!((Duration::from_millis(110)..BLOCK_MS).contains(&begun.elapsed()));
    });
}

#[test]
fn in_multi_and_in_scripts_it_serves_at_once() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 3);
        let id = trigger(&mut conn, &keys[2], "p");
        must!(conn, "MULTI");
        must!(conn, "EVQ.CONSUME", "*", "RING", "s");
        assert_eq!(given(must!(conn, "EXEC").at(0)).unwrap().2, std::slice::from_ref(&id));
        say(&mut conn, "EVQ.RELEASE 2 RING s").ok();
        let script = "return redis.call('EVQ.CONSUME', '*', 'RING', 's', 'WORKER', 'w')";
        assert_eq!(given(&must!(conn, "EVAL", script, 0)).unwrap().2, std::slice::from_ref(&id));
        let script = "return redis.call('EVQ.CONSUME', '*', 'RING', 's', 'WORKER', 'w', 'ACK', 2, \
                      ARGV[1])";
        assert!(must!(conn, "EVAL", script, 0, id).is_null());
    });
}

#[test]
fn a_wait_can_be_ended_from_outside() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        let mut worker = server.connect();
        let client = worker.id();
        block(&mut conn, &mut worker, "GROUP g BLOCK 0");
        must!(conn, "CLIENT", "UNBLOCK", client);
        assert!(woken(&mut worker).is_null());
        block(&mut conn, &mut worker, "GROUP g BLOCK 0");
        must!(conn, "CLIENT", "UNBLOCK", client, "ERROR");
        assert_eq!(woken(&mut worker).err_code(), "UNBLOCKED");
        block(&mut conn, &mut worker, "GROUP g BLOCK 0");
        say(&mut conn, "EVQ.DELGROUP g RING s").ok();
        assert_eq!(woken(&mut worker).err_code(), "EVQNOGROUP");
        block(&mut conn, &mut worker, "GROUP g BLOCK 0");
        must!(conn, "EVQ.DROP", "s").ok();
        assert_eq!(woken(&mut worker).err_code(), "EVQNORING");
        // FLUSHALL wakes nobody, as with BLPOP; the ring that is made again does.
        must!(conn, "EVQ.CREATE", "s", 2).ok();
        block(&mut conn, &mut worker, "BLOCK 0");
        must!(conn, "FLUSHALL").ok();
        must!(conn, "EVQ.CREATE", "s", 2).ok();
        trigger(&mut conn, &keys[1], "p");
        assert_eq!(woken_for(&mut worker), 1);
        block(&mut conn, &mut worker, "BLOCK 0");
        must!(conn, "CLIENT", "KILL", "ID", client);
        until_blocked(&mut conn, 0);
        // Its partition is free with it.
        until(PATIENCE, || pull(&mut conn, "NOBLOCK").is_some());
    });
}

#[test]
fn a_worker_is_called_to_a_partition_of_which_it_has_something_in_flight() {
    each_server(|server| {
        for worker in ["", "WORKER a"] {
            let (mut conn, keys) = ring(&server, 2);
            let mut any = server.connect();
            let first = trigger(&mut conn, &keys[0], "1");
            assert_eq!(take(&mut any, worker).2, [first.as_str()]);
            // By an event behind it,
            block(&mut conn, &mut any, &format!("AHEAD BLOCK 0 {worker}"));
            let second = trigger(&mut conn, &keys[0], "2");
            let (p, epoch, ids) = given(&woken(&mut any)).expect("the next event");
            assert_eq!(ids, [second.as_str()]);
            // by one that was added by hand,
            block(&mut conn, &mut any, &format!("AHEAD BLOCK 0 {worker}"));
            must!(conn, "XADD", format!("evq:{{s:{p}}}"), "*", "key", "other");
            assert_eq!(given(&woken(&mut any)).expect("the next event").1, epoch);
            // and by a retry that is due.
            say(&mut any, &format!("EVQ.NACK {p} {first} RING s DELAY 100 {worker}"));
            block(&mut conn, &mut any, &format!("AHEAD BLOCK 0 {worker}"));
            let woken_by_it = woken_within(&mut conn, &mut any, 900);
            assert_eq!(given(&woken_by_it).expect("the retry").2, [first]);
            // Others are not: what it has in flight keeps the partition.
            let mut other = server.connect();
            block(&mut conn, &mut other, "BLOCK 100");
            trigger(&mut conn, &keys[0], "3");
            assert!(woken(&mut other).is_null());
            must!(conn, "EVQ.DROP", "s").ok();
        }
    });
}
