//! The copy of a ring's definition beside a partition: renewed by what the authority has decided,
//! together with what lies beside it, and confirmed when the authority says that nothing is newer.

use std::collections::BTreeSet;

use super::authority::{read, store};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::partition::Partition;
use crate::model::ring::definition::{Definition, Stage};
use crate::model::saved::effect::Effect;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::api::key::Kind;
use crate::server::api::text::Text;
use crate::server::delivery::letters::letters_name;
use crate::server::delivery::state;
use crate::server::keyspace::copies;
use crate::server::keyspace::key_names::{PartitionNames, RingNames};
use crate::server::keyspace::line::Line;
use crate::server::keyspace::ring::resolve_start;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::later::spots;
use crate::server::waiting::release::{dismiss_partition, look_again};

/// How long what is left of a dropped ring stays beside a partition: longer than any command is on
/// its way.
const TOMBSTONE_MS: u64 = 3_600_000;

/// What a copy holds after a definition has arrived.
#[derive(Debug)]
pub(crate) struct Held {
    /// The version.
    pub(crate) version: u64,
    /// Where each group starts in this partition.
    pub(crate) starts: Vec<(Name, EventId)>,
}

/// A definition that the authority decided in the era `era` of this node, or later, arrives beside
/// partition `p`. One that is no newer than the copy changes nothing.
///
/// # Errors
/// [`Error::TryAgain`], [`Error::WrongType`]; [`Error::Bug`] if the server refuses.
pub(crate) fn put(
    ctx: &Ctx,
    ring: &RingNames,
    p: u32,
    era: u64,
    definition: &Definition,
) -> Result<Held, Error> {
    let partition = ring.partition(p);
    copies::check_owned(ctx, &partition)?;
    let name = copies::name_at(ring, &partition);
    let held = read(ctx, name)?;
    if let Some(renewal) = definition.renew(held.as_ref(), p) {
        let mut copy = renewal.copy;
        if renewal.clears {
            clear(ctx, ring, p, held.as_ref())?;
        }
        for group in &renewal.gone {
            remove_group(ctx, ring, p, group)?;
        }
        for (group, from) in renewal.unresolved {
            copy.resolve(&group, p, resolve_start(ctx, &partition, from)?);
        }
        for made in copy.membership.made.values_mut() {
            made.from = None;
        }
        let is_dropped = copy.membership.stage == Stage::Dropped;
        // What stays of a dropped ring says no more than that it was.
        if is_dropped {
            copy.forget_groups();
        }
        let groups: Vec<Name> = copy.membership.made.keys().cloned().collect();
        store(ctx, name, copy)?;
        if is_dropped {
            key::expire_in(ctx, name, TOMBSTONE_MS)?;
        } else if held.is_some_and(|held| !held.membership.is_live()) {
            key::persist(ctx, name)?;
        }
        for group in groups {
            let (db, ring) = (ctx.db(), ring.name.clone());
            look_again(ctx, &Line { db, ring, partition: p, group });
        }
    }
    let mut key = key::open_read(ctx, name);
    let value = key.value_mut::<RingValue>()?.ok_or(Error::NoRing)?;
    let version = value.membership.as_ref().map_or(0, |membership| membership.version);
    if version == definition.membership.version && era == copies::era() {
        value.confirmed_in = era;
    }
    let starts = value.ring.groups().map(|(group, settings)| (group.clone(), settings.start(p)));
    Ok(Held { version, starts: starts.collect() })
}

/// The authority says that nothing is newer than this version of this ring. False if the copy is
/// another one, or the era has passed in which it was asked.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn confirm(
    ctx: &Ctx,
    name: &Text,
    era: u64,
    id: u64,
    version: u64,
) -> Result<bool, Error> {
    let mut key = key::open_read(ctx, name);
    let Some(value) = key.value_mut::<RingValue>()? else { return Ok(false) };
    let is_it = value.membership.as_ref().is_some_and(|m| m.id == id && m.version == version);
    if !is_it || era != copies::era() {
        return Ok(false);
    }
    value.confirmed_in = era;
    Ok(true)
}

/// Removes everything beside a copy: events, progress, tokens, scheduled events and dead letters.
fn clear(ctx: &Ctx, ring: &RingNames, p: u32, held: Option<&Definition>) -> Result<(), Error> {
    let partition = ring.partition(p);
    let mut groups: BTreeSet<Name> =
        held.into_iter().flat_map(|held| held.membership.made.keys().cloned()).collect();
    groups.extend(progressed(ctx, &partition));
    let letters: Vec<Text> = groups.iter().map(|g| letters_name(&ring.name, p, g)).collect();
    let own = [&partition.stream, &partition.groups, &partition.unique, &partition.later];
    let all: Vec<&Text> = own.into_iter().chain(&letters).collect();
    let found: Vec<&Text> =
        all.into_iter().filter(|name| key::open_read(ctx, name).kind() != Kind::Empty).collect();
    if !found.is_empty() {
        key::unlink(ctx, &found)?;
    }
    spots::forget(&(ctx.db(), ring.name.clone(), p));
    dismiss_partition(ctx, (&ring.name, p), None, &Error::NoRing);
    Ok(())
}

/// The groups that have progress in a partition. A key of another type has none.
fn progressed(ctx: &Ctx, partition: &PartitionNames) -> Vec<Name> {
    let state = state::open(ctx, partition);
    let saved = state.saved().ok().flatten().map(Partition::iter);
    saved.into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

/// Removes the progress and the dead letters of a group in a partition.
fn remove_group(ctx: &Ctx, ring: &RingNames, p: u32, group: &Name) -> Result<(), Error> {
    let partition = ring.partition(p);
    if state::open(ctx, &partition).progress(group)?.is_some() {
        state::change_partition(ctx, &partition, Effect::GroupGone(group.clone()))?;
    }
    let letters = letters_name(&ring.name, p, group);
    if key::open_read(ctx, &letters).kind() != Kind::Empty {
        key::unlink(ctx, &[&letters])?;
    }
    dismiss_partition(ctx, (&ring.name, p), Some(group), &Error::NoGroup);
    Ok(())
}
