//! EVQ's two value types as citizens of the keyspace: DUMP, COPY, RENAME, MEMORY USAGE, DEBUG
//! DIGEST-VALUE, expiry. What RESTORE makes of hostile bytes is the subject of `restore`.

use std::time::{Duration, Instant};

use crate::harness::{
    Conn, PATIENCE, Server, Value, args, cmd, each_binary, each_server, must, until,
};

const RING: &str = "evq:{r}";
const GROUPS: &str = "evq:{r:0}:groups";

fn value_digest(conn: &mut Conn, key: &str) -> String {
    must!(conn, "DEBUG", "DIGEST-VALUE", key).at(0).str().to_owned()
}

/// A ring of one partition with three events, of which the group has finished the first.
fn fill(conn: &mut Conn) {
    must!(conn, "EVQ.CREATE", "r", 1);
    for n in 0..3 {
        must!(conn, "EVQ.TRIGGER", "k", n, "RING", "r");
    }
    ack_one(conn, "default");
}

/// Finishes the first open event of a group, with a lease of its own.
fn ack_one(conn: &mut Conn, group: &str) {
    let given =
        must!(conn, "EVQ.CONSUME", 0, "RING", "r", "GROUP", group, "WORKER", "w", "NOBLOCK");
    let id = given.at(2).at(0).at(0).bytes();
    assert_eq!(must!(conn, "EVQ.ACK", 0, id, "RING", "r", "GROUP", group, "WORKER", "w").int(), 1);
}

fn consumed(conn: &mut Conn, ring: &str) -> Vec<String> {
    let given = must!(
        conn,
        "EVQ.CONSUME",
        0,
        "RING",
        ring,
        "COUNT",
        9,
        "NOBLOCK",
        "WORKER",
        "w2",
        "LEASE",
        1
    );
    given.at(2).array().iter().map(|event| event.at(1).at(3).str().to_owned()).collect()
}

#[test]
fn the_types_have_names() {
    each_server(|server| {
        let mut conn = server.connect();
        fill(&mut conn);
        let kind = |conn: &mut Conn, key: &str| must!(conn, "TYPE", key).str().to_owned();
        assert_eq!(kind(&mut conn, RING), "evq-ring1");
        assert_eq!(kind(&mut conn, GROUPS), "evq-part1");
        assert_eq!(kind(&mut conn, "evq:{r:0}"), "stream");
        for key in [RING, GROUPS] {
            assert!(must!(conn, "OBJECT", "REFCOUNT", key).int() >= 1);
            assert!(must!(conn, "OBJECT", "IDLETIME", key).int() >= 0);
            must!(conn, "OBJECT", "ENCODING", key);
            must!(conn, "DEBUG", "OBJECT", key);
            for words in [["GET", key], ["XLEN", key], ["HGETALL", key]] {
                assert_eq!(conn.cmd(&words).err_code(), "WRONGTYPE");
            }
        }
        let scan = must!(conn, "SCAN", 0, "COUNT", 100, "TYPE", "evq-ring1");
        assert_eq!(scan.at(1).array(), [Value::bulk(RING)]);
    });
}

#[test]
fn the_digest_of_a_value_tells_every_change() {
    each_server(|server| {
        let mut conn = server.connect();
        fill(&mut conn);
        let mut seen = vec![value_digest(&mut conn, RING), value_digest(&mut conn, GROUPS)];
        ack_one(&mut conn, "default");
        seen.push(value_digest(&mut conn, GROUPS));
        ack_one(&mut conn, "mail");
        seen.extend([value_digest(&mut conn, RING), value_digest(&mut conn, GROUPS)]);
        must!(conn, "EVQ.RELEASE", 0, "RING", "r", "GROUP", "mail", "WORKER", "w");
        seen.push(value_digest(&mut conn, GROUPS));
        for (n, shape) in
            [&["2"][..], &["1", "VNODES", "9"], &["1", "PAYLOAD", "json"]].iter().enumerate()
        {
            let ring = format!("s{n}");
            conn.must(&[&["EVQ.CREATE", &ring], *shape].concat());
            seen.push(value_digest(&mut conn, &format!("evq:{{{ring}}}")));
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "{seen:?}");
        // What is volatile is no part of a value.
        let before = conn.digest();
        must!(conn, "EVQ.EXTEND", 0, "RING", "r", "WORKER", "w", "LEASE", 99_999);
        must!(conn, "EVQ.CONSUME", 0, "RING", "r", "WORKER", "w", "COUNT", 9, "NOBLOCK");
        assert_eq!(conn.digest(), before);
    });
}

#[test]
fn a_copy_is_equal_and_goes_its_own_way() {
    each_server(|server| {
        let mut conn = server.connect();
        fill(&mut conn);
        for key in [RING, GROUPS] {
            assert_eq!(must!(conn, "COPY", key, "copy").int(), 1);
            assert_eq!(must!(conn, "COPY", key, "copy").int(), 0);
            let digest = value_digest(&mut conn, key);
            assert_eq!(value_digest(&mut conn, "copy"), digest);
            ack_one(&mut conn, if key == RING { "mail" } else { "default" });
            assert_ne!(value_digest(&mut conn, key), digest);
            assert_eq!(value_digest(&mut conn, "copy"), digest);
            must!(conn, "DEL", "copy");
        }
        // A whole ring: the copy is behind where the original was, and nobody holds its lease.
        for suffix in ["", ":0", ":0g"] {
            let name = |ring: &str| match suffix {
                ":0g" => format!("evq:{{{ring}:0}}:groups"),
                _ => format!("evq:{{{ring}{suffix}}}"),
            };
            must!(conn, "COPY", name("r"), name("s"));
        }
        must!(conn, "EVQ.TRIGGER", "k", 3, "RING", "s");
        assert_eq!(consumed(&mut conn, "s"), ["2", "3"]);
        let ack = cmd!(conn, "EVQ.ACK", 0, "1-1", "RING", "s", "WORKER", "w");
        assert_eq!(ack.err_code(), "EVQFENCED");
    });
}

#[test]
fn dump_and_restore_carry_a_value_over() {
    each_binary(|binary| {
        let (one, two) = (Server::start(binary), Server::start(binary));
        let (mut from, mut to) = (one.connect(), two.connect());
        fill(&mut from);
        for key in [RING, GROUPS, "evq:{r:0}"] {
            let dump = must!(from, "DUMP", key);
            must!(to, "RESTORE", key, 0, dump.bytes()).ok();
            assert_eq!(cmd!(to, "RESTORE", key, 0, dump.bytes()).err_code(), "BUSYKEY");
        }
        assert_eq!(to.digest(), from.digest());
        assert_eq!(must!(to, "EVQ.RINGS").array(), [Value::bulk("r")]);
        assert_eq!(consumed(&mut to, "r"), ["1", "2"]);
        // Under each other's keys the values are foreign.
        let dump = must!(from, "DUMP", RING);
        must!(to, "RESTORE", GROUPS, 0, dump.bytes(), "REPLACE").ok();
        assert_eq!(cmd!(to, "EVQ.CONSUME", 0, "RING", "r", "NOBLOCK").err_code(), "WRONGTYPE");
        let dump = must!(from, "DUMP", GROUPS);
        must!(to, "RESTORE", RING, 0, dump.bytes(), "REPLACE").ok();
        assert_eq!(cmd!(to, "EVQ.RING", "r").err_code(), "WRONGTYPE");
    });
}

#[test]
fn a_renamed_ring_goes_on_under_its_new_name() {
    each_server(|server| {
        let mut conn = server.connect();
        fill(&mut conn);
        must!(conn, "RENAME", RING, "evq:{new}");
        must!(conn, "RENAME", "evq:{r:0}", "evq:{new:0}");
        must!(conn, "RENAME", GROUPS, "evq:{new:0}:groups");
        assert_eq!(cmd!(conn, "EVQ.RING", "r").err_code(), "EVQNORING");
        must!(conn, "EVQ.TRIGGER", "k", 3, "RING", "new");
        must!(conn, "EVQ.RELEASE", 0, "RING", "new", "WORKER", "w");
        assert_eq!(consumed(&mut conn, "new"), ["1", "2", "3"]);
    });
}

#[test]
fn memory_usage_grows_with_what_is_held() {
    each_server(|server| {
        let mut conn = server.connect();
        fill(&mut conn);
        let usage = |conn: &mut Conn, key: &str| must!(conn, "MEMORY", "USAGE", key).int();
        // 160 points of 8 bytes, and a little.
        let ring = usage(&mut conn, RING);
        assert!((1280..4096).contains(&ring), "{ring}");
        let groups = usage(&mut conn, GROUPS);
        // A node of the tree has room for eleven groups.
        assert!((1024..8192).contains(&groups), "{groups}");
        let used: i64 = conn.info("memory", "used_memory").unwrap().parse().unwrap();
        for n in 0..200 {
            ack_one(&mut conn, &format!("group-with-a-rather-long-name-{n:03}"));
        }
        let (ring_more, groups_more) =
            (usage(&mut conn, RING) - ring, usage(&mut conn, GROUPS) - groups);
        assert!((200 * 32..200 * 300).contains(&ring_more), "{ring_more}");
        assert!((200 * 64..200 * 1500).contains(&groups_more), "{groups_more}");
        // The server's own count sees what the module allocates.
        let grown = conn.info("memory", "used_memory").unwrap().parse::<i64>().unwrap() - used;
        assert!(grown > (ring_more + groups_more) / 2, "{grown}");
        must!(conn, "EVQ.CREATE", "large", 1024, "VNODES", 256);
        assert!(usage(&mut conn, "evq:{large}") > 262_144 * 8);
        // The server frees it all again.
        must!(conn, "FLUSHALL");
        until(PATIENCE, || {
            conn.info("memory", "used_memory").unwrap().parse::<i64>().unwrap() < used + 1_000_000
        });
    });
}

#[test]
fn delivery_state_that_expires_is_forgotten() {
    each_binary(|binary| {
        // With an AOF and a replica: what is opened in vain must not be propagated in a wake-up.
        let primary = Server::with(binary).tcp().config(&["appendonly yes"]).start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        fill(&mut conn);
        must!(conn, "EVQ.RELEASE", 0, "RING", "r", "WORKER", "w");
        must!(conn, "DEBUG", "SET-ACTIVE-EXPIRE", 0);
        for kind in ["owner", "standby"] {
            let mut owner = primary.connect();
            let pull = args!["EVQ.CONSUME", 0, "RING", "r", "BLOCK", 0, "WORKER", "o", "COUNT", 99];
            let given = owner.must(&pull);
            let last = given.at(2).array().last().unwrap().at(0).clone();
            must!(owner, "EVQ.ACK", 0, last.bytes(), "RING", "r", "WORKER", "o");
            owner.send(&pull);
            let mut standby = primary.connect();
            standby.send(&args!["EVQ.CONSUME", 0, "RING", "r", "BLOCK", 0, "WORKER", "s"]);
            let blocked = |conn: &mut Conn| conn.info("clients", "blocked_clients");
            until(PATIENCE, || blocked(&mut conn).as_deref() == Some("2"));

            must!(conn, "PEXPIRE", GROUPS, 1);
            // To look whether it has expired would delete it, and here the wake-up must meet it.
            let start = Instant::now();
            until(PATIENCE, || start.elapsed() > Duration::from_millis(3));
            must!(conn, "EVQ.TRIGGER", "k", kind, "RING", "r");
            // Who is told that the lease is gone, or gets nothing, asks again. Somebody is served
            // then, and starts anew, as a group that has finished nothing.
            let is_first = |reply: &Value| reply.at(2).at(0).at(1).at(3).str() == "0";
            until(PATIENCE, || {
                [&mut owner, &mut standby].into_iter().any(|worker| {
                    match worker.try_read(Duration::from_millis(1)) {
                        None => false,
                        Some(Value::Null | Value::Error(_)) => {
                            worker.send(&pull);
                            false
                        }
                        Some(events) => is_first(&events),
                    }
                })
            });
            drop((owner, standby));
            until(PATIENCE, || blocked(&mut conn).as_deref() == Some("0"));
            must!(conn, "DEL", GROUPS);
        }
        must!(conn, "DEBUG", "SET-ACTIVE-EXPIRE", 1);
        crate::harness::wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), primary.digest());
    });
}

#[test]
fn a_ring_that_expires_is_gone() {
    each_server(|server| {
        let mut conn = server.connect();
        fill(&mut conn);
        let mut owner = server.connect();
        owner.send(&args!["EVQ.CONSUME", 0, "RING", "r", "BLOCK", 0, "COUNT", 99, "WORKER", "o"]);
        must!(conn, "EVQ.RELEASE", 0, "RING", "r", "WORKER", "w");
        assert_eq!(owner.read().at(2).array().len(), 2);
        must!(conn, "PEXPIRE", RING, 1);
        until(PATIENCE, || cmd!(conn, "EVQ.RING", "r").is_error());
        assert!(must!(conn, "EVQ.RINGS").array().is_empty());
        assert_eq!(cmd!(conn, "EVQ.TRIGGER", "k", 3, "RING", "r").err_code(), "EVQNORING");
        must!(conn, "EVQ.CREATE", "r", 1).ok();
        must!(conn, "EVQ.TRIGGER", "k", 3, "RING", "r");
    });
}
