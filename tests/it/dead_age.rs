//! DEADAGE: dead letters that are older than their group keeps them go in the background, unless
//! their event holds its key.

use crate::failing::{clock_ms, events, nack};
use crate::harness::{
    Conn, PATIENCE, Server, Value, args, each_binary, each_server, must, until, wait_for_sync,
};
use crate::pull::{QUIET, refused, ring, say, take};

/// The letters of group `g` in the ring `r`.
const LETTERS: &str = "evq:{r:0}:dead:g";

fn group(conn: &mut Conn, options: &str) {
    say(conn, &format!("EVQ.GROUP g RING r {options}")).ok();
}

/// The events that the letters are of.
fn letters(conn: &mut Conn) -> Vec<String> {
    let entries = must!(conn, "XRANGE", LETTERS, "-", "+");
    entries.array().iter().map(|entry| entry.at(1).get("id").str().to_owned()).collect()
}

/// A letter as it was written at this time.
fn letter(conn: &mut Conn, at_ms: u64, event: &str) {
    must!(conn, "XADD", LETTERS, format!("{at_ms}-1"), "id", event, "key", "k", "reason", "why");
}

fn until_letters(conn: &mut Conn, expected: &[&str]) {
    until(PATIENCE, || letters(conn) == expected);
}

/// An event of each key fails for the last time; their ids.
fn fail(conn: &mut Conn, keys: &[&str]) -> Vec<String> {
    let of: Vec<_> = keys.iter().map(|key| (*key, "p")).collect();
    let ids = events(conn, &of);
    take(conn, &format!("GROUP g WORKER w COUNT {}", keys.len()));
    ids.iter().for_each(|id| drop(nack(conn, id, "GROUP g WORKER w REASON why")));
    ids
}

fn expired(conn: &mut Conn) -> u64 {
    conn.info("evq", "evq_dead_letters_expired").expect("a field of INFO").parse().unwrap()
}

#[test]
fn letters_that_are_too_old_go_and_others_stay() {
    each_server(|server| {
        let mut conn = ring(&server);
        let now_ms = clock_ms(&mut conn);
        for (n, at_ms) in [1000, now_ms - 90_000, now_ms - 70_000, now_ms].into_iter().enumerate() {
            letter(&mut conn, at_ms, &format!("{}-1", n + 1));
        }
        group(&mut conn, "FROM first DEADAGE 80000");
        until_letters(&mut conn, &["3-1", "4-1"]);
        assert_eq!(expired(&mut conn), 2);
        // A letter that comes later, and is too old when it comes.
        must!(conn, "DEL", LETTERS);
        letter(&mut conn, 5, "5-1");
        group(&mut conn, "DEADAGE 81000");
        until(PATIENCE, || must!(conn, "XLEN", LETTERS).int() == 0);
        assert_eq!(expired(&mut conn), 3);
    });
}

#[test]
fn no_letter_goes_before_its_time_and_each_goes_after_it() {
    each_server(|server| {
        let mut conn = ring(&server);
        let age_ms = 400;
        group(&mut conn, &format!("FROM first MAXATTEMPTS 1 DEADAGE {age_ms}"));
        for round in 0..3 {
            fail(&mut conn, &["a", "b", "c"]);
            let written = must!(conn, "XRANGE", LETTERS, "-", "+");
            let at_ms = |entry: &Value| entry.at(0).str().split_once('-').unwrap().0.parse::<u64>();
            let written: Vec<u64> =
                written.array().iter().map(|entry| at_ms(entry).unwrap()).collect();
            until(PATIENCE, || {
                must!(conn, "MULTI");
                must!(conn, "XLEN", LETTERS);
                must!(conn, "TIME");
                let replies = must!(conn, "EXEC");
                let left = usize::try_from(replies.at(0).int()).unwrap();
                let time = replies.at(1);
                let number = |at: usize| time.at(at).str().parse::<u64>().unwrap();
                let now_ms = number(0) * 1000 + number(1) / 1000;
                for ms in written.iter().take(written.len().saturating_sub(left)) {
                    assert!(ms + age_ms < now_ms, "round {round}: {ms} gone at {now_ms}");
                }
                left == 0
            });
        }
    });
}

#[test]
fn by_default_letters_stay_for_ever_and_the_age_may_change() {
    each_server(|server| {
        let mut conn = ring(&server);
        group(&mut conn, "FROM first");
        let shown = |conn: &mut Conn| say(conn, "EVQ.GROUP g RING r").get("dead-age-ms").int();
        assert_eq!(shown(&mut conn), 0);
        letter(&mut conn, 1000, "1-1");
        std::thread::sleep(QUIET);
        assert_eq!(letters(&mut conn), ["1-1"]);
        group(&mut conn, "DEADAGE 60000");
        until_letters(&mut conn, &[]);
        assert_eq!(shown(&mut conn), 60_000);
        must!(conn, "DEBUG", "RELOAD").ok();
        assert_eq!(shown(&mut conn), 60_000);
        // Another setting leaves it as it is.
        group(&mut conn, "MAXATTEMPTS 4");
        assert_eq!(shown(&mut conn), 60_000);
        group(&mut conn, "DEADAGE 0");
        must!(conn, "DEL", LETTERS);
        letter(&mut conn, 2000, "2-1");
        std::thread::sleep(QUIET);
        assert_eq!(letters(&mut conn), ["2-1"]);
        for line in ["DEADAGE -1", "DEADAGE x", "DEADAGE", "DEADAGE 315360000001"] {
            assert_eq!(refused(&mut conn, &format!("EVQ.GROUP g RING r {line}")), "ERR", "{line}");
        }
    });
}

#[test]
fn a_letter_whose_event_holds_its_key_stays_until_that_is_over() {
    each_server(|server| {
        let mut conn = ring(&server);
        group(&mut conn, "FROM first MAXATTEMPTS 1 ONDEAD hold");
        let ids = fail(&mut conn, &["a", "b", "c"]);
        // As if they were old, with letters before and behind that hold nothing.
        must!(conn, "DEL", LETTERS);
        for (n, id) in ["1-1", &ids[0], "2-1", &ids[1], &ids[2], "3-1"].iter().enumerate() {
            letter(&mut conn, 1000 + n as u64, id);
        }
        group(&mut conn, "DEADAGE 50000");
        until_letters(&mut conn, &[&ids[0], &ids[1], &ids[2]]);
        assert_eq!(expired(&mut conn), 3);
        // What comes behind them goes as well.
        letter(&mut conn, 2000, "4-1");
        until_letters(&mut conn, &[&ids[0], &ids[1], &ids[2]]);
        // An operator decides; the letter of the second event holds nothing any more.
        say(&mut conn, &format!("EVQ.DEAD g SKIP 0 {} RING r", ids[0]));
        assert_eq!(letters(&mut conn), ids[1..]);
        say(&mut conn, "EVQ.SEEK g 0 last RING r").ok();
        until_letters(&mut conn, &[]);
    });
}

#[test]
fn many_letters_go_in_steps_also_behind_some_that_stay() {
    each_server(|server| {
        let mut conn = ring(&server);
        group(&mut conn, "FROM first MAXATTEMPTS 1 ONDEAD hold");
        let ids = fail(&mut conn, &["a", "b"]);
        must!(conn, "DEL", LETTERS);
        let many = |conn: &mut Conn, from: u64| {
            let add = |n: u64| {
                args!["XADD", LETTERS, format!("1000-{n}"), "id", format!("1-{n}"), "payload", "p"]
                    .to_vec()
            };
            conn.pipeline(&(from..from + 10_000).map(add).collect::<Vec<_>>());
        };
        many(&mut conn, 1);
        letter(&mut conn, 1001, &ids[0]);
        must!(conn, "XADD", LETTERS, "1001-2", "id", ids[1]);
        group(&mut conn, "DEADAGE 60000");
        until(PATIENCE, || must!(conn, "XLEN", LETTERS).int() == 2);
        must!(conn, "XSETID", LETTERS, "1002-0");
        let add = |n: u64| {
            args!["XADD", LETTERS, format!("1002-{n}"), "id", format!("2-{n}"), "payload", "p"]
                .to_vec()
        };
        conn.pipeline(&(1..10_001).map(add).collect::<Vec<_>>());
        until(PATIENCE, || letters(&mut conn) == ids);
        assert_eq!(expired(&mut conn), 20_000);
        // Not one at a time, and clients are served meanwhile.
        let longest = conn.info("evq", "evq_trim_longest_us").unwrap();
        assert!(longest.parse::<u64>().is_ok_and(|us| us > 0));
    });
}

#[test]
fn each_group_has_its_own_age_in_every_partition_and_database() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "SELECT", 3).ok();
        must!(conn, "EVQ.CREATE", "r", 3).ok();
        let now_ms = clock_ms(&mut conn);
        for (name, age) in [("a", 1000), ("b", 0), ("c", 3_600_000)] {
            must!(conn, "EVQ.GROUP", name, "RING", "r", "DEADAGE", age).ok();
            for p in 0..3 {
                let key = format!("evq:{{r:{p}}}:dead:{name}");
                must!(conn, "XADD", key, format!("{}-1", now_ms - 60_000), "id", "1-1");
            }
        }
        let left = |conn: &mut Conn, name: &str| {
            let of = |p: u32| format!("evq:{{r:{p}}}:dead:{name}");
            (0..3).map(|p| must!(conn, "XLEN", of(p)).int()).sum::<i64>()
        };
        until(PATIENCE, || left(&mut conn, "a") == 0);
        assert_eq!((left(&mut conn, "b"), left(&mut conn, "c")), (3, 3));
        let letters = say(&mut conn, "EVQ.GROUPS RING r");
        let letters = letters.array().iter().map(|row| row.get("dead-letters").int());
        assert_eq!(letters.collect::<Vec<_>>(), [0, 3, 3]);
    });
}

#[test]
fn replicas_follow_and_go_on_when_they_are_promoted() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let (mut conn, mut other) = (ring(&primary), replica.connect());
        wait_for_sync(&primary, &replica);
        group(&mut conn, "FROM first MAXATTEMPTS 1 ONDEAD hold");
        let ids = fail(&mut conn, &["a"]);
        must!(conn, "DEL", LETTERS);
        letter(&mut conn, 1000, &ids[0]);
        letter(&mut conn, 1001, "1-1");
        group(&mut conn, "DEADAGE 60000");
        until_letters(&mut conn, &[&ids[0]]);
        wait_for_sync(&primary, &replica);
        assert_eq!(conn.digest(), other.digest());
        must!(other, "REPLICAOF", "NO", "ONE").ok();
        let shown = say(&mut other, "EVQ.GROUP g RING r").get("dead-age-ms").int();
        assert_eq!(shown, 60_000);
        letter(&mut other, 1002, "2-1");
        until_letters(&mut other, &[&ids[0]]);
    });
}
