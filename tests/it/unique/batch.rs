//! Tokens in EVQ.MTRIGGER: each event by itself.

use super::{events, many, trigger};
use crate::harness::{Server, Value, args, each_binary, each_server, must};

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

#[test]
fn a_batch_that_is_sent_twice_gets_the_same_reply_twice() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4);
        let batch = "EVQ.MTRIGGER 4 a 1 b 2 c 3 a 4 RING r UNIQUES 4 t1 t2 t3 t4";
        let first = conn.must(&words(batch));
        let digest = conn.digest();
        assert_eq!(conn.must(&words(batch)), first);
        assert_eq!((conn.digest(), events(&mut conn)), (digest, 4));
    });
}

#[test]
fn new_events_of_a_batch_are_appended_and_repeated_ones_are_not() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4);
        let before = trigger(&mut conn, "b", "old", "t2");
        let reply =
            conn.must(&words("EVQ.MTRIGGER 4 a 1 b 2 c 3 d 4 TYPE T RING r UNIQUES 4 t1 t2 t2 t4"));
        assert_eq!((reply.at(1), events(&mut conn)), (&before, 4));
        for (n, key, token) in [(0, "a", "t1"), (2, "c", "t2"), (3, "d", "t4")] {
            assert_eq!(trigger(&mut conn, key, "p", token), *reply.at(n));
        }
    });
}

#[test]
fn the_same_key_and_token_twice_in_a_batch_is_one_event() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4);
        let batch = "EVQ.MTRIGGER 5 k 1 k 2 other 3 k 4 k 5 RING r UNIQUES 5 t t t u t";
        let reply = conn.must(&words(batch));
        for n in [1, 4] {
            assert_eq!(reply.at(n), reply.at(0));
        }
        assert_eq!(events(&mut conn), 3);
        let stream = must!(conn, "EVQ.ROUTE", "k", "RING", "r").at(1).str().to_owned();
        let entries = must!(conn, "XRANGE", stream, "-", "+");
        assert_eq!(entries.at(0).at(1).at(3), &Value::bulk("1"), "the first one wins");
    });
}

#[test]
fn an_empty_token_is_none() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let batch = args![
            "EVQ.MTRIGGER",
            3,
            "k",
            1,
            "k",
            2,
            "k",
            3,
            "RING",
            "r",
            "UNIQUES",
            3,
            "",
            "t",
            ""
        ];
        let first = conn.must(&batch);
        let second = conn.must(&batch);
        assert_eq!((first.at(1), events(&mut conn)), (second.at(1), 5));
        assert_ne!(first.at(0), second.at(0));
    });
}

#[test]
fn tokens_are_judged_before_the_depth_limit_which_counts_new_events_only() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "MAXDEPTH", 3);
        must!(conn, "EVQ.GROUP", "g", "RING", "r", "FROM", "first");
        let two = "EVQ.MTRIGGER 2 a 1 b 2 RING r UNIQUES 2 t1 t2";
        let first = conn.must(&words(two));
        let more = "EVQ.MTRIGGER 4 a 1 b 2 c 3 c 3 RING r UNIQUES 4 t1 t2 t3 t3";
        let full = conn.must(&words(more));
        assert_eq!((full.at(0), full.at(1)), (first.at(0), first.at(1)));
        // At the limit: the same again, but not one more.
        let digest = conn.digest();
        assert_eq!(conn.must(&words(more)), full);
        assert_eq!(conn.must(&words(two)), first);
        let over = "EVQ.MTRIGGER 2 a 1 d 4 RING r UNIQUES 2 t1 t4";
        assert_eq!(conn.cmd(&words(over)).err_code(), "EVQFULL");
        assert_eq!(conn.digest(), digest, "all or nothing");
    });
}

/// A million tokens in a partition.
#[test]
fn at_a_million_tokens_only_new_ones_are_refused() {
    each_binary(|binary| {
        let server = Server::with(binary).start();
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "UNIQUEFOR", 3_600_000);
        let first = trigger(&mut conn, "k", "p", "t");
        many(&mut conn, 1, 999_999);
        let batch = "EVQ.MTRIGGER 2 k p k p RING r UNIQUES 2 t u";
        let length = must!(conn, "XLEN", "evq:{r:0}").int();
        assert_eq!(length, 1_000_000);
        for over in ["EVQ.TRIGGER k p RING r UNIQUE u", batch] {
            assert_eq!(conn.cmd(&words(over)).err_code(), "EVQLIMIT", "{over}");
        }
        assert_eq!(trigger(&mut conn, "k", "p", "t"), first);
        let same = conn.must(&words("EVQ.MTRIGGER 2 k p k p RING r UNIQUES 2 t t"));
        assert_eq!((same.at(0), same.at(1)), (&first, &first));
        assert_eq!(must!(conn, "XLEN", "evq:{r:0}").int(), length);
        // Without a token there is no limit.
        must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r");
        // At the bound it is saved and loaded like any other, and each takes at most 64 bytes. The
        // events themselves would only take time.
        must!(conn, "XTRIM", "evq:{r:0}", "MAXLEN", 0);
        let told = must!(conn, "MEMORY", "USAGE", "evq:{r:0}:unique").int();
        assert!((48_000_000..=64_000_000).contains(&told), "{told}");
        let digest = conn.digest();
        must!(conn, "DEBUG", "RELOAD");
        assert_eq!(conn.digest(), digest);
        assert_eq!(trigger(&mut conn, "k", "p", "t"), first);
        let dump = must!(conn, "DUMP", "evq:{r:0}:unique");
        must!(conn, "RESTORE", "evq:{r:0}:unique", 0, dump.bytes(), "REPLACE");
        assert_eq!(conn.digest(), digest);
    });
}
