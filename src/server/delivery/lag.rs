//! Lag: how many events of a partition a group has not finished.
//!
//! A group that is nearly up to date is counted entry by entry, see [`backlog`]. For one that is
//! far behind, what lies below its cursor is counted once and then kept by acknowledgements, and
//! the stream's own length gives the rest. If anybody removes entries by hand the count is made
//! again, a bounded step at a time in the background, and until then the answer says that it is not
//! exact.

use std::cell::RefCell;
use std::collections::HashMap;

use super::backlog::{Budget, Tally};
use super::{backlog, state};
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::progress::counts::{Counted, Stamp};
use crate::model::ring::history::End;
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Key;
use crate::server::api::stream::Entries;
use crate::server::api::xinfo::Info;
use crate::server::api::{key, timer};
use crate::server::keyspace::line::Line;
use crate::server::keyspace::place::Place;

/// How many events a group has not finished.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    /// Events that are not finished.
    pub(crate) events: u64,
    /// Whether that is the truth; if not, the truth is being counted.
    pub(crate) exact: bool,
}

impl Lag {
    fn exactly(events: u64) -> Self {
        Self { events, exact: true }
    }
}

/// The lag of a group in a partition.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn of(ctx: &Ctx, place: &Place, budget: &mut Budget) -> Result<Lag, Error> {
    let Some(stream) = key::open_read(ctx, &place.names.stream).stream()? else {
        return Ok(Lag::exactly(0));
    };
    let mut state = state::open(ctx, &place.names);
    let beginning = place.beginning();
    let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
    let passed = backlog::count_passed(progress, &stream, EventId::MAX);
    let near = backlog::count_above(place, progress, &stream, EventId::MAX, backlog::near(place));
    if let Some(above) = near.unfinished {
        return Ok(Lag::exactly(above + passed));
    }
    // Entries of types that the group does not take are only told apart by reading them.
    let typed = !place.group.types.is_empty();
    let first = Entries::first(&stream).next_entry().map(|(id, _)| id);
    let finished = finished_above(progress, first.unwrap_or(EventId::MAX));
    if !typed && first.is_some_and(|first| progress.cursor() < first) {
        return Ok(Lag::exactly(stream.length().saturating_sub(finished) + passed));
    }
    let info = Info::of(ctx, &place.names.stream)?;
    let stamp = stamp(&info);
    let kept = progress
        .counted()
        .filter(|counted| counted.stamp == stamp && counted.cursor <= progress.cursor());
    let above =
        |counted: Counted| info.length.saturating_sub(counted.below).saturating_sub(finished);
    if let Some(counted) = kept.filter(|counted| counted.cursor == progress.cursor())
        && !typed
    {
        return Ok(Lag::exactly(above(counted) + passed));
    }
    let allowed = budget.allowed(place);
    let Tally { unfinished, looked_at } =
        backlog::count_above(place, progress, &stream, EventId::MAX, allowed);
    budget.spend(looked_at);
    let step = if unfinished.is_some() {
        let below = info.length.saturating_sub(looked_at);
        let counted = Counted { cursor: progress.cursor(), below, stamp };
        CountStep { counted, done: true }
    } else {
        let start = kept.unwrap_or(Counted { cursor: EventId::ZERO, below: 0, stamp });
        let step = count_below(progress, &stream, start, budget.allowed(place));
        budget.spend(step.counted.below - start.below);
        step
    };
    let events = unfinished.unwrap_or_else(|| above(step.counted)) + passed;
    let exact = unfinished.is_some() || (step.done && !typed);
    state.volatile(&place.line.group, |progress| progress.set_counted(step.counted))?;
    if !step.done {
        count_on(ctx, place);
    }
    Ok(Lag { events, exact })
}

/// What a count of a stream's entries is good for.
pub(crate) fn stamp(info: &Info) -> Stamp {
    Stamp { removed: info.removed(), first: info.first }
}

/// Exceptions above the cursor that are finished; the entries before `first` have gone.
fn finished_above(progress: &Progress, first: EventId) -> u64 {
    let Some(above) = progress.cursor().next() else { return 0 };
    progress.exceptions().finished_from(first.max(above)).count() as u64
}

/// A step of counting the entries below a cursor.
#[derive(Clone, Copy, Debug)]
struct CountStep {
    counted: Counted,
    /// It has reached the cursor.
    done: bool,
}

/// Counts on from `counted` towards the cursor, at most `most` entries.
fn count_below(progress: &Progress, stream: &Key, mut counted: Counted, most: u64) -> CountStep {
    let mut entries = Entries::after(stream, counted.cursor);
    for _ in 0..most {
        match entries.next_entry() {
            Some((id, _)) if id <= progress.cursor() => {
                counted.cursor = id;
                counted.below += 1;
            }
            Some(_) | None => {
                counted.cursor = progress.cursor();
                return CountStep { counted, done: true };
            }
        }
    }
    CountStep { counted, done: false }
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
    timer::arm(ctx, Reason::Lag, ctx.now().ms() + COUNT_STEP_MS);
}

/// Entries that are counted one by one.
const MAX_COUNTED: u64 = 1000;

/// How many events of a place up to `end` its group has not finished. For a group that is far
/// behind they are not counted one by one: then it is exact only where its lag was counted, and
/// otherwise all that is left of before. O([`MAX_COUNTED`]).
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn unfinished_until(ctx: &Ctx, place: &Place, end: End) -> Result<Lag, Error> {
    let Some(stream) = key::open_read(ctx, &place.names.stream).stream()? else {
        return Ok(Lag::exactly(0));
    };
    let (passed, above) = {
        let state = state::open(ctx, &place.names);
        let beginning = place.beginning();
        let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
        let passed = backlog::count_passed(progress, &stream, end.last);
        (passed, backlog::count_above(place, progress, &stream, end.last, MAX_COUNTED))
    };
    if let Some(above) = above.unfinished {
        return Ok(Lag::exactly(passed + above));
    }
    drop(stream);
    let info = Info::of(ctx, &place.names.stream)?;
    // What is left of before: EVQ.RING is asked often, and must not count it.
    let before = info.length.saturating_sub(info.added.saturating_sub(end.added));
    let state = state::open(ctx, &place.names);
    let progress = state.progress(&place.line.group)?;
    let counted = progress.and_then(|progress| {
        progress.counted().filter(|c| c.stamp == stamp(&info) && c.cursor == progress.cursor())
    });
    let below = counted.map_or(0, |counted| counted.below);
    let exact = counted.is_some() && place.group.types.is_empty();
    Ok(Lag { events: before.saturating_sub(below) + passed, exact })
}
