//! What happens when the time has come: on time and never early, in the order of the times, as an
//! ordinary event, on the primary only.

use super::{FAR, clock_ms, durable, payloads, schedule, times, until_none_waits, waiting};
use crate::harness::{
    PATIENCE, Server, args, cmd, each_binary, each_server, must, until, wait_for_sync,
};
use crate::pull::{IN_TIME, Pull};

#[test]
fn an_event_is_appended_whole_when_its_time_has_come_and_not_before() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let mut words = args!["EVQ.SCHEDULE", "k", b"\xff\0p", "IN", 50, "TYPE", "T"].to_vec();
        words.extend(args!["HEADER", "a", "1", "HEADER", "b", b"\0", "RING", "r"]);
        let before_ms = clock_ms(&mut conn);
        conn.must(&words);
        until_none_waits(&mut conn);
        let entries = must!(conn, "XRANGE", "evq:{r:0}", "-", "+");
        let fields: Vec<_> = entries.at(0).at(1).array().iter().map(|f| f.bytes()).collect();
        let wanted: [&[u8]; 10] =
            [b"key", b"k", b"payload", b"\xff\0p", b"type", b"T", b"h:a", b"1", b"h:b", b"\0"];
        assert_eq!(fields, wanted);
        assert!(times(&mut conn, 0)[0] >= before_ms + 50);
    });
}

/// The ids are the server's clock, so they tell whether any was early.
#[test]
fn none_is_early_by_the_servers_clock() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let from_ms = clock_ms(&mut conn);
        let all: Vec<_> = (0..500u64)
            .map(|n| {
                let at_ms = from_ms + n * 37 % 500;
                args!["EVQ.SCHEDULE", "k", at_ms, "AT", at_ms, "RING", "r"]
            })
            .collect();
        conn.pipeline(&all);
        until_none_waits(&mut conn);
        let due: Vec<u64> = payloads(&mut conn, 0).iter().map(|p| p.parse().unwrap()).collect();
        assert_eq!(due.len(), 500);
        for (due_ms, at_ms) in due.iter().zip(times(&mut conn, 0)) {
            assert!(at_ms >= *due_ms, "due at {due_ms}, appended at {at_ms}");
        }
    });
}

/// Judged by the ids of what is appended while the machine goes on: of many tries, one is enough.
#[test]
fn an_event_comes_within_20_ms_of_its_time() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        until(PATIENCE, || {
            let at_ms = clock_ms(&mut conn) + 120;
            schedule(&mut conn, "k", "p", "AT", at_ms);
            std::thread::sleep(std::time::Duration::from_millis(150));
            until_none_waits(&mut conn);
            let late_ms = times(&mut conn, 0).last().unwrap() - at_ms;
            late_ms <= 20
        });
    });
}

#[test]
fn events_of_a_ring_come_in_the_order_of_their_times_and_then_tickets() {
    each_binary(|binary| {
        let mut server = durable(binary);
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4);
        // All are overdue at once when the server comes back.
        let (at_ms, mut wanted) = (clock_ms(&mut conn) + 3000, Vec::new());
        for n in 0..400u64 {
            let due_ms = at_ms + n * 7 % 10;
            let (key, payload) = (format!("k{n}"), n.to_string());
            let reply = must!(conn, "EVQ.SCHEDULE", key, payload, "AT", due_ms, "RING", "r");
            wanted.push((due_ms, reply.at(1).int(), payload));
        }
        assert_eq!(waiting(&mut conn), 400, "a machine that stood still for so long says nothing");
        wanted.sort();
        server.kill9();
        while std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()
            < u128::from(at_ms + 20)
        {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let file = server.dir().join("appendonlydir");
        let grown = |file: &std::path::Path| {
            let names = std::fs::read_dir(file).unwrap().map(|entry| entry.unwrap().path());
            let log = names.filter(|path| path.to_str().unwrap().contains("incr")).max();
            std::fs::read(log.unwrap()).unwrap()
        };
        let before = grown(&file).len();
        server.restart();
        until_none_waits(&mut server.connect());
        // The file tells the order over all partitions.
        let text = String::from_utf8_lossy(&grown(&file)[before..]).into_owned();
        let marks: Vec<&str> = text.split("payload\r\n").skip(1).collect();
        let order = marks.iter().map(|mark| mark.lines().nth(1).unwrap().to_owned());
        let wanted: Vec<_> = wanted.into_iter().map(|(.., payload)| payload).collect();
        assert_eq!(order.collect::<Vec<_>>(), wanted);
    });
}

#[test]
fn it_wakes_a_waiting_worker_and_is_an_event_like_any_other() {
    each_server(|server| {
        let (mut conn, mut worker) = (server.connect(), server.connect());
        must!(conn, "EVQ.CREATE", "r", 1);
        for wait in [&["0", "WORKER", "w"][..], &["*", "WORKER", "v", "GROUP", "g"]] {
            worker.send(&[&["EVQ.CONSUME"], wait, &["RING", "r", "BLOCK", "0"]].concat());
            until(PATIENCE, || {
                ["evq_owners_waiting", "evq_any_partition_waiting"]
                    .iter()
                    .any(|field| conn.info("evq", field).is_some_and(|value| value != "0"))
            });
            let before = conn.info("evq", "evq_triggered").unwrap().parse::<u64>().unwrap();
            schedule(&mut conn, "k", wait[0], "IN", 30);
            let reply = worker.try_read(IN_TIME).expect("the worker is woken");
            assert_eq!(Pull::of(&reply).unwrap().payloads.last().unwrap(), wait[0]);
            let after = conn.info("evq", "evq_triggered").unwrap().parse::<u64>().unwrap();
            assert_eq!(after - before, 1);
            must!(conn, "XTRIM", "evq:{r:0}", "MAXLEN", 0);
        }
        // A plain reader of the stream is woken, too.
        worker.send(&["XREAD", "BLOCK", "0", "STREAMS", "evq:{r:0}", "$"]);
        until(PATIENCE, || conn.info("clients", "blocked_clients").unwrap() == "1");
        schedule(&mut conn, "k", "p", "IN", 30);
        assert!(worker.try_read(IN_TIME).is_some());
    });
}

#[test]
fn it_takes_its_place_in_its_keys_order_then() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "MULTI");
        must!(conn, "EVQ.SCHEDULE", "k", "later", "IN", 200, "RING", "r");
        must!(conn, "EVQ.TRIGGER", "k", "now", "RING", "r");
        must!(conn, "EXEC");
        until_none_waits(&mut conn);
        must!(conn, "EVQ.TRIGGER", "k", "then", "RING", "r");
        assert_eq!(payloads(&mut conn, 0), ["now", "later", "then"]);
    });
}

#[test]
fn a_replica_appends_nothing_by_itself_and_a_promoted_one_all_that_is_overdue() {
    each_binary(|binary| {
        let mut primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        must!(conn, "EVQ.CREATE", "r", 2);
        let at_ms = clock_ms(&mut conn) + 2000;
        for n in 0..50 {
            schedule(&mut conn, &format!("k{n}"), "p", "AT", at_ms);
        }
        wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), primary.digest());
        primary.kill9();
        let mut conn = replica.connect();
        let digest = conn.digest();
        until(PATIENCE, || clock_ms(&mut conn) > at_ms + 100);
        assert_eq!((conn.digest(), waiting(&mut conn)), (digest, 50));
        must!(conn, "REPLICAOF", "NO", "ONE");
        until_none_waits(&mut conn);
        assert_eq!(payloads(&mut conn, 0).len() + payloads(&mut conn, 1).len(), 50);
    });
}

#[test]
fn nothing_is_appended_while_clients_are_paused() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "CLIENT", "PAUSE", 100_000_000, "WRITE");
        // What was scheduled before becomes due while they are: a pause lets replicas catch up.
        must!(conn, "CLIENT", "UNPAUSE");
        let at_ms = clock_ms(&mut conn) + 300;
        schedule(&mut conn, "k", "p", "AT", at_ms);
        must!(conn, "CLIENT", "PAUSE", 100_000_000, "WRITE");
        let paused_ms = clock_ms(&mut conn);
        until(PATIENCE, || clock_ms(&mut conn) > at_ms + 200);
        if paused_ms < at_ms {
            assert_eq!((must!(conn, "XLEN", "evq:{r:0}").int(), waiting(&mut conn)), (0, 1));
        }
        must!(conn, "CLIENT", "UNPAUSE");
        until_none_waits(&mut conn);
        assert_eq!(payloads(&mut conn, 0), ["p"]);
    });
}

#[test]
fn a_missing_ring_or_a_key_of_another_type_makes_it_wait() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "EVQ.CREATE", "s", 1);
        let dump = must!(conn, "DUMP", "evq:{r}");
        // Before any time is up, however slow the machine is.
        must!(conn, "MULTI");
        must!(conn, "EVQ.SCHEDULE", "k", "p", "IN", 100, "RING", "r");
        must!(conn, "EVQ.SCHEDULE", "k", "p", "IN", 100, "RING", "s");
        must!(conn, "DEL", "evq:{r}");
        must!(conn, "SET", "evq:{s:0}", "a string");
        must!(conn, "EXEC");
        let at_ms = clock_ms(&mut conn) + 400;
        until(PATIENCE, || clock_ms(&mut conn) > at_ms);
        assert_eq!(must!(conn, "EXISTS", "evq:{r:0}").int(), 0);
        assert_eq!(conn.info("evq", "evq_scheduled_waiting").as_deref(), Some("2"));
        assert_eq!(conn.info("evq", "evq_scheduled_held_up_partitions").as_deref(), Some("2"));
        must!(conn, "RESTORE", "evq:{r}", 0, dump.bytes());
        must!(conn, "DEL", "evq:{s:0}");
        until_none_waits(&mut conn);
        until(PATIENCE, || must!(conn, "XLEN", "evq:{s:0}").int() == 1);
        assert_eq!(payloads(&mut conn, 0), ["p"]);
    });
}

#[test]
fn a_key_that_was_deleted_renamed_or_moved_by_hand_takes_its_events_with_it() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "EVQ.CREATE", "s", 1);
        // Before any time is up, however slow the machine is.
        must!(conn, "MULTI");
        must!(conn, "EVQ.SCHEDULE", "k", "gone", "IN", 200, "RING", "r");
        must!(conn, "DEL", "evq:{r:0}:later");
        must!(conn, "EVQ.SCHEDULE", "k", "moved", "IN", 200, "RING", "r");
        must!(conn, "RENAME", "evq:{r:0}:later", "evq:{s:0}:later");
        must!(conn, "EXEC");
        until(PATIENCE, || must!(conn, "XLEN", "evq:{s:0}").int() == 1);
        assert_eq!(must!(conn, "EXISTS", "evq:{r:0}").int(), 0);
        until(PATIENCE, || conn.info("evq", "evq_scheduled_waiting").unwrap() == "0");
        // Another database, and both changed.
        must!(conn, "MULTI");
        must!(conn, "EVQ.SCHEDULE", "k", "swapped", "IN", 200, "RING", "r");
        must!(conn, "SWAPDB", 0, 1);
        must!(conn, "EXEC");
        must!(conn, "SELECT", 1);
        until(PATIENCE, || must!(conn, "XLEN", "evq:{r:0}").int() == 1);
        must!(conn, "FLUSHALL");
        must!(conn, "EVQ.CREATE", "r", 1);
        schedule(&mut conn, "k", "p", "IN", FAR);
        must!(conn, "FLUSHDB");
        assert_eq!(conn.info("evq", "evq_scheduled_waiting").as_deref(), Some("0"));
        assert_eq!(cmd!(conn, "EVQ.SCHEDULED", "*", "RING", "r").err_code(), "EVQNORING");
    });
}
