//! A group's backlog in a partition, looked at entry by entry: what it has yet to finish above its
//! cursor, and the exceptions that its cursor has passed.
//!
//! An event counts only while its entry exists: what was removed by hand is finished. How many
//! entries one command looks at is bounded for all its groups and partitions together, see
//! [`Budget`]; what is not counted here is reckoned, see [`crate::server::delivery::lag`].

use super::state;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::MAX_SCAN;
use crate::model::progress::Progress;
use crate::model::rules::source::Entry;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::api::key::Key;
use crate::server::api::stream::Entries;
use crate::server::keyspace::place::Place;

/// How many entries one command, or one step in the background, may still look at.
#[derive(Debug)]
pub(crate) struct Budget(u64);

/// Entries that are looked at for each group and partition, whatever there is left for all. Of a
/// group with types each has to be read.
pub(super) fn near(place: &Place) -> u64 {
    if place.group.types.is_empty() { 100 } else { 10 }
}

impl Budget {
    /// What one command has, or one step in the background: some milliseconds.
    pub(crate) fn new() -> Self {
        Self(2 * MAX_SCAN)
    }

    /// Whether nothing is left.
    pub(super) fn is_spent(&self) -> bool {
        self.0 == 0
    }

    /// What may be looked at in one place.
    pub(super) fn allowed(&self, place: &Place) -> u64 {
        self.0.clamp(near(place), MAX_SCAN)
    }

    /// So many entries were looked at.
    pub(super) fn spend(&mut self, entries: u64) {
        self.0 = self.0.saturating_sub(entries);
    }
}

/// The oldest event that the group has not finished, if it is among those that may be looked at.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn oldest(
    ctx: &Ctx,
    place: &Place,
    budget: &mut Budget,
) -> Result<Option<EventId>, Error> {
    let Some(stream) = key::open_read(ctx, &place.names.stream).stream()? else { return Ok(None) };
    let state = state::open(ctx, &place.names);
    let beginning = place.beginning();
    let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
    let exceptions = progress.exceptions();
    let excepted = exceptions.unfinished(EventId::MAX).find(|id| Entries::has(&stream, *id));
    let allowed = usize::try_from(budget.allowed(place)).unwrap_or(usize::MAX);
    let mut looked_at = 0;
    let next = Above::of(place, progress, &stream)
        .take(allowed)
        .inspect(|_| looked_at += 1)
        .find(|entry| entry.taken && exceptions.get(entry.id).is_none());
    budget.spend(looked_at);
    Ok(excepted.into_iter().chain(next.map(|entry| entry.id)).min())
}

/// The entries above the cursor, and whether the group takes their types. Those of a group that
/// takes all of them are not read.
struct Above<'a> {
    entries: Entries<'a>,
    place: &'a Place,
}

/// An entry above the cursor.
struct AboveEntry {
    id: EventId,
    /// The group takes its type.
    taken: bool,
}

impl<'a> Above<'a> {
    fn of(place: &'a Place, progress: &Progress, stream: &'a Key) -> Self {
        Self { entries: Entries::after(stream, progress.cursor()), place }
    }
}

impl Iterator for Above<'_> {
    type Item = AboveEntry;

    fn next(&mut self) -> Option<AboveEntry> {
        if self.place.group.types.is_empty() {
            return self.entries.next_entry().map(|(id, _)| AboveEntry { id, taken: true });
        }
        let event = self.entries.next_event()?;
        Some(AboveEntry { id: event.id, taken: self.place.group.takes(event.kind()) })
    }
}

/// What counting entries one by one came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    /// Events that the group has to finish; None where there are more entries than may be looked
    /// at.
    pub(super) unfinished: Option<u64>,
    /// Entries that were looked at.
    pub(super) looked_at: u64,
}

/// Counts the events above the cursor and up to `until` that the group has to finish, unless there
/// are more than `most` entries.
pub(super) fn count_above(
    place: &Place,
    progress: &Progress,
    stream: &Key,
    until: EventId,
    most: u64,
) -> Tally {
    let (mut unfinished, mut looked_at) = (0, 0);
    let above = Above::of(place, progress, stream);
    for AboveEntry { id, taken } in above.take_while(|entry| entry.id <= until) {
        if looked_at == most {
            return Tally { unfinished: None, looked_at };
        }
        looked_at += 1;
        unfinished += u64::from(taken && !progress.exceptions().is_finished(id));
    }
    Tally { unfinished: Some(unfinished), looked_at }
}

/// Counts the exceptions up to `until` that the cursor has passed and whose entries exist.
pub(super) fn count_passed(progress: &Progress, stream: &Key, until: EventId) -> u64 {
    let passed = progress.exceptions().unfinished(until.min(progress.cursor()));
    passed.filter(|id| Entries::has(stream, *id)).count() as u64
}
