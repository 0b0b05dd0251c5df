//! Redeliveries and fresh events take turns: however many keys fail, others go on, and no failing
//! key is passed over.

use crate::failing::{ack, again, events, nack};
use crate::harness::{each_server, must};
use crate::pull::{P, Pull, pull, ring, say, take, trigger};

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
        let (mut good, mut pulls, mut tries, mut retried) = (0, 0, vec![0; bad.len()], false);
        while good < 100 {
            let given = pull(&mut conn, "WORKER w BLOCK 20000").expect("an event");
            pulls += 1;
            if given.payloads[0] == "good" {
                good += 1;
                ack(&mut conn, given.last(), "WORKER w");
            } else {
                if !tries.contains(&0) && !retried {
                    // All have failed once: from here on none is fresh.
                    (retried, tries) = (true, vec![1; bad.len()]);
                }
                tries[bad.iter().position(|id| *id == given.ids[0]).unwrap()] += 1;
                nack(&mut conn, given.last(), "WORKER w");
            }
        }
        // The failing events lie before them in the stream, and take turns with their retries too.
        assert!(pulls <= 2 * (good + bad.len()), "{pulls} pulls for {good} healthy events");
        assert!(retried);
        let (least, most) = (tries.iter().min().unwrap(), tries.iter().max().unwrap());
        // Those that are due in the same millisecond may change places.
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
fn three_thousand_released_events_leave_others_their_turns() {
    each_server(|server| {
        let mut conn = ring(&server);
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "MAXATTEMPTS", 100_000).ok();
        const RELEASED: usize = 3000;
        // Each is tried again for every released event: a few, or the test is long.
        let failing: Vec<String> = (0..3).map(|n| format!("bad{n}")).collect();
        for key in &failing {
            events(&mut conn, &[(key, "bad")]);
        }
        let mut batch = vec!["EVQ.MTRIGGER".to_owned(), RELEASED.to_string()];
        batch.extend((0..RELEASED).flat_map(|n| ["a".to_owned(), format!("a{n}")]));
        batch.extend(["RING".to_owned(), "r".to_owned()]);
        conn.must(&batch);
        let all = take(&mut conn, "WORKER w COUNT 10000").ids;
        for id in &all[..failing.len()] {
            nack(&mut conn, id, "WORKER w DELAY 0");
        }
        assert_eq!(nack(&mut conn, &all[failing.len()], "WORKER w DELAY 0").len(), RELEASED - 1);
        for n in 0..200 {
            must!(conn, "EVQ.TRIGGER", format!("good{n}"), "good", "RING", "r");
        }
        // How many redeliveries were given since each failing key was tried.
        let (mut since, mut good, mut pulls, mut next) = (vec![0; failing.len()], 0, 0, 0);
        while next < RELEASED {
            let reply = say(&mut conn, &format!("EVQ.CONSUME {P} WORKER w NOBLOCK"));
            let given = Pull::of(&reply).expect("something is always due");
            pulls += usize::from(good < 200);
            let fields = reply.at(2).at(0).at(1);
            let (key, payload) = (fields.get("key").str(), given.payloads[0].as_str());
            if payload == "good" {
                good += 1;
                ack(&mut conn, given.last(), "WORKER w");
                continue;
            }
            since.iter_mut().for_each(|since| *since += 1);
            if payload == "bad" {
                let at = failing.iter().position(|failing| failing == key).unwrap();
                assert!(since[at] <= failing.len() + 1, "{key} was passed over: {since:?}");
                since[at] = 0;
                nack(&mut conn, given.last(), "WORKER w DELAY 0");
            } else {
                assert_eq!(payload, format!("a{next}"), "in order");
                next += 1;
                ack(&mut conn, given.last(), "WORKER w");
            }
        }
        assert_eq!(good, 200);
        assert!(pulls <= 2 * 200 + 2, "{pulls} pulls for 200 healthy events");
    });
}
