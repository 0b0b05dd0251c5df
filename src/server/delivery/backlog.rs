//! A group's backlog in a partition, looked at entry by entry: what it has yet to finish above its
//! cursor, and the exceptions that its cursor has passed.
//!
//! An event counts only while its entry exists: what was removed by hand is finished. How many
//! entries one command looks at is bounded for all its groups and partitions together, see
//! [`Budget`]; what is not counted here is reckoned, see [`crate::server::delivery::lag`].

use super::opened::Opened;
use crate::model::ids::EventId;
use crate::model::limits::MAX_SCAN;
use crate::model::progress::Progress;
use crate::model::ring::group::Group;
use crate::server::api::key::Key;
use crate::server::api::stream::{Entries, Field};

/// How many entries one command, or one step in the background, may still look at.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
    /// For each group and partition a few, whatever there is left for all.
    a_few: bool,
}

/// Entries that are looked at first for each group and partition.
const NEAR: u64 = 100;

/// Reading the type of an entry takes so many times as long as passing it.
const TYPED_COST: u64 = 5;

/// Looking for an entry by its id takes so many times as long as passing one: part of a node of the
/// stream is read for it.
const SEARCH_COST: u64 = 10;

/// What it takes to look at one entry for a group.
fn cost(group: &Group) -> u64 {
    if group.types.is_empty() { 1 } else { TYPED_COST }
}

impl Budget {
    /// For a command that may take as long as its rows: some milliseconds, and a little for each
    /// group and partition.
    pub(crate) fn of_rows() -> Self {
        Self { left: 2 * MAX_SCAN, a_few: true }
    }

    /// For a command, or a step in the background, that has to be over: about a millisecond.
    pub(crate) fn of_a_step() -> Self {
        Self { left: MAX_SCAN / 2, a_few: false }
    }

    /// Whether nothing is left.
    pub(crate) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Entries that may be looked at for a group in one partition.
    pub(super) fn allowed(&self, group: &Group) -> u64 {
        let a_few = if self.a_few { NEAR } else { 0 };
        self.left.clamp(a_few, MAX_SCAN) / cost(group)
    }

    /// The same, at most a few.
    pub(super) fn near(&self, group: &Group) -> u64 {
        self.allowed(group).min(NEAR / cost(group))
    }

    /// An entry was looked for by its id.
    pub(super) fn spend_for_search(&mut self) {
        self.spend(SEARCH_COST);
    }

    /// As much was done as passing so many entries takes.
    pub(super) fn spend(&mut self, entries: u64) {
        self.left = self.left.saturating_sub(entries);
    }

    /// So many entries were looked at for a group.
    pub(super) fn spend_for(&mut self, entries: u64, group: &Group) {
        self.spend(entries * cost(group));
    }
}

/// The oldest event that the group has not finished, if it is among those that may be looked at.
/// None also where it is no older than `before`.
pub(crate) fn oldest(
    opened: &Opened,
    group: &Group,
    progress: &Progress,
    before: EventId,
    budget: &mut Budget,
) -> Option<EventId> {
    let stream = opened.stream()?;
    let exceptions = progress.exceptions();
    let older = exceptions.unfinished(before).take_while(|id| *id < before);
    let excepted = older.take(MAX_SEARCHES).find(|id| Entries::has(stream, *id));
    if progress.cursor() >= before.min(opened.last()) {
        return excepted;
    }
    let first = opened.first();
    if progress.cursor() < first {
        // Where a group has not begun, the first entry tells without being looked for.
        if first >= before {
            return excepted;
        }
        if group.types.is_empty() && exceptions.get(first).is_none() {
            return excepted.into_iter().chain([first]).min();
        }
    }
    let allowed = usize::try_from(budget.allowed(group)).unwrap_or(usize::MAX);
    if allowed == 0 {
        return excepted;
    }
    budget.spend_for_search();
    let mut looked_at = 0;
    let next = Above::of(group, progress.cursor(), stream)
        .take(allowed)
        .inspect(|_| looked_at += 1)
        .take_while(|entry| entry.id < before)
        .find(|entry| entry.taken && exceptions.get(entry.id).is_none());
    budget.spend_for(looked_at, group);
    excepted.into_iter().chain(next.map(|entry| entry.id)).min()
}

/// Exceptions whose entries are looked for, to find the oldest that has one.
const MAX_SEARCHES: usize = 1000;

/// The entries above an id, and whether the group takes their types. Those of a group that takes
/// all of them are not read.
pub(super) struct Above<'a> {
    entries: Entries<'a>,
    group: &'a Group,
}

/// An entry above the id.
pub(super) struct AboveEntry {
    pub(super) id: EventId,
    /// The group takes its type.
    pub(super) taken: bool,
}

impl<'a> Above<'a> {
    pub(super) fn of(group: &'a Group, after: EventId, stream: &'a Key) -> Self {
        Self { entries: Entries::after(stream, after), group }
    }
}

impl Iterator for Above<'_> {
    type Item = AboveEntry;

    fn next(&mut self) -> Option<AboveEntry> {
        let (id, _) = self.entries.next_entry()?;
        let taken = self.group.types.is_empty() || {
            let kind = self.entries.kind(id);
            self.group.takes(kind.as_ref().map_or(&[], Field::bytes))
        };
        Some(AboveEntry { id, taken })
    }
}

/// Counts the events above the cursor and up to `until` that the group has to finish; none if there
/// are more than `most` entries.
pub(super) fn count_above(
    group: &Group,
    progress: &Progress,
    stream: &Key,
    until: EventId,
    most: u64,
) -> Option<u64> {
    let (mut unfinished, mut looked_at) = (0, 0);
    let above = Above::of(group, progress.cursor(), stream);
    for AboveEntry { id, taken } in above.take_while(|entry| entry.id <= until) {
        if looked_at == most {
            return None;
        }
        looked_at += 1;
        unfinished += u64::from(taken && !progress.exceptions().is_finished(id));
    }
    Some(unfinished)
}

/// Counts the exceptions up to `until` that the cursor has passed and whose entries exist.
pub(super) fn count_passed(progress: &Progress, stream: &Key, until: EventId) -> u64 {
    let passed = progress.exceptions().unfinished(until.min(progress.cursor()));
    passed.filter(|id| Entries::has(stream, *id)).count() as u64
}
