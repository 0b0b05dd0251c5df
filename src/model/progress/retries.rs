//! Exceptions that wait for a retry, sorted by what is known of them. After a resize thousands of
//! keys may wait for exceptions of another partition, so a pull must not check for each of them
//! what it waits for.
//!
//! The sorting is volatile: a value that was loaded or copied begins with all of them in `later`,
//! which is enough to find them again. See [`crate::model::progress::Progress::look`].

use std::collections::BTreeSet;

use super::ended_keys::Mark;
use crate::model::ids::EventId;
use crate::model::memory::{Filled, block, tree};

/// What `behind` rests on: the ring's past as the partition sees it, and how far the ended
/// exceptions of each partition upstream were known, if they were. A mark fits one value only, so
/// it needs no partition number.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Marks {
    pub(in crate::model) past: Option<PastMark>,
    pub(in crate::model) upstream: Vec<Option<Mark>>,
}

/// A ring's past as one partition sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) struct PastMark {
    /// The identity of the history.
    pub(in crate::model) history: u64,
    pub(in crate::model) partition: u32,
}

/// Each exception that waits for a retry is in exactly one of three sets.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Due {
    /// Nothing is known of them but when they are due.
    later: BTreeSet<(u64, EventId)>,
    looked: Option<Box<Looked>>,
}

/// The sorting as of its last run.
#[derive(Clone, Debug, Default)]
struct Looked {
    at_ms: u64,
    /// They were due.
    come: BTreeSet<EventId>,
    /// They were due, and an earlier event of their key came first: an exception of this partition,
    /// or one of another that had not ended at `marks`.
    behind: BTreeSet<EventId>,
    marks: Marks,
}

impl Due {
    /// An exception waits from now on.
    pub(in crate::model) fn insert(&mut self, due_ms: u64, id: EventId) {
        self.later.insert((due_ms, id));
    }

    /// An exception waits no longer.
    pub(in crate::model) fn remove(&mut self, due_ms: u64, id: EventId) {
        if !self.later.remove(&(due_ms, id))
            && let Some(looked) = &mut self.looked
            && !looked.come.remove(&id)
        {
            looked.behind.remove(&id);
        }
    }

    /// Those of which nothing is known but when they are due: at `ms` or before.
    pub(in crate::model) fn unknown_until(&self, ms: u64) -> impl Iterator<Item = EventId> + '_ {
        self.later.iter().take_while(move |(due_ms, _)| *due_ms <= ms).map(|(_, id)| *id)
    }

    /// Those of which nothing is known but that they are due after `ms`.
    pub(in crate::model) fn unknown_after(
        &self,
        ms: u64,
    ) -> impl Iterator<Item = (u64, EventId)> + '_ {
        self.later.range((ms.saturating_add(1), EventId::ZERO)..).copied()
    }

    /// Those that were due at the last look, up to `id`, in the order of ids.
    pub(in crate::model) fn come(&self, id: EventId) -> impl Iterator<Item = EventId> + '_ {
        self.looked.iter().flat_map(move |looked| looked.come.range(..=id).copied())
    }

    /// Those that something came before at the last look, up to `id`, in the order of ids.
    pub(in crate::model) fn behind(&self, id: EventId) -> impl Iterator<Item = EventId> + '_ {
        self.looked.iter().flat_map(move |looked| looked.behind.range(..=id).copied())
    }

    /// Whether there are any of those.
    pub(in crate::model) fn any_behind(&self) -> bool {
        self.looked.as_ref().is_some_and(|looked| !looked.behind.is_empty())
    }

    /// The marks that those rest on.
    pub(in crate::model) fn marks(&self) -> Option<&Marks> {
        self.looked.as_ref().map(|looked| &looked.marks)
    }

    /// Whether the clock has gone back behind the last look.
    pub(in crate::model) fn is_ahead_of(&self, ms: u64) -> bool {
        self.looked.as_ref().is_some_and(|looked| looked.at_ms > ms)
    }

    /// Looks at what is due at `ms`.
    pub(in crate::model) fn advance(&mut self, ms: u64) {
        let looked = self.looked.get_or_insert_default();
        looked.at_ms = ms;
        while let Some((_, id)) = self.later.first().copied().filter(|(due_ms, _)| *due_ms <= ms) {
            self.later.pop_first();
            looked.come.insert(id);
        }
    }

    /// Takes `id` back: its predecessor may have ended.
    pub(in crate::model) fn free(&mut self, id: EventId) {
        if let Some(looked) = &mut self.looked
            && looked.behind.remove(&id)
        {
            looked.come.insert(id);
        }
    }

    /// Takes all of them back: any predecessor may have ended.
    pub(in crate::model) fn free_all(&mut self) {
        if let Some(looked) = &mut self.looked {
            looked.come.append(&mut looked.behind);
        }
    }

    /// Something comes before `id`, which was due.
    pub(in crate::model) fn block(&mut self, id: EventId) {
        if let Some(looked) = &mut self.looked
            && looked.come.remove(&id)
        {
            looked.behind.insert(id);
        }
    }

    /// Replaces the marks that `behind` rests on.
    pub(in crate::model) fn rest_on(&mut self, marks: Marks) {
        self.looked.get_or_insert_default().marks = marks;
    }

    /// Heap bytes held, about.
    pub(in crate::model) fn heap_bytes(&self) -> usize {
        let of_look = |looked: &Looked| {
            let marks = looked.marks.upstream.capacity() * size_of::<Option<Mark>>();
            block(size_of::<Looked>())
                + tree::<EventId, ()>(looked.come.len(), Filled::InOrder)
                + tree::<EventId, ()>(looked.behind.len(), Filled::InOrder)
                + block(marks)
        };
        tree::<(u64, EventId), ()>(self.later.len(), Filled::InOrder)
            + self.looked.as_deref().map_or(0, of_look)
    }
}
