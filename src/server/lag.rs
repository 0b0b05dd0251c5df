//! Lag: how many events of a partition a group has not finished.
//!
//! A group that is nearly up to date is counted entry by entry. For one that is far behind, what
//! lies below its cursor is counted once and then kept by acknowledgements, and the stream's own
//! length gives the rest; if anybody removes entries by hand the count is made again, a bounded
//! step a look, and the answer says that it is not exact until then. What one command looks at is
//! bounded for all its groups and partitions together.

use super::ctx::Ctx;
use super::key::Key;
use super::state::Place;
use super::stream::Entries;
use super::sweep;
use super::xinfo::Info;
use crate::model::delivery::Entry;
use crate::model::error::Error;
use crate::model::exceptions::State;
use crate::model::ids::EventId;
use crate::model::limits::MAX_SCAN;
use crate::model::progress::Progress;
use crate::model::totals::Counted;

/// The answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    /// Events that are not finished.
    pub(crate) events: u64,
    /// Whether that is the truth; if not, the truth is being counted.
    pub(crate) exact: bool,
}

/// How many entries may still be looked at.
#[derive(Debug)]
pub(crate) struct Budget(u64);

/// Entries that are looked at for each group and partition, whatever there is left for all. Of a group
/// with types each has to be read.
fn near(place: &Place) -> u64 {
    if place.group.types.is_empty() { 100 } else { 10 }
}

impl Budget {
    /// What one command has, or one step in the background: some milliseconds.
    pub(crate) fn new() -> Self {
        Self(2 * MAX_SCAN)
    }

    /// Whether nothing is left.
    pub(crate) fn is_spent(&self) -> bool {
        self.0 == 0
    }

    fn allowed(&self, place: &Place) -> u64 {
        self.0.clamp(near(place), MAX_SCAN)
    }

    fn spend(&mut self, entries: u64) {
        self.0 = self.0.saturating_sub(entries);
    }
}

impl Ctx {
    /// The lag of a group in a partition.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn lag(&self, place: &Place, budget: &mut Budget) -> Result<Lag, Error> {
        let Some(stream) = self.open_read(&place.names.stream).stream()? else {
            return Ok(Lag { events: 0, exact: true });
        };
        let mut state = self.open_state(&place.names);
        let beginning = place.beginning();
        let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
        let passed = unfinished_below(progress, &stream);
        let exactly = |above: u64| Ok(Lag { events: above + passed, exact: true });
        if let (Some(above), _) = count_above(place, progress, &stream, near(place)) {
            return exactly(above);
        }
        // Entries of types that the group does not take are only told apart by reading them.
        let typed = !place.group.types.is_empty();
        let first = Entries::first(&stream).next_entry().map(|(id, _)| id);
        let finished = finished_above(progress, first.unwrap_or(EventId::MAX));
        if !typed && first.is_some_and(|first| progress.cursor() < first) {
            return exactly(stream.length().saturating_sub(finished));
        }
        let info = Info::of(self, &place.names.stream)?;
        let stamp = info.stamp();
        let kept = progress
            .counted()
            .filter(|counted| counted.stamp == stamp && counted.cursor <= progress.cursor());
        let above =
            |counted: Counted| info.length.saturating_sub(counted.below).saturating_sub(finished);
        if let Some(counted) = kept.filter(|counted| counted.cursor == progress.cursor())
            && !typed
        {
            return exactly(above(counted));
        }
        let (found, entries) = count_above(place, progress, &stream, budget.allowed(place));
        budget.spend(entries);
        let (counted, done) = if found.is_some() {
            let below = info.length.saturating_sub(entries);
            (Counted { cursor: progress.cursor(), below, stamp }, true)
        } else {
            let start = kept.unwrap_or(Counted { cursor: EventId::ZERO, below: 0, stamp });
            let step = count_below(progress, &stream, start, budget.allowed(place));
            budget.spend(step.0.below - start.below);
            step
        };
        let events = found.unwrap_or_else(|| above(counted)) + passed;
        let exact = found.is_some() || (done && !typed);
        state.volatile(&place.line.group, |progress| progress.set_counted(counted))?;
        if !done {
            sweep::count_on(self, place);
        }
        Ok(Lag { events, exact })
    }

    /// The oldest event that the group has not finished, if it is among those that may be looked at.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn oldest_unfinished(
        &self,
        place: &Place,
        budget: &mut Budget,
    ) -> Result<Option<EventId>, Error> {
        let Some(stream) = self.open_read(&place.names.stream).stream()? else { return Ok(None) };
        let state = self.open_state(&place.names);
        let beginning = place.beginning();
        let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
        let exceptions = progress.exceptions();
        let open = exceptions.iter().filter(|(_, exception)| exception.state != State::Finished);
        let excepted = open.map(|(id, _)| id).find(|id| Entries::has(&stream, *id));
        let allowed = usize::try_from(budget.allowed(place)).unwrap_or(usize::MAX);
        let mut looked_at = 0;
        let next = Above::of(place, progress, &stream)
            .take(allowed)
            .inspect(|_| looked_at += 1)
            .find(|(id, taken)| *taken && exceptions.get(*id).is_none());
        budget.spend(looked_at);
        Ok(excepted.into_iter().chain(next.map(|(id, _)| id)).min())
    }
}

/// The entries above the cursor, and whether the group takes their types. Those of a group that takes
/// all of them are not read.
struct Above<'a> {
    entries: Entries<'a>,
    place: &'a Place,
}

impl<'a> Above<'a> {
    fn of(place: &'a Place, progress: &Progress, stream: &'a Key) -> Self {
        Self { entries: Entries::after(stream, progress.cursor()), place }
    }
}

impl Iterator for Above<'_> {
    type Item = (EventId, bool);

    fn next(&mut self) -> Option<Self::Item> {
        if self.place.group.types.is_empty() {
            return self.entries.next_entry().map(|(id, _)| (id, true));
        }
        let event = self.entries.next_event()?;
        Some((event.id, self.place.group.takes(event.kind())))
    }
}

/// Entries above the cursor that the group has to finish, if there are no more than `most` to look at,
/// and how many were.
fn count_above(place: &Place, progress: &Progress, stream: &Key, most: u64) -> (Option<u64>, u64) {
    let (mut above, mut entries) = (0, 0);
    for (id, taken) in Above::of(place, progress, stream) {
        if entries == most {
            return (None, entries);
        }
        entries += 1;
        above += u64::from(taken && !is_finished(progress, id));
    }
    (Some(above), entries)
}

/// Counts on towards the cursor, a bounded step; true if it got there.
fn count_below(
    progress: &Progress,
    stream: &Key,
    mut counted: Counted,
    most: u64,
) -> (Counted, bool) {
    let mut entries = Entries::after(stream, counted.cursor);
    for _ in 0..most {
        match entries.next_entry() {
            Some((id, _)) if id <= progress.cursor() => {
                counted.cursor = id;
                counted.below += 1;
            }
            Some(_) | None => {
                counted.cursor = progress.cursor();
                return (counted, true);
            }
        }
    }
    (counted, false)
}

/// Entries above the cursor that are finished; those before the `first` one have gone.
fn finished_above(progress: &Progress, first: EventId) -> u64 {
    let above = progress.exceptions().above(progress.cursor());
    above.filter(|id| *id >= first && is_finished(progress, *id)).count() as u64
}

/// Whether an event above the cursor is finished all the same.
fn is_finished(progress: &Progress, id: EventId) -> bool {
    progress.exceptions().get(id).is_some_and(|e| e.state == State::Finished)
}

/// Exceptions that the cursor has passed and whose entries still exist.
fn unfinished_below(progress: &Progress, stream: &Key) -> u64 {
    let passed = progress.exceptions().iter().filter(|(id, _)| *id <= progress.cursor());
    passed.filter(|(id, e)| e.state != State::Finished && Entries::has(stream, *id)).count() as u64
}
