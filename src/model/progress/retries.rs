//! Exceptions that wait for a retry, sorted by what is known of them. After a resize thousands of
//! keys may wait for exceptions of another partition, so a pull must not check for each of them
//! what it waits for.
//!
//! The sorting is volatile: a value that was loaded or copied begins with all of them in `later`,
//! which is enough to find them again. See [`crate::model::progress::Progress::look`].

use std::collections::{BTreeMap, BTreeSet};

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

/// Each exception that waits for a retry is in exactly one of four sets.
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
    tickets: u64,
    /// They were due, and the cursor had not reached them.
    beyond: BTreeMap<EventId, u64>,
    /// They were due, and the cursor had reached them.
    come: BTreeMap<EventId, u64>,
    /// The same, by their tickets.
    queue: BTreeMap<u64, EventId>,
    /// They were due, and an earlier event of their key came first: an exception of this partition,
    /// or one of another that had not ended at `marks`.
    behind: BTreeSet<EventId>,
    marks: Marks,
}

impl Looked {
    /// It is due, after all that are.
    fn join(&mut self, id: EventId) {
        self.tickets += 1;
        self.beyond.insert(id, self.tickets);
    }

    /// It is not due any more, if it was.
    fn leave(&mut self, id: EventId) {
        if let Some(ticket) = self.come.remove(&id) {
            self.queue.remove(&ticket);
        } else if self.beyond.remove(&id).is_none() {
            self.behind.remove(&id);
        }
    }

    /// The cursor has reached this id.
    fn reach(&mut self, reached: EventId) {
        while let Some(entry) = self.beyond.first_entry().filter(|entry| *entry.key() <= reached) {
            let (id, ticket) = entry.remove_entry();
            self.come.insert(id, ticket);
            self.queue.insert(ticket, id);
        }
    }
}

impl Due {
    /// An exception waits from now on. One without a time is due at once.
    pub(in crate::model) fn insert(&mut self, due_ms: u64, id: EventId) {
        if due_ms == 0 {
            self.looked.get_or_insert_default().join(id);
        } else {
            self.later.insert((due_ms, id));
        }
    }

    /// An exception was loaded: in which order they became due is not known, but for their times.
    pub(in crate::model) fn load(&mut self, due_ms: u64, id: EventId) {
        self.later.insert((due_ms, id));
    }

    /// An exception waits no longer.
    pub(in crate::model) fn remove(&mut self, due_ms: u64, id: EventId) {
        if !self.later.remove(&(due_ms, id))
            && let Some(looked) = &mut self.looked
        {
            looked.leave(id);
        }
    }

    /// Those of which nothing is known but when they are due: at `ms` or before, by their times.
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

    /// Those that were due at the last look and that the cursor had reached, in the order in which
    /// they became due.
    pub(in crate::model) fn come(&self) -> impl Iterator<Item = EventId> + '_ {
        self.looked.iter().flat_map(|looked| looked.queue.values().copied())
    }

    /// Those that were due at the last look and that the cursor had not reached, up to `id`, in the
    /// order of ids.
    pub(in crate::model) fn beyond(&self, id: EventId) -> impl Iterator<Item = EventId> + '_ {
        self.looked.iter().flat_map(move |looked| looked.beyond.range(..=id).map(|(id, _)| *id))
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

    /// The clock has gone back, and this one is due only then.
    pub(in crate::model) fn put_off(&mut self, due_ms: u64, id: EventId) {
        self.remove(due_ms, id);
        self.later.insert((due_ms, id));
    }

    /// Looks at what is due at `ms`, where the cursor has reached an id.
    pub(in crate::model) fn advance(&mut self, ms: u64, reached: EventId) {
        let looked = self.looked.get_or_insert_default();
        looked.at_ms = ms;
        while let Some((_, id)) = self.later.first().copied().filter(|(due_ms, _)| *due_ms <= ms) {
            self.later.pop_first();
            looked.join(id);
        }
        looked.reach(reached);
    }

    /// Takes `id` back: its predecessor may have ended.
    pub(in crate::model) fn free(&mut self, id: EventId) {
        if let Some(looked) = &mut self.looked
            && looked.behind.remove(&id)
        {
            looked.join(id);
        }
    }

    /// Takes all of them back: any predecessor may have ended.
    pub(in crate::model) fn free_all(&mut self) {
        if let Some(looked) = &mut self.looked {
            let behind = std::mem::take(&mut looked.behind);
            behind.into_iter().for_each(|id| looked.join(id));
        }
    }

    /// Something comes before `id`, which was due.
    pub(in crate::model) fn block(&mut self, id: EventId) {
        if let Some(looked) = &mut self.looked
            && let Some(ticket) = looked.come.remove(&id)
        {
            looked.queue.remove(&ticket);
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
                + tree::<EventId, u64>(looked.beyond.len(), Filled::InOrder)
                + tree::<EventId, u64>(looked.come.len(), Filled::Anywhere)
                + tree::<u64, EventId>(looked.queue.len(), Filled::InOrder)
                + tree::<EventId, ()>(looked.behind.len(), Filled::InOrder)
                + block(marks)
        };
        tree::<(u64, EventId), ()>(self.later.len(), Filled::InOrder)
            + self.looked.as_deref().map_or(0, of_look)
    }
}
