//! Where a ring's definition is read. On a single server that is the ring's own key, for every
//! partition. In a cluster it is the copy beside the partition, in the partition's slot: commands
//! of a partition open nothing else. Its authority, under the ring's own key, is for what concerns
//! the whole ring.

use std::cell::Cell;

use super::key_names::{PartitionNames, RingNames};
use super::known_rings;
use super::ring_value::RingValue;
use crate::model::error::Error;
use crate::server::api::cluster;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::api::key::{Key, Kind};
use crate::server::api::text::Text;

thread_local! {
    /// Counts the times since which a node may have missed something: it began to act as a
    /// primary. Begins at 1, since 0 stands for none.
    static ERA: Cell<u64> = const { Cell::new(1) };
}

/// The era now: what was confirmed in an earlier one counts no more.
pub(crate) fn era() -> u64 {
    ERA.get()
}

/// This node became a primary, or has loaded its data.
pub(crate) fn begin_era() {
    ERA.set(ERA.get() + 1);
}

/// The key that holds the definition for partition `p`.
pub(crate) fn name_at<'a>(ring: &'a RingNames, partition: &'a PartitionNames) -> &'a Text {
    partition.copy.as_ref().unwrap_or(&ring.ring)
}

/// The key that holds the definition for partition `p`, open for reading.
pub(crate) fn open_at(ctx: &Ctx, ring: &RingNames, p: u32) -> Key {
    if !cluster::is_on() {
        return key::open_read(ctx, &ring.ring);
    }
    key::open_read(ctx, name_at(ring, &ring.partition(p)))
}

/// Whether a definition may be used: that of a ring that was dropped stays as a tombstone.
pub(crate) fn is_live(value: &RingValue) -> bool {
    value.membership.as_ref().is_none_or(|membership| membership.is_live())
}

/// Whether what a partition retains may be removed by rules: on a single server always, in a
/// cluster as soon as the authority has said that the copy misses nothing.
pub(crate) fn may_trim(value: &RingValue) -> bool {
    !cluster::is_on() || value.confirmed_in == era()
}

/// The partitions of a ring that are stored here: all, or in a cluster those of this node.
/// O(partitions).
pub(crate) fn stored(db: i32, ring: &RingNames, value: &RingValue) -> Vec<u32> {
    if cluster::is_on() {
        return known_rings::copies(db, &ring.name);
    }
    value.ring.nodes().map(|node| node.partition).collect()
}

/// The definition of a ring as this node has it, open for reading: its own key, or in a cluster the
/// first copy that is here. For timers, which may open keys of any slot.
pub(crate) fn open_any(ctx: &Ctx, ring: &RingNames) -> Key {
    let mut copies = known_rings::copies(ctx.db(), &ring.name).into_iter();
    let found = copies.find(|p| open_at(ctx, ring, *p).kind() != Kind::Empty);
    match found {
        Some(p) if cluster::is_on() => open_at(ctx, ring, p),
        _ => key::open_read(ctx, &ring.ring),
    }
}

/// Refuses a command of partition `p` unless all its keys, as far as they exist, are on this node:
/// its slot may be on the move. Asked where a key is missing that a command needs or makes.
///
/// # Errors
/// [`Error::TryAgain`].
#[cold]
pub(crate) fn check_owned(ctx: &Ctx, partition: &PartitionNames) -> Result<(), Error> {
    if ctx.is_replay() || cluster::owns(ctx, &partition.all()) {
        Ok(())
    } else {
        Err(Error::TryAgain)
    }
}

/// As [`check_owned`], where a key is missing that every command needs. Only those are named, which
/// costs less: while a slot moves, the server refuses a command of several keys of which any is
/// missing.
///
/// # Errors
/// [`Error::TryAgain`].
#[cold]
pub(crate) fn check_needed(
    ctx: &Ctx,
    ring: &RingNames,
    partition: &PartitionNames,
) -> Result<(), Error> {
    if ctx.is_replay() || cluster::owns(ctx, &needed(ring, partition)) {
        Ok(())
    } else {
        Err(Error::TryAgain)
    }
}

/// The keys of a partition that every command needs.
fn needed<'a>(ring: &'a RingNames, partition: &'a PartitionNames) -> [&'a Text; 3] {
    [name_at(ring, partition), &partition.stream, &partition.groups]
}

/// As [`check_owned`], with one more key of the partition, its dead letters.
///
/// # Errors
/// [`Error::TryAgain`].
pub(crate) fn check_owned_with(
    ctx: &Ctx,
    partition: &PartitionNames,
    other: &Text,
) -> Result<(), Error> {
    let mut all = partition.all();
    all.push(other);
    if ctx.is_replay() || cluster::owns(ctx, &all) { Ok(()) } else { Err(Error::TryAgain) }
}

/// Whether the keys of partition `p` that every command needs are here: then none of them is on its
/// way.
pub(crate) fn is_whole(ctx: &Ctx, ring: &RingNames, p: u32) -> bool {
    let partition = ring.partition(p);
    let needed = needed(ring, &partition);
    needed.into_iter().all(|name| key::open_read(ctx, name).kind() != Kind::Empty)
}

/// Whether a timer may act on partition `p`: its slot is this node's, and all its keys are here.
pub(crate) fn may_act_on(ctx: &Ctx, ring: &RingNames, p: u32) -> bool {
    !cluster::is_on() || cluster::owns(ctx, &ring.partition(p).all())
}
