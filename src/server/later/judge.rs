//! Whether an event may be scheduled, and whether it was before. Nothing changes.

use crate::model::error::Error;
use crate::model::later::parts::Parts;
use crate::model::later::schedule::Schedule;
use crate::model::unique::keyed_hash::Secret;
use crate::model::unique::tokens::Clock;
use crate::server::api::acl::{Access, User};
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::keyspace::copies;
use crate::server::keyspace::key_names::PartitionNames;
use crate::server::keyspace::ring::RingView;
use crate::server::unique::judge::random;

/// The partition and the ticket that were replied when an event of this key came with this token
/// before: looked for in the partition `p`, to which the key belongs, and wherever it has lived.
/// None if it has no token. O(remembered resizes).
///
/// # Errors
/// [`Error::NoPermission`], [`Error::WrongType`].
pub(crate) fn repeated(
    ctx: &Ctx,
    user: &User,
    ring: &RingView,
    p: u32,
    parts: &Parts,
    clock: Clock,
) -> Result<Option<(u32, u64)>, Error> {
    let Some(token) = parts.token() else { return Ok(None) };
    let value = ring.value()?;
    let found = value.homes.find(&value.ring, parts.key(), p, |home| {
        let names = ring.names.partition(home);
        user.check(&names.later, Access::Insert)?;
        let key = key::open_read(ctx, &names.later);
        let schedule = key.value::<Schedule>()?;
        Ok::<_, Error>(schedule.and_then(|known| known.repeated(parts.key(), token, clock)))
    })?;
    Ok(found.map(|(_, first)| first))
}

/// Refuses an event for which a partition has no room. Returns the secret under which its tokens
/// begin, if this is the first one.
///
/// # Errors
/// [`Error::Limit`], [`Error::WrongType`].
pub(crate) fn check_room(
    ctx: &Ctx,
    names: &PartitionNames,
    parts: &Parts,
    clock: Clock,
) -> Result<Option<Secret>, Error> {
    let key = key::open_read(ctx, &names.later);
    let begins = match key.value::<Schedule>()? {
        Some(schedule) => {
            schedule.check_room(parts, clock)?;
            schedule.has_no_tokens()
        }
        None => {
            copies::check_owned(ctx, names)?;
            Schedule::default().check_room(parts, clock)?;
            true
        }
    };
    Ok((begins && parts.token().is_some()).then(random))
}

/// Whether a partition remembers the token of an event that was appended at `until_ms` or before.
pub(crate) fn remembers(ctx: &Ctx, names: &PartitionNames, until_ms: u64, clock: Clock) -> bool {
    let key = key::open_read(ctx, &names.later);
    let schedule = key.value::<Schedule>().ok().flatten();
    schedule.is_some_and(|schedule| schedule.appended().lives_since(until_ms, clock))
}

/// The last ticket that a partition knows of; 0 if it never had scheduled events.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn last_ticket(ctx: &Ctx, names: &PartitionNames) -> Result<u64, Error> {
    let key = key::open_read(ctx, &names.later);
    Ok(key.value::<Schedule>()?.map_or(0, Schedule::last_ticket))
}

/// How many scheduled events wait in a partition, and when the first is due, in unix ms.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn waiting(ctx: &Ctx, names: &PartitionNames) -> Result<(u64, Option<u64>), Error> {
    let key = key::open_read(ctx, &names.later);
    let schedule = key.value::<Schedule>()?;
    Ok(schedule.map_or((0, None), |schedule| {
        (schedule.len() as u64, schedule.first().map(|place| place.due_ms))
    }))
}
