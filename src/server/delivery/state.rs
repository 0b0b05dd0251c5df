//! The delivery state of a partition under its `:groups` key: opened, changed by effects, and
//! exactly those replicated.

use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::keys::parse_ring_key;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::model::progress::lease::Scene;
use crate::model::progress::partition::Partition;
use crate::model::saved::effect::{Change, Effect};
use crate::model::saved::snapshot::encode;
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Key;
use crate::server::api::text::Text;
use crate::server::api::{key, timer};
use crate::server::keyspace::key_names::PartitionNames;
use crate::server::keyspace::place::Place;
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::keyspace::{datatype, replicate, ring_value, tickets};
use crate::server::later::change as later;
use crate::server::unique::remember;
use crate::server::waiting::lines;
use crate::server::waiting::release::watch_all;

/// Opens a partition's delivery state.
pub(crate) fn open(ctx: &Ctx, names: &PartitionNames) -> DeliveryState {
    DeliveryState(key::open_read(ctx, &names.groups))
}

/// The id a new stream of this partition must begin above: cursors and acknowledgements stay
/// valid after a DEL.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn floor(ctx: &Ctx, ring: &RingView, p: u32) -> Result<EventId, Error> {
    let key = key::open_read(ctx, &ring.names.partition(p).groups);
    let known = key.value::<Partition>()?.map(Partition::floor).unwrap_or_default();
    Ok(known.max(ring.value()?.ring.floor(p)))
}

/// Applies a change to the progress of `place` and replicates it. Where keys have moved, events
/// of other partitions may have waited for it.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn change(ctx: &Ctx, place: &Place, change: Change) -> Result<(), Error> {
    let concerns_others = concerns_others(ctx, place, &change)?;
    let goes_back =
        matches!(change, Change::Sought { .. } | Change::Revived(..) | Change::Replayed(..));
    let effect = Effect::Group(place.line.group.clone(), change);
    let waits = makes_wait(&effect);
    change_partition(ctx, &place.names, effect)?;
    if waits {
        timer::arm(ctx, Reason::Removed, ctx.now().ms() + REMOVED_MS);
    }
    if concerns_others {
        timer::soon(ctx, Reason::Barrier);
        if goes_back {
            watch_all(ctx, &place.line.ring, Some(&place.line.group));
        }
    }
    Ok(())
}

/// How soon an event that begins to wait is looked for in its stream.
const REMOVED_MS: u64 = 400;

/// Whether events begin to wait, which somebody may remove by hand.
fn makes_wait(effect: &Effect) -> bool {
    let Effect::Group(_, change) = effect else { return false };
    matches!(
        change,
        Change::Held(_)
            | Change::HeldElsewhere(_)
            | Change::Failed(_)
            | Change::Revived(..)
            | Change::Replayed(..)
    )
}

/// Whether events of other partitions may have waited for a change to the progress of `place`:
/// it is about what lies before the last resize.
fn concerns_others(ctx: &Ctx, place: &Place, change: &Change) -> Result<bool, Error> {
    let Some(history) = &place.history else { return Ok(false) };
    let end = history.last_end(place.line.partition);
    let any = |events: &[(EventId, u128)]| events.iter().any(|(id, _)| *id <= end);
    Ok(match change {
        // A grant moves no cursor and ends no exception, and a suspect is none.
        Change::Epoch { .. } | Change::Suspected(..) => false,
        Change::Held(events) | Change::HeldElsewhere(events) => any(events),
        Change::Failed(failure) => failure.id <= end,
        Change::Dropped(id) => *id <= end,
        Change::Passed(_) => {
            let state = open(ctx, &place.names);
            state.progress(&place.line.group)?.is_none_or(|progress| progress.cursor() < end)
        }
        Change::Sought { .. } | Change::Revived(..) | Change::Replayed(..) => true,
    })
}

/// Applies an effect to a partition's delivery state and replicates it.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn change_partition(
    ctx: &Ctx,
    names: &PartitionNames,
    effect: Effect,
) -> Result<(), Error> {
    let bytes = encode(&effect)?;
    apply_to_partition(ctx, &names.groups, effect)?;
    replicate::effect(ctx, &names.groups, &bytes);
    Ok(())
}

/// Whether WATCH and client tracking learn of an effect on a partition's delivery state. A
/// transaction that acknowledges watches that key to be aborted by whatever may take its event
/// away. An acknowledgement and the passing of the cursor take no event from anybody; if they
/// signalled the key, transactions beside busy groups would never come to their end.
fn is_signalled(effect: &Effect) -> bool {
    !matches!(effect, Effect::Group(_, Change::Passed(_)))
}

fn apply_to_partition(ctx: &Ctx, name: &Text, effect: Effect) -> Result<(), Error> {
    let mut key = key::open_read(ctx, name);
    if let Some(partition) = key.value_mut::<Partition>()? {
        let signals = is_signalled(&effect);
        partition.apply(effect);
        if signals {
            key::signal_modified(ctx, name);
        }
        return Ok(());
    }
    drop(key);
    let mut partition = Partition::default();
    partition.apply(effect);
    datatype::create_value(ctx, name, partition)
}

/// Applies a replicated effect to the value under `key`, and passes it on.
///
/// # Errors
/// [`Error::WrongType`]; [`Error::NoRing`] for a group of a ring that is not there.
pub(crate) fn apply(ctx: &Ctx, key: &Text, effect: Effect, bytes: &[u8]) -> Result<(), Error> {
    match effect {
        Effect::Partition(_) | Effect::Group(..) => apply_to_partition(ctx, key, effect)?,
        Effect::Unique(change) => remember::apply(ctx, key, change)?,
        Effect::Later(change) => later::apply(ctx, key, change)?,
        // A group goes from its ring first, then from each partition that has progress of it.
        Effect::GroupGone(_) if parse_ring_key(key.bytes()).is_none() => {
            apply_to_partition(ctx, key, effect)?;
        }
        Effect::Ring(_)
        | Effect::GroupSet(..)
        | Effect::GroupGone(_)
        | Effect::Resized(..)
        | Effect::Retired(_)
        | Effect::Forgotten(_)
        | Effect::Tick(_)
        | Effect::Ticketed(_)
        | Effect::Defined(_) => apply_to_ring(ctx, key, effect)?,
    }
    replicate::effect(ctx, key, bytes);
    Ok(())
}

fn apply_to_ring(ctx: &Ctx, name: &Text, effect: Effect) -> Result<(), Error> {
    let mut key = key::open_read(ctx, name);
    match &effect {
        Effect::Ring(ring) => tickets::saw(ring.last_ticket()),
        Effect::Ticketed(ticket) => tickets::saw(*ticket),
        _ => {}
    }
    match (key.value_mut::<RingValue>()?, effect) {
        (None, effect) => {
            drop(key);
            let value = whole(effect).ok_or(Error::NoRing)?;
            let is_of_cluster = value.membership.is_some();
            ring_value::note_ring(ctx.db(), name.bytes());
            datatype::create_value(ctx, name, value)?;
            // A copy comes from another node, by its PUT or with a slot that moves at once.
            if is_of_cluster {
                timer::arm(ctx, Reason::Recheck, ctx.now().ms() + 1);
            }
        }
        (Some(value), Effect::Ring(ring)) => *value = RingValue::new(ring),
        (Some(value), Effect::Defined(definition)) => *value = RingValue::defined(*definition),
        (Some(value), effect) => value.apply(effect),
    }
    key::signal_modified(ctx, name);
    Ok(())
}

/// The value that an effect brings whole.
fn whole(effect: Effect) -> Option<RingValue> {
    match effect {
        Effect::Ring(ring) => Some(RingValue::new(ring)),
        Effect::Defined(definition) => Some(RingValue::defined(*definition)),
        _ => None,
    }
}

/// Asks the progress of `place` for a decision; nothing changes.
///
/// # Errors
/// [`Error::Fenced`] where there is no progress, and the decision's own.
pub(crate) fn judge<R>(
    ctx: &Ctx,
    place: &Place,
    decide: impl FnOnce(&Progress, Scene) -> Result<R, Error>,
) -> Result<R, Error> {
    let state = open(ctx, &place.names);
    let progress = state.progress(&place.line.group)?.ok_or(Error::Fenced)?;
    decide(progress, lines::scene(&place.line, Some(progress)))
}

/// A partition's delivery state, open for reading. What is volatile may be changed in place.
#[derive(Debug)]
pub(crate) struct DeliveryState(Key);

impl DeliveryState {
    /// Refuses a key that holds something else.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.0.value::<Partition>().map(drop)
    }

    /// The whole value; none if nothing was saved yet.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn partition(&mut self) -> Result<Option<&mut Partition>, Error> {
        self.0.value_mut::<Partition>()
    }

    /// The whole value, to read; None if nothing was saved yet.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn saved(&self) -> Result<Option<&Partition>, Error> {
        self.0.value::<Partition>()
    }

    /// The progress of `group`; none if it has finished nothing and never had a lease.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn progress(&self, group: &Name) -> Result<Option<&Progress>, Error> {
        Ok(self.0.value::<Partition>()?.and_then(|partition| partition.get(group)))
    }

    /// The group's progress, mutable; for volatile fields, and for what the caller replicates.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn progress_mut(&mut self, group: &Name) -> Result<Option<&mut Progress>, Error> {
        Ok(self.partition()?.and_then(|partition| partition.get_mut(group)))
    }

    /// Changes what is volatile about `group`'s progress, if it has any.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn volatile(
        &mut self,
        group: &Name,
        change: impl FnOnce(&mut Progress),
    ) -> Result<(), Error> {
        if let Some(progress) = self.progress_mut(group)? {
            change(progress);
        }
        Ok(())
    }
}
