//! What a token does, and what it does not.

use super::{events, many, ms_of, trigger, until_new};
use crate::harness::{Conn, Server, Value, cmd, each_binary, each_server, must};

#[track_caller]
fn repeated(conn: &mut Conn) -> u64 {
    conn.info("evq", "evq_repeated").expect("the field").parse().expect("a number")
}

#[test]
fn a_repeated_event_is_not_appended_and_gets_the_reply_of_the_first() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4);
        let first = trigger(&mut conn, "k", "one", "t");
        let digest = conn.digest();
        // By another connection, with other parts in another order: the first event wins.
        let mut other = server.connect();
        for _ in 0..3 {
            let words = ["two", "UNIQUE", "t", "TYPE", "T", "HEADER", "h", "v", "RING", "r"];
            let all = ["EVQ.TRIGGER", "k"].into_iter().chain(words).collect::<Vec<_>>();
            assert_eq!(other.must(&all), first);
        }
        assert_eq!(conn.digest(), digest, "nothing has changed");
        assert_eq!((events(&mut conn), repeated(&mut conn)), (1, 3));
        let stream = format!("evq:{{r:{}}}", first.at(0).int());
        let entry = must!(conn, "XRANGE", stream, "-", "+");
        assert_eq!(entry.at(0).at(1).at(3), &Value::bulk("one"));
    });
}

#[test]
fn a_token_counts_for_its_key_and_its_ring_only() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "EVQ.CREATE", "s", 1);
        let mut seen = Vec::new();
        let texts: [&[u8]; 6] = [b"", b"a", b"ab", b"\0", b"\r\n", b"\xff"];
        for ring in ["r", "s"] {
            for key in texts {
                for token in [&b"t"[..], b"bt", b"\0", b"\xff\r\n", &[b'x'; 128]] {
                    let call = || ["EVQ.TRIGGER".as_bytes(), key, b"p", b"RING"];
                    let rest = [ring.as_bytes(), b"UNIQUE", token];
                    let words = [&call()[..], &rest[..]].concat();
                    let reply = conn.must(&words);
                    assert!(!seen.contains(&(ring, reply.clone())), "{key:?} {token:?}");
                    assert_eq!(conn.must(&words), reply);
                    seen.push((ring, reply));
                }
            }
        }
    });
}

#[test]
fn a_token_older_than_the_window_counts_for_nothing() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "UNIQUEFOR", 60);
        let first = trigger(&mut conn, "k", "p", "t");
        let second = until_new(&mut conn, "k", "t", &first);
        // By the server's clock; an id is of the moment at which the server began to read.
        assert!(ms_of(&second) + 1 >= ms_of(&first) + 60, "{first:?} {second:?}");
        assert_eq!(must!(conn, "XLEN", "evq:{r:0}").int(), 2);
    });
}

#[test]
fn the_window_is_the_rings_or_the_servers() {
    each_binary(|binary| {
        let server = Server::with(binary).args("unique-ms 70").start();
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "EVQ.CREATE", "long", 1, "UNIQUEFOR", 3_600_000);
        assert_eq!(must!(conn, "EVQ.RING", "r").get("unique-for-ms").int(), 70);
        assert_eq!(must!(conn, "EVQ.RING", "long").get("unique-for-ms").int(), 3_600_000);
        let long = must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "long", "UNIQUE", "t");
        let first = trigger(&mut conn, "k", "p", "t");
        let second = until_new(&mut conn, "k", "t", &first);
        assert!(ms_of(&second) + 1 >= ms_of(&first) + 70);
        // What the setting is now holds for what is remembered.
        must!(conn, "CONFIG", "SET", "evq.unique-ms", 3_600_000);
        let third = until_new(&mut conn, "k", "another", &second);
        assert_eq!(trigger(&mut conn, "k", "p", "another"), third);
        let again = must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "long", "UNIQUE", "t");
        assert_eq!(again, long);
        must!(conn, "EVQ.CREATE", "long", 1, "UNIQUEFOR", 3_600_000);
        for other in ["EVQ.CREATE long 1", "EVQ.CREATE long 1 UNIQUEFOR 3600001"] {
            let words: Vec<_> = other.split(' ').collect();
            assert_eq!(conn.cmd(&words).err_code(), "EVQRINGEXISTS", "{other}");
        }
    });
}

#[test]
fn a_repeated_event_gets_its_reply_also_where_a_new_one_is_refused() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "MAXDEPTH", 1);
        must!(conn, "EVQ.GROUP", "g", "RING", "r", "FROM", "first");
        let first = trigger(&mut conn, "k", "p", "t");
        let digest = conn.digest();
        let full = cmd!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r", "UNIQUE", "u");
        assert_eq!(full.err_code(), "EVQFULL");
        assert_eq!(trigger(&mut conn, "k", "p", "t"), first);
        assert_eq!(conn.digest(), digest);
        // What was refused was not remembered.
        must!(conn, "EVQ.CONSUME", 0, "RING", "r", "GROUP", "g", "WORKER", "w");
        must!(conn, "EVQ.ACK", 0, first.at(1).str(), "RING", "r", "GROUP", "g", "WORKER", "w");
        assert_ne!(trigger(&mut conn, "k", "p", "u"), first);
    });
}

#[test]
fn the_reply_stays_when_the_event_has_gone() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let first = trigger(&mut conn, "k", "p", "t");
        for gone in ["XTRIM evq:{r:0} MAXLEN 0", "DEL evq:{r:0}", "DEL evq:{r:0}:groups"] {
            conn.must(&gone.split(' ').collect::<Vec<_>>());
            assert_eq!(trigger(&mut conn, "k", "p", "t"), first, "{gone}");
        }
    });
}

#[test]
fn a_key_of_another_type_is_wrongtype_and_nothing_is_written() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "SET", "evq:{r:0}:unique", "a string");
        let digest = conn.digest();
        for words in [
            "EVQ.TRIGGER k p RING r UNIQUE t",
            "EVQ.MTRIGGER 1 k p RING r UNIQUES 1 t",
            "EVQ.DROP r",
        ] {
            let words: Vec<_> = words.split(' ').collect();
            assert_eq!(conn.cmd(&words).err_code(), "WRONGTYPE", "{words:?}");
        }
        assert_eq!(conn.digest(), digest);
        must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r");
    });
}

#[test]
fn a_token_has_1_to_128_bytes() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let digest = conn.digest();
        for (token, code) in [("", "ERR"), (&*"x".repeat(129), "EVQLIMIT")] {
            let one = cmd!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r", "UNIQUE", token);
            assert_eq!(one.err_code(), code);
        }
        let long = "x".repeat(129);
        let many = cmd!(conn, "EVQ.MTRIGGER", 1, "k", "p", "RING", "r", "UNIQUES", 1, long);
        assert_eq!(many.err_code(), "EVQLIMIT");
        assert_eq!(conn.digest(), digest);
        let longest = "x".repeat(128);
        let first = trigger(&mut conn, "k", "p", &longest);
        assert_eq!(trigger(&mut conn, "k", "p", &longest), first);
    });
}

#[test]
fn tokens_work_in_multi_and_in_scripts() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2);
        must!(conn, "MULTI");
        let call = ["EVQ.TRIGGER", "k", "p", "RING", "r", "UNIQUE", "t"];
        conn.must(&call);
        conn.must(&call);
        let replies = must!(conn, "EXEC");
        assert_eq!(replies.at(0), replies.at(1));
        let script = "return redis.call('EVQ.TRIGGER', 'k', 'p', 'RING', 'r', 'UNIQUE', ARGV[1])";
        let same = must!(conn, "EVAL", script, 0, "t");
        assert_eq!(same, *replies.at(0));
        let other = must!(conn, "EVAL", script, 0, "u");
        assert_eq!(must!(conn, "EVAL", script, 0, "u"), other);
        assert_eq!(trigger(&mut conn, "k", "p", "u"), other);
        assert_eq!(events(&mut conn), 2);
    });
}

#[test]
fn what_was_refused_is_not_remembered() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "PAYLOAD", "json");
        let digest = conn.digest();
        let bad = cmd!(conn, "EVQ.TRIGGER", "k", "{", "RING", "r", "UNIQUE", "t");
        assert_eq!(bad.err_code(), "EVQPAYLOAD");
        assert_eq!(conn.digest(), digest);
        // The last possible id is used up: the tokens that were about to begin do not.
        let last = "18446744073709551615-18446744073709551615";
        must!(conn, "XADD", "evq:{r:0}", last, "key", "k");
        let digest = conn.digest();
        let end = cmd!(conn, "EVQ.TRIGGER", "k", "{}", "RING", "r", "UNIQUE", "t");
        assert_eq!(end.err_code(), "ERR");
        let end = cmd!(conn, "EVQ.MTRIGGER", 1, "k", "{}", "RING", "r", "UNIQUES", 1, "t");
        assert_eq!(end.err_code(), "ERR");
        assert_eq!(conn.digest(), digest);
    });
}

#[test]
fn dropping_the_ring_drops_its_tokens() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 3);
        many(&mut conn, 0, 20);
        assert_eq!(events(&mut conn), 20);
        must!(conn, "EVQ.DROP", "r");
        assert_eq!(must!(conn, "DBSIZE").int(), 0);
        must!(conn, "EVQ.CREATE", "r", 3);
        // Ids tell nothing: an event of the same millisecond has that of before.
        many(&mut conn, 0, 20);
        assert_eq!(events(&mut conn), 20);
    });
}
