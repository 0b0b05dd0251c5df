//! `EVQ.CONSUME *`: any worker pulls from any partition that has work and no other owner. One
//! owner at a time, and each partition its turn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::harness::{Conn, Server, Value, each_server, must};
use crate::pull::{block_in, say, start, until_blocked, woken, woken_within};

/// The ring `s` of `n` partitions, with a key for each of them.
pub(crate) fn ring(server: &Server, n: u32) -> (Conn, Vec<String>) {
    let mut conn = server.connect();
    must!(conn, "EVQ.CREATE", "s", n).ok();
    let mut keys = BTreeMap::new();
    for key in (0..).map(|n| format!("key:{n}")) {
        let p = must!(conn, "EVQ.ROUTE", key, "RING", "s").at(0).int();
        keys.entry(p).or_insert(key);
        if keys.len() == n as usize {
            break;
        }
    }
    (conn, keys.into_values().collect())
}

pub(crate) fn trigger(conn: &mut Conn, key: &str, payload: &str) -> String {
    must!(conn, "EVQ.TRIGGER", key, payload, "RING", "s").at(1).str().to_owned()
}

/// What an EVQ.CONSUME * gave: partition, epoch, ids. None for null.
pub(crate) fn given(reply: &Value) -> Option<(i64, i64, Vec<String>)> {
    if reply.is_null() {
        return None;
    }
    let ids = reply.at(2).array().iter().map(|event| event.at(0).str().to_owned());
    Some((reply.at(0).int(), reply.at(1).int(), ids.collect()))
}

pub(crate) fn pull(conn: &mut Conn, line: &str) -> Option<(i64, i64, Vec<String>)> {
    given(&say(conn, &format!("EVQ.CONSUME * RING s {line}")))
}

pub(crate) fn take(conn: &mut Conn, line: &str) -> (i64, i64, Vec<String>) {
    pull(conn, &format!("{line} NOBLOCK")).expect("events")
}

#[track_caller]
pub(crate) fn block(control: &mut Conn, conn: &mut Conn, line: &str) {
    block_in(control, conn, &format!("EVQ.CONSUME * RING s {line}"));
}

/// The partition that a worker which waited was given, soon.
pub(crate) fn woken_for(conn: &mut Conn) -> i64 {
    given(&woken(conn)).expect("events").0
}

#[test]
fn the_stream_key_of_what_is_acknowledged_names_the_ring() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        let id = trigger(&mut conn, &keys[1], "1");
        assert_eq!(take(&mut conn, "").2, [id.as_str()]);
        let next = trigger(&mut conn, &keys[0], "2");
        let ack = format!("EVQ.CONSUME * NOBLOCK ACK evq:{{s:1}} {id}");
        assert_eq!(given(&say(&mut conn, &ack)).expect("the next event").2, [next.as_str()]);
        for (line, code) in [
            ("EVQ.CONSUME * NOBLOCK RING t ACK evq:{s:0} 1-1", "ERR"),
            ("EVQ.CONSUME * NOBLOCK ACK evq:{none:0} 1-1", "EVQNORING"),
            ("EVQ.CONSUME * NOBLOCK ACK evq:{s:7} 1-1", "EVQNOPARTITION"),
            ("EVQ.CONSUME evq:{s:0} NOBLOCK RING t ACK 1-1", "ERR"),
        ] {
            assert_eq!(say(&mut conn, line).err_code(), code, "{line}");
        }
        let ack = format!("EVQ.CONSUME * NOBLOCK RING s ACK evq:{{s:0}} {next}");
        assert_eq!(given(&say(&mut conn, &ack)), None);
    });
}

#[test]
fn each_worker_gets_a_partition_of_its_own() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 4);
        for key in keys.iter().chain(&keys) {
            trigger(&mut conn, key, "p");
        }
        let mut workers: Vec<Conn> = (0..5).map(|_| server.connect()).collect();
        let mut got = BTreeSet::new();
        for worker in &mut workers[..4] {
            got.insert(take(worker, "").0);
        }
        assert_eq!(got, (0..4).collect());
        assert_eq!(pull(&mut workers[4], "NOBLOCK"), None);
        // It goes on where it is, and may pull ahead.
        let (p, epoch, ids) = take(&mut workers[0], "AHEAD");
        assert_eq!(pull(&mut workers[0], "AHEAD NOBLOCK"), None);
        let line = format!("NOBLOCK ACK {p} {}", ids[0]);
        assert_eq!(pull(&mut workers[0], &line), None);
        // From any connection with the epoch, as ever.
        let line = format!("EVQ.ACK {p} {} RING s EPOCH {epoch}", ids[0]);
        assert_eq!(say(&mut conn, &line).int(), 0);
        // ACK without a partition is no ACK.
        let reply = say(&mut conn, &format!("EVQ.CONSUME * RING s NOBLOCK ACK {}", ids[0]));
        assert_eq!(reply.err_code(), "ERR");
    });
}

#[test]
fn one_worker_serves_the_partitions_in_turn() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 8);
        for key in &keys {
            (0..4).for_each(|_| drop(trigger(&mut conn, key, "p")));
        }
        let mut line = String::new();
        let mut served = Vec::new();
        for _ in 0..32 {
            let (p, _, ids) = take(&mut conn, &line);
            line = format!("ACK {p} {}", ids[0]);
            served.push(p);
        }
        for round in served.chunks(8) {
            assert_eq!(
                round.iter().copied().collect::<BTreeSet<_>>(),
                (0..8).collect(),
                "{served:?}"
            );
        }
        assert_eq!(pull(&mut conn, &format!("{line} NOBLOCK")), None);
    });
}

#[test]
fn a_worker_of_one_partition_does_not_disturb_the_turns_of_the_others() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 8);
        for key in &keys {
            (0..20).for_each(|_| drop(trigger(&mut conn, key, "p")));
        }
        let mut one = server.connect();
        let (mut line, mut served) = (String::new(), Vec::new());
        for _ in 0..14 {
            assert!(!say(&mut one, "EVQ.CONSUME 0 RING s NOBLOCK").is_null());
            let (p, _, ids) = take(&mut conn, &line);
            line = format!("ACK {p} {}", ids[0]);
            served.push(p);
        }
        for round in served.chunks(7) {
            assert_eq!(
                round.iter().copied().collect::<BTreeSet<_>>(),
                (1..8).collect(),
                "{served:?}"
            );
        }
    });
}

#[test]
fn an_idle_worker_gives_its_partition_up_and_a_busy_one_keeps_it() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 1);
        let (mut one, mut other) = (server.connect(), server.connect());
        let first = trigger(&mut conn, &keys[0], "1");
        assert_eq!(take(&mut one, "").2, std::slice::from_ref(&first));
        let second = trigger(&mut conn, &keys[0], "2");
        assert_eq!(pull(&mut other, "NOBLOCK"), None);
        let old = format!("EVQ.ACK 0 {first} RING s");
        assert_eq!(say(&mut one, &old).int(), 1);
        assert_eq!(take(&mut other, "").2, [second]);
        assert_eq!(say(&mut one, "EVQ.EXTEND 0 RING s").err_code(), "EVQFENCED");
        // A worker that asked for this partition by number keeps it, idle or not.
        let mut fixed = server.connect();
        say(&mut other, "EVQ.RELEASE 0 RING s").ok();
        let reply = say(&mut fixed, "EVQ.CONSUME 0 RING s NOBLOCK");
        let id = given(&reply).unwrap().2.remove(0);
        assert_eq!(say(&mut fixed, &format!("EVQ.ACK 0 {id} RING s")).int(), 1);
        trigger(&mut conn, &keys[0], "3");
        assert_eq!(pull(&mut other, "NOBLOCK"), None);
    });
}

#[test]
fn an_idle_worker_of_a_group_with_types_gives_its_partition_up_too() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 1);
        say(&mut conn, "EVQ.GROUP g RING s TYPES 1 T").ok();
        let (mut one, mut other) = (server.connect(), server.connect());
        must!(conn, "EVQ.TRIGGER", keys[0], "1", "RING", "s", "TYPE", "T");
        let (_, _, ids) = take(&mut one, "GROUP g");
        trigger(&mut conn, &keys[0], "of no type");
        assert_eq!(pull(&mut one, "GROUP g AHEAD NOBLOCK"), None);
        assert_eq!(say(&mut one, &format!("EVQ.ACK 0 {} RING s GROUP g", ids[0])).int(), 1);
        must!(conn, "EVQ.TRIGGER", keys[0], "2", "RING", "s", "TYPE", "T");
        assert_eq!(take(&mut other, "GROUP g").2.len(), 1);
    });
}

#[test]
fn a_standby_of_one_partition_comes_before_workers_of_any() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        let (mut owner, mut standby, mut any) =
            (server.connect(), server.connect(), server.connect());
        trigger(&mut conn, &keys[0], "1");
        assert_eq!(take(&mut owner, "").0, 0);
        start(&mut standby, "EVQ.CONSUME 0 RING s BLOCK 0");
        until_blocked(&mut conn, 1);
        block(&mut conn, &mut any, "BLOCK 0");
        say(&mut owner, "EVQ.RELEASE 0 RING s").ok();
        assert_eq!(given(&woken(&mut standby)).unwrap().0, 0);
        assert_eq!(any.try_read(Duration::from_millis(50)), None);
        trigger(&mut conn, &keys[1], "2");
        assert_eq!(woken_for(&mut any), 1);
        // And who takes any gets it when the other goes.
        block(&mut conn, &mut owner, "BLOCK 0");
        drop(standby);
        assert_eq!(woken_for(&mut owner), 0);
    });
}

#[test]
fn a_standby_gets_the_partition_of_a_worker_of_any_that_becomes_idle() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 1);
        let (mut any, mut standby) = (server.connect(), server.connect());
        let id = trigger(&mut conn, &keys[0], "1");
        take(&mut any, "");
        trigger(&mut conn, &keys[0], "2");
        start(&mut standby, "EVQ.CONSUME 0 RING s BLOCK 0");
        until_blocked(&mut conn, 1);
        // Past the first look of the sweep after a client begins to wait.
        assert_eq!(standby.try_read(Duration::from_millis(50)), None);
        assert_eq!(say(&mut any, &format!("EVQ.ACK 0 {id} RING s")).int(), 1);
        assert_eq!(given(&woken_within(&mut conn, &mut standby, 250)).unwrap().0, 0);
    });
}

#[test]
fn a_takeover_by_a_worker_of_any_is_seen_by_watch_and_a_pull_of_the_owner_is_not() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 1);
        let mut watcher = server.connect();
        (0..3).for_each(|_| drop(trigger(&mut conn, &keys[0], "p")));
        let (_, epoch, _) = take(&mut conn, "");
        let extend = format!("EVQ.EXTEND 0 RING s EPOCH {epoch}");
        let exec = |watcher: &mut Conn, between: &mut dyn FnMut()| {
            must!(watcher, "WATCH", "evq:{s:0}:groups");
            say(watcher, &extend).ok();
            between();
            must!(watcher, "MULTI");
            must!(watcher, "SET", "written", 1);
            !must!(watcher, "EXEC").is_null()
        };
        assert!(exec(&mut watcher, &mut || {}));
        assert!(exec(&mut watcher, &mut || drop(take(&mut conn, ""))));
        let mut other = server.connect();
        assert!(!exec(&mut watcher, &mut || {
            say(&mut conn, "EVQ.RELEASE 0 RING s").ok();
            take(&mut other, "");
        }));
    });
}

#[test]
fn a_worker_with_nothing_but_a_failed_event_gives_its_partition_up() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        let (mut one, mut other) = (server.connect(), server.connect());
        let id = trigger(&mut conn, &keys[0], "1");
        assert_eq!(take(&mut one, "WORKER one").0, 0);
        must!(one, "EVQ.NACK", 0, id, "RING", "s", "WORKER", "one", "DELAY", 500);
        trigger(&mut conn, &keys[1], "2");
        assert_eq!(take(&mut one, "WORKER one").0, 1);
        block(&mut conn, &mut other, "BLOCK 0");
        assert_eq!(woken_for(&mut other), 0);
    });
}
