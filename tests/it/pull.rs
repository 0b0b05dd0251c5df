//! The words of the tests about consuming: say a command in one line, pull events, see who is
//! blocked. All of them use the ring `r` of one partition, [`P`], so that every key goes there.

use std::time::Duration;

use crate::harness::{Conn, PATIENCE, Server, Value, must, until};

/// The one partition of ring `r`, by its stream key: then no command needs `RING r`.
pub(crate) const P: &str = "evq:{r:0}";
/// Its delivery state.
pub(crate) const GROUPS: &str = "evq:{r:0}:groups";
/// By then comes what must come. Less than any lease or block time that must not be what ended a
/// wait, and more than a busy machine lets a process stand still.
pub(crate) const IN_TIME: Duration = Duration::from_secs(20);
/// So long nothing comes where nothing may.
pub(crate) const QUIET: Duration = Duration::from_secs(1);

/// What an EVQ.CONSUME gave.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pull {
    pub(crate) epoch: i64,
    /// Each event's id.
    pub(crate) ids: Vec<String>,
    /// Each event's payload; of an entry without one, all its fields in one line.
    pub(crate) payloads: Vec<String>,
}

impl Pull {
    /// Takes the reply apart; none for null.
    #[track_caller]
    pub(crate) fn of(reply: &Value) -> Option<Self> {
        if reply.is_null() {
            return None;
        }
        let [partition, epoch, events] = reply.array() else { panic!("not a pull: {reply:?}") };
        assert!(partition.int() >= 0 && !events.array().is_empty(), "{reply:?}");
        let events = events.array();
        Some(Self {
            epoch: epoch.int(),
            ids: events.iter().map(|event| event.at(0).str().to_owned()).collect(),
            payloads: events.iter().map(|event| payload(event.at(1))).collect(),
        })
    }

    /// The id of the last event.
    pub(crate) fn last(&self) -> &str {
        self.ids.last().expect("a pull has events")
    }
}

fn payload(fields: &Value) -> String {
    let found = fields.map().into_iter().find(|(name, _)| name.bytes() == b"payload");
    match found {
        Some((_, value)) => value.str().to_owned(),
        None => fields.array().iter().map(Value::str).collect::<Vec<_>>().join(" "),
    }
}

/// The ring `r`, made on `server`.
#[track_caller]
pub(crate) fn ring(server: &Server) -> Conn {
    let mut conn = server.connect();
    must!(conn, "EVQ.CREATE", "r", 1).ok();
    conn
}

/// Sends a command of plain words in one line; an error is a reply.
#[track_caller]
pub(crate) fn say(conn: &mut Conn, line: &str) -> Value {
    conn.cmd(&words(line))
}

/// Sends a command of plain words in one line, without waiting for the reply.
#[track_caller]
pub(crate) fn start(conn: &mut Conn, line: &str) {
    conn.send(&words(line));
}

/// The words of a line.
pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// EVQ.CONSUME of [`P`] with the options in `line`; an error reply fails the test.
#[track_caller]
pub(crate) fn pull(conn: &mut Conn, line: &str) -> Option<Pull> {
    Pull::of(&say(conn, &format!("EVQ.CONSUME {P} {line}")))
}

/// As [`pull`] at once; null fails the test.
#[track_caller]
pub(crate) fn take(conn: &mut Conn, line: &str) -> Pull {
    pull(conn, &format!("{line} NOBLOCK")).expect("events")
}

/// Triggers an event for each payload; gives the ids.
#[track_caller]
pub(crate) fn trigger(conn: &mut Conn, payloads: &[&str]) -> Vec<String> {
    let one = |payload: &&str| must!(conn, "EVQ.TRIGGER", "k", payload, "RING", "r");
    payloads.iter().map(one).map(|reply| reply.at(1).str().to_owned()).collect()
}

/// Replies that a blocked client waits for.
#[track_caller]
pub(crate) fn until_blocked(conn: &mut Conn, clients: usize) {
    until(PATIENCE, || blocked(conn) == clients);
}

/// How many clients are blocked.
#[track_caller]
pub(crate) fn blocked(conn: &mut Conn) -> usize {
    conn.info("clients", "blocked_clients").expect("a field of INFO").parse().unwrap()
}

/// Blocks `conn` in an EVQ.CONSUME of [`P`] with the options in `line`, behind those that are
/// blocked already. Where the wait may end by itself, it may have ended.
#[track_caller]
pub(crate) fn block(control: &mut Conn, conn: &mut Conn, line: &str) {
    block_in(control, conn, &format!("EVQ.CONSUME {P} {line}"));
}

/// Blocks `conn` in a command, behind those that are blocked already.
#[track_caller]
pub(crate) fn block_in(control: &mut Conn, conn: &mut Conn, command: &str) {
    let before = blocked(control);
    start(conn, command);
    until(PATIENCE, || blocked(control) > before || conn.has_reply());
}

/// The reply that a blocked client gets [`IN_TIME`].
#[track_caller]
pub(crate) fn woken(conn: &mut Conn) -> Value {
    conn.try_read(IN_TIME).expect("a reply in time")
}

/// The reply that a blocked client gets within `ms` of the server's own time: while it stands
/// still, or the test does, no time passes.
#[track_caller]
pub(crate) fn woken_within(control: &mut Conn, conn: &mut Conn, ms: u64) -> Value {
    for _ in 0..ms / 10 {
        if let Some(reply) = conn.try_read(Duration::from_millis(10)) {
            return reply;
        }
        // A turn of its event loop, with its timers.
        must!(control, "PING");
    }
    panic!("no reply within {ms} ms")
}

/// The code of the error that `line` gets.
#[track_caller]
pub(crate) fn refused(conn: &mut Conn, line: &str) -> String {
    say(conn, line).err_code().to_owned()
}
