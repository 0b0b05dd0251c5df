//! Removal of the front of a partition's stream by XTRIM, so that XINFO, the keyspace event and
//! what replicas get are those of the native command.
//!
//! Nothing saved of the delivery state changes, so a WATCH on it does not see a trim. The exception
//! is TRIM any, where it removes events that failed or were held: a removed event is finished.

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::counts::{Seen, Stamp};
use crate::model::rules::trim::Cut;
use crate::model::saved::effect::Change;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::api::stream::Extent;
use crate::server::api::text::Text;
use crate::server::api::xinfo::Info;
use crate::server::delivery::opened::stamp_of;
use crate::server::delivery::state;
use crate::server::keyspace::key_names::{PartitionNames, RingNames};
use crate::server::keyspace::line::Line;
use crate::server::keyspace::place;
use crate::server::ops::counters;
use crate::server::waiting::release::look_again;

/// Removes what `cut` says, replicated; how many entries that were. The counts from which lags
/// follow go on. O(entries removed).
///
/// # Errors
/// [`Error::WrongType`]; [`Error::Bug`] if the server refuses.
pub(crate) fn trim(ctx: &Ctx, names: &PartitionNames, cut: &Cut) -> Result<u64, Error> {
    if cut.entries == 0 {
        return Ok(0);
    }
    let counts = state::open(ctx, names)
        .saved()?
        .is_some_and(|saved| saved.iter().any(|(_, progress)| progress.counted().is_some()));
    let before = if counts { Some(stamp_of(&Info::of(ctx, &names.stream)?)) } else { None };
    let below = Text::new(cut.below().to_string().as_bytes());
    let removed = key::trim_stream(ctx, &names.stream, &below)?;
    counters::TRIMMED.add(removed);
    if let Some(before) = before {
        let Extent { length, first, last } = Extent::of(ctx, &names.stream)?;
        let first = first.unwrap_or_default();
        let after = Stamp { removed: before.removed + removed, first };
        if let Some(partition) = state::open(ctx, names).partition()? {
            partition.each_volatile(|progress| progress.trimmed(cut.last, removed, before, after));
            partition.see(Seen { length, last: last.unwrap_or_default(), stamp: after });
        }
    }
    Ok(removed)
}

/// What was removed up to `last` though it was not finished counts as finished: what failed or
/// was held there is over, and what is held behind it goes on.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn finish_removed(
    ctx: &Ctx,
    ring: &RingNames,
    p: u32,
    last: EventId,
) -> Result<(), Error> {
    let names = ring.partition(p);
    let over: Vec<(Name, Vec<EventId>)> = {
        let state = state::open(ctx, &names);
        let Some(saved) = state.saved()? else { return Ok(()) };
        let removed = saved.iter().map(|(group, progress)| {
            (group.clone(), progress.exceptions().unfinished(last).collect::<Vec<_>>())
        });
        removed.filter(|(_, ids)| !ids.is_empty()).collect()
    };
    for (group, ids) in over {
        let line = Line { db: ctx.db(), ring: ring.name.clone(), partition: p, group };
        // Progress of a group that the ring does not have concerns nobody.
        let Some(place) = place::of_line(ctx, &line) else { continue };
        for id in ids {
            state::change(ctx, &place, Change::Dropped(id))?;
        }
        look_again(ctx, &line);
    }
    Ok(())
}
