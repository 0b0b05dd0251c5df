//! Scheduled events: taken now, appended when their time has come.

mod due;
mod full;
mod lasting;
mod limits;
mod resize;
mod schedule;
mod tickets;
mod travel;
mod unique;

use crate::harness::{Conn, PATIENCE, Server, Value, must, until};

/// Far ahead, in ms: nothing that is scheduled then becomes due in a test.
pub(crate) const FAR: u64 = 1_000_000_000;

/// Schedules an event of ring `r`; its ticket.
#[track_caller]
pub(crate) fn schedule(conn: &mut Conn, key: &str, payload: &str, how: &str, ms: u64) -> i64 {
    let reply = must!(conn, "EVQ.SCHEDULE", key, payload, how, ms, "RING", "r");
    reply.at(1).int()
}

/// The payloads of a partition of ring `r`, in order.
#[track_caller]
pub(crate) fn payloads(conn: &mut Conn, p: u32) -> Vec<String> {
    let entries = must!(conn, "XRANGE", format!("evq:{{r:{p}}}"), "-", "+");
    entries.array().iter().map(|entry| entry.at(1).get("payload").str().to_owned()).collect()
}

/// How many events of ring `r` wait for their time.
#[track_caller]
pub(crate) fn waiting(conn: &mut Conn) -> usize {
    must!(conn, "EVQ.SCHEDULED", "*", "RING", "r", "COUNT", 10_000).array().len()
}

/// Waits until none waits.
#[track_caller]
pub(crate) fn until_none_waits(conn: &mut Conn) {
    until(PATIENCE, || waiting(conn) == 0);
}

/// The server's clock in unix ms.
#[track_caller]
pub(crate) fn clock_ms(conn: &mut Conn) -> u64 {
    let time = must!(conn, "TIME");
    let part = |at: usize| time.at(at).str().parse::<u64>().expect("a number");
    part(0) * 1000 + part(1) / 1000
}

/// The milliseconds of each entry's id in a partition of ring `r`.
#[track_caller]
pub(crate) fn times(conn: &mut Conn, p: u32) -> Vec<u64> {
    let entries = must!(conn, "XRANGE", format!("evq:{{r:{p}}}"), "-", "+");
    let ms = |entry: &Value| entry.at(0).str().split('-').next().map(str::parse);
    entries.array().iter().map(|entry| ms(entry).expect("an id").expect("a time")).collect()
}

/// A server with an append-only file that is written at once.
pub(crate) fn durable(binary: &crate::harness::Binary) -> Server {
    Server::with(binary).config(&["appendonly yes", "appendfsync always"]).start()
}
