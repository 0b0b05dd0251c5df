//! What becomes of rings: EVQ.RINGS after everything that brings rings into being or ends them,
//! EVQ.DROP, keys deleted by hand, databases.

use crate::harness::{Conn, Server, Value, args, cmd, each_binary, each_server, must};

/// The rings of the selected database, as EVQ.RINGS lists them.
#[track_caller]
fn assert_rings(conn: &mut Conn, expected: &[&str]) {
    let rings = must!(conn, "EVQ.RINGS");
    let names: Vec<_> = rings.array().iter().map(Value::str).collect();
    assert_eq!(names, expected);
}

fn parts(id: &Value) -> (u64, u64) {
    let (ms, seq) = id.str().split_once('-').expect("an id");
    (ms.parse().unwrap(), seq.parse().unwrap())
}

#[test]
fn rings_lists_what_is_there() {
    each_server(|server| {
        let mut conn = server.connect();
        assert_rings(&mut conn, &[]);
        must!(conn, "EVQ.CREATE", "b", 1);
        must!(conn, "EVQ.CREATE", "a", 1);
        must!(conn, "EVQ.TRIGGER", "k", "p");
        assert_rings(&mut conn, &["a", "b", "default"]);
        must!(conn, "EVQ.DROP", "a");
        assert_rings(&mut conn, &["b", "default"]);
        must!(conn, "DEL", "evq:{b}");
        assert_rings(&mut conn, &["default"]);
        must!(conn, "SET", "evq:{default}", "a string");
        assert_rings(&mut conn, &[]);
        must!(conn, "DEL", "evq:{default}", "evq:{default:0}");
        must!(conn, "EVQ.CREATE", "c", 1);
        must!(conn, "FLUSHDB");
        assert_rings(&mut conn, &[]);
        must!(conn, "EVQ.CREATE", "d", 1);
        must!(conn, "FLUSHALL", "ASYNC");
        assert_rings(&mut conn, &[]);
    });
}

#[test]
fn rings_follows_their_keys_between_names_and_databases() {
    each_server(|server| {
        let mut conn = server.connect();
        let mut other = server.connect();
        must!(other, "SELECT", 1);
        must!(conn, "EVQ.CREATE", "a", 3);
        must!(conn, "COPY", "evq:{a}", "evq:{copied}");
        must!(conn, "COPY", "evq:{a}", "evq:{copied}", "DB", 1);
        let dump = must!(conn, "DUMP", "evq:{a}");
        must!(conn, "RESTORE", "evq:{restored}", 0, dump.bytes());
        assert_rings(&mut conn, &["a", "copied", "restored"]);
        assert_rings(&mut other, &["copied"]);
        must!(conn, "RENAME", "evq:{a}", "evq:{renamed}");
        assert_rings(&mut conn, &["copied", "renamed", "restored"]);
        must!(conn, "MOVE", "evq:{renamed}", 1);
        assert_rings(&mut conn, &["copied", "restored"]);
        assert_rings(&mut other, &["copied", "renamed"]);
        must!(conn, "SWAPDB", 0, 1);
        assert_rings(&mut conn, &["copied", "renamed"]);
        assert_rings(&mut other, &["copied", "restored"]);
        // A value under a name that is no ring's is none; it is found again when it gets one.
        must!(conn, "RENAME", "evq:{renamed}", "elsewhere");
        assert_rings(&mut conn, &["copied"]);
        must!(conn, "RENAME", "elsewhere", "evq:{back}");
        assert_rings(&mut conn, &["back", "copied"]);
        assert_eq!(must!(conn, "EVQ.RING", "back").get("partitions").array().len(), 3);
    });
}

#[test]
fn rings_knows_after_a_restart_and_on_a_replica() {
    each_binary(|binary| {
        let mut server = Server::with(binary).tcp().start();
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "a", 1);
        must!(conn, "SELECT", 3);
        must!(conn, "EVQ.CREATE", "b", 1);
        let replica = Server::replica_of(&server);
        must!(conn, "EVQ.CREATE", "c", 1);
        crate::harness::wait_for_sync(&server, &replica);
        let check = |conn: &mut Conn| {
            must!(conn, "SELECT", 0);
            assert_rings(conn, &["a"]);
            must!(conn, "SELECT", 3);
            assert_rings(conn, &["b", "c"]);
        };
        check(&mut replica.connect());
        must!(conn, "DEBUG", "RELOAD");
        check(&mut conn);
        // The reload has cut the replica off; the save for its new copy may still be running.
        conn.save();
        server.restart();
        check(&mut server.connect());
        must!(server.connect(), "CONFIG", "SET", "appendonly", "yes");
        server.connect().until_saved();
        server.restart_with(&["appendonly yes"]);
        check(&mut server.connect());
    });
}

#[test]
fn drop_removes_a_ring_with_all_its_keys_and_no_others() {
    each_server(|server| {
        let mut conn = server.connect();
        let fill = |conn: &mut Conn, ring: &str| {
            must!(conn, "EVQ.CREATE", ring, 3);
            for n in 0..20 {
                must!(conn, "EVQ.TRIGGER", n, "p", "RING", ring);
            }
            for p in 0..3 {
                must!(conn, "EVQ.CONSUME", p, "RING", ring, "NOBLOCK", "COUNT", 100);
            }
        };
        fill(&mut conn, "a");
        must!(conn, "SET", "mine", 1);
        must!(conn, "XADD", "evq:{ab:0}", "*", "key", "k");
        must!(conn, "XADD", "evq:{ab:3}", "*", "key", "k");
        let digest = conn.digest();
        let keys = must!(conn, "DBSIZE").int();
        fill(&mut conn, "ab.c");
        assert_eq!(must!(conn, "DBSIZE").int(), keys + 7);
        must!(conn, "EVQ.DROP", "ab.c").ok();
        assert_eq!(conn.digest(), digest);
        assert_eq!(cmd!(conn, "EVQ.DROP", "ab.c").err_code(), "EVQNORING");
        // The default ring as well, but only if it is there.
        assert_eq!(cmd!(conn, "EVQ.DROP", "default").err_code(), "EVQNORING");
        fill_default_and_drop(&mut conn);
        assert_eq!(conn.digest(), digest);
    });
}

fn fill_default_and_drop(conn: &mut Conn) {
    must!(conn, "EVQ.TRIGGER", "k", "p");
    must!(conn, "EVQ.DROP", "default").ok();
    // And it can come again.
    must!(conn, "EVQ.TRIGGER", "k", "p");
    must!(conn, "EVQ.DROP", "default").ok();
}

#[test]
fn drop_refuses_a_ring_with_a_foreign_key_in_its_place() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "a", 3);
        for n in 0..20 {
            must!(conn, "EVQ.TRIGGER", n, "p", "RING", "a");
        }
        for key in ["evq:{a:2}", "evq:{a:2}:groups"] {
            must!(conn, "RENAME", "evq:{a:2}", "kept");
            must!(conn, "SET", key, "a string");
            let digest = conn.digest();
            assert_eq!(cmd!(conn, "EVQ.DROP", "a").err_code(), "WRONGTYPE", "{key}");
            assert_eq!(conn.digest(), digest);
            must!(conn, "DEL", key);
            must!(conn, "RENAME", "kept", "evq:{a:2}");
        }
        must!(conn, "SET", "evq:{b}", "a string");
        assert_eq!(cmd!(conn, "EVQ.DROP", "b").err_code(), "WRONGTYPE");
        must!(conn, "EVQ.DROP", "a").ok();
    });
}

#[test]
fn the_default_ring_is_not_made_again_while_events_of_it_exist() {
    each_server(|server| {
        let mut conn = server.connect();
        for n in 0..50 {
            must!(conn, "EVQ.TRIGGER", n, "p");
        }
        must!(conn, "DEL", "evq:{default}");
        let digest = conn.digest();
        let uses = [
            args!["EVQ.TRIGGER", "k", "p"].to_vec(),
            args!["EVQ.MTRIGGER", 1, "k", "p"].to_vec(),
            args!["EVQ.ROUTE", "k"].to_vec(),
            args!["EVQ.POINTS"].to_vec(),
            args!["EVQ.RING"].to_vec(),
            args!["EVQ.DROP", "default"].to_vec(),
            args!["EVQ.CONSUME", 0, "NOBLOCK"].to_vec(),
            args!["EVQ.ACK", 0, "1-1"].to_vec(),
            args!["EVQ.EXTEND", 0].to_vec(),
            args!["EVQ.RELEASE", 0].to_vec(),
        ];
        for words in uses {
            assert_eq!(conn.cmd(&words).err_code(), "EVQNORING", "{:?}", words[0].escape_ascii());
        }
        assert_eq!(conn.digest(), digest);
        // Who knows what the ring was says so; its events are all there.
        must!(conn, "EVQ.CREATE", "default", 8).ok();
        let ring = must!(conn, "EVQ.RING");
        let held: i64 = ring.get("partitions").array().iter().map(|p| p.get("length").int()).sum();
        assert_eq!(held, 50);
        must!(conn, "DEL", "evq:{default}", "evq:{default:0}");
        must!(conn, "EVQ.TRIGGER", "k", "p");
    });
}

#[test]
fn a_new_stream_begins_above_every_cursor() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let finish = |conn: &mut Conn, group: &str| {
            let ask = args!["EVQ.CONSUME", 0, "RING", "r", "GROUP", group, "NOBLOCK", "COUNT", 99];
            let given = conn.must(&ask);
            let last = given.at(2).array().last().expect("events").at(0).clone();
            must!(conn, "EVQ.ACK", 0, last.bytes(), "RING", "r", "GROUP", group);
            last
        };
        must!(conn, "EVQ.TRIGGER", "k", "one", "RING", "r");
        let one = finish(&mut conn, "mail");
        must!(conn, "DEL", "evq:{r:0}");
        let two = must!(conn, "EVQ.TRIGGER", "k", "two", "RING", "r").at(1).clone();
        assert!(parts(&two) > parts(&one), "{two:?} {one:?}");
        assert_eq!(finish(&mut conn, "mail"), two);

        // While the server's clock stands still, as it does in a script.
        let script = "
            local mine = {'RING', 'r', 'GROUP', 'lua', 'WORKER', 'w'}
            local one = redis.call('EVQ.TRIGGER', 'k', 'one', 'RING', 'r')[2]
            redis.call('EVQ.CONSUME', 0, 'NOBLOCK', 'COUNT', 99, unpack(mine))
            redis.call('EVQ.ACK', 0, one, unpack(mine))
            redis.call('DEL', KEYS[1])
            for i = 1, 3000000 do one = one .. '' end
            return {one, redis.call('EVQ.TRIGGER', 'k', 'two', 'RING', 'r')[2]}";
        let ids = must!(conn, "EVAL", script, 1, "evq:{r:0}");
        assert!(parts(ids.at(1)) > parts(ids.at(0)), "{ids:?}");
        assert_eq!(&finish(&mut conn, "mail"), ids.at(1));

        // Far in the future, as after a clock that was set back; only one of two groups is there.
        must!(conn, "XADD", "evq:{r:0}", "99999999999999-7", "key", "k");
        assert_eq!(finish(&mut conn, "audit").str(), "99999999999999-7");
        must!(conn, "DEL", "evq:{r:0}");
        let three = must!(conn, "EVQ.TRIGGER", "k", "three", "RING", "r").at(1).clone();
        assert_eq!(three.str(), "99999999999999-8");
        assert_eq!(finish(&mut conn, "mail"), three);
        assert_eq!(finish(&mut conn, "audit"), three);

        // In one batch, too, and a partition without a group takes the clock.
        must!(conn, "DEL", "evq:{r:0}");
        let batch = must!(conn, "EVQ.MTRIGGER", 2, "k", "four", "k", "five", "RING", "r");
        assert_eq!(batch.at(0).at(1).str(), "99999999999999-9");
        assert_eq!(batch.at(1).at(1).str(), "99999999999999-10");
        must!(conn, "DEL", "evq:{r:0}", "evq:{r:0}:groups");
        let six = must!(conn, "EVQ.TRIGGER", "k", "six", "RING", "r").at(1).clone();
        assert!(parts(&six) < parts(&three));

        // Nothing is above the last possible id.
        let last = "18446744073709551615-18446744073709551615";
        must!(conn, "XADD", "evq:{r:0}", last, "key", "k");
        finish(&mut conn, "mail");
        must!(conn, "DEL", "evq:{r:0}");
        assert_eq!(cmd!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r").err_code(), "ERR");
        assert_eq!(must!(conn, "EXISTS", "evq:{r:0}").int(), 0);
    });
}

#[test]
fn databases_do_not_see_each_others_rings() {
    each_server(|server| {
        let mut zero = server.connect();
        let mut nine = server.connect();
        must!(nine, "SELECT", 9);
        must!(zero, "EVQ.CREATE", "r", 2);
        must!(nine, "EVQ.CREATE", "r", 1);
        must!(zero, "EVQ.TRIGGER", "k", "zero");
        assert_eq!(must!(nine, "DBSIZE").int(), 1);
        assert_rings(&mut nine, &["r"]);
        assert_eq!(must!(zero, "EVQ.POINTS", "RING", "r").array().len(), 320);
        assert_eq!(must!(nine, "EVQ.POINTS", "RING", "r").array().len(), 160);
        must!(zero, "XADD", "evq:{r:0}", "*", "key", "k");
        assert!(must!(nine, "EVQ.CONSUME", 0, "RING", "r", "NOBLOCK").is_null());
        let given = must!(zero, "EVQ.CONSUME", 0, "RING", "r", "NOBLOCK");
        // A lease of one database is none of another's.
        let id = given.at(2).at(0).at(0).bytes();
        let epoch = given.at(1).int();
        let ack = args!["EVQ.ACK", 0, id, "RING", "r", "EPOCH", epoch];
        assert_eq!(nine.cmd(&ack).err_code(), "EVQFENCED");
        assert_eq!(zero.must(&ack).int(), 1);
        must!(nine, "EVQ.DROP", "r");
        assert_rings(&mut zero, &["default", "r"]);
        // One transaction over two databases.
        must!(zero, "MULTI");
        must!(zero, "EVQ.TRIGGER", "k", "p");
        must!(zero, "SELECT", 9);
        must!(zero, "EVQ.TRIGGER", "k", "p");
        must!(zero, "EXEC");
        assert_rings(&mut nine, &["default"]);
    });
}
