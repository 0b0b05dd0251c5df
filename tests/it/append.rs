//! EVQ.APPEND: EVQ.TRIGGER for a producer that found the partition itself, and is told where it is
//! wrong.

use crate::harness::{Conn, Value, args, cmd, each_binary, each_server, must};
use crate::travel::ids::Chain;

/// Keys of the ring `r` with the partitions that they belong to.
fn keys(conn: &mut Conn) -> Vec<(String, i64)> {
    let of = |n: i64| format!("key:{n}");
    let route = |conn: &mut Conn, key| must!(conn, "EVQ.ROUTE", key, "RING", "r").at(0).int();
    (0..40).map(|n| (of(n), route(conn, of(n)))).collect()
}

fn length(conn: &mut Conn) -> i64 {
    (0..4).map(|p| must!(conn, "XLEN", format!("evq:{{r:{p}}}")).int()).sum()
}

#[test]
fn an_event_is_appended_as_trigger_does_it_where_the_partition_is_right() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4).ok();
        for (key, p) in keys(&mut conn) {
            let stream = format!("evq:{{r:{p}}}");
            let event = ["TYPE", "t", "HEADER", "h", "v"];
            let by_number = must!(conn, "EVQ.APPEND", p, key, "one", "RING", "r");
            let words = [&args!["EVQ.APPEND", stream, key, "two"][..], &args_of(&event)].concat();
            let by_key = conn.must(&words);
            assert_eq!((by_number.at(0).int(), by_key.at(0).int()), (p, p));
            let id = by_key.at(1).str();
            let entry = must!(conn, "XRANGE", stream, id, id);
            let fields: Vec<_> = entry.at(0).at(1).array().iter().map(Value::str).collect();
            assert_eq!(fields, ["key", &key, "payload", "two", "type", "t", "h:h", "v"]);
        }
        assert_eq!(length(&mut conn), 80);
    });
}

fn args_of(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn a_wrong_partition_is_evqmoved_and_where_the_key_belongs_and_nothing_is_written() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4).ok();
        for (key, p) in keys(&mut conn) {
            let wrong = (p + 1) % 4;
            let reply = cmd!(conn, "EVQ.APPEND", wrong, key, "p", "RING", "r", "UNIQUE", "t");
            assert_eq!(reply, Value::Error(format!("EVQMOVED {p} evq:{{r:{p}}}")));
            let reply = cmd!(conn, "EVQ.APPEND", 4, key, "p", "RING", "r");
            assert_eq!(reply.err_code(), "EVQNOPARTITION");
        }
        assert_eq!(length(&mut conn), 0);
        assert_eq!(must!(conn, "KEYS", "*unique*").array(), []);
    });
}

#[test]
fn after_a_resize_the_keys_that_moved_are_evqmoved() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2).ok();
        let before = keys(&mut conn);
        must!(conn, "EVQ.RESIZE", "r", 4).int();
        for ((key, p), (_, now)) in before.clone().into_iter().zip(keys(&mut conn)) {
            let reply = cmd!(conn, "EVQ.APPEND", p, key, "p", "RING", "r");
            if p == now {
                assert_eq!(reply.at(0).int(), p);
            } else {
                assert_eq!(reply, Value::Error(format!("EVQMOVED {now} evq:{{r:{now}}}")));
            }
        }
        // A partition that leaves takes no new events, and says so as long as it is there.
        must!(conn, "EVQ.RESIZE", "r", 1).int();
        for (key, p) in before {
            let reply = cmd!(conn, "EVQ.APPEND", p, key, "p", "RING", "r");
            match p {
                0 => assert_eq!(reply.at(0).int(), 0),
                _ if reply.err_code() == "EVQNOPARTITION" => {}
                _ => assert_eq!(reply, Value::Error("EVQMOVED 0 evq:{r:0}".to_owned())),
            }
        }
    });
}

#[test]
fn a_token_counts_for_trigger_and_append_alike() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1).ok();
        let first = must!(conn, "EVQ.APPEND", 0, "k", "p", "RING", "r", "UNIQUE", "t");
        assert_eq!(must!(conn, "EVQ.APPEND", 0, "k", "p", "RING", "r", "UNIQUE", "t"), first);
        assert_eq!(must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r", "UNIQUE", "t"), first);
        assert_eq!(must!(conn, "XLEN", "evq:{r:0}").int(), 1);
    });
}

#[test]
fn it_makes_the_default_ring_and_works_in_multi_and_scripts() {
    each_server(|server| {
        let mut conn = server.connect();
        let p = must!(conn, "EVQ.ROUTE", "k").at(0).int();
        must!(conn, "EVQ.APPEND", p, "k", 1);
        must!(conn, "MULTI").ok();
        cmd!(conn, "EVQ.APPEND", p, "k", 2);
        cmd!(conn, "EVQ.APPEND", (p + 1) % 8, "k", "nowhere");
        let replies = must!(conn, "EXEC");
        assert_eq!(replies.at(0).at(0).int(), p);
        assert_eq!(replies.at(1).err_code(), "EVQMOVED");
        let script = "return redis.call('EVQ.APPEND', ARGV[1], 'k', '3')";
        must!(conn, "EVAL", script, 0, p);
        assert_eq!(must!(conn, "XLEN", format!("evq:{{default:{p}}}")).int(), 3);
    });
}

#[test]
fn replicas_and_the_append_only_file_hold_the_same() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 4).ok();
        for (n, (key, p)) in keys(&mut chain.conn).into_iter().enumerate() {
            must!(chain.conn, "EVQ.APPEND", p, key, n, "RING", "r");
            must!(chain.conn, "EVQ.APPEND", p, key, n, "RING", "r", "UNIQUE", n);
        }
        chain.assert_same_for_good();
    });
}
