//! EVQ.TRIGGER and EVQ.MTRIGGER: what they reply, what ends up in the streams, what the server
//! tells others about it, and that a refused call leaves nothing behind.
//!
//! Which partition a key belongs to is the subject of `routing`; what happens to bad arguments of
//! `hostile`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::{
    Conn, Server, Value, args, cmd, each_binary, each_server, must, wait_for_sync,
};

/// The last id a stream can have.
const LAST_ID: &str = "18446744073709551615-18446744073709551615";

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// The two parts of an event id.
fn parts(id: &Value) -> (u64, u64) {
    let (ms, seq) = id.str().split_once('-').expect("an id");
    (ms.parse().unwrap(), seq.parse().unwrap())
}

/// The stream that `key` goes to in `ring`.
fn stream_of(conn: &mut Conn, key: &[u8], ring: &str) -> String {
    must!(conn, "EVQ.ROUTE", key, "RING", ring).at(1).str().to_owned()
}

/// A key for each partition of `ring`.
fn key_per_partition(conn: &mut Conn, ring: &str, partitions: usize) -> Vec<String> {
    let mut keys = vec![String::new(); partitions];
    for n in 0.. {
        let key = format!("key:{n}");
        let p = must!(conn, "EVQ.ROUTE", key, "RING", ring).at(0).int();
        keys[usize::try_from(p).unwrap()] = key;
        if !keys.contains(&String::new()) {
            break;
        }
    }
    keys
}

/// All entries of a stream as `[id, fields]`.
fn entries(conn: &mut Conn, stream: &str) -> Vec<Value> {
    must!(conn, "XRANGE", stream, "-", "+").array().to_vec()
}

fn bulks(words: &[&[u8]]) -> Value {
    Value::Array(words.iter().map(Value::bulk).collect())
}

#[test]
fn an_event_is_an_entry_with_its_fields_in_order() {
    each_server(|server| {
        let mut conn = server.connect();
        let reply = must!(
            conn,
            "EVQ.TRIGGER",
            "thread:1",
            "{}",
            "header",
            "b",
            "2",
            "TYPE",
            "PostCreated",
            "HEADER",
            "a",
            "1",
            "ring",
            "default",
        );
        let stream = format!("evq:{{default:{}}}", reply.at(0).int());
        assert_eq!(stream, stream_of(&mut conn, b"thread:1", "default"));
        assert_eq!(reply.array().len(), 2);
        let fields: [&[u8]; 10] = [
            b"key",
            b"thread:1",
            b"payload",
            b"{}",
            b"type",
            b"PostCreated",
            b"h:b",
            b"2",
            b"h:a",
            b"1",
        ];
        let entry = Value::Array(vec![reply.at(1).clone(), bulks(&fields)]);
        assert_eq!(entries(&mut conn, &stream), [entry]);
    });
}

#[test]
fn keys_and_payloads_are_any_bytes() {
    let words: [&[u8]; 7] = [b"", b"\0", b"a\r\nb", b"\xff\xfe", b"%s%n%x", b" ", &[b'x'; 100_000]];
    each_server(|server| {
        let mut conn = server.connect();
        for key in words {
            for payload in words {
                let reply = must!(
                    conn,
                    "EVQ.TRIGGER",
                    key,
                    payload,
                    "TYPE",
                    payload,
                    "HEADER",
                    key,
                    payload
                );
                let stream = stream_of(&mut conn, key, "default");
                let last = must!(conn, "XREVRANGE", stream, "+", "-", "COUNT", 1);
                assert_eq!(last.at(0).at(0), reply.at(1));
                let name = [b"h:", key].concat();
                let fields = [b"key", key, b"payload", payload, b"type", payload, &name, payload];
                assert_eq!(*last.at(0).at(1), bulks(&fields));
            }
        }
    });
}

#[test]
fn ids_are_the_servers_clock_and_grow() {
    each_server(|server| {
        let mut conn = server.connect();
        let before = unix_ms();
        let trigger = args!["EVQ.TRIGGER", "k", "p"];
        let replies = conn.pipeline(&vec![trigger; 500]);
        let after = unix_ms();
        let ids: Vec<_> = replies.iter().map(|reply| parts(reply.at(1))).collect();
        assert!(ids.iter().all(|(ms, _)| (before..=after).contains(ms)), "{ids:?}");
        assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    });
}

#[test]
fn a_batch_is_appended_in_the_order_of_its_words() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 3);
        let mut batch = args!["EVQ.MTRIGGER", 300].to_vec();
        for n in 0..300 {
            batch.extend(args![format!("k{}", n % 7), n]);
        }
        batch.extend(args!["TYPE", "T", "RING", "r"]);
        let reply = conn.must(&batch);
        assert_eq!(reply.array().len(), 300);
        let mut seen = 0;
        for p in 0..3 {
            let told: Vec<_> = (0..300).filter(|n| reply.at(*n).at(0).int() == p).collect();
            let stored = entries(&mut conn, &format!("evq:{{r:{p}}}"));
            assert_eq!(stored.len(), told.len());
            for (n, entry) in told.iter().zip(&stored) {
                assert_eq!(entry.at(0), reply.at(*n).at(1));
                let (key, payload) = (format!("k{}", n % 7), n.to_string());
                let fields: [&[u8]; 6] =
                    [b"key", key.as_bytes(), b"payload", payload.as_bytes(), b"type", b"T"];
                assert_eq!(*entry.at(1), bulks(&fields));
            }
            seen += told.len();
        }
        assert_eq!(seen, 300);
    });
}

#[test]
fn a_batch_that_meets_a_foreign_key_leaves_nothing() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        must!(conn, "EVQ.CREATE", "r", 3);
        let keys = key_per_partition(&mut conn, "r", 3);
        must!(conn, "EVQ.TRIGGER", keys[0], "before", "RING", "r");
        must!(conn, "SET", "evq:{r:2}", "a string");
        let digest = conn.digest();
        let reply = cmd!(conn, "EVQ.MTRIGGER", 3, keys[0], 1, keys[1], 2, keys[2], 3, "RING", "r");
        assert_eq!(reply.err_code(), "WRONGTYPE");
        assert_eq!(conn.digest(), digest);
        assert_eq!(cmd!(conn, "EVQ.TRIGGER", keys[2], 3, "RING", "r").err_code(), "WRONGTYPE");

        // The delivery state is asked only where a stream is made anew.
        must!(conn, "DEL", "evq:{r:2}");
        must!(conn, "SET", "evq:{r:2}:groups", "a string");
        let digest = conn.digest();
        let reply = cmd!(conn, "EVQ.MTRIGGER", 3, keys[0], 1, keys[1], 2, keys[2], 3, "RING", "r");
        assert_eq!(reply.err_code(), "WRONGTYPE");
        assert_eq!(conn.digest(), digest);
        wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), digest);
    });
}

#[test]
fn a_refused_first_event_does_not_make_the_default_ring() {
    each_server(|server| {
        let mut conn = server.connect();
        for p in 0..8 {
            must!(conn, "SET", format!("evq:{{default:{p}}}:groups"), "a string");
        }
        let digest = conn.digest();
        assert_eq!(cmd!(conn, "EVQ.TRIGGER", "k", "p").err_code(), "WRONGTYPE");
        assert_eq!(cmd!(conn, "EVQ.MTRIGGER", 1, "k", "p").err_code(), "WRONGTYPE");
        assert_eq!(conn.digest(), digest);
    });
}

#[test]
fn a_batch_that_meets_an_exhausted_stream_leaves_nothing() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        must!(conn, "EVQ.CREATE", "r", 3);
        let keys = key_per_partition(&mut conn, "r", 3);
        must!(conn, "EVQ.TRIGGER", keys[0], "before", "RING", "r");
        must!(conn, "XADD", "evq:{r:2}", LAST_ID, "key", keys[2]);
        let digest = conn.digest();
        // Partition 0 has a stream, partition 1 has none yet.
        let batch =
            args!["EVQ.MTRIGGER", 4, keys[0], 1, keys[1], 2, keys[0], 3, keys[2], 4, "RING", "r"];
        let reply = conn.cmd(&batch);
        assert_eq!(reply.err_code(), "ERR");
        assert!(reply.err().contains("last possible id"), "{reply:?}");
        assert_eq!(conn.digest(), digest);
        assert_eq!(must!(conn, "EXISTS", "evq:{r:1}").int(), 0);
        assert_eq!(must!(conn, "XLEN", "evq:{r:0}").int(), 1);
        wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), digest);

        assert_eq!(cmd!(conn, "EVQ.TRIGGER", keys[2], 4, "RING", "r").err_code(), "ERR");
        assert_eq!(conn.digest(), digest);
        // In a transaction the other commands still count.
        must!(conn, "MULTI");
        must!(conn, "SET", "mine", 1);
        conn.must(&batch);
        must!(conn, "EVQ.TRIGGER", keys[1], "after", "RING", "r");
        let replies = must!(conn, "EXEC");
        assert!(replies.at(1).is_error() && !replies.at(2).is_error(), "{replies:?}");
        assert_eq!(must!(conn, "XLEN", "evq:{r:1}").int(), 1);
        wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), conn.digest());
    });
}

#[test]
fn a_transaction_triggers_with_its_own_writes_or_not_at_all() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "MULTI");
        must!(conn, "SET", "thread:1", "text");
        must!(conn, "EVQ.TRIGGER", "thread:1", "a");
        must!(conn, "EVQ.MTRIGGER", 2, "thread:1", "b", "thread:1", "c");
        let mut other = server.connect();
        assert_eq!(must!(other, "DBSIZE").int(), 0);
        let replies = must!(conn, "EXEC");
        assert_eq!(replies.at(1).array().len(), 2);
        assert_eq!(replies.at(2).array().len(), 2);
        let stream = stream_of(&mut conn, b"thread:1", "default");
        assert_eq!(must!(conn, "XLEN", stream).int(), 3);

        must!(conn, "WATCH", "thread:1");
        must!(other, "SET", "thread:1", "other");
        must!(conn, "MULTI");
        must!(conn, "EVQ.TRIGGER", "thread:1", "d");
        assert!(must!(conn, "EXEC").is_null());
        must!(conn, "MULTI");
        must!(conn, "EVQ.TRIGGER", "thread:1", "e");
        must!(conn, "DISCARD");
        assert_eq!(must!(conn, "XLEN", stream).int(), 3);
    });
}

#[test]
fn scripts_and_functions_trigger() {
    const LIBRARY: &str = "#!lua name=evqtest
        redis.register_function('post', function(keys, args)
            return redis.call('EVQ.TRIGGER', args[1], args[2])
        end)";
    each_server(|server| {
        let mut conn = server.connect();
        let eval = "return redis.call('EVQ.TRIGGER', ARGV[1], ARGV[2], 'TYPE', 'T')";
        let one = must!(conn, "EVAL", eval, 0, "k\0", "\0");
        must!(conn, "FUNCTION", "LOAD", LIBRARY);
        let two = must!(conn, "FCALL", "post", 0, "k\0", "b");
        let both = "return redis.call('EVQ.MTRIGGER', 2, 'k\\0', 'c', 'k\\0', 'd')";
        let more = must!(conn, "EVAL", both, 0);
        let stream = stream_of(&mut conn, b"k\0", "default");
        let ids: Vec<_> = entries(&mut conn, &stream).iter().map(|e| e.at(0).clone()).collect();
        let told = [one.at(1), two.at(1), more.at(0).at(1), more.at(1).at(1)].map(Clone::clone);
        assert_eq!(ids, told);
        // A refusal in a script is the script's to handle.
        let caught = "return redis.pcall('EVQ.TRIGGER', 'k', 'p', 'NOPE').err";
        assert!(must!(conn, "EVAL", caught, 0).str().starts_with("ERR syntax error near 'NOPE'"));
        assert!(cmd!(conn, "EVAL_RO", eval, 0, "k", "p").is_error());
    });
}

/// The keyspace events that `act` causes, as (event, key).
fn events(server: &Server, act: impl FnOnce(&mut Conn)) -> Vec<(String, String)> {
    let mut listener = server.connect();
    must!(listener, "PSUBSCRIBE", "__keyevent@0__:*");
    let mut conn = server.connect();
    act(&mut conn);
    must!(conn, "SET", "the end", 1);
    let mut seen = Vec::new();
    loop {
        let message = listener.read();
        let event = message.at(2).str().trim_start_matches("__keyevent@0__:").to_owned();
        let key = message.at(3).str().to_owned();
        if key == "the end" {
            return seen;
        }
        seen.push((event, key));
    }
}

#[test]
fn an_event_is_published_as_xadd_publishes_it() {
    each_binary(|binary| {
        // All classes, and `n` for keys that come into being.
        let server = Server::with(binary).config(&["notify-keyspace-events KEAn"]).start();
        must!(server.connect(), "EVQ.CREATE", "r", 1);
        let pair = |event: &str| (event.to_owned(), "evq:{r:0}".to_owned());
        let by_hand = events(&server, |conn| {
            must!(conn, "XADD", "evq:{r:0}", "1-1", "key", "k", "payload", "p");
            must!(conn, "XADD", "evq:{r:0}", "2-1", "key", "k", "payload", "p");
        });
        assert_eq!(by_hand, [pair("new"), pair("xadd"), pair("xadd")]);
        must!(server.connect(), "DEL", "evq:{r:0}");
        let triggered = events(&server, |conn| {
            must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r");
            must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r");
        });
        assert_eq!(triggered, by_hand);
        must!(server.connect(), "DEL", "evq:{r:0}");
        let batch = events(&server, |conn| {
            must!(conn, "EVQ.MTRIGGER", 2, "k", "p", "k", "p", "RING", "r");
        });
        assert_eq!(batch, by_hand);
    });
}

#[test]
fn a_watched_or_tracked_stream_is_changed_by_an_event() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "WATCH", "evq:{r:0}");
        must!(server.connect(), "EVQ.TRIGGER", "k", "p", "RING", "r");
        must!(conn, "MULTI");
        must!(conn, "PING");
        assert!(must!(conn, "EXEC").is_null());

        conn.hello3();
        must!(conn, "CLIENT", "TRACKING", "ON");
        must!(conn, "XLEN", "evq:{r:0}");
        must!(server.connect(), "EVQ.TRIGGER", "k", "p", "RING", "r");
        crate::harness::until(Duration::from_secs(10), || {
            must!(conn, "PING");
            conn.pushes.len() == 1
        });
    });
}

#[test]
fn events_added_by_hand_are_events() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let one = must!(conn, "EVQ.TRIGGER", "k", "one", "RING", "r").at(1).clone();
        let two = must!(conn, "XADD", "evq:{r:0}", "*", "key", "k", "payload", "two");
        // No key, other fields, and a clock that is years ahead: still in order.
        let three = must!(conn, "XADD", "evq:{r:0}", "9999999999999-5", "other", "fields");
        let four = must!(conn, "EVQ.TRIGGER", "k", "four", "RING", "r").at(1).clone();
        assert_eq!(four.str(), "9999999999999-6");
        let reply = must!(conn, "EVQ.CONSUME", 0, "RING", "r", "COUNT", 10, "NOBLOCK");
        let given: Vec<_> = reply.at(2).array().iter().map(|e| e.at(0).clone()).collect();
        assert_eq!(given, [one, two, three, four]);
        assert_eq!(*reply.at(2).at(2).at(1), bulks(&[b"other", b"fields"]));
    });
}
