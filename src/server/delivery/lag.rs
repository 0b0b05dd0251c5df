//! Lag: how many events of a partition a group has not finished.
//!
//! What lies below a group's cursor is counted once and then kept up by acknowledgements, see
//! [`Counted`]; the stream's own length gives the rest. Of a group with types, what it takes above
//! its cursor is counted instead. The count is made when the lag is first asked for: at once for a
//! group that is nearly up to date, for others in bounded steps in the background, see
//! [`crate::server::delivery::recount`]. If anybody removes entries by hand it is made again. Until
//! then the answer is an estimate, and says so.

use std::cell::RefCell;
use std::collections::HashMap;

use super::backlog::Budget;
use super::excepted::Excepted;
use super::opened::{Opened, stamp_of};
use super::{backlog, count, state};
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::model::progress::counts::{Count, Counted};
use crate::model::ring::group::Group;
use crate::model::ring::history::End;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::api::xinfo::Info;
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

/// A group whose lag is asked for, in one partition or in several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    /// Its name.
    pub(crate) name: &'a Name,
    /// Its settings.
    pub(crate) group: &'a Group,
    /// See [`Group::types_digest`].
    pub(super) types: Option<u64>,
}

impl<'a> Reader<'a> {
    /// O(bytes of the types that it takes).
    pub(crate) fn of(name: &'a Name, group: &'a Group) -> Self {
        Self { name, group, types: group.types_digest() }
    }

    /// Its progress where it has none yet.
    pub(crate) fn beginning(&self, partition: u32) -> Progress {
        Progress::new(self.group.start(partition))
    }
}

/// Counts for groups that have no progress in a partition to keep them with.
const MAX_UNBEGUN: usize = 16_384;

thread_local! {
    static UNBEGUN: RefCell<HashMap<Line, Counted>> = RefCell::new(HashMap::new());
}

/// The lag of a group in a partition.
///
/// # Errors
/// [`Error::WrongType`]; [`Error::Bug`] if the server refuses.
pub(crate) fn of(
    ctx: &Ctx,
    opened: &mut Opened,
    reader: Reader<'_>,
    budget: &mut Budget,
) -> Result<Lag, Error> {
    let progress = opened.progress(reader.name)?;
    let (lag, counted) = look(ctx, opened, reader, progress, budget)?;
    keep(ctx, opened, counted.map(|counted| (reader.name, counted)).into_iter().collect())?;
    Ok(lag)
}

/// The lag of a group with this progress, and what was counted for it that [`keep`] is to keep.
///
/// # Errors
/// [`Error::WrongType`]; [`Error::Bug`] if the server refuses.
pub(super) fn look(
    ctx: &Ctx,
    opened: &Opened,
    reader: Reader<'_>,
    progress: Option<&Progress>,
    budget: &mut Budget,
) -> Result<(Lag, Option<Counted>), Error> {
    let kept = match progress {
        Some(progress) => progress.counted(),
        // Most servers keep none: then no name is put together.
        None => UNBEGUN.with_borrow(|counts| {
            (!counts.is_empty()).then(|| counts.get(&line_of(ctx, opened, reader.name)).copied())?
        }),
    };
    let kept = match kept {
        Some(counted) if opened.stamp(ctx)? == counted.stamp => Some(counted),
        _ => None,
    };
    let (lag, found) = match progress {
        Some(progress) => reckon(opened, reader, (progress, true), kept, budget),
        None => {
            let beginning = reader.beginning(opened.partition());
            reckon(opened, reader, (&beginning, false), kept, budget)
        }
    };
    let Some((count, whole)) = found else { return Ok((lag, None)) };
    let counted = Counted { count, stamp: opened.stamp(ctx)?, whole };
    Ok((lag, Some(counted).filter(|_| kept != Some(counted))))
}

/// Keeps what was counted for groups of a partition.
///
/// # Errors
/// [`Error::WrongType`].
pub(super) fn keep(
    ctx: &Ctx,
    opened: &mut Opened,
    counted: Vec<(&Name, Counted)>,
) -> Result<(), Error> {
    let left = opened.keep(counted)?;
    UNBEGUN.with_borrow_mut(|counts| {
        for (group, counted) in left {
            if counts.len() >= MAX_UNBEGUN {
                counts.clear();
            }
            counts.insert(line_of(ctx, opened, group), counted);
        }
    });
    Ok(())
}

fn line_of(ctx: &Ctx, opened: &Opened, group: &Name) -> Line {
    let (ring, partition) = (opened.ring().clone(), opened.partition());
    Line { db: ctx.db(), ring, partition, group: group.clone() }
}

/// The lag, and the count that it follows from with whether all exceptions have their entries; none
/// where nothing need be kept.
fn reckon(
    opened: &Opened,
    reader: Reader<'_>,
    (progress, begun): (&Progress, bool),
    kept: Option<Counted>,
    budget: &mut Budget,
) -> (Lag, Option<(Count, bool)>) {
    let Some(stream) = opened.stream() else { return (Lag::exactly(0), None) };
    let whole = kept.is_some_and(|counted| counted.whole);
    let excepted = Excepted::of(progress, reader.group, (opened, stream), whole, budget);
    let kept = kept.map(|counted| counted.count);
    let above = match reader.types {
        None => count::above(opened, stream, reader.group, progress.cursor(), kept, budget),
        Some(types) => {
            let from = count::of_types(kept, types, progress.cursor());
            count::above_of_types(opened, stream, reader.group, progress.cursor(), from, budget)
        }
    };
    let events = above.entries.saturating_sub(excepted.finished_above) + excepted.passed;
    let lag = Lag { events, exact: above.exact && excepted.known };
    // Where a group has no progress to keep it with, only what took reading is worth it.
    let count = above.count.filter(|_| begun || above.read);
    (lag, count.map(|count| (count, excepted.whole)))
}

/// Entries up to the end of a generation that are counted one by one.
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
    let (group, last) = (&place.group, end.last);
    let (passed, above) = {
        let state = state::open(ctx, &place.names);
        let beginning = place.beginning();
        let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
        let passed = backlog::count_passed(progress, &stream, last);
        (passed, backlog::count_above(group, progress, &stream, last, MAX_COUNTED))
    };
    if let Some(above) = above {
        return Ok(Lag::exactly(passed + above));
    }
    drop(stream);
    let info = Info::of(ctx, &place.names.stream)?;
    // What is left of before: EVQ.RING is asked often, and must not count it.
    let before = info.length.saturating_sub(info.added.saturating_sub(end.added));
    let state = state::open(ctx, &place.names);
    let below = state.progress(&place.line.group)?.and_then(|progress| {
        let counted = progress.counted().filter(|counted| counted.stamp == stamp_of(&info))?;
        match counted.count {
            Count::Below { upto, entries } if upto == progress.cursor() => Some(entries),
            Count::Below { .. } | Count::Ahead { .. } => None,
        }
    });
    Ok(Lag { events: before.saturating_sub(below.unwrap_or(0)) + passed, exact: below.is_some() })
}
