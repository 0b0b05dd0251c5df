//! Guarantee 5: nothing that a group has not finished is trimmed, whatever keeps it from being
//! finished; what every group has finished goes, and nothing else notices.

use std::time::Instant;

use crate::failing::{ack, events, letters, nack};
use crate::harness::{PATIENCE, Server, each_binary, each_server, must, until};
use crate::kept::{held_up, kept, ring_with, until_kept, until_looked};
use crate::pull::{P, QUIET, block, blocked, pull, say, take, trigger, woken};

const TEN: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

#[test]
fn a_slow_group_keeps_what_it_has_not_finished() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 2");
        let mut slow = server.connect();
        say(&mut conn, "EVQ.GROUP slow RING r FROM first").ok();
        let ids = trigger(&mut conn, &TEN);
        take(&mut conn, "COUNT 10");
        ack(&mut conn, &ids[9], "");
        // The slow group has not even begun.
        until_kept(&mut conn, &ids);
        assert_eq!(held_up(&mut conn), Some(("slow".to_owned(), ids[0].clone())));
        take(&mut slow, "GROUP slow COUNT 10");
        for (done, first) in [(2, 3), (6, 7), (9, 8)] {
            ack(&mut slow, &ids[done], "GROUP slow");
            until_kept(&mut conn, &ids[first..]);
        }
        assert_eq!(held_up(&mut conn), None);
    });
}

#[test]
fn a_group_that_begins_later_needs_only_what_comes_after() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 1");
        say(&mut conn, "EVQ.GROUP all RING r FROM first").ok();
        let ids = trigger(&mut conn, &TEN);
        say(&mut conn, &format!("EVQ.GROUP some RING r FROM {}", ids[6])).ok();
        say(&mut conn, "EVQ.GROUP none RING r FROM last").ok();
        until_kept(&mut conn, &ids);
        say(&mut conn, "EVQ.DELGROUP all RING r").ok();
        until_kept(&mut conn, &ids[7..]);
        say(&mut conn, "EVQ.DELGROUP some RING r").ok();
        until_kept(&mut conn, &ids[9..]);
    });
}

#[test]
fn a_ring_without_groups_needs_nothing() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 3");
        let ids = trigger(&mut conn, &TEN);
        until_kept(&mut conn, &ids[7..]);
    });
}

#[test]
fn a_failed_event_keeps_all_behind_it_until_it_is_finished() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 1");
        say(&mut conn, "EVQ.GROUP default RING r FROM first MAXATTEMPTS 3").ok();
        let of: Vec<_> = (0..10).map(|n| (["a", "b", "c"][n % 3], "p")).collect();
        let ids = events(&mut conn, &of);
        take(&mut conn, "WORKER w COUNT 10");
        let held = nack(&mut conn, &ids[1], "WORKER w DELAY 0");
        assert_eq!(held, [ids[4].clone(), ids[7].clone()]);
        ack(&mut conn, &ids[9], "WORKER w");
        until_kept(&mut conn, &ids[1..]);
        assert_eq!(held_up(&mut conn), Some(("default".to_owned(), ids[1].clone())));
        // Finished one by one: the failed one, then those that were held behind it.
        for (n, first) in [(1, 4), (4, 7), (7, 9)] {
            assert_eq!(take(&mut conn, "WORKER w").ids, [ids[n].clone()]);
            until_looked(&mut conn);
            assert_eq!(kept(&mut conn)[0], ids[n]);
            ack(&mut conn, &ids[n], "WORKER w");
            until_kept(&mut conn, &ids[first..]);
        }
    });
}

#[test]
fn a_dead_event_that_holds_its_key_stays_until_an_operator_decides() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 1");
        say(&mut conn, "EVQ.GROUP default RING r FROM first MAXATTEMPTS 1 ONDEAD hold").ok();
        let ids = events(&mut conn, &[("a", "0"), ("b", "1"), ("b", "2"), ("a", "3"), ("a", "4")]);
        take(&mut conn, "WORKER w COUNT 5");
        nack(&mut conn, &ids[1], "WORKER w");
        ack(&mut conn, &ids[4], "WORKER w");
        until_kept(&mut conn, &ids[1..]);
        assert_eq!(held_up(&mut conn), Some(("default".to_owned(), ids[1].clone())));
        // It can still be retried.
        assert_eq!(say(&mut conn, "EVQ.DEAD default RETRY * * RING r").int(), 1);
        assert_eq!(take(&mut conn, "WORKER w").payloads, ["1"]);
        nack(&mut conn, &ids[1], "WORKER w");
        assert_eq!(say(&mut conn, "EVQ.DEAD default SKIP * * RING r").int(), 1);
        until_kept(&mut conn, &ids[2..]);
        assert_eq!(take(&mut conn, "WORKER w").payloads, ["2"]);
        ack(&mut conn, &ids[2], "WORKER w");
        until_kept(&mut conn, &ids[4..]);
    });
}

#[test]
fn a_dead_event_that_was_skipped_is_finished_and_its_letter_stays() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 1");
        say(&mut conn, "EVQ.GROUP default RING r FROM first MAXATTEMPTS 1").ok();
        let ids = trigger(&mut conn, &["0", "1", "2"]);
        take(&mut conn, "WORKER w COUNT 3");
        nack(&mut conn, &ids[0], "WORKER w");
        ack(&mut conn, &ids[2], "WORKER w");
        until_kept(&mut conn, &ids[2..]);
        let letters = letters(&mut conn, "default");
        assert_eq!((letters.len(), letters[0].get("payload").str()), (1, "0"));
        // What is no longer there cannot be handed out again, and the letter says what it was.
        assert_eq!(say(&mut conn, "EVQ.DEAD default RETRY * * RING r").int(), 0);
        assert_eq!(say(&mut conn, "EVQ.DEAD default SKIP * * RING r").int(), 1);
    });
}

#[test]
fn an_event_that_was_deleted_by_hand_keeps_nothing() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 1");
        say(&mut conn, "EVQ.GROUP default RING r FROM first MAXATTEMPTS 1 ONDEAD hold").ok();
        let ids = events(&mut conn, &[("a", "0"), ("b", "1"), ("c", "2"), ("c", "3")]);
        take(&mut conn, "WORKER w COUNT 4");
        nack(&mut conn, &ids[1], "WORKER w");
        ack(&mut conn, &ids[3], "WORKER w");
        until_kept(&mut conn, &ids[1..]);
        must!(conn, "XDEL", P, ids[1]);
        until_kept(&mut conn, &ids[3..]);
    });
}

#[test]
fn other_types_are_finished_for_a_group_that_has_finished_its_own() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 1");
        say(&mut conn, "EVQ.GROUP default RING r FROM first TYPES 1 T").ok();
        let mut ids = Vec::new();
        for kind in ["U", "T", "U", "U", "U"] {
            let reply = must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r", "TYPE", kind);
            ids.push(reply.at(1).str().to_owned());
        }
        assert_eq!(take(&mut conn, "WORKER w COUNT 5").ids, ids[1..2]);
        until_kept(&mut conn, &ids[1..]);
        ack(&mut conn, &ids[1], "WORKER w");
        until_kept(&mut conn, &ids[4..]);
        assert!(pull(&mut conn, "WORKER w NOBLOCK").is_none());
    });
}

#[test]
fn seek_back_replays_what_is_kept_and_keeps_it() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 4");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let ids = trigger(&mut conn, &TEN);
        take(&mut conn, "WORKER w COUNT 10");
        ack(&mut conn, &ids[9], "WORKER w");
        until_kept(&mut conn, &ids[6..]);
        say(&mut conn, &format!("EVQ.SEEK default {P} first")).ok();
        let more = trigger(&mut conn, &["10", "11", "12"]);
        let all = [&ids[6..], &more[..]].concat();
        until_kept(&mut conn, &all);
        assert_eq!(take(&mut conn, "WORKER w COUNT 10").ids, all);
        ack(&mut conn, more.last().unwrap(), "WORKER w");
        until_kept(&mut conn, &all[3..]);
        // Ahead, it gives up what it has not seen.
        trigger(&mut conn, &TEN);
        say(&mut conn, &format!("EVQ.SEEK default {P} last")).ok();
        until(PATIENCE, || kept(&mut conn).len() == 4);
    });
}

#[test]
fn old_events_go_and_the_key_and_its_last_id_stay() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXAGE 300");
        let begun = Instant::now();
        // At once, or the first would be too old by then.
        must!(conn, "MULTI").ok();
        for payload in TEN {
            must!(conn, "EVQ.TRIGGER", "k", payload, "RING", "r");
        }
        must!(conn, "XLEN", P);
        let replies = must!(conn, "EXEC");
        assert_eq!(replies.at(TEN.len()).int(), 10);
        let newest = replies.at(TEN.len() - 1).at(1).str().to_owned();
        until(PATIENCE, || kept(&mut conn).is_empty());
        assert!(begun.elapsed().as_millis() >= 300);
        assert_eq!(must!(conn, "EXISTS", P).int(), 1);
        let last = must!(conn, "XINFO", "STREAM", P).get("last-generated-id").str().to_owned();
        assert_eq!(last, newest);
        // An hour from now on is young; what was written with an old id is not. They are there when
        // the ring is first looked at: later ones would wait as long as new ones.
        for id in ["1-1", "2-1", "3-1"] {
            must!(conn, "XADD", "evq:{old:0}", id, "key", "k");
        }
        must!(conn, "EVQ.CREATE", "old", 1, "MAXAGE", 3_600_000).ok();
        must!(conn, "EVQ.TRIGGER", "k", "young", "RING", "old");
        until(PATIENCE, || must!(conn, "XLEN", "evq:{old:0}").int() == 1);
        let first = must!(conn, "XRANGE", "evq:{old:0}", "-", "+");
        assert_eq!(first.at(0).at(1).at(3).str(), "young");
    });
}

#[test]
fn an_old_event_that_is_not_finished_stays() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXAGE 1");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let ids = trigger(&mut conn, &TEN);
        until_kept(&mut conn, &ids);
        take(&mut conn, "WORKER w COUNT 5");
        until_kept(&mut conn, &ids);
        ack(&mut conn, &ids[3], "WORKER w");
        until_kept(&mut conn, &ids[4..]);
        assert_eq!(held_up(&mut conn), Some(("default".to_owned(), ids[4].clone())));
    });
}

#[test]
fn the_server_s_age_holds_for_rings_without_their_own() {
    each_binary(|binary| {
        let server = Server::with(binary).untouched().start();
        let mut conn = server.connect();
        must!(conn, "EVQ.TRIGGER", "k", "p");
        let p = must!(conn, "EVQ.ROUTE", "k").at(1).str().to_owned();
        // One is looked at for ever.
        let rings =
            ["EVQ.CREATE plain 1", "EVQ.CREATE ever 1 MAXAGE 0", "EVQ.CREATE few 1 MAXLEN 9"];
        for ring in rings {
            say(&mut conn, ring).ok();
        }
        for ring in ["plain", "ever"] {
            must!(conn, "EVQ.TRIGGER", "k", "p", "RING", ring);
        }
        assert_eq!(must!(conn, "EVQ.RING").get("max-age-ms").int(), 7 * 24 * 3600 * 1000);
        assert_eq!(must!(conn, "EVQ.RING", "ever").get("max-age-ms").int(), 0);
        // A change holds for what is there already.
        must!(conn, "CONFIG", "SET", "evq.max-age-ms", 1).ok();
        for stream in [p.as_str(), "evq:{plain:0}"] {
            until(PATIENCE, || must!(conn, "XLEN", stream).int() == 0);
        }
        assert_eq!(must!(conn, "XLEN", "evq:{ever:0}").int(), 1);
        must!(conn, "CONFIG", "SET", "evq.max-age-ms", 0).ok();
        must!(conn, "EVQ.TRIGGER", "k", "p");
        until_looked(&mut conn);
        assert_eq!(must!(conn, "XLEN", p).int(), 1);
    });
}

#[test]
fn workers_that_wait_do_not_notice_a_trim() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXAGE 200");
        let (mut owner, mut standby, mut any) =
            (server.connect(), server.connect(), server.connect());
        // Until both have finished them, the events stay, however old.
        for group in ["g", "any"] {
            say(&mut conn, &format!("EVQ.GROUP {group} RING r FROM first")).ok();
        }
        let ids = trigger(&mut conn, &TEN);
        for (worker, group) in [(&mut owner, "GROUP g"), (&mut any, "GROUP any")] {
            take(worker, &format!("{group} COUNT 10"));
            ack(worker, &ids[9], group);
        }
        block(&mut conn, &mut owner, "GROUP g BLOCK 0");
        block(&mut conn, &mut standby, "GROUP g BLOCK 0");
        any.send(&["EVQ.CONSUME", "*", "RING", "r", "GROUP", "any", "BLOCK", "0"]);
        until(PATIENCE, || blocked(&mut conn) == 3);
        until(PATIENCE, || kept(&mut conn).is_empty());
        until_looked(&mut conn);
        assert_eq!(blocked(&mut conn), 3);
        let next = trigger(&mut conn, &["next"]);
        for worker in [&mut owner, &mut any] {
            assert_eq!(woken(worker).at(2).at(0).at(0).str(), next[0]);
        }
        assert!(standby.try_read(QUIET).is_none());
    });
}

#[test]
fn a_watch_on_the_delivery_state_does_not_see_a_trim() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 1 MAXDEPTH 10");
        let mut watcher = server.connect();
        let ids = trigger(&mut conn, &TEN);
        take(&mut conn, "WORKER w COUNT 10");
        ack(&mut conn, &ids[9], "WORKER w");
        must!(watcher, "WATCH", "evq:{r:0}:groups").ok();
        // At the depth limit, and in the background.
        trigger(&mut conn, &["10"]);
        until(PATIENCE, || kept(&mut conn).len() == 1);
        must!(watcher, "MULTI").ok();
        must!(watcher, "PING");
        assert!(!must!(watcher, "EXEC").is_null());
    });
}
