//! The authority: the definition under the ring's own key, which alone decides what follows.
//!
//! Whoever changes a ring has read the authority and all copies before. The authority takes the
//! change only if nobody else has changed it since, and gives it a version that is higher than any.

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::ring::definition::{Definition, Membership, Stage};
use crate::model::saved::effect::Effect;
use crate::model::saved::snapshot::encode;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::api::text::Text;
use crate::server::delivery::state;
use crate::server::keyspace::known_rings;
use crate::server::keyspace::ring_value::RingValue;

/// What the authority was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The ring's id; 0 for no ring.
    pub(crate) id: u64,
    /// Its version; 0 for no ring.
    pub(crate) version: u64,
}

/// The definition under `name`.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn read(ctx: &Ctx, name: &Text) -> Result<Option<Definition>, Error> {
    let key = key::open_read(ctx, name);
    let Some(value) = key.value::<RingValue>()? else { return Ok(None) };
    // A ring that was made without a cluster has no id and no version yet.
    Ok(Some(value.definition().unwrap_or_else(|| Definition::without_cluster(value.ring.clone()))))
}

/// The id of the ring under `name`, of which the definition is not copied.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn ring_id(ctx: &Ctx, name: &Text) -> Result<Option<u64>, Error> {
    let key = key::open_read(ctx, name);
    let value = key.value::<RingValue>()?;
    // A ring that was made without a cluster has no id yet.
    Ok(value.map(|value| value.membership.as_ref().map_or(0, |membership| membership.id)))
}

/// Makes `wanted` the definition if the authority is still what it was. Groups of version 0 are
/// new, and so is a ring of id 0. Returns the definition with its id and versions.
///
/// # Errors
/// [`Error::Stale`] if it was changed since; [`Error::WrongType`], [`Error::Limit`]. Nothing has
/// changed then.
pub(crate) fn decide(
    ctx: &Ctx,
    name: &Text,
    known: Known,
    mut wanted: Definition,
) -> Result<Definition, Error> {
    let held = read(ctx, name)?;
    let is_so = held.as_ref().map_or(Known { id: 0, version: 0 }, |held| {
        let Membership { id, version, .. } = held.membership;
        Known { id, version }
    });
    if is_so != known {
        return Err(Error::Stale);
    }
    let seen = wanted.membership.version.max(known.version);
    let version = Membership::next_version(seen, ctx.now());
    wanted.membership.version = version;
    if wanted.membership.id == 0 {
        wanted.membership.id = new_id();
    }
    let new = wanted.membership.made.values_mut().filter(|made| made.version == 0);
    new.for_each(|made| made.version = version);
    wanted.check()?;
    store(ctx, name, wanted.clone())?;
    if known.id == 0 {
        key::notify_module(ctx, c"evq.create", name);
    }
    Ok(wanted)
}

/// Takes in where partitions start a group that version `made` has made. A group of another version
/// is left alone.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn take_starts(
    ctx: &Ctx,
    name: &Text,
    group: &Name,
    made: u64,
    starts: &[(u32, EventId)],
) -> Result<bool, Error> {
    let Some(mut held) = read(ctx, name)? else { return Ok(false) };
    let partitions = held.ring.len() as usize;
    let Some(of_group) = held.membership.made.get_mut(group).filter(|of| of.version == made) else {
        return Ok(false);
    };
    of_group.from = of_group.from.filter(|_| starts.len() < partitions);
    for (p, start) in starts {
        held.ring.check_partition(*p)?;
        held.resolve(group, *p, *start);
    }
    store(ctx, name, held)?;
    Ok(true)
}

/// Removes the authority of a ring that is being dropped. False if it is another ring by now.
///
/// # Errors
/// [`Error::WrongType`]; [`Error::Bug`] if the server refuses.
pub(crate) fn forget(ctx: &Ctx, name: &Text, ring: &Name, id: u64) -> Result<bool, Error> {
    let held = read(ctx, name)?;
    let goes =
        |held: &Definition| held.membership.id == id && held.membership.stage == Stage::Dropping;
    if !held.as_ref().is_some_and(goes) {
        return Ok(false);
    }
    key::unlink(ctx, &[name])?;
    if known_rings::copies(ctx.db(), ring).is_empty() {
        known_rings::forget(ctx.db(), ring);
    }
    Ok(true)
}

/// Puts a definition under `name`, and replicates it.
pub(super) fn store(ctx: &Ctx, name: &Text, definition: Definition) -> Result<(), Error> {
    let effect = Effect::Defined(Box::new(definition));
    let bytes = encode(&effect)?;
    state::apply(ctx, name, effect, &bytes)
}

/// An id that no other ring has: 63 random bits, of which a saved number has room for all.
fn new_id() -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: pointer and length describe `bytes`.
    unsafe { api!(RedisModule_GetRandomBytes)(bytes.as_mut_ptr(), bytes.len()) };
    (u64::from_le_bytes(bytes) >> 1).max(1)
}
