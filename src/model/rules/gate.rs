//! Resizing a ring without breaking any key's order.
//!
//! A resize ends one *generation* of the ring and begins the next at one instant. It leaves, for
//! each partition, the id of its last event then: its *end*. A key that moves from partition `s` to
//! `t` has its earlier events in `s` at or below the end of `s`, and its later ones in `t` above
//! the end of `t`. So after the end of every partition that gained keys stands a *barrier*, and for
//! a group it is open when
//!
//! - the group has finished everything at or below the end of each partition that lost keys to `t`,
//!   apart from exceptions, and
//! - each barrier of an earlier generation in front of those partitions, and of `t`, is open: a key
//!   may live on 0, then on 2, then on 3.
//!
//! A barrier does not depend on the barriers of its own generation: what lies after those is no
//! older than what lies after it, and where two partitions exchange keys they would wait for each
//! other for ever.
//!
//! Exceptions keep no barrier closed, or one dead event would stop a whole partition. Instead, an
//! event after an open barrier is held while its key has an exception at or below the ends of the
//! generations before the event's own, in whichever partition.
//!
//! Whether a barrier is open is not saved anywhere: it follows from the cursors and exceptions of
//! the partitions and from the ring's [`crate::model::ring::history::Past`]. So it cannot go stale,
//! whatever crashes, is replayed, is sought back to, or is deleted by hand. [`Gate`] is the answer
//! for one group in front of one partition; where it comes from is the shell's business, and the
//! only thing that would have to become a message in a ring over several servers.

use super::source::{Entry, Source};
use crate::model::ids::EventId;
use crate::model::limits::MAX_SCAN;
use crate::model::progress::Progress;
use crate::model::progress::exceptions::Exceptions;
use crate::model::progress::retries::{Marks, PastMark};
use crate::model::ring::group::Group;
use crate::model::ring::history::History;

/// Whether a group has finished the events of a partition up to an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Apart from exceptions.
    Yes,
    /// Apart from exceptions, and the cursor should pass to here, or all of it is looked at again
    /// next time.
    YesUpTo(EventId),
    /// This event is next.
    No(EventId),
    /// So far, and the cursor may pass to here: a bounded step was taken, and more may lie after
    /// it.
    SoFar(EventId),
}

/// Decides whether the group has finished everything of the partition up to `until`, apart from
/// exceptions. O(log(nodes of the stream) + entries looked at, at most [`MAX_SCAN`]).
pub fn drained<S: Source>(
    progress: &Progress,
    group: &Group,
    stream: &S,
    until: EventId,
) -> Drained {
    if progress.cursor() >= until {
        return Drained::Yes;
    }
    let mut passed = None;
    for (scanned, entry) in (1..).zip(stream.after(progress.cursor())) {
        if entry.id() > until {
            break;
        }
        if progress.is_fresh(group, &entry) {
            return Drained::No(entry.id());
        }
        if scanned == MAX_SCAN {
            return Drained::SoFar(entry.id());
        }
        if scanned >= NOTEWORTHY {
            passed = Some(entry.id());
        }
    }
    passed.map_or(Drained::Yes, Drained::YesUpTo)
}

/// From so many entries on it is worth a change to the cursor not to read them again.
const NOTEWORTHY: u64 = MAX_SCAN / 200 + 1;

/// The gate in front of a partition for one group: what the other partitions let pass.
#[derive(Clone, Debug, Default)]
pub struct Gate<'a> {
    /// The end of the first barrier that is closed: nothing above is handed out yet.
    closed_after: Option<EventId>,
    history: Option<(&'a History, u32)>,
    /// The exceptions of other partitions that once had keys of this one, with those partitions
    /// that have none.
    elsewhere: Vec<(u32, &'a Exceptions)>,
}

impl<'a> Gate<'a> {
    /// The gate in front of a partition that never gained keys.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }

    /// The gate in front of a partition whose first closed barrier ends at `closed_after`, with the
    /// exceptions of the partitions upstream.
    #[must_use]
    pub fn new(
        history: &'a History,
        partition: u32,
        closed_after: Option<EventId>,
        elsewhere: Vec<(u32, &'a Exceptions)>,
    ) -> Self {
        Self { closed_after, history: Some((history, partition)), elsewhere }
    }

    /// Whether it lets everything pass.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed_after.is_none() && !self.any_elsewhere()
    }

    /// Whether other partitions have exceptions, which may hold events of this one.
    #[must_use]
    pub fn any_elsewhere(&self) -> bool {
        self.elsewhere.iter().any(|(_, all)| !all.is_empty())
    }

    /// The last event that may be handed out, if there is a closed barrier.
    #[must_use]
    pub fn closed_after(&self) -> Option<EventId> {
        self.closed_after
    }

    /// Whether the fresh event `id` may be handed out as far as barriers are concerned.
    #[must_use]
    pub fn admits(&self, id: EventId) -> bool {
        self.closed_after.is_none_or(|end| id <= end)
    }

    /// The exception of another partition that holds the event `id` of this one, whose key has this
    /// digest: its partition and its id. O(partitions with exceptions * log(exceptions)).
    #[must_use]
    pub fn holder(&self, key: u128, id: EventId) -> Option<(u32, EventId)> {
        let (history, partition) = self.history?;
        if self.elsewhere.is_empty() {
            return None;
        }
        // Only what was there before the generation of this event comes before it.
        let step = history.resizes_before(partition, id).checked_sub(1)?;
        self.elsewhere.iter().find_map(|(other, exceptions)| {
            let until = history.end(*other, step).next()?;
            exceptions.holder(key, until).map(|holder| (*other, holder))
        })
    }

    /// The marks that all answers of [`Gate::holder`] rest on.
    pub(in crate::model) fn marks(&self) -> Marks {
        let upstream = self.elsewhere.iter().map(|(_, all)| all.mark());
        Marks { past: self.past(), upstream: upstream.collect() }
    }

    /// The keys that [`Gate::holder`] may let go since `marks`, once for each time; None if it may
    /// be any key. O(partitions upstream + keys).
    pub(in crate::model) fn ended_since(&self, marks: &Marks) -> Option<Vec<u128>> {
        if self.past() != marks.past || self.elsewhere.len() != marks.upstream.len() {
            return None;
        }
        let mut keys = Vec::new();
        for ((_, all), mark) in self.elsewhere.iter().zip(&marks.upstream) {
            keys.extend_from_slice(all.ended_since((*mark)?)?);
        }
        Some(keys)
    }

    fn past(&self) -> Option<PastMark> {
        let (history, partition) = self.history?;
        Some(PastMark { history: history.identity(), partition })
    }
}
