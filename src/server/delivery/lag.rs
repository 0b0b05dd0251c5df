//! Lag: how many events of a partition a group has not finished.
//!
//! A group that is nearly up to date is counted entry by entry. For one that is far behind, what
//! lies below its cursor is counted once and then kept by acknowledgements, and the stream's own
//! length gives the rest; if anybody removes entries by hand the count is made again, a bounded
//! step a look, and the answer says that it is not exact until then. What one command looks at is
//! bounded for all its groups and partitions together.

use std::cell::RefCell;
use std::collections::HashMap;

use super::state;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::MAX_SCAN;
use crate::model::progress::Progress;
use crate::model::progress::counts::Counted;
use crate::model::progress::exceptions::State;
use crate::model::ring::history::End;
use crate::model::rules::source::Entry;
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Key;
use crate::server::api::stream::Entries;
use crate::server::api::xinfo::Info;
use crate::server::api::{key, timer};
use crate::server::keyspace::line::Line;
use crate::server::keyspace::place::Place;

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

/// The lag of a group in a partition.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn of(ctx: &Ctx, place: &Place, budget: &mut Budget) -> Result<Lag, Error> {
    let Some(stream) = key::open_read(ctx, &place.names.stream).stream()? else {
        return Ok(Lag { events: 0, exact: true });
    };
    let mut state = state::open(ctx, &place.names);
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
    let info = Info::of(ctx, &place.names.stream)?;
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
        count_on(ctx, place);
    }
    Ok(Lag { events, exact })
}

/// The oldest event that the group has not finished, if it is among those that may be looked at.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn oldest_unfinished(
    ctx: &Ctx,
    place: &Place,
    budget: &mut Budget,
) -> Result<Option<EventId>, Error> {
    let Some(stream) = key::open_read(ctx, &place.names.stream).stream()? else { return Ok(None) };
    let state = state::open(ctx, &place.names);
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

/// How long to rest between two steps of counting a lag.
const COUNT_STEP_MS: u64 = 2;

/// Places whose lag is counted in the background at a time.
const MAX_COUNTING: usize = 4096;

thread_local! {
    /// Places whose lag is being counted in steps.
    static COUNTING: RefCell<HashMap<Line, Place>> = RefCell::new(HashMap::new());
}

/// Takes a step of counting every lag that is being counted in the background.
pub(crate) fn count_all(ctx: &Ctx) {
    // Each step asks for the next one itself until it is done.
    let mut budget = Budget::new();
    for place in COUNTING.take().into_values() {
        if budget.is_spent() {
            count_on(ctx, &place);
        } else if ctx.select_db(place.line.db) {
            let _ = of(ctx, &place, &mut budget);
        }
    }
}

/// Goes on counting the lag of a place in the background.
pub(crate) fn count_on(ctx: &Ctx, place: &Place) {
    COUNTING.with_borrow_mut(|counting| {
        // Those for which there is no room are counted when somebody asks for them again.
        if counting.len() < MAX_COUNTING {
            counting.entry(place.line.clone()).or_insert_with(|| place.clone());
        }
    });
    timer::arm(ctx, ctx.now().ms() + COUNT_STEP_MS);
}

/// Entries that are counted one by one.
const MAX_COUNTED: usize = 1000;

/// How many events of a place up to `end` its group has not finished. For a group that is far
/// behind they are not counted one by one: then it is exact only where its lag was counted, and
/// else all that is left of before. O([`MAX_COUNTED`]).
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn unfinished_until(ctx: &Ctx, place: &Place, end: End) -> Result<Lag, Error> {
    let Some(stream) = key::open_read(ctx, &place.names.stream).stream()? else {
        return Ok(Lag { events: 0, exact: true });
    };
    let (passed, above) = {
        let state = state::open(ctx, &place.names);
        let beginning = place.beginning();
        let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
        let exceptions = progress.exceptions().iter().filter(|(id, exception)| {
            let passed = *id <= end.last && *id <= progress.cursor();
            passed && exception.state != State::Finished && Entries::has(&stream, *id)
        });
        (exceptions.count() as u64, count_unfinished(place, progress, &stream, end))
    };
    if let Some(above) = above {
        return Ok(Lag { events: passed + above, exact: true });
    }
    drop(stream);
    let info = Info::of(ctx, &place.names.stream)?;
    // What is left of before: EVQ.RING is asked often, and must not count it.
    let before = info.length.saturating_sub(info.added.saturating_sub(end.added));
    let state = state::open(ctx, &place.names);
    let progress = state.progress(&place.line.group)?;
    let counted = progress.and_then(|progress| {
        progress.counted().filter(|c| c.stamp == info.stamp() && c.cursor == progress.cursor())
    });
    let below = counted.map_or(0, |counted| counted.below);
    let exact = counted.is_some() && place.group.types.is_empty();
    Ok(Lag { events: before.saturating_sub(below) + passed, exact })
}

/// Entries above the cursor and up to `end` that are not finished, if there are few enough to look.
fn count_unfinished(place: &Place, progress: &Progress, stream: &Key, end: End) -> Option<u64> {
    let typed = !place.group.types.is_empty();
    let mut entries = Entries::after(stream, progress.cursor());
    // The fields are only read where the type matters.
    let mut next = || match typed {
        true => entries.next_event().map(|event| (event.id, place.group.takes(event.kind()))),
        false => entries.next_entry().map(|(id, _)| (id, true)),
    };
    let mut above = 0;
    for _ in 0..MAX_COUNTED {
        let Some((id, taken)) = next().filter(|(id, _)| *id <= end.last) else {
            return Some(above);
        };
        let exception = progress.exceptions().get(id);
        let finished = exception.is_some_and(|exception| exception.state == State::Finished);
        above += u64::from(taken && !finished);
    }
    None
}
