//! What a group's progress counts beside what it saves: deliveries for EVQ.STATS, and entries of
//! the stream, from which the lag follows. Volatile. How the counts are kept up is in
//! [`crate::model::progress::counting`].

use crate::model::ids::EventId;
use crate::model::now::Now;

/// Deliveries since the server started or loaded the value. Volatile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events handed out.
    pub deliveries: u64,
    /// Replies that repeated what was in flight.
    pub repeats: u64,
    /// Failures that led to a retry.
    pub retries: u64,
    /// Failures that led to a dead letter.
    pub dead: u64,
    /// Deliveries in the second `second`, and in the one before it.
    second: u64,
    this_second: u64,
    last_second: u64,
}

impl Totals {
    pub(in crate::model) fn deliver(&mut self, now: Now, events: u64) {
        self.deliveries += events;
        self.turn_to(now.ms() / 1000);
        self.this_second += events;
    }

    fn turn_to(&mut self, second: u64) {
        if second != self.second {
            self.last_second = if second == self.second + 1 { self.this_second } else { 0 };
            self.this_second = 0;
            self.second = second;
        }
    }

    /// Deliveries in the last full second.
    #[must_use]
    pub fn deliveries_per_second(mut self, now: Now) -> u64 {
        self.turn_to(now.ms() / 1000);
        self.last_second
    }
}

/// What tells whether entries were removed from a stream: how many ever were, and the first one
/// that is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Entries that were ever removed.
    pub removed: u64,
    /// The first entry; zero where there is none.
    pub first: EventId,
}

/// A partition's stream as it was when it was last looked at. As long as its length grows with its
/// last entry, nothing was removed. Volatile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many entries it had.
    pub length: u64,
    /// The last of them; zero where there was none.
    pub last: EventId,
    /// Its stamp.
    pub stamp: Stamp,
}

/// What was counted of a group's entries, so that its lag follows without reading them again.
/// Volatile; good as long as the stream has this stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The count.
    pub count: Count,
    /// The stream's stamp.
    pub stamp: Stamp,
    /// Each exception of the group had an entry of a type that it takes. Where not, they are looked
    /// for each time.
    pub whole: bool,
}

/// A count of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// The entries up to one that the cursor may have left behind; those above follow from the
    /// stream's length.
    Below {
        /// The last entry that was counted.
        upto: EventId,
        /// How many lie at or below it.
        entries: u64,
    },
    /// Of a group with types, the entries that it takes between two ids.
    Ahead {
        /// Counted from behind here, which the cursor may have left behind.
        after: EventId,
        /// Counted up to here.
        until: EventId,
        /// How many the group takes.
        taken: u64,
        /// What the group's types were, see [`crate::model::ring::group::Group::types_digest`].
        types: u64,
    },
}

/// A search for exceptions whose entries were removed. Volatile; good as long as nothing is
/// removed, which the stamp tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// The stream's stamp when the search began.
    pub stamp: Stamp,
    /// The search goes on above this exception; None if it is over.
    pub after: Option<EventId>,
}

/// A reply with fresh events: what its acknowledgement adds to the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The stream was read after here.
    pub start: EventId,
    /// Its last event.
    pub last: EventId,
    /// Entries in between, the last one included.
    pub entries: u64,
}
