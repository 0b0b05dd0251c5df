//! A pull goes on after what is acknowledged: a reply that nobody received loses no event. And
//! failing keys and others take turns.

use std::time::Instant;

use crate::failing::{ack, again, events, letters, nack};
use crate::harness::{each_server, must};
use crate::pull::{P, Pull, pull, refused, ring, say, take, trigger};

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

#[test]
fn ten_thousand_nacks_among_as_many_in_flight_take_well_under_a_second_each_thousand() {
    each_server(|server| {
        let mut conn = ring(&server);
        for _ in 0..10 {
            let mut batch = vec!["EVQ.MTRIGGER".to_owned(), "1000".to_owned()];
            batch.extend((0..1000).flat_map(|n| [format!("k{n}"), "x".to_owned()]));
            batch.extend(["RING".to_owned(), "r".to_owned()]);
            conn.must(&batch);
        }
        let given = take(&mut conn, "WORKER w COUNT 10000");
        assert_eq!(given.ids.len(), 10_000);
        // The first of each key holds the others, so no key is refused twice.
        let before = Instant::now();
        for id in &given.ids[..1000] {
            assert_eq!(nack(&mut conn, id, "WORKER w DELAY 60000").len(), 9);
        }
        assert!(before.elapsed().as_secs() < 20, "{:?}", before.elapsed());
    });
}

#[test]
fn with_failing_keys_others_keep_half_of_the_pulls_and_no_failing_key_is_passed_over() {
    each_server(|server| {
        let mut conn = ring(&server);
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "BACKOFF", 1, 1, "MAXATTEMPTS", 1000).ok();
        let failing: Vec<String> = (0..50).map(|n| format!("bad{n}")).collect();
        let all: Vec<(&str, &str)> = failing.iter().map(|key| (key.as_str(), "bad")).collect();
        let bad = events(&mut conn, &all);
        for _ in 0..100 {
            trigger(&mut conn, &["good"]);
        }
        // Counted from the first healthy event on: all that fails lies before it.
        let (mut good, mut pulls, mut tries) = (0, 0, vec![0; bad.len()]);
        while good < 100 {
            let given = pull(&mut conn, "WORKER w BLOCK 20000").expect("an event");
            if given.payloads[0] == "good" {
                good += 1;
                ack(&mut conn, given.last(), "WORKER w");
            } else {
                let failing = bad.iter().position(|id| *id == given.ids[0]).unwrap();
                tries[failing] += usize::from(good > 0);
                nack(&mut conn, given.last(), "WORKER w");
            }
            pulls += usize::from(good > 0);
        }
        assert!(pulls <= 2 * good, "{pulls} pulls for {good} healthy events");
        let (least, most) = (tries.iter().min().unwrap(), tries.iter().max().unwrap());
        // Two that fail within one millisecond may change places from round to round.
        assert!(most - least <= 2, "a failing key waits for one round of the others: {tries:?}");
    });
}

#[test]
fn a_worker_that_pulls_ahead_and_is_never_idle_gets_what_is_due() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = events(&mut conn, &[("a", "bad"), ("b", "1"), ("c", "2"), ("d", "3")]);
        take(&mut conn, "WORKER w COUNT 2 AHEAD");
        nack(&mut conn, &ids[0], "WORKER w DELAY 0");
        // Its cursor passes the refused one; `b` stays in flight.
        let (due, attempt) = again(&mut conn, "WORKER w AHEAD NOBLOCK");
        assert_eq!((due.ids, attempt), (ids[..1].to_vec(), 2));
        assert_eq!(take(&mut conn, "WORKER w AHEAD").ids, ids[2..3]);
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
