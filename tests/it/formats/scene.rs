//! Rings, groups and failures of every kind that the saved formats know, made by commands alone.
//!
//! Streams begin with an entry of the far future, so that ids do not depend on the clock and no
//! event ever becomes old enough to be trimmed by age.

use crate::failing::attempt;
use crate::harness::{Conn, PATIENCE, Server, args, must, until};
use crate::pull::say;

use super::resized;

/// The year 2100.
const FAR_MS: &str = "4102444800000";
/// A retry that no test waits for.
const LATER_MS: u64 = 300_000_000_000;

/// Plays it with rings whose names begin with `name`.
pub(super) fn play(server: &Server, name: &str) {
    let mut conn = server.connect();
    progress(&mut conn, name);
    failures(&mut conn, server, &format!("{name}f"));
    resized::remembered(&mut conn, &format!("{name}r"));
    resized::over(&mut conn, &format!("{name}g"));
    tokens(&mut conn, &format!("{name}u"));
    later(&mut conn, &format!("{name}l"));
    must!(conn, "SELECT", 3);
    // The ring `default`, made by its first use, in a database of its own.
    if name == "old" {
        for p in 0..8 {
            far(&mut conn, &format!("evq:{{default:{p}}}"));
        }
        // It is not made while its partition 0 has entries.
        must!(conn, "EVQ.CREATE", "default", 8).ok();
    }
    must!(conn, "EVQ.MTRIGGER", 2, "k", format!("{name} 1"), "k", format!("{name} 2"));
}

/// Begins a stream with an entry of the far future.
pub(super) fn far(conn: &mut Conn, stream: &str) {
    must!(conn, "XADD", stream, format!("{FAR_MS}-0"), "key", "first", "payload", "0");
}

/// Groups at work on a ring of three partitions.
fn progress(conn: &mut Conn, ring: &str) {
    let weights = args!["EVQ.CREATE", ring, 3, "WEIGHTS", 1, 2, 3, "VNODES", 40, "PAYLOAD", "json"];
    conn.must(&weights).ok();
    for p in 0..3 {
        far(conn, &format!("evq:{{{ring}:{p}}}"));
    }
    for n in 0..30 {
        let (key, kind) = (format!("key\0{}", n % 11), ["A", "B", "C"][n % 3]);
        let event = args!["EVQ.TRIGGER", key, n, "TYPE", kind, "HEADER", "h", "\r\n\u{e9}"];
        conn.must(&[&event[..], &args!["RING", ring]].concat());
    }
    say(conn, &format!("EVQ.GROUP typed RING {ring} TYPES 2 A B MAXATTEMPTS 3 BACKOFF 100 5000"));
    say(conn, &format!("EVQ.GROUP late RING {ring} FROM last ONDEAD hold DEADAGE 86400000"));
    for group in ["default", "typed", "late", "gone", "audit:v2"] {
        for p in 0..3 {
            let place = format!("evq:{{{ring}:{p}}} GROUP {group} WORKER w");
            let given = say(conn, &format!("EVQ.CONSUME {place} COUNT 4 NOBLOCK"));
            if !given.is_null() {
                let second = given.at(2).at(1).at(0).str().to_owned();
                let stream = format!("evq:{{{ring}:{p}}}");
                must!(conn, "EVQ.ACK", stream, second, "GROUP", group, "WORKER", "w");
                must!(conn, "EVQ.RELEASE", stream, "GROUP", group, "WORKER", "w");
            }
        }
    }
    say(conn, &format!("EVQ.SEEK late 1 first RING {ring}")).ok();
    say(conn, &format!("EVQ.SEEK audit:v2 2 {FAR_MS}-3 RING {ring}")).ok();
    say(conn, &format!("EVQ.DELGROUP gone RING {ring}")).ok();
}

/// Events with tokens that count for ten years, in a ring of one partition.
fn tokens(conn: &mut Conn, ring: &str) {
    say(conn, &format!("EVQ.CREATE {ring} 1 UNIQUEFOR 315360000000")).ok();
    far(conn, &format!("evq:{{{ring}:0}}"));
    for n in 0..5 {
        must!(conn, "EVQ.TRIGGER", "k", n, "RING", ring, "UNIQUE", format!("t{n}"));
    }
    say(conn, &format!("EVQ.MTRIGGER 2 k a l b RING {ring} UNIQUES 2 u u"));
}

/// Scheduled events: one with a token that was appended, one that was cancelled, and three that
/// wait, for ever, because the key of their stream holds something else.
fn later(conn: &mut Conn, ring: &str) {
    say(conn, &format!("EVQ.CREATE {ring} 1 UNIQUEFOR 315360000000")).ok();
    let stream = &format!("evq:{{{ring}:0}}");
    say(conn, &format!("EVQ.SCHEDULE k first AT 1 RING {ring} UNIQUE t"));
    until(PATIENCE, || must!(conn, "XLEN", stream).int() == 1);
    must!(conn, "DEL", stream);
    let ticket = say(conn, &format!("EVQ.SCHEDULE k gone IN 100000000 RING {ring}")).at(1).int();
    say(conn, &format!("EVQ.CANCEL {ticket} RING {ring}"));
    must!(conn, "MULTI");
    say(conn, &format!("EVQ.SCHEDULE k plain AT 3 RING {ring}"));
    must!(conn, "EVQ.SCHEDULE", b"k\xff", "p", "AT", 2, "RING", ring, "TYPE", "T", "UNIQUE", "u");
    say(conn, &format!("EVQ.SCHEDULE l p AT 1 RING {ring} HEADER a b HEADER c d"));
    must!(conn, "SET", stream, "no stream");
    must!(conn, "EXEC");
}

/// Every state that an event can be in when it is not finished, in a ring of one partition.
fn failures(conn: &mut Conn, server: &Server, ring: &str) {
    say(conn, &format!("EVQ.CREATE {ring} 1")).ok();
    let stream = &format!("evq:{{{ring}:0}}");
    far(conn, stream);
    for (n, key) in ["a", "a", "d", "d", "f", "a", "s", "z"].iter().enumerate() {
        must!(conn, "EVQ.TRIGGER", key, n + 1, "RING", ring);
    }
    held(conn, stream, ring);
    suspected(conn, server, stream);
    dead(conn, stream, ring);
    replayed(conn, stream, ring);
}

/// The id of the event `n` of a stream that begins so.
pub(super) fn id(n: usize) -> String {
    format!("{FAR_MS}-{n}")
}

/// Group `hold`: the first of `a` waits for a retry, the first of `d` is dead; each holds others.
fn held(conn: &mut Conn, stream: &str, ring: &str) {
    say(conn, &format!("EVQ.GROUP hold RING {ring} MAXATTEMPTS 2 ONDEAD hold")).ok();
    let whose = "GROUP hold WORKER w";
    say(conn, &format!("EVQ.CONSUME {stream} {whose} COUNT 6 NOBLOCK"));
    for (n, delay) in [(3, 0), (1, LATER_MS)] {
        let held = say(conn, &format!("EVQ.NACK {stream} {} DELAY {delay} {whose}", id(n)));
        assert_eq!(held.at(0).str(), id(n + 1));
    }
    must!(conn, "EVQ.ACK", stream, id(5), "GROUP", "hold", "WORKER", "w");
    let due = say(conn, &format!("EVQ.CONSUME {stream} {whose} COUNT 9 NOBLOCK"));
    assert_eq!((due.at(2).at(0).at(0).str(), attempt(due.at(2).at(0))), (&*id(3), Some(2)));
    must!(conn, "EVQ.NACK", stream, id(3), "REASON", "no\0\r\n", "GROUP", "hold", "WORKER", "w");
    // On the way to the event after it, the third of `a` joins those that are held.
    let next = say(conn, &format!("EVQ.CONSUME {stream} {whose} NOBLOCK"));
    assert_eq!(next.at(2).at(0).at(0).str(), id(7));
    say(conn, &format!("EVQ.RELEASE {stream} {whose}")).ok();
}

/// Group `suspect`: an event was alone in flight when its worker died.
fn suspected(conn: &mut Conn, server: &Server, stream: &str) {
    let pull = format!("EVQ.CONSUME {stream} GROUP suspect NOBLOCK");
    let given = say(&mut server.connect(), &pull);
    assert_eq!(given.at(2).at(0).at(0).str(), id(0));
    until(PATIENCE, || {
        let reply = say(conn, &pull);
        if !reply.is_null() {
            say(conn, &format!("EVQ.RELEASE {stream} GROUP suspect")).ok();
        }
        !reply.is_null() && attempt(reply.at(2).at(0)) == Some(2)
    });
}

/// Group `skip`: one dead letter that stays, one that starts again, one that is given up, and a
/// dead event in front of which another one is still in flight.
fn dead(conn: &mut Conn, stream: &str, ring: &str) {
    say(conn, &format!("EVQ.GROUP skip RING {ring} MAXATTEMPTS 1")).ok();
    let whose = "GROUP skip WORKER w";
    say(conn, &format!("EVQ.CONSUME {stream} {whose} COUNT 6 NOBLOCK"));
    for n in [0, 1, 4] {
        say(conn, &format!("EVQ.NACK {stream} {} {whose}", id(n)));
    }
    must!(conn, "EVQ.ACK", stream, id(2), "GROUP", "skip", "WORKER", "w");
    assert_eq!(say(conn, &format!("EVQ.DEAD skip RETRY 0 {} RING {ring}", id(1))).int(), 1);
    // Group `give-up` holds its dead event until it is skipped by hand.
    say(conn, &format!("EVQ.GROUP give-up RING {ring} MAXATTEMPTS 1 ONDEAD hold")).ok();
    let whose = "GROUP give-up WORKER w";
    say(conn, &format!("EVQ.CONSUME {stream} {whose} COUNT 3 NOBLOCK"));
    say(conn, &format!("EVQ.NACK {stream} {} {whose}", id(1)));
    must!(conn, "EVQ.ACK", stream, id(0), "GROUP", "give-up", "WORKER", "w");
    assert_eq!(say(conn, &format!("EVQ.DEAD give-up SKIP 0 {} RING {ring}", id(1))).int(), 1);
    let next = say(conn, &format!("EVQ.CONSUME {stream} {whose} COUNT 9 NOBLOCK"));
    assert!(!next.is_null());
    for group in ["skip", "give-up"] {
        must!(conn, "EVQ.RELEASE", stream, "GROUP", group, "WORKER", "w").ok();
    }
}

/// Group `again`: two events of `a` that were finished come again, the second behind the first.
fn replayed(conn: &mut Conn, stream: &str, ring: &str) {
    let whose = "GROUP again WORKER w";
    say(conn, &format!("EVQ.CONSUME {stream} {whose} COUNT 6 NOBLOCK"));
    must!(conn, "EVQ.ACK", stream, id(5), "GROUP", "again", "WORKER", "w");
    assert_eq!(say(conn, &format!("EVQ.REPLAY again a RING {ring}")).int(), 2);
    say(conn, &format!("EVQ.RELEASE {stream} {whose}")).ok();
}

/// What shows all of it: database and command.
pub(super) fn questions() -> Vec<(i64, String)> {
    let mut all = vec![(3, "EVQ.RING default".to_owned()), (3, "EVQ.STATS default".to_owned())];
    all.extend((0..8).map(|p| (3, format!("XRANGE evq:{{default:{p}}} - +"))));
    for name in ["old", "new"] {
        let f = format!("{name}f");
        for ring in [name, &f] {
            for command in ["EVQ.RING", "EVQ.STATS", "EVQ.GROUPS RING"] {
                all.push((0, format!("{command} {ring}")));
            }
        }
        all.push((0, format!("EVQ.POINTS RING {name}")));
        for group in ["default", "typed", "late", "audit:v2"] {
            all.push((0, format!("EVQ.GROUP {group} RING {name}")));
        }
        all.extend((0..3).map(|p| (0, format!("XRANGE evq:{{{name}:{p}}} - +"))));
        all.push((0, format!("XRANGE evq:{{{f}:0}} - +")));
        for group in ["hold", "suspect", "skip", "give-up", "again"] {
            all.push((0, format!("EVQ.GROUP {group} RING {f}")));
            all.push((0, format!("EVQ.PENDING 0 GROUP {group} RING {f}")));
            all.push((0, format!("EVQ.DEAD {group} LIST * RING {f}")));
        }
        all.extend(resized::questions(name));
        let u = format!("{name}u");
        all.push((0, format!("XRANGE evq:{{{u}:0}} - +")));
        all.push((0, format!("EVQ.TRIGGER k again RING {u} UNIQUE t3")));
        all.push((0, format!("EVQ.MTRIGGER 2 k c l d RING {u} UNIQUES 2 u u")));
        all.push((0, format!("EVQ.SCHEDULED * RING {name}l")));
    }
    all
}

/// Pulls that show what no question does: who is suspected, what starts again, where each goes on.
pub(super) fn afterwards() -> Vec<String> {
    let mut all = Vec::new();
    for name in ["old", "new"] {
        for group in ["hold", "suspect", "skip", "give-up", "again"] {
            all.push(format!("EVQ.CONSUME evq:{{{name}f:0}} GROUP {group} COUNT 9 NOBLOCK"));
        }
        for group in ["default", "typed", "late", "audit:v2"] {
            for p in 0..3 {
                all.push(format!("EVQ.CONSUME evq:{{{name}:{p}}} GROUP {group} COUNT 99 NOBLOCK"));
            }
        }
        all.extend(resized::afterwards(name));
    }
    all
}
