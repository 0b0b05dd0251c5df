//! Lag is the truth: what EVQ.STATS and EVQ.GROUPS say is what reading the stream gives, whatever
//! clients and operators do; and for a backlog too long to count at once it becomes that soon.

use std::collections::BTreeSet;

use crate::failing::{ack, events, nack, pending};
use crate::harness::{Conn, PATIENCE, Value, args, each_server, must, until, until_some};
use crate::pull::{P, Pull, pull, ring, say, take};

/// Field `field` of the default group of [`P`] in EVQ.STATS.
fn stat(conn: &mut Conn, field: &str) -> Value {
    let stats = say(conn, "EVQ.STATS r");
    stats.get("partitions").at(0).get("groups").at(0).get(field).clone()
}

fn number(id: &str) -> (u64, u64) {
    let (ms, seq) = id.split_once('-').expect("an id");
    (ms.parse().unwrap(), seq.parse().unwrap())
}

/// What is not finished, by reading: entries above the cursor of a type that the group takes, and
/// the exceptions below it that still have an entry.
fn truth(conn: &mut Conn, kind: Option<&str>) -> i64 {
    let cursor = number(stat(conn, "cursor").str());
    let stream = must!(conn, "XRANGE", P, "-", "+");
    let takes = |entry: &&Value| {
        let fields = entry.at(1).map();
        let found = fields.iter().find(|(name, _)| name.bytes() == b"type");
        kind.is_none_or(|kind| found.is_some_and(|(_, value)| value.str() == kind))
    };
    let ids = |entry: &Value| number(entry.at(0).str());
    let all: BTreeSet<_> = stream.array().iter().map(ids).collect();
    let above = stream.array().iter().filter(takes).map(ids).filter(|id| *id > cursor).count();
    let waiting = pending(conn, "COUNT 10000").into_iter().filter(|(id, state)| {
        let id = number(id);
        state != "in-flight" && id <= cursor && all.contains(&id)
    });
    let mut below = waiting.count();
    // A redelivery in flight is an exception as well.
    let again = pending(conn, "COUNT 10000").into_iter();
    below += again.filter(|(id, state)| state == "in-flight" && number(id) <= cursor).count();
    i64::try_from(above + below).unwrap()
}

#[track_caller]
fn check(conn: &mut Conn, kind: Option<&str>) {
    let (lag, truth) = (stat(conn, "lag").int(), truth(conn, kind));
    assert_eq!(stat(conn, "lag-exact").int(), 1);
    assert_eq!(lag, truth);
    assert_eq!(say(conn, "EVQ.GROUPS RING r").at(0).get("lag").int(), truth);
}

#[test]
fn lag_follows_acknowledgements_failures_and_seeks() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 2 ONDEAD hold").ok();
        let of: Vec<_> = (0..20).map(|n| (["a", "b", "c"][n % 3], "p")).collect();
        let ids = events(&mut conn, &of);
        assert_eq!(stat(&mut conn, "lag").int(), 20);
        take(&mut conn, "WORKER w COUNT 10");
        assert_eq!(stat(&mut conn, "lag").int(), 20);
        // Within a reply, then the whole of it.
        for (n, lag) in [(3, 16), (9, 10)] {
            assert_eq!(ack(&mut conn, &ids[n], "WORKER w"), 1);
            assert_eq!(stat(&mut conn, "lag").int(), lag);
            check(&mut conn, None);
        }
        take(&mut conn, "WORKER w COUNT 6");
        nack(&mut conn, &ids[10], "WORKER w DELAY 0");
        check(&mut conn, None);
        ack(&mut conn, &ids[15], "WORKER w");
        // 10 failed and 13 is held behind it.
        assert_eq!(stat(&mut conn, "lag").int(), 6);
        check(&mut conn, None);
        assert_eq!(stat(&mut conn, "oldest-unfinished-id").str(), ids[10]);
        assert_eq!(take(&mut conn, "WORKER w").ids, ids[10..11]);
        check(&mut conn, None);
        nack(&mut conn, &ids[10], "WORKER w");
        assert_eq!(stat(&mut conn, "dead-held").int(), 1);
        check(&mut conn, None);
        say(&mut conn, "EVQ.DEAD default SKIP * * RING r");
        assert_eq!(stat(&mut conn, "lag").int(), 5);
        check(&mut conn, None);
        for (to, lag) in [("first", 20), (ids[4].as_str(), 15), ("last", 0)] {
            say(&mut conn, &format!("EVQ.SEEK default 0 {to} RING r")).ok();
            assert_eq!(stat(&mut conn, "lag").int(), lag);
            check(&mut conn, None);
        }
        assert!(stat(&mut conn, "oldest-unfinished-id").is_null());
        assert!(stat(&mut conn, "oldest-unfinished-ms").is_null());
    });
}

#[test]
fn lag_follows_entries_removed_and_added_by_hand() {
    each_server(|server| {
        let mut conn = ring(&server);
        let of: Vec<_> = (0..20).map(|n| (["a", "b", "c"][n % 3], "p")).collect();
        let ids = events(&mut conn, &of);
        take(&mut conn, "WORKER w COUNT 10");
        nack(&mut conn, &ids[1], "WORKER w DELAY 100000");
        ack(&mut conn, &ids[8], "WORKER w");
        check(&mut conn, None);
        // Finished, held, failed, in flight, not handed out.
        for (n, lag) in [(0, 14), (4, 13), (1, 12), (9, 11), (15, 10)] {
            must!(conn, "XDEL", P, ids[n]);
            assert_eq!(stat(&mut conn, "lag").int(), lag, "{n}");
            check(&mut conn, None);
        }
        must!(conn, "XTRIM", P, "MINID", ids[12]);
        check(&mut conn, None);
        must!(conn, "XADD", P, "*", "key", "a");
        check(&mut conn, None);
        must!(conn, "DEL", P);
        assert_eq!(stat(&mut conn, "lag").int(), 0);
        events(&mut conn, &[("a", "new")]);
        assert_eq!(stat(&mut conn, "lag").int(), 1);
        check(&mut conn, None);
    });
}

#[test]
fn lag_counts_only_the_types_of_the_group() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, "EVQ.GROUP default RING r TYPES 1 T").ok();
        for n in 0..30 {
            let kind = ["T", "U", "T"][n % 3];
            must!(conn, "EVQ.TRIGGER", n, "p", "RING", "r", "TYPE", kind);
            events(&mut conn, &[("untyped", "p")]);
        }
        assert_eq!(stat(&mut conn, "lag").int(), 20);
        check(&mut conn, Some("T"));
        let pull = take(&mut conn, "WORKER w COUNT 7");
        nack(&mut conn, &pull.ids[2], "WORKER w DELAY 100000");
        ack(&mut conn, pull.last(), "WORKER w");
        assert_eq!(stat(&mut conn, "lag").int(), 14);
        check(&mut conn, Some("T"));
    });
}

/// A backlog that is not counted in one look.
fn backlog(conn: &mut Conn, events: usize) {
    let one = args!["XADD", P, "*", "key", "k"].to_vec();
    for _ in 0..events / 5000 {
        conn.pipeline(&vec![one.clone(); 5000]);
    }
}

fn until_exact(conn: &mut Conn, lag: i64) {
    until(PATIENCE, || {
        assert!(!stat(conn, "lag").is_null());
        stat(conn, "lag-exact").int() == 1
    });
    assert_eq!(stat(conn, "lag").int(), lag);
}

#[test]
fn the_lag_of_a_long_backlog_is_exact_soon_and_stays_so() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 3").ok();
        backlog(&mut conn, 100_000);
        until_exact(&mut conn, 100_000);
        let mut line = String::new();
        for n in 1..=7_i64 {
            let pull = pull(&mut conn, &format!("WORKER w COUNT 5000 NOBLOCK {line}")).unwrap();
            line = format!("ACK {}", pull.last());
            until_exact(&mut conn, 100_000 - 5000 * (n - 1));
        }
        // 30,000 are finished, 5000 in flight; counted from there, and kept by acknowledgements.
        must!(conn, "XTRIM", P, "MAXLEN", 90_000);
        until_exact(&mut conn, 70_000);
        let ids = must!(conn, "XRANGE", P, "-", "+", "COUNT", 1);
        must!(conn, "XDEL", P, ids.at(0).at(0).bytes());
        until_exact(&mut conn, 70_000);
        let pull = Pull::of(&say(&mut conn, &format!("EVQ.CONSUME {P} WORKER w NOBLOCK {line}")));
        assert_eq!(ack(&mut conn, pull.unwrap().last(), "WORKER w"), 1);
        until_exact(&mut conn, 64_999);
        say(&mut conn, &format!("EVQ.SEEK default {P} first")).ok();
        until_exact(&mut conn, 89_999);
    });
}

#[test]
fn what_is_removed_while_it_is_in_flight_is_not_counted_twice() {
    each_server(|server| {
        let mut conn = ring(&server);
        backlog(&mut conn, 30_000);
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "MAXATTEMPTS", 3).ok();
        until_exact(&mut conn, 30_000);
        let pull = take(&mut conn, "WORKER w COUNT 10");
        must!(conn, "XDEL", P, pull.ids[3], pull.ids[5]);
        until_exact(&mut conn, 29_998);
        assert_eq!(ack(&mut conn, pull.last(), "WORKER w"), 1);
        until_exact(&mut conn, 29_990);
        // Finished in two parts, and asked in between.
        let pull = take(&mut conn, "WORKER w COUNT 10");
        for (n, lag) in [(2, 29_987), (9, 29_980)] {
            assert_eq!(ack(&mut conn, &pull.ids[n], "WORKER w"), 1);
            until_exact(&mut conn, lag);
        }
        // Two replies in flight, of which the first loses one.
        let (first, second) =
            (take(&mut conn, "WORKER w COUNT 10"), take(&mut conn, "WORKER w COUNT 10 AHEAD"));
        must!(conn, "XDEL", P, first.ids[3]);
        until_exact(&mut conn, 29_979);
        assert_eq!(ack(&mut conn, second.last(), "WORKER w"), 1);
        until_exact(&mut conn, 29_960);
        let third = take(&mut conn, "WORKER w COUNT 10");
        assert_eq!(ack(&mut conn, third.last(), "WORKER w"), 1);
        until_exact(&mut conn, 29_950);
    });
}

#[test]
fn one_command_looks_at_no_more_for_many_groups_than_for_some() {
    each_server(|server| {
        let mut conn = ring(&server);
        backlog(&mut conn, 15_000);
        let names: Vec<_> = (0..6).map(|n| format!("g{n}")).collect();
        for name in &names {
            say(&mut conn, &format!("EVQ.GROUP {name} RING r FROM first")).ok();
            let pull = take(&mut conn, &format!("GROUP {name} WORKER w COUNT 200"));
            assert_eq!(ack(&mut conn, pull.last(), &format!("GROUP {name} WORKER w")), 1);
        }
        // What was counted before is void, as the first entry is another one.
        let first = must!(conn, "XRANGE", P, "-", "+", "COUNT", 1);
        must!(conn, "XDEL", P, first.at(0).at(0).bytes());
        let exact = |conn: &mut Conn| {
            let groups = say(conn, "EVQ.GROUPS RING r");
            let exact = groups.array().iter().filter(|group| group.get("lag-exact").int() == 1);
            for group in exact.clone() {
                assert_eq!(group.get("lag").int(), 14_800);
            }
            exact.count()
        };
        // A backlog of this length is more than one command looks at.
        assert!(exact(&mut conn) < names.len());
        until(PATIENCE, || exact(&mut conn) == names.len());
        for name in &names {
            let pull = take(&mut conn, &format!("GROUP {name} WORKER w COUNT 100"));
            assert_eq!(ack(&mut conn, pull.last(), &format!("GROUP {name} WORKER w")), 1);
        }
        let groups = say(&mut conn, "EVQ.GROUPS RING r");
        for group in groups.array() {
            assert_eq!((group.get("lag").int(), group.get("lag-exact").int()), (14_700, 1));
        }
    });
}

#[test]
fn the_lag_of_a_long_backlog_with_types_becomes_exact_too() {
    each_server(|server| {
        let mut conn = ring(&server);
        backlog(&mut conn, 50_000);
        must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r", "TYPE", "T");
        say(&mut conn, "EVQ.GROUP default RING r TYPES 2 T U").ok();
        assert!(pull(&mut conn, "WORKER w BLOCK 60000").is_some());
        until_exact(&mut conn, 1);
    });
}

#[test]
fn lags_of_many_groups_are_counted_in_the_background_and_then_kept() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "t", 8).ok();
        let groups: Vec<_> = (0..20).map(|n| format!("g{n:02}")).collect();
        for group in &groups {
            say(&mut conn, &format!("EVQ.GROUP {group} RING t FROM first")).ok();
        }
        let add = |n: usize| args!["XADD", format!("evq:{{t:{}}}", n % 8), "*", "key", n].to_vec();
        let all: Vec<_> = (0..16_000).map(add).collect();
        conn.pipeline(&all);
        for (n, group) in groups.iter().enumerate() {
            for p in 0..8 {
                let count = 200 + 50 * n;
                let line = format!("EVQ.CONSUME {p} RING t GROUP {group} WORKER w COUNT {count}");
                let last = say(&mut conn, &line).at(2).array().last().unwrap().at(0).clone();
                must!(conn, "EVQ.ACK", p, last.str(), "RING", "t", "GROUP", group, "WORKER", "w");
            }
        }
        let look = |conn: &mut Conn| {
            let reply = say(conn, "EVQ.GROUPS RING t");
            let row = |row: &Value| (row.get("lag").int(), row.get("lag-exact").int() == 1);
            reply.array().iter().map(row).collect::<Vec<_>>()
        };
        // More than one command looks at; what is not counted yet is an estimate.
        let at_first = look(&mut conn);
        assert!(at_first.iter().any(|(_, exact)| !exact), "{at_first:?}");
        assert!(at_first.iter().all(|(lag, _)| (0..=16_000).contains(lag)), "{at_first:?}");
        let exact = until_some(PATIENCE, || {
            Some(look(&mut conn)).filter(|rows| rows.iter().all(|(_, exact)| *exact))
        });
        let expected: Vec<_> = (0..20).map(|n| (16_000 - 8 * (200 + 50 * n), true)).collect();
        assert_eq!(exact, expected);
        // From then on acknowledgements keep the count, and nothing is counted again.
        for group in &groups {
            for p in 0..8 {
                let line = format!("EVQ.CONSUME {p} RING t GROUP {group} WORKER w COUNT 100");
                let last = say(&mut conn, &line).at(2).array().last().unwrap().at(0).clone();
                must!(conn, "EVQ.ACK", p, last.str(), "RING", "t", "GROUP", group, "WORKER", "w");
            }
        }
        let expected: Vec<_> = expected.iter().map(|(lag, _)| (lag - 800, true)).collect();
        assert_eq!(look(&mut conn), expected);
    });
}
