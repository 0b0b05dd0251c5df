//! The words of the tests about failure: trigger events of any key into the ring `r`, refuse one,
//! look at what a reply or EVQ.PENDING says of it. As in `pull`, `r` has one partition.

use crate::harness::{Conn, PATIENCE, Value, must, until_some};
use crate::pull::{P, Pull, say};

/// Triggers an event for each `(key, payload)`; gives the ids.
#[track_caller]
pub(crate) fn events(conn: &mut Conn, of: &[(&str, &str)]) -> Vec<String> {
    let one = |(key, payload): &(&str, &str)| must!(conn, "EVQ.TRIGGER", key, payload, "RING", "r");
    of.iter().map(one).map(|reply| reply.at(1).str().to_owned()).collect()
}

/// EVQ.NACK of an event of [`P`] with the options in `line`: the ids that are held now.
#[track_caller]
pub(crate) fn nack(conn: &mut Conn, id: &str, line: &str) -> Vec<String> {
    let reply = say(conn, &format!("EVQ.NACK {P} {id} {line}"));
    reply.array().iter().map(|id| id.str().to_owned()).collect()
}

/// EVQ.ACK of an event of [`P`]: whether it finished anything.
#[track_caller]
pub(crate) fn ack(conn: &mut Conn, id: &str, line: &str) -> i64 {
    say(conn, &format!("EVQ.ACK {P} {id} {line}")).int()
}

/// Pulls the one event that is due, or comes in time: its payload and its attempt.
#[track_caller]
pub(crate) fn again(conn: &mut Conn, line: &str) -> (Pull, u64) {
    let reply = say(conn, &format!("EVQ.CONSUME {P} COUNT 100 {line}"));
    let pull = Pull::of(&reply).expect("a redelivery");
    assert_eq!(pull.ids.len(), 1, "a redelivery comes alone: {reply:?}");
    let attempt = attempt(reply.at(2).at(0)).unwrap_or_else(|| panic!("no attempt: {reply:?}"));
    (pull, attempt)
}

/// The `attempt` of an event as EVQ.CONSUME gives it, which is its last field.
#[track_caller]
pub(crate) fn attempt(event: &Value) -> Option<u64> {
    let fields = event.at(1).map();
    let (name, value) = fields.last()?;
    (name.bytes() == b"attempt").then(|| value.str().parse().expect("a number"))
}

/// EVQ.PENDING of [`P`] with the options in `line`, as `state:payload-free id` in one line each:
/// `(id, state)`.
#[track_caller]
pub(crate) fn pending(conn: &mut Conn, line: &str) -> Vec<(String, String)> {
    let reply = say(conn, &format!("EVQ.PENDING {P} {line}"));
    let row = |row: &Value| (row.get("id").str().to_owned(), row.get("state").str().to_owned());
    reply.array().iter().map(row).collect()
}

/// The dead letters of `group` in the whole ring, each as its fields.
#[track_caller]
pub(crate) fn letters(conn: &mut Conn, group: &str) -> Vec<Value> {
    let reply = say(conn, &format!("EVQ.DEAD {group} LIST * RING r COUNT 10000"));
    reply.array().iter().map(|letter| letter.at(2).clone()).collect()
}

/// The payloads of the dead letters of `group`, once there are so many.
#[track_caller]
pub(crate) fn dead(conn: &mut Conn, group: &str, many: usize) -> Vec<String> {
    until_some(PATIENCE, || {
        let letters = letters(conn, group);
        let payload = |letter: &Value| letter.get("payload").str().to_owned();
        (letters.len() == many).then(|| letters.iter().map(payload).collect())
    })
}

/// The server's clock in unix milliseconds.
#[track_caller]
pub(crate) fn clock_ms(conn: &mut Conn) -> u64 {
    let time = must!(conn, "TIME");
    let number = |at: usize| time.at(at).str().parse::<u64>().expect("a number");
    number(0) * 1000 + number(1) / 1000
}
