//! Room for producers under MAXDEPTH: at the limit finished events go early, and an event that does
//! not fit even then is refused before anything changes. A ring without MAXDEPTH costs one
//! comparison.

use super::front::FromFront;
use super::{front, trim};
use crate::model::error::Error;
use crate::model::rules::trim::Cut;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::delivery::state;
use crate::server::keyspace::copies;
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::later::spots;
use crate::server::ops::counters;

/// What has to go, by partition, once the events are appended.
#[derive(Debug, Default)]
pub(crate) struct Room(Vec<(u32, Cut)>);

/// Decides whether one event more fits into each of these partitions, of which one may be
/// named several times, and what goes for that. Nothing changes.
///
/// # Errors
/// [`Error::Full`], [`Error::WrongType`].
pub(crate) fn find_room(
    ctx: &Ctx,
    ring: &RingView,
    value: &RingValue,
    partitions: impl Iterator<Item = u32>,
) -> Result<Room, Error> {
    let mut room = Room::default();
    // What comes from a primary was judged there, and so was what goes.
    if value.ring.retention().max_depth.is_none() || ctx.is_replay() {
        return Ok(room);
    }
    let mut all: Vec<u32> = partitions.collect();
    all.sort_unstable();
    let (db, name) = (ctx.db(), &ring.names.name);
    if all.iter().any(|p| spots::stands_still(db, name, *p)) {
        // An event that is due waits for this room.
        counters::FULL.add(1);
        return Err(Error::Full);
    }
    for same in all.chunk_by(|one, other| one == other) {
        let Some(p) = same.first() else { continue };
        let cut = room_in(ctx, ring, value, *p, same.len() as u64);
        let cut = cut.inspect_err(|_| counters::FULL.add(1))?;
        room.0.push((*p, cut));
    }
    Ok(room)
}

/// Decides whether a scheduled event that is due fits into a partition, and what goes for that.
/// Nothing changes.
///
/// # Errors
/// As [`find_room`].
pub(crate) fn room_for_due(
    ctx: &Ctx,
    ring: &RingView,
    value: &RingValue,
    p: u32,
) -> Result<Room, Error> {
    if value.ring.retention().max_depth.is_none() {
        return Ok(Room::default());
    }
    Ok(Room(vec![(p, room_in(ctx, ring, value, p, 1)?)]))
}

fn room_in(ctx: &Ctx, ring: &RingView, value: &RingValue, p: u32, more: u64) -> Result<Cut, Error> {
    let (retention, names) = (value.ring.retention(), ring.names.partition(p));
    let stream = key::open_read(ctx, &names.stream).stream()?;
    let length = stream.as_ref().map_or(0, key::Key::length);
    let excess = retention.excess(length, more)?;
    let Some(stream) = stream.filter(|_| excess > 0) else { return Ok(Cut::nothing()) };
    if !copies::may_trim(value) {
        return Err(Error::Full);
    }
    let state = state::open(ctx, &names);
    let needs = front::needs(value, p, &state, &stream)?;
    retention.room(&mut FromFront::of(&stream), excess, &needs)
}

/// Removes what had to go. The events are appended by now: what the server does not let go is
/// left to the background.
pub(crate) fn make_room(ctx: &Ctx, ring: &RingView, room: &Room) {
    for (p, cut) in &room.0 {
        let _ = trim::trim(ctx, &ring.names.partition(*p), cut);
    }
}
