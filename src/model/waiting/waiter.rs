//! A blocked client: what it waits for, and how its wait ends.

use super::line::Line;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::progress::lease::Caller;

/// What a client waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The line it stands in.
    pub line: Line,
    /// Who it is.
    pub caller: Caller,
    /// The length of the lease it asks for.
    pub lease_ms: u64,
    /// The last event it was given.
    pub position: EventId,
    /// Any event after its position is for it; otherwise each has to be checked.
    pub plain: bool,
}

/// How a wait ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command runs once more, and is given events if there still are any.
    Serve,
    /// With null, as if the time were up.
    Nothing,
    /// With an error.
    Refuse(Error),
}

/// How the server blocks a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// On the stream key of its partition, where any append reaches it. The server keeps its time.
    OnStream,
    /// Where appends do not reach it, until this unix time in ms if it does not wait for ever.
    Parked(Option<u64>),
}

/// How far the end of a wait has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is decided.
    Waiting,
    /// The end is decided, and the server has yet to be told to unblock the client.
    Released(Outcome),
    /// The server was told.
    Told(Outcome),
}

/// A blocked client, with what the server needs to unblock it.
#[derive(Debug)]
pub struct Waiter<H> {
    /// What it waits for.
    pub wait: Wait,
    /// What the server needs to unblock it.
    pub handle: H,
    /// How it is blocked.
    pub blocking: Blocking,
    /// The partition that it is called to, if it waits for any.
    pub called: Option<u32>,
    /// How far the end of its wait has come.
    pub stage: Stage,
}

/// Why a client stops waiting now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The server woke it: it was told to, or the stream key is ready.
    Woken,
    /// Its time is up, CLIENT UNBLOCK was called, or the server was told to unblock it while it was
    /// blocked on a stream key.
    TimedOut,
    /// Its connection closed.
    Vanished,
}

/// A client that stopped waiting.
#[derive(Debug)]
pub struct Left<H> {
    /// What it waited for.
    pub wait: Wait,
    /// What the server needs to unblock it.
    pub handle: H,
    /// How its wait ends.
    pub outcome: Outcome,
    /// The partition that it was called to.
    pub called: Option<u32>,
    /// It waited as the owner of its line.
    pub as_owner: bool,
    /// Standbys remain in the line.
    pub is_followed: bool,
    /// The server still has to be told to let go of the handle, which happens once for each parked
    /// client.
    pub is_untold: bool,
}

/// How an owner that waited was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// With events, which renews its lease.
    Events,
    /// With null or an error.
    Other,
}

impl<H> Left<H> {
    /// After how many ms the standbys of an owner that left, if there are any, have their lease
    /// checked. It does not lapse while an owner waits with nothing in flight; from here on it
    /// does.
    #[must_use]
    pub fn lease_check_in_ms(&self, answer: Answer) -> Option<u64> {
        let after_ms = match answer {
            Answer::Events => self.wait.lease_ms,
            Answer::Other => 1,
        };
        (self.as_owner && self.is_followed).then_some(after_ms)
    }
}
