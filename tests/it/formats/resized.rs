//! What resizes leave in the saved formats: a ring that remembers one, with an event that is held
//! by another partition, and a ring whose leaving partition and whose past are gone.

use std::time::Duration;

use crate::harness::{Conn, PATIENCE, args, must, until};
use crate::pull::say;

use super::scene::{far, id};

/// A ring that remembers its resize. In group `default` the event of a key that moved is held in
/// partition 1, because an earlier one is dead in partition 0.
pub(super) fn remembered(conn: &mut Conn, ring: &str) {
    let limits = "VNODES 40 MAXAGE 0 MAXLEN 1000 MAXDEPTH 2000 TRIM any";
    say(conn, &format!("EVQ.CREATE {ring} 1 {limits}")).ok();
    say(conn, &format!("EVQ.GROUP default RING {ring} MAXATTEMPTS 1 ONDEAD hold")).ok();
    far(conn, &format!("evq:{{{ring}:0}}"));
    let moved = key_of(conn, ring, 1);
    must!(conn, "EVQ.TRIGGER", &moved, "before", "RING", ring);
    let whose = format!("RING {ring} WORKER w");
    say(conn, &format!("EVQ.CONSUME 0 {whose} COUNT 9 NOBLOCK"));
    assert!(say(conn, &format!("EVQ.NACK 0 {} {whose}", id(1))).array().is_empty());
    assert_eq!(say(conn, &format!("EVQ.ACK 0 {} {whose}", id(0))).int(), 1);
    assert_eq!(say(conn, &format!("EVQ.RESIZE {ring} 2")).int(), 2);
    far(conn, &format!("evq:{{{ring}:1}}"));
    must!(conn, "EVQ.TRIGGER", &moved, "after", "RING", ring);
    let given = say(conn, &format!("EVQ.CONSUME 1 {whose} COUNT 9 NOBLOCK"));
    assert_eq!(given.at(2).array().len(), 1, "the moved key is held");
    assert_eq!(say(conn, &format!("EVQ.ACK 1 {} {whose}", id(0))).int(), 1);
    for p in 0..2 {
        say(conn, &format!("EVQ.RELEASE {p} {whose}")).ok();
    }
}

/// A ring of one partition that had two, with nothing left of that. The clock gives the ids of its
/// events, so that it is among what is saved.
pub(super) fn over(conn: &mut Conn, ring: &str) {
    say(conn, &format!("EVQ.CREATE {ring} 2 VNODES 40 MAXAGE 0 MAXLEN 1")).ok();
    let keys = [0, 1].map(|partition| key_of(conn, ring, partition));
    for payload in ["1", "2"] {
        // To two partitions at once and in a new millisecond, which the ring's clock then shows.
        std::thread::sleep(Duration::from_millis(5));
        let events = args![&keys[0], payload, &keys[1], payload, "RING", ring];
        conn.must(&[&args!["EVQ.MTRIGGER", 2][..], &events].concat());
    }
    let whose = format!("RING {ring} WORKER w");
    for p in 0..2 {
        let given = say(conn, &format!("EVQ.CONSUME {p} {whose} COUNT 9 NOBLOCK"));
        let last = given.at(2).array().last().expect("events").at(0).str().to_owned();
        say(conn, &format!("EVQ.ACK {p} {last} {whose}"));
        say(conn, &format!("EVQ.RELEASE {p} {whose}")).ok();
    }
    assert_eq!(say(conn, &format!("EVQ.RESIZE {ring} 1")).int(), 2);
    must!(conn, "EVQ.TRIGGER", &keys[0], "3", "RING", ring);
    until(PATIENCE, || say(conn, &format!("EVQ.RING {ring}")).get("resizing").is_null());
}

/// The first key of 0, 1, 2 and so on that belongs to this partition in a ring of two.
fn key_of(conn: &mut Conn, ring: &str, partition: i64) -> String {
    let of_two = format!("{ring}-of-2");
    say(conn, &format!("EVQ.CREATE {of_two} 2 VNODES 40")).ok();
    let route = |key: &String, conn: &mut Conn| must!(conn, "EVQ.ROUTE", key, "RING", &of_two);
    let mut keys = (0..).map(|n: u32| n.to_string());
    let key = keys.find(|key| route(key, conn).at(0).int() == partition).expect("a key");
    say(conn, &format!("EVQ.DROP {of_two}")).ok();
    key
}

/// What shows all of it.
pub(super) fn questions(name: &str) -> Vec<(i64, String)> {
    let (remembered, over) = (format!("{name}r"), format!("{name}g"));
    let mut all = Vec::new();
    for ring in [&remembered, &over] {
        for command in ["EVQ.RING", "EVQ.STATS", "EVQ.GROUPS RING", "EVQ.GROUP default RING"] {
            all.push((0, format!("{command} {ring}")));
        }
        all.push((0, format!("XRANGE evq:{{{ring}:0}} - +")));
    }
    all.push((0, format!("XRANGE evq:{{{remembered}:1}} - +")));
    all.extend((0..2).map(|p| (0, format!("EVQ.PENDING {p} RING {remembered}"))));
    all.push((0, format!("EVQ.DEAD default LIST * RING {remembered}")));
    all
}

/// Pulls: of the key that moved nothing is handed out.
pub(super) fn afterwards(name: &str) -> Vec<String> {
    let whose = format!("RING {name}r COUNT 9 NOBLOCK");
    let over = format!("EVQ.CONSUME 0 RING {name}g COUNT 9 NOBLOCK");
    vec![format!("EVQ.CONSUME 1 {whose}"), format!("EVQ.CONSUME 0 {whose}"), over]
}
