//! EVQ.SCHEDULE, EVQ.SCHEDULED and EVQ.CANCEL as commands: replies, lists, refusals.

use super::{FAR, clock_ms, payloads, schedule, until_none_waits, waiting};
use crate::harness::{Server, Value, args, cmd, each_binary, each_server, must};

#[test]
fn the_reply_is_the_partition_and_a_ticket_and_nothing_is_appended_yet() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4);
        let wanted = must!(conn, "EVQ.ROUTE", "k", "RING", "r").at(0).int();
        let before_us = clock_ms(&mut conn) * 1000;
        let reply = must!(conn, "EVQ.SCHEDULE", "k", "p", "IN", FAR, "RING", "r");
        assert_eq!(reply.at(0).int(), wanted);
        assert!(reply.at(1).int().unsigned_abs() >= before_us, "{reply:?}");
        assert_eq!(must!(conn, "EXISTS", format!("evq:{{r:{wanted}}}")).int(), 0);
        assert_eq!(waiting(&mut conn), 1);
        // The default ring is made by its first use.
        let reply = must!(conn, "EVQ.SCHEDULE", "k", "p", "IN", FAR);
        assert!(reply.at(0).int() < 8);
        assert_eq!(must!(conn, "EVQ.RINGS").array().len(), 2);
    });
}

#[test]
fn scheduled_lists_by_time_over_all_partitions() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4);
        let from_ms = clock_ms(&mut conn) + FAR;
        let mut wanted = Vec::new();
        for n in 0..40u64 {
            let (key, at_ms) = (format!("k{n}"), from_ms + n * 7 % 40);
            let kind = if n % 2 == 0 { &["TYPE", "T"][..] } else { &[] };
            let mut words = args!["EVQ.SCHEDULE", key, "p", "AT", at_ms, "RING", "r"].to_vec();
            words.extend(kind.iter().map(|word| word.as_bytes().to_vec()));
            let reply = conn.must(&words);
            wanted.push((at_ms, reply.at(1).int(), reply.at(0).int(), key, n % 2 == 0));
        }
        wanted.sort();
        let row = |row: &Value| {
            let key = row.get("key").str().to_owned();
            let typed = !row.get("type").is_null();
            let due_ms = row.get("due-ms").int().unsigned_abs();
            (due_ms, row.get("ticket").int(), row.get("partition").int(), key, typed)
        };
        let all = must!(conn, "EVQ.SCHEDULED", "*", "RING", "r");
        assert_eq!(all.array().iter().map(row).collect::<Vec<_>>(), wanted);
        let some = must!(conn, "EVQ.SCHEDULED", "*", "COUNT", 7, "RING", "r");
        assert_eq!(some.array().iter().map(row).collect::<Vec<_>>(), wanted[..7]);
        let own: Vec<_> = wanted.iter().filter(|row| row.2 == 2).cloned().collect();
        for partition in ["2", "evq:{r:2}"] {
            let ring = if partition == "2" { &["RING", "r"][..] } else { &[] };
            let list = conn.must(&[&["EVQ.SCHEDULED", partition], ring].concat());
            assert_eq!(list.array().iter().map(row).collect::<Vec<_>>(), own);
        }
        conn.hello3();
        let all = must!(conn, "EVQ.SCHEDULED", "*", "RING", "r");
        assert!(matches!(all.at(0), Value::Map(_)), "{all:?}");
        assert_eq!(all.array().iter().map(row).collect::<Vec<_>>(), wanted);
    });
}

#[test]
fn scheduled_as_json_loses_nothing() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        assert_eq!(must!(conn, "EVQ.SCHEDULED", "*", "RING", "r", "JSON"), Value::bulk("[]"));
        let at_ms = clock_ms(&mut conn) + FAR;
        for key in [&b"k"[..], b"\xff"] {
            must!(conn, "EVQ.SCHEDULE", key, "p", "AT", at_ms, "RING", "r", "TYPE", key);
        }
        let json = must!(conn, "EVQ.SCHEDULED", 0, "RING", "r", "JSON");
        let json: serde_json::Value = serde_json::from_str(json.str()).unwrap();
        assert_eq!(json[0]["key"], "k");
        assert_eq!(json[0]["due-ms"], at_ms);
        assert_eq!(json[1]["key-base64"], "/w==");
        assert_eq!(json[1]["type-base64"], "/w==");
        assert!(json[1]["ticket"].as_u64() > json[0]["ticket"].as_u64());
    });
}

#[test]
fn cancel_takes_back_what_waits_and_nothing_else() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4);
        let far = schedule(&mut conn, "k", "never", "IN", FAR);
        assert_eq!(must!(conn, "EVQ.CANCEL", far, "RING", "r").int(), 1);
        assert_eq!(must!(conn, "EVQ.CANCEL", far, "RING", "r").int(), 0, "not any more");
        let past = schedule(&mut conn, "k", "now", "AT", 1);
        until_none_waits(&mut conn);
        assert_eq!(must!(conn, "EVQ.CANCEL", past, "RING", "r").int(), 0, "it was appended");
        assert_eq!(must!(conn, "EVQ.CANCEL", 1, "RING", "r").int(), 0, "never was one");
        let p = must!(conn, "EVQ.ROUTE", "k", "RING", "r").at(0).int();
        assert_eq!(payloads(&mut conn, p as u32), ["now"]);
    });
}

#[test]
fn what_can_be_refused_is_refused_at_once() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "PAYLOAD", "json");
        must!(conn, "EVQ.CREATE", "w", 1);
        must!(conn, "SET", "evq:{w:0}", "a string");
        must!(conn, "EVQ.CREATE", "v", 1);
        must!(conn, "SET", "evq:{v:0}:later", "a string");
        let digest = conn.digest();
        let ten_years_ms = 10 * 365 * 24 * 3600 * 1000u64;
        let too_far = (clock_ms(&mut conn) + ten_years_ms + 60_000).to_string();
        for (words, code) in [
            ("k {nonsense IN 1 RING r", "EVQPAYLOAD"),
            ("k 1 IN 1 RING none", "EVQNORING"),
            ("k 1 IN 1 RING w", "WRONGTYPE"),
            ("k 1 IN 1 RING v", "WRONGTYPE"),
            ("k 1 RING r", "ERR"),
            ("k 1 IN 1 AT 1 RING r", "ERR"),
            ("k 1 AT 1 AT 1 RING r", "ERR"),
            ("k 1 IN -1 RING r", "ERR"),
            ("k 1 IN 315360000001 RING r", "ERR"),
            (&format!("k 1 AT {too_far} RING r"), "ERR"),
            ("k 1 AT 9223372036854775807 RING r", "ERR"),
        ] {
            let line = format!("EVQ.SCHEDULE {words}");
            let reply = conn.cmd(&line.split(' ').collect::<Vec<_>>());
            assert_eq!(reply.err_code(), code, "{words}");
            assert_eq!(conn.digest(), digest, "{words}");
        }
        must!(conn, "CONFIG", "SET", "maxmemory", 1);
        let over = cmd!(conn, "EVQ.SCHEDULE", "k", "1", "IN", 1, "RING", "r");
        assert_eq!(over.err_code(), "OOM");
        must!(conn, "CONFIG", "SET", "maxmemory", 0);
        // Ten years ahead is the most.
        must!(conn, "EVQ.SCHEDULE", "k", "1", "IN", ten_years_ms, "RING", "r");
    });
}

#[test]
fn it_works_in_multi_and_in_scripts() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "MULTI");
        must!(conn, "EVQ.SCHEDULE", "k", "one", "IN", FAR, "RING", "r");
        must!(conn, "EVQ.SCHEDULE", "k", "two", "AT", 1, "RING", "r");
        must!(conn, "EVQ.SCHEDULED", "*", "RING", "r");
        let replies = must!(conn, "EXEC");
        assert_eq!(replies.at(2).array().len(), 2, "nothing is appended in between");
        let ticket = replies.at(0).at(1).int();
        let script = "
            local a = redis.call('EVQ.CANCEL', ARGV[1], 'RING', 'r')
            local b = redis.call('EVQ.SCHEDULE', 'k', 'three', 'AT', 0, 'RING', 'r')
            return {a, b[2]}";
        let reply = must!(conn, "EVAL", script, 0, ticket);
        assert_eq!(reply.at(0).int(), 1);
        assert!(reply.at(1).int() > ticket);
        until_none_waits(&mut conn);
        let mut all = payloads(&mut conn, 0);
        all.sort();
        assert_eq!(all, ["three", "two"]);
    });
}

#[test]
fn dropping_a_ring_removes_what_was_scheduled_in_it() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4);
        for n in 0..20 {
            schedule(&mut conn, &format!("k{n}"), "p", "IN", FAR);
        }
        must!(conn, "EVQ.DROP", "r").ok();
        assert_eq!(must!(conn, "DBSIZE").int(), 0);
        assert_eq!(conn.info("evq", "evq_scheduled_waiting").as_deref(), Some("0"));
    });
}

#[test]
fn stats_and_info_tell_how_many_wait_and_when_the_next_is_due() {
    each_binary(|binary| {
        let mut server = Server::with(binary).config(&["appendonly yes"]).start();
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2);
        let (mut counts, at_ms) = ([0, 0], clock_ms(&mut conn) + FAR);
        for n in 0..10u64 {
            let key = format!("k{n}");
            let reply = must!(conn, "EVQ.SCHEDULE", key, "p", "AT", at_ms + n, "RING", "r");
            counts[reply.at(0).int() as usize] += 1;
        }
        let check = |conn: &mut crate::harness::Conn| {
            let stats = must!(conn, "EVQ.STATS", "r");
            let mut next = Vec::new();
            for (p, count) in counts.iter().enumerate() {
                let partition = stats.get("partitions").at(p).clone();
                assert_eq!(partition.get("scheduled").int(), *count);
                next.push(partition.get("scheduled-next-ms").int().unsigned_abs());
            }
            assert_eq!(next.iter().min(), Some(&at_ms));
            let field = |conn: &mut crate::harness::Conn, name: &str| {
                conn.info("evq", name).unwrap().parse::<u64>().unwrap()
            };
            assert_eq!(field(conn, "evq_scheduled_waiting"), 10);
            assert_eq!(field(conn, "evq_scheduled_next_ms"), at_ms);
        };
        check(&mut conn);
        must!(conn, "DEBUG", "RELOAD");
        check(&mut conn);
        server.restart();
        check(&mut server.connect());
    });
}
