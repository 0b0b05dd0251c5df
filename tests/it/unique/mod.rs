//! UNIQUE: a repeated event is not appended again, whatever happens in between.

mod acl;
mod batch;
mod columns;
mod forget;
pub(crate) mod lasting;
mod node;
mod python;
mod resize;
mod travel;
mod trigger;

use crate::harness::{Conn, PATIENCE, Value, args, must, until_some};

/// Triggers an event of the ring `r`; its partition and id.
#[track_caller]
pub(crate) fn trigger(conn: &mut Conn, key: &str, payload: &str, token: &str) -> Value {
    must!(conn, "EVQ.TRIGGER", key, payload, "RING", "r", "UNIQUE", token)
}

/// How many events the ring `r` holds.
#[track_caller]
pub(crate) fn events(conn: &mut Conn) -> i64 {
    let ring = must!(conn, "EVQ.RING", "r");
    ring.get("partitions").array().iter().map(|partition| partition.get("length").int()).sum()
}

/// The milliseconds of an event's id.
#[track_caller]
pub(crate) fn ms_of(reply: &Value) -> u64 {
    reply.at(1).str().split_once('-').expect("an id").0.parse().expect("milliseconds")
}

/// Repeats an event until it is a new one.
#[track_caller]
pub(crate) fn until_new(conn: &mut Conn, key: &str, token: &str, first: &Value) -> Value {
    until_some(PATIENCE, || {
        let reply = trigger(conn, key, "again", token);
        (reply != *first).then_some(reply)
    })
}

/// So many events of the ring `r`, each with a token of its own, in batches.
pub(crate) fn many(conn: &mut Conn, from: usize, count: usize) {
    for begin in (from..from + count).step_by(1000) {
        let numbers = begin..(begin + 1000).min(from + count);
        let mut words = args!["EVQ.MTRIGGER", numbers.len()].to_vec();
        words.extend(numbers.clone().flat_map(|n| args![format!("k{n}"), ""]));
        words.extend(args!["RING", "r", "UNIQUES", numbers.len()]);
        words.extend(numbers.map(|n| format!("token:{n:010}").into_bytes()));
        conn.must(&words);
    }
}
