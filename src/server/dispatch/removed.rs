//! Finding events that wait for a retry, are held or dead, and were removed by hand.
//!
//! Done now and then by the sweep, on primaries, for as long as anything waits in any partition: of
//! an XDEL or XTRIM the module hears nothing. A partition is searched where its stream has lost
//! entries since the last search, which costs one XINFO to know, and where it was deleted: one that
//! is missing otherwise may come back.

use std::cell::Cell;

use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::counts::{Search, Stamp};
use crate::model::rules::removed;
use crate::server::api::ctx::Ctx;
use crate::server::api::xinfo::Info;
use crate::server::api::{key, timer};
use crate::server::delivery::opened::stamp_of;
use crate::server::delivery::shell::PlaceShell;
use crate::server::delivery::state;
use crate::server::keyspace::key_names::{PartitionNames, RingNames};
use crate::server::keyspace::known_rings::Spot;
use crate::server::keyspace::line::Line;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::keyspace::{copies, deleted, known_rings, place};

/// How long after a round the next one begins. Together with the steps of a round, a removed event
/// is found within a second.
const ROUND_MS: u64 = 400;
/// How long to rest between two steps of a round.
const STEP_MS: u64 = 20;
/// Partitions that a step opens at most, apart from the rest of a ring.
const MAX_PARTITIONS: usize = 1024;
/// Exceptions that a step reads at most.
const MAX_READ: usize = 2000;

/// The stamp of a stream that was deleted.
const NO_STREAM: Stamp = Stamp { removed: u64::MAX, first: EventId::ZERO };

thread_local! {
    /// The ring at which the next step begins, and whether this round found anything that waits.
    static ROUND: Cell<(usize, bool)> = const { Cell::new((0, false)) };
}

/// What a step may still do, and what it found.
struct Step {
    now: Now,
    partitions: usize,
    read: usize,
    /// Something waits.
    waits: bool,
    /// Something was not searched to its end.
    unfinished: bool,
}

/// Takes a step of a round, and has the next one taken if any is needed.
pub(crate) fn search(ctx: &Ctx, now: Now) {
    let (begin, waits) = ROUND.get();
    let rings = known_rings::all();
    let mut step =
        Step { now, partitions: MAX_PARTITIONS, read: MAX_READ, waits, unfinished: false };
    let mut next = begin;
    for (db, ring) in rings.iter().skip(begin) {
        if step.partitions == 0 || step.read == 0 {
            break;
        }
        // A key of another type holds nothing that waits.
        let _ = ctx.select_db(*db).then(|| search_ring(ctx, *db, ring, &mut step));
        next += 1;
    }
    let is_over = next >= rings.len() && !step.unfinished;
    if is_over {
        ROUND.set((0, false));
        deleted::settle_all();
        if step.waits {
            timer::arm(ctx, Reason::Removed, now.ms() + ROUND_MS);
        }
    } else {
        // What was not searched to its end is in the last ring of the step.
        ROUND.set((next.saturating_sub(usize::from(step.unfinished)), step.waits));
        timer::arm(ctx, Reason::Removed, now.ms() + STEP_MS);
    }
}

fn search_ring(ctx: &Ctx, db: i32, ring: &Name, step: &mut Step) -> Result<(), Error> {
    let names = RingNames::of(ring);
    let partitions: Vec<u32> = {
        let key = copies::open_any(ctx, &names);
        let Some(value) = key.value::<RingValue>()? else { return Ok(()) };
        copies::stored(db, &names, value)
    };
    for p in partitions {
        step.partitions = step.partitions.saturating_sub(1);
        let (partition, spot) = (names.partition(p), (db, ring.clone(), p));
        let groups = waiting(ctx, &partition);
        if !groups.is_empty() {
            step.waits = true;
            if !copies::may_act_on(ctx, &names, p) {
                continue;
            }
            // A key of another type keeps what waits for its entries.
            let Ok(Some(stamp)) = stamp(ctx, &partition, &spot) else { continue };
            for group in groups {
                let line = Line { db, ring: ring.clone(), partition: p, group };
                let _ = search_line(ctx, &line, &partition, stamp, step);
            }
        }
        if !step.unfinished {
            deleted::settle(&spot);
        }
    }
    Ok(())
}

/// The state of a partition's stream; None where it is missing and was not deleted.
fn stamp(ctx: &Ctx, names: &PartitionNames, spot: &Spot) -> Result<Option<Stamp>, Error> {
    if key::open_read(ctx, &names.stream).stream()?.is_some() {
        return Ok(Some(stamp_of(&Info::of(ctx, &names.stream)?)));
    }
    Ok(deleted::is_deleted(spot).then_some(NO_STREAM))
}

/// The groups that have anything unfinished apart from what lies above their cursors.
fn waiting(ctx: &Ctx, partition: &PartitionNames) -> Vec<Name> {
    let state = state::open(ctx, partition);
    let Ok(Some(saved)) = state.saved() else { return Vec::new() };
    let waits = |progress: &Progress| !progress.exceptions().is_empty();
    saved.iter().filter(|(_, progress)| waits(progress)).map(|(name, _)| name.clone()).collect()
}

fn search_line(
    ctx: &Ctx,
    line: &Line,
    names: &PartitionNames,
    stamp: Stamp,
    step: &mut Step,
) -> Result<(), Error> {
    // Progress of a group that the ring does not have concerns nobody.
    let Some(place) = place::of_line(ctx, line) else { return Ok(()) };
    let search = {
        let state = state::open(ctx, names);
        let known = state.progress(&line.group)?.and_then(Progress::search);
        known.filter(|search| search.stamp == stamp)
    };
    let search = search.unwrap_or(Search { stamp, after: Some(EventId::ZERO) });
    let Some(after) = search.after else { return Ok(()) };
    if step.read == 0 {
        step.unfinished = true;
        return Ok(());
    }
    let mut shell = PlaceShell::new(ctx, &place, step.now);
    let found = removed::finish_removed(&mut shell, after, step.read)?;
    step.read = step.read.saturating_sub(found.read);
    step.unfinished |= found.until.is_some();
    let search = Search { stamp, after: found.until };
    state::open(ctx, names).volatile(&line.group, |progress| progress.set_search(search))
}
