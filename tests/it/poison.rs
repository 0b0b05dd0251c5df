//! Poison: an event that kills its worker is found and goes to the dead letters, whatever way the
//! worker is lost, and its healthy neighbours are never blamed.

use std::time::Duration;

use crate::failing::{ack, again, attempt, dead, events, letters, nack, pending};
use crate::harness::{Conn, PATIENCE, Server, each_server, must, until, until_some};
use crate::pull::{P, Pull, pull, ring, say, take, until_blocked};

/// How a worker is lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// Its connection closes, and it had no name.
    Closed,
    /// Its connection closes; its name keeps the lease until the deadline.
    NamedClosed,
    /// It hangs past its deadline.
    Expired,
}

/// What a worker adds to its EVQ.CONSUME.
fn options(loss: Loss, n: usize) -> String {
    match loss {
        Loss::Closed => String::new(),
        Loss::NamedClosed => format!("WORKER w{n} LEASE 30"),
        Loss::Expired => "LEASE 30".to_owned(),
    }
}

/// Workers pull up to `count` events at once and die whenever one of them is poison, before they
/// acknowledge anything; each is followed by another. Gives what was handled, in order.
fn handle_all(server: &Server, loss: Loss, count: u64, healthy: usize) -> Vec<String> {
    let (mut handled, mut hanging) = (Vec::new(), Vec::new());
    for n in 0.. {
        assert!(n < 100, "workers die without end; handled: {handled:?}");
        let mut worker = server.connect();
        let line = format!("{} COUNT {count} BLOCK 60000", options(loss, n));
        loop {
            if handled.len() == healthy && pending(&mut worker, "").is_empty() {
                return handled;
            }
            let pull = pull(&mut worker, &line).expect("events");
            if pull.payloads.iter().any(|payload| payload == "poison") {
                break;
            }
            let whose = options(loss, n).split(" LEASE").next().unwrap().replace("LEASE 30", "");
            ack(&mut worker, pull.last(), &whose);
            handled.extend(pull.payloads);
        }
        if matches!(loss, Loss::Expired) {
            hanging.push(worker);
        }
    }
    panic!("workers die without end; handled: {handled:?}")
}

#[test]
fn poison_is_dead_after_its_attempts_and_its_neighbours_are_handled_once() {
    each_server(|server| {
        for loss in [Loss::Closed, Loss::NamedClosed, Loss::Expired] {
            for count in [1, 4, 100] {
                let mut conn = ring(&server);
                must!(conn, "EVQ.GROUP", "default", "RING", "r", "MAXATTEMPTS", 3).ok();
                let of = ["1", "2", "poison", "3", "4", "5"].map(|payload| ("k", payload));
                let of = [&of[..], &[("other", "6"), ("k", "7"), ("last", "8")]].concat();
                let ids = events(&mut conn, &of);
                let handled = handle_all(&server, loss, count, 8);
                let expected: Vec<_> = (1..=8).map(|n| n.to_string()).collect();
                assert_eq!(handled, expected, "{loss:?} {count}");
                assert_eq!(dead(&mut conn, "default", 1), ["poison"], "{loss:?} {count}");
                let letter = letters(&mut conn, "default").remove(0);
                assert_eq!(letter.get("id").str(), ids[2]);
                assert_eq!(letter.get("attempts").str(), "3");
                assert_eq!(letter.get("reason").str(), "the worker was lost");
                must!(conn, "EVQ.DROP", "r").ok();
            }
        }
    });
}

#[test]
fn with_hold_the_key_of_the_poison_waits_and_the_others_go_on() {
    each_server(|server| {
        let mut conn = ring(&server);
        let line = "EVQ.GROUP default RING r MAXATTEMPTS 2 ONDEAD hold";
        say(&mut conn, line).ok();
        events(&mut conn, &[("a", "poison"), ("a", "a2"), ("b", "b1"), ("a", "a3")]);
        for _ in 0..2 {
            let pull = take(&mut server.connect(), "");
            assert_eq!(pull.payloads, ["poison"]);
            until(PATIENCE, || owner(&mut conn).is_none());
        }
        assert_eq!(dead(&mut conn, "default", 1), ["poison"]);
        assert_eq!(take(&mut conn, "COUNT 10").payloads, ["b1"]);
        assert_eq!(pull(&mut conn, "AHEAD NOBLOCK"), None);
    });
}

/// Who owns the partition by EVQ.STATS.
fn owner(conn: &mut Conn) -> Option<String> {
    let stats = say(conn, "EVQ.STATS r");
    let owner = stats.get("partitions").at(0).get("groups").at(0).get("owner").clone();
    (!owner.is_null()).then(|| owner.str().to_owned())
}

#[test]
fn after_a_loss_what_was_in_flight_comes_one_by_one_and_the_rest_as_before() {
    each_server(|server| {
        let mut conn = ring(&server);
        let of: Vec<_> = (0..6).map(|n| ("k", ["0", "1", "2", "3", "4", "5"][n])).collect();
        events(&mut conn, &of);
        assert_eq!(take(&mut server.connect(), "COUNT 3").ids.len(), 3);
        until(PATIENCE, || owner(&mut conn).is_none());
        for payload in ["0", "1", "2"] {
            let reply = say(&mut conn, &format!("EVQ.CONSUME {P} COUNT 10 NOBLOCK"));
            // None is blamed: three were in flight.
            assert_eq!(attempt(reply.at(2).at(0)), None);
            let pull = Pull::of(&reply).unwrap();
            assert_eq!(pull.payloads, [payload]);
            // And nothing more before it is finished.
            assert!(say(&mut conn, &format!("EVQ.CONSUME {P} COUNT 10 AHEAD NOBLOCK")).is_null());
            assert_eq!(take(&mut conn, "COUNT 10"), pull, "but itself");
            assert_eq!(ack(&mut conn, pull.last(), ""), 1);
        }
        assert_eq!(take(&mut conn, "COUNT 10").payloads, ["3", "4", "5"]);
    });
}

#[test]
fn the_suspect_carries_its_attempt_and_a_nack_counts_on() {
    each_server(|server| {
        let mut conn = ring(&server);
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "MAXATTEMPTS", 4).ok();
        let ids = events(&mut conn, &[("k", "1"), ("k", "2")]);
        take(&mut server.connect(), "");
        until(PATIENCE, || owner(&mut conn).is_none());
        {
            let mut worker = server.connect();
            assert_eq!(again(&mut worker, "NOBLOCK").1, 2);
            assert!(nack(&mut worker, &ids[0], "DELAY 0").is_empty());
            // Lost once more, as a redelivery that was alone.
            assert_eq!(again(&mut worker, "NOBLOCK").1, 3);
        }
        until(PATIENCE, || owner(&mut conn).is_none());
        assert_eq!(again(&mut conn, "NOBLOCK").1, 4);
        nack(&mut conn, &ids[0], "");
        assert_eq!(letters(&mut conn, "default").remove(0).get("attempts").str(), "4");
        assert_eq!(take(&mut conn, "COUNT 10").payloads, ["2"]);
    });
}

#[test]
fn what_is_no_loss_is_no_attempt() {
    each_server(|mut server| {
        let mut conn = ring(&server);
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "MAXATTEMPTS", 2).ok();
        events(&mut conn, &[("k", "1")]);
        for n in 0..4 {
            // Released.
            let mut worker = server.connect();
            assert_eq!(take(&mut worker, "WORKER w").payloads, ["1"]);
            say(&mut worker, &format!("EVQ.RELEASE {P} WORKER w")).ok();
            // Asked again under the same name while the connection lives: a reply got lost.
            assert_eq!(take(&mut worker, "WORKER v").payloads, ["1"]);
            assert_eq!(take(&mut server.connect(), "WORKER v").payloads, ["1"]);
            assert_eq!(take(&mut worker, "WORKER v").payloads, ["1"], "{n}");
            say(&mut worker, &format!("EVQ.RELEASE {P} WORKER v")).ok();
            // Moved there again by an operator.
            take(&mut worker, "");
            say(&mut conn, &format!("EVQ.SEEK default {P} first")).ok();
            // The server restarted.
            take(&mut worker, "");
            conn.save();
            server.restart();
            conn = server.connect();
        }
        let reply = say(&mut conn, &format!("EVQ.CONSUME {P} NOBLOCK"));
        assert_eq!(attempt(reply.at(2).at(0)), None);
        assert!(letters(&mut conn, "default").is_empty());
    });
}

/// A dead event begins anew while a later one of its key is in flight, so two are in flight.
#[test]
fn a_worker_that_looks_for_any_partition_blames_none_of_two_in_flight() {
    each_server(|server| {
        let mut conn = ring(&server);
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "MAXATTEMPTS", 1).ok();
        let ids = events(&mut conn, &[("k", "1"), ("k", "2")]);
        assert_eq!(take(&mut conn, "WORKER w LEASE 30").payloads, ["1"]);
        nack(&mut conn, &ids[0], "WORKER w");
        assert_eq!(take(&mut conn, "WORKER w LEASE 30").payloads, ["2"]);
        assert_eq!(say(&mut conn, "EVQ.DEAD default RETRY * * RING r").int(), 1);
        assert_eq!(take(&mut conn, "WORKER w LEASE 30 AHEAD").payloads, ["1"]);
        // The first that comes after the lease has expired.
        let next = until_some(PATIENCE, || {
            Pull::of(&say(&mut conn, "EVQ.CONSUME * WORKER v RING r NOBLOCK"))
        });
        assert_eq!(next.payloads, ["1"]);
        assert!(letters(&mut conn, "default").is_empty());
    });
}

#[test]
fn poison_is_found_among_standbys_that_take_over_at_once() {
    each_server(|server| {
        let mut conn = ring(&server);
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "MAXATTEMPTS", 3).ok();
        events(&mut conn, &[("a", "poison"), ("a", "2"), ("b", "3")]);
        let mut line: Vec<Conn> = (0..5).map(|_| server.connect()).collect();
        for worker in &mut line {
            worker.send(&["EVQ.CONSUME", P, "BLOCK", "0"]);
        }
        let mut given = Vec::new();
        while !line.is_empty() {
            // One owner at a time: one of them is given something.
            let at = until_some(PATIENCE, || {
                let ready = |worker: &mut Conn| worker.try_read(Duration::from_millis(1));
                line.iter_mut().enumerate().find_map(|(at, worker)| Some((at, ready(worker)?)))
            });
            let pull = Pull::of(&at.1).unwrap();
            given.extend(pull.payloads.clone());
            let mut worker = line.remove(at.0);
            if pull.payloads == ["poison"] {
                continue;
            }
            assert_eq!(ack(&mut worker, pull.last(), ""), 1);
            if given.ends_with(&["3".to_owned()]) {
                break;
            }
        }
        assert_eq!(given, ["poison", "poison", "poison", "2", "3"]);
        assert_eq!(dead(&mut conn, "default", 1), ["poison"]);
        drop(line);
        until_blocked(&mut conn, 0);
    });
}
