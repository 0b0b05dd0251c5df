//! A worker that waits in EVQ.CONSUME is woken by whatever brings an event, in whichever way it
//! came to wait: as the owner, or as a standby that was handed the lease while there was nothing
//! to give. And only where the event is: in its database, in its partition.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::harness::{Conn, PATIENCE, Server, Value, args, each_server, must, until};
use crate::pull::{
    IN_TIME, P, Pull, block, blocked, pull, refused, ring, say, start, take, trigger,
    until_blocked, woken,
};

/// A way for an event to come into [`P`].
struct Way {
    name: &'static str,
    bring: fn(&mut Conn),
}

fn transaction(conn: &mut Conn, line: &str) {
    must!(conn, "MULTI").ok();
    assert_eq!(say(conn, line).str(), "QUEUED");
    must!(conn, "INCR", "n");
    must!(conn, "EXEC").array();
}

fn script(conn: &mut Conn, line: &str) {
    let mut words = vec!["EVAL", "return redis.call(unpack(ARGV))", "0"];
    words.extend(line.split_whitespace());
    conn.must(&words);
}

const TRIGGER: &str = "EVQ.TRIGGER k p RING r";
const XADD: &str = "XADD evq:{r:0} * key k payload p";

/// Makes a stream of one new event elsewhere. Its id is above all before: an automatic one could
/// be that of an event of the same millisecond, which is another stream's.
fn aside(conn: &mut Conn, key: &str) {
    static STEP: AtomicU64 = AtomicU64::new(1);
    let seq = STEP.fetch_add(1, Ordering::Relaxed) * 1000;
    let time = must!(conn, "TIME");
    let micros: u64 = time.at(1).str().parse().unwrap();
    let id = format!("{}{:03}-{seq}", time.at(0).str(), micros / 1000);
    must!(conn, "DEL", key);
    must!(conn, "XADD", key, id, "key", "k", "payload", "p");
}

const WAYS: [Way; 12] = [
    Way { name: "TRIGGER", bring: |conn| drop(say(conn, TRIGGER)) },
    Way { name: "MTRIGGER", bring: |conn| drop(say(conn, "EVQ.MTRIGGER 1 k p RING r")) },
    Way { name: "TRIGGER in MULTI", bring: |conn| transaction(conn, TRIGGER) },
    Way { name: "TRIGGER in Lua", bring: |conn| script(conn, TRIGGER) },
    Way { name: "MTRIGGER in Lua", bring: |conn| script(conn, "EVQ.MTRIGGER 1 k p RING r") },
    Way { name: "XADD", bring: |conn| drop(say(conn, XADD)) },
    Way { name: "XADD in MULTI", bring: |conn| transaction(conn, XADD) },
    Way { name: "XADD in Lua", bring: |conn| script(conn, XADD) },
    Way {
        name: "RENAME",
        bring: |conn| {
            aside(conn, "aside");
            must!(conn, "RENAME", "aside", P).ok();
        },
    },
    Way {
        name: "COPY",
        bring: |conn| {
            aside(conn, "aside");
            assert_eq!(must!(conn, "COPY", "aside", P, "REPLACE").int(), 1);
        },
    },
    Way {
        name: "RESTORE",
        bring: |conn| {
            aside(conn, "aside");
            let dump = must!(conn, "DUMP", "aside");
            must!(conn, "RESTORE", P, 0, dump.bytes(), "REPLACE").ok();
        },
    },
    Way {
        name: "MOVE",
        bring: |conn| {
            must!(conn, "DEL", P);
            must!(conn, "SELECT", 1).ok();
            aside(conn, P);
            assert_eq!(must!(conn, "MOVE", P, 0).int(), 1);
            must!(conn, "SELECT", 0).ok();
        },
    },
];

/// The event that a woken worker gets, acknowledged.
#[track_caller]
fn finish(conn: &mut Conn, reply: &Value, how: &str) {
    let pulled = Pull::of(reply).unwrap_or_else(|| panic!("null instead of an event: {how}"));
    assert_eq!(pulled.payloads, ["p"], "{how}");
    assert_eq!(say(conn, &format!("EVQ.ACK {P} {}", pulled.last())).int(), 1, "{how}");
}

#[test]
fn a_blocked_owner_is_woken_by_every_way_an_event_comes() {
    each_server(|server| {
        let mut conn = ring(&server);
        let mut owner = server.connect();
        for Way { name, bring } in WAYS {
            block(&mut conn, &mut owner, "BLOCK 0 LEASE 60000");
            bring(&mut conn);
            let reply = owner.try_read(IN_TIME).unwrap_or_else(|| panic!("not woken by {name}"));
            finish(&mut owner, &reply, name);
        }
        assert_eq!(blocked(&mut conn), 0);
    });
}

#[test]
fn a_standby_that_became_the_owner_is_woken_by_every_way_an_event_comes() {
    each_server(|server| {
        let mut conn = ring(&server);
        let mut owner = server.connect();
        assert_eq!(pull(&mut owner, "NOBLOCK LEASE 60000"), None);
        for Way { name, bring } in WAYS {
            let mut standby = server.connect();
            block(&mut conn, &mut standby, "BLOCK 0 LEASE 60000");
            must!(owner, "EVQ.RELEASE", P).ok();
            assert_eq!(standby.try_read(Duration::from_millis(5)), None);
            bring(&mut conn);
            let reply = standby.try_read(IN_TIME).unwrap_or_else(|| panic!("not woken by {name}"));
            finish(&mut standby, &reply, name);
            owner = standby;
        }
        assert_eq!(blocked(&mut conn), 0);
    });
}

#[test]
fn a_standby_is_not_disturbed_by_what_the_owner_gets() {
    each_server(|server| {
        let mut conn = ring(&server);
        let (mut owner, mut standby) = (server.connect(), server.connect());
        assert_eq!(pull(&mut owner, "NOBLOCK LEASE 60000"), None);
        block(&mut conn, &mut standby, "BLOCK 0");
        for Way { name, bring } in WAYS {
            start(&mut owner, &format!("EVQ.CONSUME {P} BLOCK 0 LEASE 60000"));
            until_blocked(&mut conn, 2);
            bring(&mut conn);
            let reply = owner.try_read(IN_TIME).unwrap_or_else(|| panic!("not woken by {name}"));
            finish(&mut owner, &reply, name);
            assert_eq!(blocked(&mut conn), 1, "{name}");
        }
        assert_eq!(standby.try_read(Duration::from_millis(20)), None);
    });
}

#[test]
fn an_owner_that_is_woken_by_many_events_is_given_them_from_the_first() {
    each_server(|server| {
        let mut conn = ring(&server);
        let mut owner = server.connect();
        let first = trigger(&mut conn, &["before"]);
        assert_eq!(take(&mut owner, "").ids, first);
        // How many are asked for, which of three events are deleted in the same transaction, and
        // what is given at once and then.
        type Seqs = &'static [u64];
        let cases: [(u32, Seqs, Seqs, Seqs); 6] = [
            (1, &[], &[1], &[2, 3]),
            (2, &[], &[1, 2], &[3]),
            (9, &[], &[1, 2, 3], &[]),
            (1, &[1, 2], &[3], &[]),
            (9, &[2, 3], &[1], &[]),
            (1, &[1], &[2], &[3]),
        ];
        for (ms, (count, deleted, at_once, then)) in (9_000_000_000_000_u64..).zip(cases) {
            let ids =
                |seqs: &[u64]| seqs.iter().map(|seq| format!("{ms}-{seq}")).collect::<Vec<_>>();
            block(&mut conn, &mut owner, &format!("COUNT {count} BLOCK 0 LEASE 60000 AHEAD"));
            must!(conn, "MULTI").ok();
            for id in ids(&[1, 2, 3]) {
                say(&mut conn, &format!("XADD {P} {id} key k payload p"));
            }
            for id in ids(deleted) {
                say(&mut conn, &format!("XDEL {P} {id}"));
            }
            must!(conn, "EXEC").array();
            assert_eq!(Pull::of(&woken(&mut owner)).unwrap().ids, ids(at_once));
            let rest =
                pull(&mut owner, "COUNT 9 NOBLOCK AHEAD").map_or_else(Vec::new, |pull| pull.ids);
            assert_eq!(rest, ids(then));
        }
    });
}

#[test]
fn several_groups_wait_on_one_partition_and_all_are_woken() {
    each_server(|server| {
        let mut conn = ring(&server);
        let mut workers: Vec<_> = (0..20).map(|_| server.connect()).collect();
        for (n, worker) in workers.iter_mut().enumerate() {
            start(worker, &format!("EVQ.CONSUME {P} GROUP g{} BLOCK 0 LEASE 60000", n / 2));
            until_blocked(&mut conn, n + 1);
        }
        let first = trigger(&mut conn, &["a"]);
        for worker in workers.iter_mut().step_by(2) {
            assert_eq!(Pull::of(&woken(worker)).unwrap().ids, first);
        }
        assert_eq!(blocked(&mut conn), 10, "one worker of each group");
        for (n, worker) in workers.iter_mut().enumerate().step_by(2) {
            say(worker, &format!("EVQ.ACK {P} {} GROUP g{}", first[0], n / 2));
            say(worker, &format!("EVQ.RELEASE {P} GROUP g{}", n / 2)).ok();
        }
        assert_eq!(blocked(&mut conn), 10, "nothing to give to those who got the leases");
        let second = trigger(&mut conn, &["b"]);
        for worker in workers.iter_mut().skip(1).step_by(2) {
            assert_eq!(Pull::of(&woken(worker)).unwrap().ids, second);
        }
    });
}

#[test]
fn databases_do_not_wake_each_other() {
    each_server(|server| {
        let mut conn = ring(&server);
        let mut elsewhere = server.connect();
        must!(elsewhere, "SELECT", 1).ok();
        must!(elsewhere, "EVQ.CREATE", "r", 1).ok();
        let mut workers: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for (n, worker) in workers.iter_mut().enumerate() {
            must!(worker, "SELECT", n % 2).ok();
            block(&mut conn, worker, "BLOCK 0 LEASE 60000");
        }
        let there = trigger(&mut elsewhere, &["there"]);
        assert_eq!(Pull::of(&woken(&mut workers[1])).unwrap().ids, there);
        assert_eq!(blocked(&mut conn), 3);
        let mut owner = workers.remove(1);
        must!(owner, "EVQ.RELEASE", P).ok();
        assert_eq!(Pull::of(&woken(&mut workers[2])).unwrap().ids, there);
        assert_eq!(blocked(&mut conn), 2);
        let here = trigger(&mut conn, &["here"]);
        assert_eq!(Pull::of(&woken(&mut workers[0])).unwrap().ids, here);
        drop(workers.remove(0));
        assert_eq!(Pull::of(&woken(&mut workers[0])).unwrap().ids, here, "by the sweep, in db 0");
    });
}

#[test]
fn a_connection_that_closes_ends_its_leases_in_a_database_that_has_changed_places() {
    each_server(|server| {
        let mut conn = ring(&server);
        let mut other = server.connect();
        must!(other, "SELECT", 1).ok();
        let ids = trigger(&mut conn, &["a"]);
        let mut owner = server.connect();
        assert_eq!(take(&mut owner, "LEASE 60000").ids, ids);
        must!(conn, "SWAPDB", 0, 1).ok();
        drop(owner);
        until(IN_TIME, || pull(&mut other, "NOBLOCK").is_some_and(|pulled| pulled.ids == ids));
    });
}

#[test]
fn databases_that_change_places_bring_their_events() {
    each_server(|server| {
        let mut conn = ring(&server);
        let (mut owner, mut standby) = (server.connect(), server.connect());
        block(&mut conn, &mut owner, "BLOCK 0 LEASE 60000");
        block(&mut conn, &mut standby, "BLOCK 0 LEASE 60000");
        let mut elsewhere = server.connect();
        must!(elsewhere, "SELECT", 1).ok();
        must!(elsewhere, "EVQ.CREATE", "r", 1).ok();
        trigger(&mut elsewhere, &["p"]);
        must!(conn, "SWAPDB", 0, 1).ok();
        let reply = woken(&mut owner);
        finish(&mut owner, &reply, "SWAPDB");
        must!(owner, "EVQ.RELEASE", P).ok();
        trigger(&mut conn, &["p"]);
        let reply = woken(&mut standby);
        finish(&mut standby, &reply, "SWAPDB, then TRIGGER");
        assert_eq!(must!(elsewhere, "DBSIZE").int(), 2, "ring and progress as they were");
    });
}

#[test]
fn workers_that_wait_outlive_the_keys() {
    each_server(|server| {
        for wipe in
            [&["DEL evq:{r:0}"][..], &["DEL evq:{r:0}:groups"], &["DEL evq:{r}"], &["FLUSHALL"]]
        {
            let mut conn = server.connect();
            must!(conn, "FLUSHALL").ok();
            must!(conn, "EVQ.CREATE", "r", 1).ok();
            let old = trigger(&mut conn, &["old"]);
            let (mut owner, mut standby) = (server.connect(), server.connect());
            take(&mut owner, "LEASE 60000");
            say(&mut owner, &format!("EVQ.ACK {P} {}", old[0]));
            block(&mut conn, &mut owner, "BLOCK 0 LEASE 60000");
            block(&mut conn, &mut standby, "BLOCK 0 LEASE 60000");
            for line in wipe {
                say(&mut conn, line);
            }
            say(&mut conn, "EVQ.CREATE r 1").ok();
            let ids = trigger(&mut conn, &["p"]);
            // Who had the lease may have lost it with the key; but one of the two gets the event,
            // and the other one the partition after it.
            let deadline = std::time::Instant::now() + PATIENCE;
            let mut given = Vec::new();
            while given.len() < 2 && std::time::Instant::now() < deadline {
                for worker in [&mut owner, &mut standby] {
                    let Some(reply) = worker.try_read(Duration::from_millis(5)) else { continue };
                    match Some(&reply).filter(|reply| !reply.is_error()).and_then(Pull::of) {
                        Some(pulled) if pulled.last() == ids[0] => {
                            given.push(pulled);
                            must!(worker, "EVQ.RELEASE", P).ok();
                        }
                        // Told that it lost its lease, or with an event before that is left.
                        _ => {
                            let on = format!("EVQ.CONSUME {P} BLOCK 0 LEASE 60000 AHEAD");
                            start(worker, &on);
                        }
                    }
                }
            }
            assert_eq!(given.len(), 2, "{wipe:?}: {given:?}");
            assert!(given[0].epoch < given[1].epoch);
        }
    });
}

#[test]
fn a_worker_is_not_woken_by_another_type_under_its_key() {
    each_server(|server| {
        let mut conn = ring(&server);
        let (mut owner, mut standby) = (server.connect(), server.connect());
        block(&mut conn, &mut owner, "BLOCK 0 LEASE 60000");
        block(&mut conn, &mut standby, "BLOCK 0 LEASE 60000");
        must!(conn, "RPUSH", P, "x");
        must!(conn, "SET", P, "x").ok();
        must!(conn, "ZADD", "zset", 1, "x");
        must!(conn, "RENAME", "zset", P).ok();
        assert_eq!(refused(&mut conn, TRIGGER), "WRONGTYPE");
        assert_eq!(refused(&mut conn, &format!("EVQ.CONSUME {P} NOBLOCK")), "WRONGTYPE");
        assert_eq!(owner.try_read(Duration::from_millis(20)), None);
        assert_eq!(blocked(&mut conn), 2);
        must!(conn, "DEL", P);
        let ids = trigger(&mut conn, &["a"]);
        assert_eq!(Pull::of(&woken(&mut owner)).unwrap().ids, ids);
        must!(conn, "SET", P, "x").ok();
        must!(owner, "EVQ.RELEASE", P);
        must!(conn, "DEL", P);
        conn.must(&args!["XADD", P, "*", "payload", "b"]);
        assert_eq!(Pull::of(&woken(&mut standby)).unwrap().payloads, ["b"]);
    });
}

#[test]
fn a_wrong_type_under_the_progress_key_hurts_nobody_else() {
    each_server(|server: Server| {
        let mut conn = ring(&server);
        let (mut owner, mut standby) = (server.connect(), server.connect());
        block(&mut conn, &mut owner, "BLOCK 0");
        block(&mut conn, &mut standby, "BLOCK 150");
        must!(conn, "SET", crate::pull::GROUPS, "x").ok();
        // The floor of the stream's ids is unknown while the stream is to be made.
        assert_eq!(refused(&mut conn, TRIGGER), "WRONGTYPE");
        must!(conn, "XADD", P, "*", "payload", "a");
        assert_eq!(woken(&mut owner).err_code(), "WRONGTYPE");
        let reply = woken(&mut standby);
        assert!(reply.is_null() || reply.err_code() == "WRONGTYPE", "{reply:?}");
        must!(conn, "DEL", crate::pull::GROUPS);
        assert_eq!(take(&mut owner, "").payloads, ["a"]);
    });
}
