//! Which leases end, or are abandoned, with a connection that closes.
//!
//! The event of a closed connection comes while the server frees the client, when no key may be
//! opened, so it is noted and the sweep does the rest.

use super::fast_map::{QuickMap, QuickSet};
use super::line::Line;
use crate::model::progress::lease::{Caller, Lease};

/// A connection that closed, with the lines whose lease it may have held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The client id.
    pub client: u64,
    /// The lines.
    pub lines: QuickSet<Line>,
}

/// What becomes of a lease when a connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// Nothing: it is another's.
    Stays,
    /// Its owner has a name: it goes on to its deadline.
    Abandoned,
    /// It is over.
    Lost,
}

impl Departure {
    /// What becomes of `lease` when the connection `client` closes.
    #[must_use]
    pub fn of(client: u64, lease: Option<&Lease>) -> Self {
        match lease.filter(|lease| lease.connection == Some(client)).map(|lease| &lease.worker) {
            None => Self::Stays,
            Some(Some(_)) => Self::Abandoned,
            Some(None) => Self::Lost,
        }
    }
}

/// What a connection may have in flight in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InFlight {
    /// It may have been handed something.
    Unknown,
    /// Nothing since it was looked at.
    Nothing,
}

/// The connections that hold leases, and those that have closed.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// The lines whose lease may be with a connection, by client id.
    held: QuickMap<u64, QuickMap<Line, InFlight>>,
    /// Connections that closed while they held a lease, until the sweep has ended it.
    gone: QuickSet<u64>,
}

impl Connections {
    /// Whether a connection has closed whose leases the sweep has yet to end.
    pub(super) fn is_gone(&self, client: u64) -> bool {
        self.gone.contains(&client)
    }

    /// The databases `one` and `other` changed places, and with them the leases in their values.
    pub(super) fn swap(&mut self, one: i32, other: i32) {
        let swapped = |db| match db {
            db if db == one => other,
            db if db == other => one,
            db => db,
        };
        for lines in self.held.values_mut() {
            let all = std::mem::take(lines).into_iter();
            *lines = all.map(|(line, f)| (Line { db: swapped(line.db), ..line }, f)).collect();
        }
    }

    /// Remembers that the lease of `line` is now with the connection of `caller`: when that
    /// closes, a lease that is no name's ends. Whose it is was settled when it was granted, so the
    /// name that `caller` gives now says nothing.
    pub(super) fn note_owner(&mut self, line: &Line, caller: &Caller) {
        if let Some(client) = caller.connection {
            // Looking first spares a clone of the line on every pull.
            let lines = self.held.entry(client).or_default();
            if let Some(in_flight) = lines.get_mut(line) {
                *in_flight = InFlight::Unknown;
            } else {
                lines.insert(line.clone(), InFlight::Unknown);
            }
        }
    }

    /// As [`Connections::note_owner`], for a pull from any, which looks at the partitions that it
    /// was given something in, and may be given nothing in this one.
    pub(super) fn note_any_owner(&mut self, line: &Line, caller: &Caller) {
        let held = caller.connection.and_then(|client| self.held.get(&client));
        if held.is_none_or(|lines| !lines.contains_key(line)) {
            self.note_owner(line, caller);
        }
    }

    /// Remembers that the connection of `caller` was handed events of `line` in a pull from any.
    pub(super) fn note_given(&mut self, line: &Line, caller: &Caller) {
        self.note(line, caller, InFlight::Unknown);
    }

    /// Remembers that the connection of `caller` has nothing in flight in `line`.
    pub(super) fn note_answered(&mut self, line: &Line, caller: &Caller) {
        self.note(line, caller, InFlight::Nothing);
    }

    fn note(&mut self, line: &Line, caller: &Caller, in_flight: InFlight) {
        let held = caller.connection.and_then(|client| self.held.get_mut(&client)?.get_mut(line));
        if let Some(held) = held {
            *held = in_flight;
        }
    }

    /// Whether the connection may have something in flight in `line`.
    pub(super) fn was_given(&self, client: u64, line: &Line) -> bool {
        self.held.get(&client).is_some_and(|lines| lines.get(line) == Some(&InFlight::Unknown))
    }

    /// A connection closed. True if a lease ends with it, which the sweep then does.
    pub(super) fn close(&mut self, client: u64) -> bool {
        self.held.contains_key(&client) && self.gone.insert(client)
    }

    /// The closed connections; each is given once.
    pub(super) fn take_gone(&mut self) -> Vec<Gone> {
        let gone: Vec<u64> = self.gone.drain().collect();
        let lines_of =
            |client| Some(Gone { client, lines: self.held.remove(&client)?.into_keys().collect() });
        gone.into_iter().filter_map(lines_of).collect()
    }

    /// Whether nothing is kept.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty() && self.gone.is_empty()
    }
}
