//! MAXDEPTH: producers are pushed back before anything is written, finished events make room, and
//! whoever finishes events lets producers go on.

use crate::failing::{ack, nack};
use crate::harness::{Conn, PATIENCE, Value, args, each_server, must, until};
use crate::kept::{held_up, kept, ring_with, total, until_looked};
use crate::pull::{P, say, take, trigger};

fn refused(conn: &mut Conn, line: &str) {
    let digest = conn.digest();
    let reply = say(conn, line);
    let Value::Error(text) = &reply else { panic!("{line}: {reply:?}") };
    assert_eq!(text, "EVQFULL the depth limit of the partition is reached; nothing was written");
    assert_eq!(conn.digest(), digest);
}

#[test]
fn it_pushes_back_and_recovers() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXDEPTH 3");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let ids = trigger(&mut conn, &["0", "1", "2"]);
        refused(&mut conn, "EVQ.TRIGGER k 3 RING r");
        take(&mut conn, "WORKER w COUNT 3");
        // In flight is not finished.
        refused(&mut conn, "EVQ.TRIGGER k 3 RING r");
        ack(&mut conn, &ids[1], "WORKER w");
        let more = trigger(&mut conn, &["3", "4"]);
        assert_eq!(kept(&mut conn), [&ids[2..], &more[..]].concat());
        refused(&mut conn, "EVQ.TRIGGER k 5 RING r");
        // What failed keeps its place, and all behind it keep theirs.
        nack(&mut conn, &ids[2], "WORKER w DELAY 100000");
        refused(&mut conn, "EVQ.TRIGGER k 5 RING r");
        assert_eq!(total(&mut conn, "refused_full"), 4);
        assert_eq!(must!(conn, "EVQ.STATS", "r").get("partitions").at(0).get("length").int(), 3);
    });
}

#[test]
fn finished_events_go_early_though_nothing_else_would_remove_them() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXDEPTH 5 MAXAGE 100000000 MAXLEN 100");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let mut all = Vec::new();
        for n in 0..20 {
            all.extend(trigger(&mut conn, &[&n.to_string()]));
            take(&mut conn, "WORKER w");
            ack(&mut conn, &all[n], "WORKER w");
            assert_eq!(kept(&mut conn), all[all.len().saturating_sub(5)..]);
        }
        // They were there to be replayed until the place was needed.
        say(&mut conn, &format!("EVQ.SEEK default {P} first")).ok();
        assert_eq!(take(&mut conn, "WORKER w COUNT 100").ids, all[15..]);
        refused(&mut conn, "EVQ.TRIGGER k p RING r");
    });
}

#[test]
fn without_groups_the_last_events_are_kept() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXDEPTH 3");
        let ids = trigger(&mut conn, &["0", "1", "2", "3", "4"]);
        assert_eq!(kept(&mut conn), ids[2..]);
    });
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "two", 2, "MAXDEPTH", 4);
        say(&mut conn, "EVQ.GROUP default RING two FROM first").ok();
        let key_of = |conn: &mut Conn, p: i64| {
            let mut keys = (0..).map(|n| format!("k{n}"));
            let goes = |key: &String| must!(conn, "EVQ.ROUTE", key, "RING", "two").at(0).int() == p;
            keys.find({
                let mut goes = goes;
                move |key| goes(key)
            })
            .unwrap()
        };
        let (a, b) = (key_of(&mut conn, 0), key_of(&mut conn, 1));
        let batch = |zeros: usize, ones: usize| {
            let keys = [vec![&a; zeros], vec![&b; ones]].concat();
            let events: Vec<String> = keys.iter().map(|key| format!("{key} p")).collect();
            format!("EVQ.MTRIGGER {} {} RING two", zeros + ones, events.join(" "))
        };
        assert_eq!(say(&mut conn, &batch(3, 1)).array().len(), 4);
        refused(&mut conn, &batch(2, 1));
        refused(&mut conn, &batch(1, 4));
        assert_eq!(say(&mut conn, &batch(1, 3)).array().len(), 4);
        refused(&mut conn, &batch(1, 0));
        refused(&mut conn, &batch(0, 1));
        // More than MAXDEPTH never fits, whatever is finished.
        say(&mut conn, "EVQ.SEEK default * last RING two").ok();
        refused(&mut conn, &batch(5, 0));
        assert_eq!(say(&mut conn, &batch(4, 4)).array().len(), 8);
        for p in 0..2 {
            assert_eq!(must!(conn, "XLEN", format!("evq:{{two:{p}}}")).int(), 4);
        }
    });
}

#[test]
fn transactions_and_scripts_learn_it() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXDEPTH 2");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        must!(conn, "MULTI").ok();
        for n in 0..3 {
            must!(conn, "EVQ.TRIGGER", "k", n, "RING", "r");
        }
        let replies = must!(conn, "EXEC");
        assert!(!replies.at(0).is_error() && !replies.at(1).is_error());
        assert_eq!(replies.at(2).err_code(), "EVQFULL");
        let script = "redis.call('SET', 'mine', 1)
            return redis.call('EVQ.TRIGGER', 'k', 'p', 'RING', 'r')";
        let reply = conn.cmd(&args!["EVAL", script, 0]);
        assert!(reply.err().contains("EVQFULL"), "{reply:?}");
        assert_eq!(kept(&mut conn).len(), 2);
    });
}

#[test]
fn what_came_by_hand_counts_and_goes_in_the_background() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXDEPTH 3");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let one = args!["XADD", P, "*", "key", "k"].to_vec();
        conn.pipeline(&vec![one; 10]);
        let ids = kept(&mut conn);
        refused(&mut conn, "EVQ.TRIGGER k p RING r");
        until_looked(&mut conn);
        assert_eq!(held_up(&mut conn), Some(("default".to_owned(), ids[0].clone())));
        take(&mut conn, "WORKER w COUNT 10");
        ack(&mut conn, &ids[4], "WORKER w");
        until(PATIENCE, || kept(&mut conn) == ids[5..]);
        refused(&mut conn, "EVQ.TRIGGER k p RING r");
        ack(&mut conn, &ids[9], "WORKER w");
        until(PATIENCE, || kept(&mut conn) == ids[7..]);
        trigger(&mut conn, &["p"]);
        assert_eq!(kept(&mut conn).len(), 3);
    });
}

#[test]
fn more_than_one_command_may_remove_is_refused_until_the_background_has_removed_it() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXDEPTH 3");
        let one = args!["XADD", P, "*", "key", "k"].to_vec();
        for _ in 0..6 {
            conn.pipeline(&vec![one.clone(); 5000]);
        }
        let (mut tries, mut refusals) = (0, 0);
        until(PATIENCE, || {
            tries += 1;
            let reply = say(&mut conn, "EVQ.TRIGGER k p RING r");
            refusals += i32::from(reply.is_error() && reply.err_code() == "EVQFULL");
            !reply.is_error()
        });
        assert_eq!(refusals, tries - 1);
        assert_eq!(kept(&mut conn).len(), 3);
    });
}

#[test]
fn not_every_event_at_the_limit_trims() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXDEPTH 1000");
        let one = args!["EVQ.TRIGGER", "k", "p", "RING", "r"].to_vec();
        conn.pipeline(&vec![one.clone(); 1000]);
        assert_eq!(must!(conn, "XLEN", P).int(), 1000);
        conn.must(&one);
        // One in a hundred of MAXDEPTH goes at once, and no more goes before that is used up.
        assert_eq!(must!(conn, "XLEN", P).int(), 991);
        conn.pipeline(&vec![one.clone(); 9]);
        assert_eq!(must!(conn, "XLEN", P).int(), 1000);
        conn.must(&one);
        assert_eq!(must!(conn, "XLEN", P).int(), 991);
    });
}

#[test]
fn create_takes_the_shape_with_what_it_keeps() {
    each_server(|server| {
        let mut conn = server.connect();
        let full = "EVQ.CREATE s 2 MAXDEPTH 100 MAXLEN 50 MAXAGE 60000 TRIM any";
        say(&mut conn, full).ok();
        say(&mut conn, "evq.create s 2 trim ANY maxage 60000 maxlen 50 maxdepth 100").ok();
        for other in [
            "EVQ.CREATE s 2",
            "EVQ.CREATE s 2 MAXDEPTH 100 MAXLEN 50 MAXAGE 60000",
            "EVQ.CREATE s 2 MAXDEPTH 100 MAXLEN 50 MAXAGE 60000 TRIM finished",
            "EVQ.CREATE s 2 MAXDEPTH 101 MAXLEN 50 MAXAGE 60000 TRIM any",
            "EVQ.CREATE s 2 MAXDEPTH 100 MAXLEN 51 MAXAGE 60000 TRIM any",
            "EVQ.CREATE s 2 MAXDEPTH 100 MAXLEN 50 MAXAGE 60001 TRIM any",
            "EVQ.CREATE s 2 MAXDEPTH 100 MAXLEN 50 TRIM any",
        ] {
            assert_eq!(say(&mut conn, other).err_code(), "EVQRINGEXISTS", "{other}");
        }
        let ring = must!(conn, "EVQ.RING", "s");
        assert_eq!(ring.get("max-depth").int(), 100);
        assert_eq!(ring.get("max-length").int(), 50);
        assert_eq!(ring.get("max-age-ms").int(), 60_000);
        assert_eq!(ring.get("trim").str(), "any");
        // What says nothing is what says the default.
        say(&mut conn, "EVQ.CREATE plain 1").ok();
        say(&mut conn, "EVQ.CREATE plain 1 TRIM finished").ok();
        let ring = must!(conn, "EVQ.RING", "plain");
        assert!(ring.get("max-depth").is_null() && ring.get("max-length").is_null());
        assert_eq!(ring.get("trim").str(), "finished");
        for (bad, code) in [
            ("MAXLEN 1000000000001", "EVQLIMIT"),
            ("MAXDEPTH 1000000000001", "EVQLIMIT"),
            ("MAXAGE 315360000001", "ERR"),
        ] {
            let line = format!("EVQ.CREATE t 1 {bad}");
            assert_eq!(say(&mut conn, &line).err_code(), code, "{bad}");
        }
        say(&mut conn, "EVQ.CREATE t 1 MAXLEN 1000000000000 MAXDEPTH 1000000000000").ok();
        say(&mut conn, "EVQ.CREATE u 1 MAXAGE 315360000000").ok();
        must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "t");
    });
}
