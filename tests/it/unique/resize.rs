//! Tokens and EVQ.RESIZE: a key that moved is still known where it lived, for as long as its tokens
//! count; then what was kept for that goes.

use super::{events, trigger};
use crate::harness::{Conn, PATIENCE, Server, Value, args, each_binary, each_server, must, until};
use crate::later::{clock_ms, waiting};
use crate::restore::{signed, taken_apart};

const KEYS: usize = 40;

fn fill(conn: &mut Conn, token: &str) -> Vec<Value> {
    (0..KEYS).map(|n| trigger(conn, &format!("k{n}"), "p", token)).collect()
}

#[track_caller]
fn assert_known(conn: &mut Conn, token: &str, replies: &[Value]) {
    let before = events(conn);
    assert_eq!(fill(conn, token), replies, "{token}");
    assert_eq!(events(conn), before);
}

/// The ring's generations that are remembered, and its leaving partitions.
fn remembered(conn: &mut Conn) -> (i64, usize) {
    let ring = must!(conn, "EVQ.RING", "r");
    let resizing = ring.get("resizing");
    let generations = if resizing.is_null() { 0 } else { resizing.get("generations").int() };
    let partitions = ring.get("partitions").array();
    let leaving = partitions.iter().filter(|p| p.get("state").str() == "leaving").count();
    (generations, leaving)
}

/// Two more looks after the ring, which has one partition: each would have removed what it may.
fn look_twice(conn: &mut Conn) {
    for _ in 0..2 {
        must!(conn, "EVQ.RESIZE", "r", 1);
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
}

#[test]
fn a_key_that_moved_is_known_wherever_it_lived() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2);
        let mut all = vec![fill(&mut conn, "t0")];
        for (n, partitions) in [5, 3, 8, 1, 2].into_iter().enumerate() {
            must!(conn, "EVQ.RESIZE", "r", partitions);
            for (old, replies) in all.iter().enumerate() {
                assert_known(&mut conn, &format!("t{old}"), replies);
            }
            all.push(fill(&mut conn, &format!("t{}", n + 1)));
        }
        must!(conn, "DEBUG", "RELOAD");
        for (old, replies) in all.iter().enumerate() {
            assert_known(&mut conn, &format!("t{old}"), replies);
        }
    });
}

/// With MAXAGE far below the window the events go at once, and yet the generations stay.
#[test]
fn generations_and_leaving_partitions_stay_as_long_as_their_tokens_count() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4, "MAXAGE", 1, "UNIQUEFOR", 3_600_000);
        let replies = fill(&mut conn, "t");
        must!(conn, "EVQ.RESIZE", "r", 1);
        until(PATIENCE, || events(&mut conn) == 0);
        look_twice(&mut conn);
        assert_eq!(remembered(&mut conn), (1, 3));
        assert_known(&mut conn, "t", &replies);
        must!(conn, "DEBUG", "RELOAD");
        assert_known(&mut conn, "t", &replies);
    });
}

/// The words that restore the one token of a partition as if it had come so many ms later, by a
/// clock that was ahead.
fn ahead(conn: &mut Conn, key: &str, by_ms: u64) -> Vec<Vec<u8>> {
    must!(conn, "CONFIG", "SET", "rdbcompression", "no");
    let now_ms = clock_ms(conn);
    let (mut value, version) = taken_apart(must!(conn, "DUMP", key).bytes());
    // An event's id, which the sequence 0 follows, is of about that moment, too.
    let about = now_ms - 60_000..now_ms + 60_000;
    let moments: Vec<_> = (0..value.len() - 8)
        .map(|at| (at, u64::from_le_bytes(value[at..at + 8].try_into().unwrap())))
        .filter(|(at, ms)| about.contains(ms) && !value[at + 8..].starts_with(&[0; 8]))
        .collect();
    assert_eq!(moments.len(), 2, "the token's and the clock's");
    for (at, ms) in moments {
        value[at..at + 8].copy_from_slice(&(ms + by_ms).to_le_bytes());
    }
    args!["RESTORE", key, 0, signed(&value, &version), "REPLACE"].into()
}

#[test]
fn the_only_token_of_a_partition_is_known_after_the_clock_went_back() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "UNIQUEFOR", 3_600_000);
        let first = trigger(&mut conn, "k", "p", "t");
        let key = "evq:{r:0}:unique";
        let restore = ahead(&mut conn, key, 500_000);
        let restored = Value::Bulk(restore[3].clone());
        conn.must(&restore).ok();
        // The sweep tells the tokens.
        until(PATIENCE, || must!(conn, "DUMP", key) != restored);
        assert_eq!(trigger(&mut conn, "k", "p", "t"), first);
    });
}

/// As if the clock went back between the two: the token seems to have come after the resize.
fn token_of_before_the_clock_went_back(tokens: &str, words: &[&str]) {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2, "MAXAGE", 1, "UNIQUEFOR", 3_600_000);
        let mut partition =
            |n: usize| must!(conn, "EVQ.ROUTE", format!("k{n}"), "RING", "r").at(0).int();
        let leaves = (0..KEYS).find(|n| partition(*n) == 1).expect("a key of partition 1");
        let key = format!("k{leaves}");
        let call = [&[words[0], &key, "p", "RING", "r", "UNIQUE", "t"], &words[1..]].concat();
        let first = conn.must(&call);
        until(PATIENCE, || waiting(&mut conn) == 0);
        let restore = ahead(&mut conn, tokens, 500_000);
        must!(conn, "MULTI").ok();
        conn.must(&restore);
        must!(conn, "EVQ.RESIZE", "r", 1);
        // The sweep comes in a later millisecond.
        must!(conn, "DEBUG", "SLEEP", "0.01");
        assert_eq!(must!(conn, "EXEC").array().len(), 3);
        until(PATIENCE, || events(&mut conn) == 0);
        look_twice(&mut conn);
        assert_eq!(remembered(&mut conn), (1, 1));
        assert_eq!(conn.must(&call), first);
    });
}

#[test]
fn a_token_that_came_before_a_clock_went_back_is_known_after_a_resize() {
    token_of_before_the_clock_went_back("evq:{r:1}:unique", &["EVQ.TRIGGER"]);
}

#[test]
fn so_is_that_of_a_scheduled_event_that_was_appended() {
    token_of_before_the_clock_went_back("evq:{r:1}:later", &["EVQ.SCHEDULE", "IN", "0"]);
}

#[test]
fn generations_and_leaving_partitions_go_when_their_tokens_are_too_old() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        must!(conn, "EVQ.CREATE", "r", 4, "MAXAGE", 1);
        fill(&mut conn, "t");
        must!(conn, "EVQ.RESIZE", "r", 1);
        until(PATIENCE, || events(&mut conn) == 0);
        must!(conn, "CONFIG", "SET", "evq.unique-ms", 1);
        until(PATIENCE, || remembered(&mut conn) == (0, 0));
        until(PATIENCE, || must!(conn, "KEYS", "*:unique").array().is_empty());
        crate::harness::wait_for_sync(&primary, &replica);
        assert_eq!(primary.digest(), replica.digest());
    });
}

#[test]
fn resizes_that_are_remembered_for_their_tokens_are_bounded() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "MAXAGE", 1, "UNIQUEFOR", 3_600_000);
        let first = fill(&mut conn, "t");
        for n in 0..16 {
            must!(conn, "EVQ.RESIZE", "r", 2 + n % 2);
        }
        until(PATIENCE, || events(&mut conn) == 0);
        let one_more = conn.cmd(&["EVQ.RESIZE", "r", "4"]);
        assert_eq!(one_more.err_code(), "EVQLIMIT");
        assert_known(&mut conn, "t", &first);
        must!(conn, "EVQ.DROP", "r");
        assert_eq!(must!(conn, "DBSIZE").int(), 0);
    });
}
