//! What a group's progress counts beside what it saves: deliveries for EVQ.STATS, and the entries
//! below the cursor, from which the lag follows. Volatile.

use super::ids::EventId;
use super::lease::Now;
use super::progress::Progress;

/// What has been delivered since the server started or loaded the value. Volatile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events handed out.
    pub deliveries: u64,
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
    pub(super) fn deliver(&mut self, now: Now, events: u64) {
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

/// How many entries of the stream lie at or below the cursor: what is not finished follows from
/// the stream's length. Volatile; good as long as nothing else removes entries, which the stamp
/// tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Counted up to here, which the cursor may have left behind.
    pub cursor: EventId,
    /// Entries at or below it.
    pub below: u64,
    /// How many entries were ever removed from the stream, and its first entry.
    pub stamp: (u64, EventId),
}

/// A reply with fresh events: what its acknowledgement adds to the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The stream was read from behind here.
    pub start: EventId,
    /// Its last event.
    pub last: EventId,
    /// How many entries lie between, the last one included.
    pub entries: u64,
}

impl Progress {
    /// Volatile: retention removed `entries` entries from the front of the stream, of which `last`
    /// was the last; that took the stream's stamp from `before` to `after`. The count goes on.
    pub fn trimmed(
        &mut self,
        last: EventId,
        entries: u64,
        before: (u64, EventId),
        after: (u64, EventId),
    ) {
        // Nobody knows how many entries of a reply in flight are left.
        if last > self.cursor
            && let Some(lease) = &mut self.lease
        {
            lease.replies.clear();
        }
        let Some(counted) = self.counted.as_mut().filter(|counted| counted.stamp == before) else {
            return;
        };
        counted.stamp = after;
        if counted.cursor > last {
            counted.below = counted.below.saturating_sub(entries);
        } else {
            counted.cursor = last.min(self.cursor);
            counted.below = 0;
        }
    }

    /// Keeps the count if `id` ends a reply, and all from the count up to there was replies. If
    /// not, the count stays where it was and whoever wants it reads on from there.
    pub(super) fn count_up_to(&mut self, id: EventId) {
        let Some(lease) = &mut self.lease else { return };
        let mut reached = self.counted.filter(|counted| counted.cursor == self.cursor);
        while let Some(reply) = lease.replies.front().copied().filter(|reply| reply.last <= id) {
            lease.replies.pop_front();
            reached = reached.filter(|counted| counted.cursor == reply.start).map(|counted| {
                Counted { cursor: reply.last, below: counted.below + reply.entries, ..counted }
            });
        }
        if let Some(counted) = reached.filter(|counted| counted.cursor == id) {
            self.counted = Some(counted);
        }
    }
}
