//! A pull goes on after what is acknowledged: a reply that nobody received loses no event.

use crate::failing::{ack, again, events, letters, nack};
use crate::harness::{Conn, each_server, must};
use crate::pull::{GROUPS, P, Pull, pull, refused, ring, say, take, trigger};

#[test]
fn a_pull_whose_reply_was_lost_is_given_again_under_the_same_epoch() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a", "b"]);
        let lost = take(&mut conn, "");
        assert_eq!(take(&mut conn, ""), lost, "the same event under the same epoch");
        // The library sends the command twice, with the epoch.
        let epoch = format!("EPOCH {}", lost.epoch);
        assert_eq!(take(&mut conn, &epoch), lost);
        assert_eq!(ack(&mut conn, &ids[0], ""), 1);
        assert_eq!(take(&mut conn, "").ids, ids[1..]);
    });
}

#[test]
fn after_a_lost_reply_of_ten_five_come_again_and_a_pull_ahead_goes_on_after_those() {
    each_server(|server| {
        let mut conn = ring(&server);
        let payloads: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
        let ids = trigger(&mut conn, &payloads);
        assert_eq!(take(&mut conn, "COUNT 10").ids, ids[..10]);
        assert_eq!(take(&mut conn, "COUNT 5").ids, ids[..5]);
        assert_eq!(take(&mut conn, "COUNT 10 AHEAD").ids, ids[5..]);
        assert_eq!(pull(&mut conn, "COUNT 10 AHEAD NOBLOCK"), None);
        assert_eq!(ack(&mut conn, &ids[11], ""), 1);
        let stats = say(&mut conn, "EVQ.STATS r JSON");
        assert!(stats.str().contains("\"lag\":0,\"lag-exact\":1"), "{stats:?}");
        assert!(stats.str().contains("\"repeats\":2"), "{stats:?}");
    });
}

#[test]
fn a_worker_without_ahead_does_not_block_beside_unfinished_events() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a"]);
        take(&mut conn, "");
        assert_eq!(pull(&mut conn, "BLOCK 0").unwrap().ids, ids);
    });
}

#[test]
fn any_partition_gives_what_is_unfinished_first_partition_by_partition() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "two", 2).ok();
        for n in 0..20 {
            must!(conn, "EVQ.TRIGGER", n, "x", "RING", "two");
        }
        let mut pull = |line: &str| {
            let reply = say(&mut conn, &format!("EVQ.CONSUME * RING two NOBLOCK {line}"));
            (reply.at(0).int(), Pull::of(&reply).expect("events"))
        };
        let (p, first) = pull("AHEAD");
        let (q, second) = pull("AHEAD");
        assert_ne!(p, q, "two partitions are held");
        // This reply is lost.
        let lost = pull("");
        assert!([(p, first.clone()), (q, second.clone())].contains(&lost));
        assert_eq!(pull(""), lost);
        let (other, unseen) = if lost.0 == p { (q, second) } else { (p, first) };
        let ack = format!("ACK {} {}", lost.0, lost.1.last());
        assert_eq!(pull(&ack), (other, unseen), "what the other holds comes before anything new");
    });
}

#[test]
fn a_redelivery_in_flight_comes_again_alone_without_another_attempt() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = events(&mut conn, &[("a", "a1"), ("b", "b1"), ("c", "c1")]);
        take(&mut conn, "WORKER w COUNT 3");
        nack(&mut conn, &ids[0], "WORKER w DELAY 0");
        assert_eq!(ack(&mut conn, &ids[2], "WORKER w"), 1);
        let first = again(&mut conn, "WORKER w NOBLOCK");
        assert_eq!(first.0.ids, ids[..1]);
        assert_eq!(again(&mut conn, "WORKER w NOBLOCK"), first);
        assert_eq!(first.1, 2);
        assert_eq!(ack(&mut conn, &ids[0], "WORKER w"), 1);
        assert!(letters(&mut conn, "default").is_empty());
    });
}

#[test]
fn what_a_nack_holds_reaches_past_where_a_repeated_pull_stands() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = events(&mut conn, &[("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")]);
        take(&mut conn, "WORKER w COUNT 4");
        assert_eq!(take(&mut conn, "WORKER w").ids, ids[..1]);
        assert_eq!(nack(&mut conn, &ids[0], "WORKER w DELAY 60000"), ids[2..]);
        assert_eq!(ack(&mut conn, &ids[3], "WORKER w"), 1);
        assert_eq!(pull(&mut conn, "WORKER w NOBLOCK"), None);
    });
}

#[test]
fn the_same_nack_again_gives_the_same_reply_and_counts_nothing() {
    each_server(|server| {
        let mut conn = ring(&server);
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "MAXATTEMPTS", 2).ok();
        let ids = events(&mut conn, &[("a", "1"), ("b", "2"), ("a", "3")]);
        take(&mut conn, "WORKER w COUNT 3");
        let held = nack(&mut conn, &ids[0], "WORKER w DELAY 0");
        assert_eq!(held, ids[2..]);
        assert_eq!(nack(&mut conn, &ids[0], "WORKER w DELAY 0"), held);
        assert_eq!(ack(&mut conn, &ids[1], "WORKER w"), 1);
        let (_, attempt) = again(&mut conn, "WORKER w NOBLOCK");
        assert_eq!(attempt, 2, "it was counted once");
        // After the last attempt, too.
        assert!(nack(&mut conn, &ids[0], "WORKER w").is_empty());
        assert!(nack(&mut conn, &ids[0], "WORKER w").is_empty());
        assert_eq!(letters(&mut conn, "default").len(), 1);
        let line = format!("EVQ.NACK {P} {} WORKER w", ids[1]);
        assert_eq!(refused(&mut conn, &line), "EVQBADID");
    });
}

/// The server's own time in calls of a command, in microseconds.
fn usec(conn: &mut Conn, command: &str) -> u64 {
    let field = conn.info("commandstats", &format!("cmdstat_{command}"));
    let field = field.or_else(|| {
        // How a command of a module is written depends on the server.
        conn.info("commandstats", &format!("cmdstat_{}", command.to_uppercase()))
    });
    let field = field.expect("the command was called");
    let usec = field.split(',').find_map(|part| part.strip_prefix("usec="));
    usec.expect("a field of commandstats").parse().expect("a number")
}

/// Ten thousand events, each of a key of its own.
fn ten_thousand(conn: &mut Conn) {
    let mut batch = vec!["EVQ.MTRIGGER".to_owned(), "10000".to_owned()];
    batch.extend((0..10_000).flat_map(|n| [format!("k{n}"), "x".to_owned()]));
    batch.extend(["RING".to_owned(), "r".to_owned()]);
    conn.must(&batch);
}

#[test]
fn ten_thousand_nacks_of_one_batch_take_the_server_no_time_to_speak_of() {
    each_server(|server| {
        let mut conn = ring(&server);
        ten_thousand(&mut conn);
        let given = take(&mut conn, "WORKER w COUNT 10000");
        assert_eq!(given.ids.len(), 10_000);
        let nack = |id: &String| {
            let line = format!("EVQ.NACK {P} {id} WORKER w DELAY 60000");
            line.split(' ').map(str::to_owned).collect::<Vec<_>>()
        };
        for ids in given.ids.chunks(1000) {
            let replies = conn.pipeline(&ids.iter().map(nack).collect::<Vec<_>>());
            assert!(replies.iter().all(|reply| reply.array().is_empty()));
        }
        // Built for tests it takes ten times as long as built for use, and as long as other work
        // keeps the server from its processor. Quadratic it was ten seconds where built for use.
        let usec = usec(&mut conn, "evq.nack");
        assert!(usec < 10_000_000, "{usec} us");
    });
}

#[test]
fn the_keys_of_what_is_in_flight_take_no_memory_while_nothing_fails() {
    each_server(|server| {
        let mut conn = ring(&server);
        let usage = |conn: &mut Conn| must!(conn, "MEMORY", "USAGE", GROUPS, "SAMPLES", 0).int();
        trigger(&mut conn, &["a"]);
        let given = take(&mut conn, "WORKER w");
        ack(&mut conn, given.last(), "WORKER w");
        let idle = usage(&mut conn);
        ten_thousand(&mut conn);
        let ids = take(&mut conn, "WORKER w COUNT 10000").ids;
        assert_eq!(usage(&mut conn), idle, "ten thousand in flight, and nothing failed");
        nack(&mut conn, &ids[0], "WORKER w DELAY 0");
        assert!(usage(&mut conn) > idle + 100_000, "now they are known");
        ack(&mut conn, &ids[9999], "WORKER w");
        assert_eq!(again(&mut conn, "WORKER w NOBLOCK").0.ids, ids[..1]);
        ack(&mut conn, &ids[0], "WORKER w");
        assert!(usage(&mut conn) < idle + 1000, "nothing is in flight");
    });
}

#[test]
fn blame_and_care_are_the_same_after_a_repeated_pull() {
    each_server(|server| {
        let mut control = ring(&server);
        let ids = events(&mut control, &[("a", "1"), ("b", "2")]);
        let mut worker = server.connect();
        take(&mut worker, "COUNT 2");
        // Two are in flight, though the last reply had one.
        assert_eq!(take(&mut worker, "").ids, ids[..1]);
        drop(worker);
        let mut next = server.connect();
        let given = pull(&mut next, "COUNT 2 BLOCK 20000").expect("events");
        assert_eq!(given.ids, ids[..1], "one at a time from now on");
        assert_eq!(take(&mut next, "COUNT 2").ids, ids[..1], "and the same again");
        assert_eq!(ack(&mut next, &ids[0], ""), 1);
        assert_eq!(take(&mut next, "COUNT 2").ids, ids[1..]);
        assert_eq!(ack(&mut next, &ids[1], ""), 1);
    });
}

#[test]
fn extend_without_lease_renews_for_the_length_that_was_taken() {
    each_server(|server| {
        let mut conn = ring(&server);
        trigger(&mut conn, &["a"]);
        take(&mut conn, "WORKER w LEASE 3600000");
        say(&mut conn, &format!("EVQ.EXTEND {P} WORKER w")).ok();
        let stats = say(&mut conn, "EVQ.STATS r");
        let group = stats.get("partitions").at(0).get("groups").at(0).clone();
        let now = i64::try_from(crate::failing::clock_ms(&mut conn)).unwrap();
        assert!(group.get("lease-ends-ms").int() > now + 1_800_000, "{group:?}");
    });
}

#[test]
fn an_ack_past_a_redelivery_that_an_ack_brought_does_not_finish_it() {
    each_server(|server| {
        let mut conn = ring(&server);
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let ids = events(&mut conn, &keys.map(|key| (key, key)));
        take(&mut conn, "WORKER w COUNT 10");
        assert!(nack(&mut conn, &ids[2], "WORKER w DELAY 0").is_empty());
        let brought = format!("WORKER w AHEAD NOBLOCK ACK {}", ids[4]);
        let (given, attempt) = again(&mut conn, &brought);
        assert_eq!((given.ids, attempt), (ids[2..3].to_vec(), 2));
        assert_eq!(ack(&mut conn, &ids[9], "WORKER w"), 1, "all up to it, but for the redelivery");
        assert_eq!(ack(&mut conn, &ids[9], "WORKER w"), 0);
        // What is in flight comes again, however far the cursor is.
        assert_eq!(take(&mut conn, "WORKER w COUNT 10").ids, ids[2..3]);
        assert_eq!(ack(&mut conn, &ids[2], "WORKER w"), 1);
        assert_eq!(pull(&mut conn, "WORKER w NOBLOCK"), None);
    });
}

#[test]
fn a_worker_that_answers_nothing_is_counted_and_named_in_the_log_once() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a", "b"]);
        let said = |server: &crate::harness::Server| {
            server.log().lines().filter(|line| line.contains("pulls the same events")).count()
        };
        for _ in 0..10 {
            assert_eq!(take(&mut conn, "WORKER stuck").ids, ids[..1]);
        }
        assert_eq!(said(&server), 0);
        for _ in 0..10 {
            assert_eq!(take(&mut conn, "WORKER stuck").ids, ids[..1]);
        }
        assert_eq!(said(&server), 1);
        let log = server.log();
        let line = log.lines().find(|line| line.contains("pulls the same events")).unwrap();
        assert!(line.contains("stuck") && line.contains(P), "{line}");
        let row = say(&mut conn, "EVQ.STATS r").get("partitions").at(0).get("groups").at(0).clone();
        assert_eq!(row.get("repeats").int(), 19);
        // Pulling ahead is no repetition.
        for id in &ids {
            assert_eq!(ack(&mut conn, id, "WORKER stuck"), i64::from(*id == ids[0]));
            if *id == ids[0] {
                assert_eq!(take(&mut conn, "WORKER stuck AHEAD").ids, ids[1..]);
                break;
            }
        }
    });
}
