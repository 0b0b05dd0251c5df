//! Volatile counts of a group's progress: deliveries for EVQ.STATS, and the entries below the
//! cursor, from which the lag follows. Neither is saved; a server that starts begins with nothing.

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

/// The number of entries at or below the cursor, from which and from the stream's length the lag
/// follows. Volatile; valid while the stamp stays, that is until somebody else removes entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Counted up to here, which the cursor may have left behind.
    pub cursor: EventId,
    /// Entries at or below it.
    pub below: u64,
    /// The stream's stamp then.
    pub stamp: Stamp,
}

/// A mark of a stream that changes whenever entries are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Entries ever removed.
    pub removed: u64,
    /// The first entry that is left.
    pub first: EventId,
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
