//! Idle leases: a pull that gets null keeps its partition from nobody who has a use for it.

use crate::harness::{Conn, each_server, must};
use crate::pull::{P, Pull, block, pull, ring, say, start, take, trigger, until_blocked, woken};

fn offset(conn: &mut Conn) -> u64 {
    let info = must!(conn, "INFO", "replication");
    let line = info.str().lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
    line.expect("an offset").trim().parse().expect("a number")
}

#[test]
fn a_look_at_an_idle_partition_does_not_keep_it_from_workers_that_take_any() {
    each_server(|server| {
        let (mut conn, mut looker, mut any) = (ring(&server), server.connect(), server.connect());
        assert_eq!(pull(&mut looker, "NOBLOCK LEASE 600000"), None);
        start(&mut any, "EVQ.CONSUME * RING r BLOCK 0");
        until_blocked(&mut conn, 1);
        let ids = trigger(&mut conn, &["a"]);
        assert_eq!(Pull::of(&woken(&mut any)).expect("the event").ids, ids);
    });
}

#[test]
fn a_look_keeps_nobody_waiting_in_line_and_extend_does_not_change_that() {
    each_server(|server| {
        for by_hand in [false, true] {
            let (mut conn, mut looker) = (ring(&server), server.connect());
            let mut next = server.connect();
            assert_eq!(pull(&mut looker, "NOBLOCK LEASE 600000"), None);
            block(&mut conn, &mut next, "BLOCK 0");
            must!(looker, "EVQ.EXTEND", P);
            match by_hand {
                true => drop(must!(conn, "XADD", P, "*", "key", "k", "payload", "a")),
                false => drop(trigger(&mut conn, &["a"])),
            }
            assert_eq!(Pull::of(&woken(&mut next)).expect("the event").payloads, ["a"]);
            must!(conn, "EVQ.DROP", "r").ok();
        }
    });
}

#[test]
fn a_worker_that_got_an_event_keeps_its_partition_from_others() {
    each_server(|server| {
        let (mut conn, mut owner, mut other) = (ring(&server), server.connect(), server.connect());
        assert_eq!(pull(&mut owner, "NOBLOCK LEASE 600000"), None);
        trigger(&mut conn, &["a", "b"]);
        take(&mut owner, "LEASE 600000");
        assert_eq!(pull(&mut other, "NOBLOCK"), None);
        assert!(say(&mut other, "EVQ.CONSUME * RING r NOBLOCK").is_null());
    });
}

#[test]
fn two_idle_workers_pass_the_lease_not_to_and_fro() {
    each_server(|server| {
        let (mut conn, mut one, mut two) = (ring(&server), server.connect(), server.connect());
        must!(conn, "CONFIG", "SET", "evq.max-age-ms", 0).ok();
        // Nothing happens by the clock while no lease lapses, so it is pulls that count: a minute
        // of one a second for each worker, over all.
        let all = ["NOBLOCK", "BLOCK 20", "NOBLOCK WORKER w", "BLOCK 20 WORKER w"];
        for (mine, others) in all.into_iter().flat_map(|mine| all.map(|others| (mine, others))) {
            say(&mut conn, &format!("EVQ.RELEASE {P} WORKER w"));
            drop((pull(&mut one, mine), pull(&mut two, others)));
            let before = offset(&mut conn);
            for _ in 0..15 {
                start(&mut one, &format!("EVQ.CONSUME {P} {mine}"));
                start(&mut two, &format!("EVQ.CONSUME {P} {others}"));
                assert!(woken(&mut one).is_null() && woken(&mut two).is_null());
            }
            assert_eq!(offset(&mut conn), before, "{mine}, {others}");
        }
    });
}

#[test]
fn a_worker_that_got_null_and_answers_leaves_what_came_meanwhile_to_who_stands_in_line() {
    each_server(|server| {
        let (mut conn, mut owner, mut standby) =
            (ring(&server), server.connect(), server.connect());
        let first = trigger(&mut conn, &["1"]);
        assert_eq!(take(&mut owner, "LEASE 3600000").ids, first);
        assert_eq!(pull(&mut owner, "AHEAD NOBLOCK LEASE 3600000"), None);
        block(&mut conn, &mut standby, "BLOCK 0");
        let second = trigger(&mut conn, &["2"]);
        assert_eq!(standby.try_read(crate::pull::QUIET), None, "the first is in flight");
        assert_eq!(say(&mut owner, &format!("EVQ.ACK {P} {}", first[0])).int(), 1);
        assert_eq!(Pull::of(&woken(&mut standby)).unwrap().ids, second);
    });
}

/// The server's clock in us, and an EVQ.ACK of the owner, in one transaction.
fn acknowledge(owner: &mut Conn, id: &str) -> i64 {
    say(owner, "MULTI").ok();
    say(owner, "TIME");
    say(owner, &format!("EVQ.ACK {P} {id}"));
    let replies = say(owner, "EXEC");
    assert_eq!(replies.at(1).int(), 1);
    let [seconds, us] = [0, 1].map(|n| replies.at(0).at(n).str().parse::<i64>().expect("a number"));
    seconds * 1_000_000 + us
}

#[test]
fn a_worker_that_got_null_and_answers_is_followed_at_once_by_who_stands_in_line() {
    each_server(|server| {
        let (mut conn, mut owner, mut standby) =
            (ring(&server), server.connect(), server.connect());
        // Everything is checked once a second, and nobody may have to wait for that. An epoch is
        // the server's clock of its grant. A machine that stands still makes more rounds of it.
        let mut in_a_row = 0;
        for _ in 0..60 {
            let first = trigger(&mut conn, &["1"]);
            assert_eq!(take(&mut owner, "LEASE 3600000").ids, first);
            assert_eq!(pull(&mut owner, "AHEAD NOBLOCK LEASE 3600000"), None);
            block(&mut conn, &mut standby, "BLOCK 0");
            let second = trigger(&mut conn, &["2"]);
            let answered_us = acknowledge(&mut owner, &first[0]);
            let followed = Pull::of(&woken(&mut standby)).expect("the second");
            assert_eq!(followed.ids, second);
            assert_eq!(say(&mut standby, &format!("EVQ.ACK {P} {}", second[0])).int(), 1);
            say(&mut standby, &format!("EVQ.RELEASE {P}")).ok();
            in_a_row = if followed.epoch - answered_us < 300_000 { in_a_row + 1 } else { 0 };
            if in_a_row == 5 {
                return;
            }
        }
        panic!("the next in line waits for the check of everything");
    });
}
