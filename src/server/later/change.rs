//! Changes to the scheduled events of a partition, on the primary and wherever its effects are
//! applied.

use super::spots;
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::keys::parse_later_key;
use crate::model::later::schedule::{Change, Schedule};
use crate::model::saved::effect::Effect;
use crate::model::saved::snapshot::encode;
use crate::model::unique::tokens::Clock;
use crate::server::api::ctx::Ctx;
use crate::server::api::text::Text;
use crate::server::api::{key, timer};
use crate::server::keyspace::key_names::PartitionNames;
use crate::server::keyspace::{datatype, replicate, tickets};

/// Applies a change and replicates it.
///
/// # Errors
/// [`Error::WrongType`]; [`Error::Limit`] for an effect that could not be read back. Nothing has
/// changed then.
pub(crate) fn change(ctx: &Ctx, name: &Text, change: Change) -> Result<(), Error> {
    let effect = Effect::Later(change);
    let bytes = encode(&effect)?;
    let Effect::Later(change) = effect else { return Ok(()) };
    apply(ctx, name, change)?;
    replicate::effect(ctx, name, &bytes);
    Ok(())
}

/// The tokens of what was appended hear of the clock before a generation ends, see
/// [`crate::model::unique::tokens::Tokens::before_an_end`].
///
/// # Errors
/// As [`change`].
pub(crate) fn before_an_end(ctx: &Ctx, names: &PartitionNames, clock: Clock) -> Result<(), Error> {
    let heard = {
        let key = key::open_read(ctx, &names.later);
        let schedule = key.value::<Schedule>().ok().flatten();
        schedule.and_then(|schedule| schedule.appended().before_an_end(clock))
    };
    heard.map_or(Ok(()), |heard| change(ctx, &names.later, Change::Tokens(heard)))
}

/// Applies a change to the scheduled events under `name`; they come into being if they are missing.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn apply(ctx: &Ctx, name: &Text, change: Change) -> Result<(), Error> {
    let mut key = key::open_read(ctx, name);
    if let Some(schedule) = key.value_mut::<Schedule>()? {
        schedule.apply(change);
        note(ctx, name, schedule);
        key::signal_modified(ctx, name);
        return Ok(());
    }
    drop(key);
    let mut schedule = Schedule::default();
    schedule.apply(change);
    note(ctx, name, &schedule);
    datatype::create_value(ctx, name, schedule)
}

fn note(ctx: &Ctx, name: &Text, schedule: &Schedule) {
    tickets::saw(schedule.last_ticket());
    if let Some((ring, p)) = parse_later_key(name.bytes()) {
        spots::note((ctx.db(), ring, p), schedule);
        if let Some(at_ms) = spots::first_ms() {
            let rests_ms = spots::rests_until(ctx.now().ms());
            timer::arm(ctx, Reason::Later, at_ms.max(rests_ms));
        }
    }
}
