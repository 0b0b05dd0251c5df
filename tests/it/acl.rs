//! ACL: the keys a command really touches are checked, not the word it is routed by; EVQ.APPLY is
//! for nobody; over maxmemory producers are refused and consumers are not.

use crate::acl_cases::{Case, cases};
use crate::harness::{Conn, Server, Value, args, cmd, each_server, must};
use crate::usage::COMMANDS;

type Words = Vec<Vec<u8>>;

fn fill(conn: &mut Conn) {
    must!(conn, "FLUSHALL");
    must!(conn, "EVQ.CREATE", "r", 1);
    must!(conn, "XADD", "evq:{r:0}", "1-1", "key", "k");
    must!(conn, "EVQ.SCHEDULE", "k", "p", "IN", 100_000_000, "RING", "r");
    must!(conn, "EVQ.GROUP", "brittle", "RING", "r", "MAXATTEMPTS", 1).ok();
    for group in ["known", "brittle"] {
        must!(conn, "EVQ.CONSUME", 0, "RING", "r", "GROUP", group, "WORKER", "w", "NOBLOCK");
    }
}

/// A connection of a user that may call everything on the keys of `patterns`.
pub(crate) fn user(server: &Server, patterns: &[&str]) -> Conn {
    let mut admin = server.connect();
    let mut words = args!["ACL", "SETUSER", "alice", "reset", "on", "nopass", "+@all"].to_vec();
    words.extend(patterns.iter().map(|pattern| pattern.as_bytes().to_vec()));
    admin.must(&words).ok();
    let mut conn = server.connect();
    must!(conn, "AUTH", "alice", "any").ok();
    conn
}

/// The call itself, in a script and in a transaction: the replies.
fn each_way(conn: &mut Conn, words: &Words) -> Vec<(&'static str, Value)> {
    let script = args!["EVAL", "return redis.pcall(unpack(ARGV))", 0].to_vec();
    let scripted = conn.cmd(&[script, words.clone()].concat());
    must!(conn, "MULTI");
    conn.cmd(words);
    let queued = must!(conn, "EXEC").at(0).clone();
    vec![("in a script", scripted), ("in MULTI", queued), ("as it is", conn.cmd(words))]
}

#[test]
fn every_command_that_touches_keys_has_a_case() {
    // EVQ.RINGS leaves out what the user may not read, and EVQ.APPLY is for nobody: see below.
    let apart = ["EVQ.RINGS", "EVQ.APPLY"];
    let cases = cases();
    for usage in COMMANDS.iter().filter(|usage| !apart.contains(&usage.name)) {
        let known = cases.iter().any(|case| case.words[0] == usage.name.as_bytes());
        assert!(known, "{} has no case", usage.name);
    }
}

#[test]
fn every_command_needs_exactly_its_keys() {
    each_server(|server| {
        let mut admin = server.connect();
        for Case { words, keys } in cases() {
            let shown =
                words.iter().map(|w| String::from_utf8_lossy(w)).collect::<Vec<_>>().join(" ");
            fill(&mut admin);
            let digest = admin.digest();
            for missing in keys {
                let but_one: Vec<_> = keys.iter().filter(|key| *key != missing).copied().collect();
                // The word it is routed by is no key, so it helps nobody.
                let patterns = [&but_one[..], &["~k", "~0", "~r", "~new", "~1"]].concat();
                let mut conn = user(&server, &patterns);
                for (way, reply) in each_way(&mut conn, &words) {
                    assert!(reply.is_error(), "{shown} {way} without {missing}: {reply:?}");
                    assert_eq!(reply.err_code(), "NOPERM", "{shown} {way} without {missing}");
                }
                assert_eq!(admin.digest(), digest, "{shown} without {missing}");
            }
            let mut conn = user(&server, keys);
            let reply = conn.cmd(&words);
            assert!(!reply.is_error(), "{shown} with {keys:?}: {reply:?}");
        }
    });
}

#[test]
fn a_producer_needs_no_more_than_to_read_the_ring_and_write_streams() {
    each_server(|server| {
        let mut admin = server.connect();
        must!(admin, "EVQ.CREATE", "default", 4);
        let mut conn = user(&server, &["%R~evq:{default}", "%W~evq:{default:*}"]);
        for n in 0..40 {
            must!(conn, "EVQ.TRIGGER", n, "p");
        }
        must!(conn, "EVQ.MTRIGGER", 2, "a", "p", "b", "p");
        must!(conn, "EVQ.ROUTE", "k");
        must!(conn, "MULTI");
        must!(conn, "EVQ.TRIGGER", "k", "p");
        assert!(!must!(conn, "EXEC").at(0).is_error());
        must!(conn, "EVAL", "return redis.call('EVQ.TRIGGER', 'k', 'p')", 0);
        for words in [
            args!["EVQ.CONSUME", 0, "NOBLOCK"].to_vec(),
            args!["EVQ.RING"].to_vec(),
            args!["EVQ.DROP", "default"].to_vec(),
            args!["EVQ.TRIGGER", "k", "p", "RING", "other"].to_vec(),
            args!["EVQ.CREATE", "other", 1].to_vec(),
            args!["XRANGE", "evq:{default:0}", "-", "+"].to_vec(),
        ] {
            assert_eq!(conn.cmd(&words).err_code(), "NOPERM", "{:?}", words[0].escape_ascii());
        }
    });
}

#[test]
fn the_first_event_needs_the_right_to_make_the_default_ring() {
    each_server(|server| {
        let mut conn = user(&server, &["%R~evq:{default}", "%W~evq:{default:*}"]);
        assert_eq!(cmd!(conn, "EVQ.TRIGGER", "k", "p").err_code(), "NOPERM");
        assert_eq!(cmd!(conn, "EVQ.MTRIGGER", 1, "k", "p").err_code(), "NOPERM");
        assert_eq!(cmd!(conn, "EVQ.CONSUME", 0, "NOBLOCK").err_code(), "NOPERM");
        assert_eq!(must!(server.connect(), "DBSIZE").int(), 0);
        let mut conn = user(&server, &["~evq:{default}", "%W~evq:{default:*}"]);
        must!(conn, "EVQ.TRIGGER", "k", "p");
    });
}

#[test]
fn a_batch_needs_every_partition_it_touches() {
    each_server(|server| {
        let mut admin = server.connect();
        must!(admin, "EVQ.CREATE", "r", 2);
        let mut batch = args!["EVQ.MTRIGGER", 20].to_vec();
        (0..20).for_each(|n| batch.extend(args![n, "p"]));
        batch.extend(args!["RING", "r"]);
        let digest = admin.digest();
        let mut conn = user(&server, &["%R~evq:{r}", "%W~evq:{r:1}"]);
        assert_eq!(conn.cmd(&batch).err_code(), "NOPERM");
        assert_eq!(admin.digest(), digest);
        let mut conn = user(&server, &["%R~evq:{r}", "%W~evq:{r:*}"]);
        conn.must(&batch);
    });
}

#[test]
fn what_a_key_holds_is_not_told_to_who_may_not_touch_it() {
    each_server(|server| {
        let mut admin = server.connect();
        must!(admin, "EVQ.CREATE", "r", 1);
        must!(admin, "SET", "evq:{r:0}", "a string");
        must!(admin, "SET", "evq:{r:0}:groups", "a string");
        let mut conn = user(&server, &["~evq:{r}"]);
        for words in [
            args!["EVQ.TRIGGER", "k", "p", "RING", "r"].to_vec(),
            args!["EVQ.MTRIGGER", 1, "k", "p", "RING", "r"].to_vec(),
            args!["EVQ.RING", "r"].to_vec(),
            args!["EVQ.CONSUME", 0, "RING", "r", "NOBLOCK"].to_vec(),
            args!["EVQ.DROP", "r"].to_vec(),
        ] {
            assert_eq!(conn.cmd(&words).err_code(), "NOPERM", "{:?}", words[0].escape_ascii());
        }
    });
}

#[test]
fn rings_lists_only_what_the_user_may_read() {
    each_server(|server| {
        let mut admin = server.connect();
        for ring in ["a", "b", "c"] {
            must!(admin, "EVQ.CREATE", ring, 1);
        }
        let mut conn = user(&server, &["%R~evq:{a}", "%W~evq:{b}", "~evq:{c}"]);
        let rings = must!(conn, "EVQ.RINGS");
        assert_eq!(rings.array(), [Value::bulk("a"), Value::bulk("c")]);
        assert_eq!(must!(admin, "EVQ.RINGS").array().len(), 3);
    });
}

#[test]
fn a_worker_that_lost_its_right_while_it_waited_gets_nothing() {
    each_server(|server| {
        let mut admin = server.connect();
        must!(admin, "EVQ.CREATE", "r", 1);
        let mut conn = user(&server, &["~evq:*"]);
        conn.send(&args!["EVQ.CONSUME", 0, "RING", "r", "BLOCK", 0]);
        crate::harness::until(crate::harness::PATIENCE, || {
            admin.info("clients", "blocked_clients").as_deref() == Some("1")
        });
        must!(admin, "ACL", "SETUSER", "alice", "resetkeys", "~other");
        must!(admin, "EVQ.TRIGGER", "k", "p", "RING", "r");
        assert_eq!(conn.read().err_code(), "NOPERM");
    });
}

#[test]
fn apply_is_refused_from_every_client() {
    each_server(|server| {
        let mut admin = server.connect();
        fill(&mut admin);
        let digest = admin.digest();
        let apply = args!["EVQ.APPLY", "evq:{r}", "EVQ\x01\0\0\0\0"].to_vec();
        for mut conn in [server.connect(), user(&server, &["~*"])] {
            for (way, reply) in each_way(&mut conn, &apply) {
                assert_eq!(reply.err_code(), "ERR", "{way}");
                assert!(reply.err().contains("internal to replication"), "{way}: {reply:?}");
            }
        }
        let library = "#!lua name=evqtest
            redis.register_function('f', function(keys, args) return redis.pcall(unpack(args)) end)";
        must!(admin, "FUNCTION", "LOAD", library);
        let called = [args!["FCALL", "f", 0].to_vec(), apply].concat();
        assert_eq!(admin.cmd(&called).err_code(), "ERR");
        assert_eq!(admin.digest(), digest);
    });
}

#[test]
fn over_maxmemory_producers_are_refused_and_consumers_are_not() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        for n in 0..5 {
            must!(conn, "EVQ.TRIGGER", "k", n, "RING", "r");
        }
        must!(conn, "CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", 1);
        let digest = conn.digest();
        for words in [
            args!["EVQ.TRIGGER", "k", "p", "RING", "r"].to_vec(),
            args!["EVQ.MTRIGGER", 1, "k", "p", "RING", "r"].to_vec(),
            args!["EVQ.CREATE", "s", 1].to_vec(),
        ] {
            for (way, reply) in each_way_over_maxmemory(&mut conn, &words) {
                assert_eq!(reply.err_code(), "OOM", "{way}: {reply:?}");
            }
        }
        assert_eq!(conn.digest(), digest);
        let given = must!(conn, "EVQ.CONSUME", 0, "RING", "r", "COUNT", 3, "NOBLOCK");
        let id = given.at(2).at(2).at(0).bytes();
        must!(conn, "EVQ.EXTEND", 0, "RING", "r").ok();
        assert_eq!(must!(conn, "EVQ.ACK", 0, id, "RING", "r").int(), 1);
        let rest = must!(conn, "EVQ.CONSUME", 0, "RING", "r", "COUNT", 3, "NOBLOCK");
        let last = rest.at(2).at(1).at(0).bytes();
        assert!(must!(conn, "EVQ.CONSUME", 0, "RING", "r", "ACK", last, "NOBLOCK").is_null());
        must!(conn, "EVQ.RELEASE", 0, "RING", "r").ok();
        must!(conn, "EVQ.RING", "r");
        // And this is how it gets free again.
        must!(conn, "EVQ.DROP", "r").ok();
    });
}

/// As [`each_way`], for commands that MULTI does not even queue.
fn each_way_over_maxmemory(conn: &mut Conn, words: &Words) -> Vec<(&'static str, Value)> {
    must!(conn, "MULTI");
    let queued = conn.cmd(words);
    assert_eq!(cmd!(conn, "EXEC").err_code(), "EXECABORT");
    let script = args!["EVAL", "return redis.pcall(unpack(ARGV))", 0].to_vec();
    let scripted = conn.cmd(&[script, words.clone()].concat());
    vec![("in MULTI", queued), ("in a script", scripted), ("as it is", conn.cmd(words))]
}
