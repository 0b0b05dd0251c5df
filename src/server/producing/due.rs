//! Scheduled events that are due become events of their ring, on primaries only: in the order of
//! their times, then of their tickets, each in the partition that its key belongs to then.
//!
//! Done by the one timer in steps of [`SLICE`], however many are due. What one step appends, and
//! that these events do not wait any more, is one transaction on the wire. Nothing is judged again
//! but whether there is room: an event that cannot be appended stays where it is, or goes to the
//! partition that owns its key, which then stands still until it can be. Other partitions go on.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use super::append;
use super::append::Draft;
use crate::model::error::Error;
use crate::model::later::schedule::{Change, Place, Schedule};
use crate::model::unique::tokens;
use crate::model::unique::tokens::Clock;
use crate::server::api::acl::User;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::keyspace::key_names::{PartitionNames, RingNames};
use crate::server::keyspace::known_rings::Spot;
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::keyspace::{copies, replicate, ring};
use crate::server::later::change::change;
use crate::server::later::{moving, spots};
use crate::server::ops::{config, counters};
use crate::server::retention::depth;
use crate::server::unique::judge;

/// How long one sweep appends, but for its last event.
const SLICE: Duration = Duration::from_millis(1);
/// How long it then rests.
const REST_MS: u64 = 2;
/// How soon an event is tried again for which there is no room.
const FULL_MS: u64 = 20;
/// How soon one is tried again whose ring is missing, or a key of another type.
const MISSING_MS: u64 = 500;
/// How soon tokens are looked after again whatever is known: a setting or the clock may change.
const LOOK_MS: u64 = 1000;
/// Tokens that one look forgets at most.
const FORGOTTEN: u32 = 1000;
/// Partitions that are looked at now and then, in case their keys were deleted by hand.
const LOOKED_AT: usize = 16;

thread_local! {
    static LOOKED: RefCell<Option<Spot>> = const { RefCell::new(None) };
    static LONGEST_US: Cell<u64> = const { Cell::new(0) };
}

/// The longest that one sweep has taken, in microseconds.
pub(crate) fn longest_us() -> u64 {
    LONGEST_US.get()
}

/// Appends what is due, for a bounded time; returns when something is due again. With `recheck` it
/// also looks whether what is known is still there.
pub(crate) fn sweep(ctx: &Ctx, recheck: bool) -> Option<u64> {
    let begun = Instant::now();
    let clock_ms = ctx.now().ms().min(ctx.cached_ms());
    if recheck {
        look_around(ctx);
    }
    let mut rests = false;
    while let Some((at, spot)) = spots::next_due(clock_ms) {
        look(ctx, &spot, at, clock_ms);
        rests = begun.elapsed() >= SLICE;
        if rests {
            break;
        }
    }
    let moving_ms = moving::step(ctx, SLICE.saturating_sub(begun.elapsed()));
    let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    LONGEST_US.set(LONGEST_US.get().max(took_us));
    let now_ms = ctx.now().ms();
    let rests_ms = now_ms + if rests || moving_ms.is_some() { REST_MS } else { 1 };
    spots::rest_until(rests_ms);
    spots::first_ms().into_iter().chain(moving_ms).min().map(|at_ms| at_ms.max(rests_ms))
}

/// Checks a few partitions, others each time.
fn look_around(ctx: &Ctx) {
    let all = LOOKED.with_borrow(|after| spots::some_after(after.as_ref(), LOOKED_AT));
    for spot in &all {
        let (db, ring, p) = spot;
        let is_there = ctx.select_db(*db) && {
            let key = key::open_read(ctx, &RingNames::of(ring).partition(*p).later);
            key.value::<Schedule>().is_ok_and(|schedule| schedule.is_some())
        };
        if !is_there {
            spots::forget(spot);
        }
    }
    LOOKED.set(all.last().cloned().filter(|_| all.len() == LOOKED_AT));
}

/// What a look at a partition finds.
enum Found {
    /// Nothing is there.
    Nothing,
    /// Its first event has another place in the queue.
    Elsewhere(Place),
    /// This event is due.
    Due(Place),
    /// No event is due; tokens may be too old.
    Tokens,
}

/// Does what is to be done for the partition that came first in the queue, at the place `at`.
fn look(ctx: &Ctx, spot: &Spot, at: Place, clock_ms: u64) {
    let (db, ring, p) = spot;
    if !ctx.select_db(*db) {
        return spots::forget(spot);
    }
    let ring = RingNames::of(ring);
    let names = ring.partition(*p);
    if !copies::may_act_on(ctx, &ring, *p) {
        return spots::stand_still(spot, ctx.now().ms() + MISSING_MS);
    }
    let found = {
        let key = key::open_read(ctx, &names.later);
        match key.value::<Schedule>() {
            // A key of another type has no events.
            Err(_) | Ok(None) => Found::Nothing,
            Ok(Some(schedule)) => match schedule.first() {
                Some(first) if first.due_ms > clock_ms => Found::Tokens,
                Some(first) if first != at => Found::Elsewhere(first),
                Some(first) => Found::Due(first),
                None => Found::Tokens,
            },
        }
    };
    match found {
        Found::Nothing => spots::forget(spot),
        Found::Elsewhere(place) => spots::look_at(spot, place),
        Found::Due(place) => come_due(ctx, spot, &ring, &names, place),
        Found::Tokens => look_at_tokens(ctx, spot, &ring, &names),
    }
}

/// Forgets some tokens that are too old, and decides when to look again.
fn look_at_tokens(ctx: &Ctx, spot: &Spot, ring: &RingNames, names: &PartitionNames) {
    let window_ms = {
        let key = copies::open_at(ctx, ring, spot.2);
        let default_ms = config::UNIQUE_MS.get();
        let value = key.value::<RingValue>().ok().flatten();
        value.map_or(default_ms, |value| value.ring.unique_ms(default_ms))
    };
    let clock = Clock::new(ctx.now().ms(), window_ms);
    let facts = {
        let key = key::open_read(ctx, &names.later);
        key.value::<Schedule>().ok().flatten().map(|schedule| {
            let tokens = schedule.appended();
            (tokens.forgettable(FORGOTTEN, clock), tokens.oldest_ms())
        })
    };
    let Some((old, oldest_ms)) = facts else { return spots::forget(spot) };
    let forgot = old.filter(|old| {
        let step = Change::Tokens(tokens::Change::Forgot(clock, *old));
        change(ctx, &names.later, step).is_ok()
    });
    let again_ms = match forgot {
        Some(old) => clock.now_ms + u64::from(old < FORGOTTEN),
        None => {
            let due_ms = oldest_ms.map_or(u64::MAX, |ms| ms.saturating_add(window_ms));
            due_ms.clamp(clock.now_ms + 1, clock.now_ms + LOOK_MS)
        }
    };
    let schedule = key::open_read(ctx, &names.later);
    match schedule.value::<Schedule>().ok().flatten() {
        Some(schedule) => spots::look_at_tokens(spot, schedule, again_ms),
        None => spots::forget(spot),
    }
}

/// Appends an event that is due, or has its partition stand still until that can be done.
fn come_due(ctx: &Ctx, spot: &Spot, names: &RingNames, home: &PartitionNames, place: Place) {
    let (db, name, p) = spot;
    let now_ms = ctx.now().ms();
    let view = ring::find_at(ctx, &User::Replay, name, *p);
    let Some(view) = view.ok().filter(RingView::is_made) else {
        return spots::stand_still(spot, now_ms + MISSING_MS);
    };
    let Ok((owner, clock)) = owner_of(ctx, &view, home, place) else {
        return spots::stand_still(spot, now_ms + MISSING_MS);
    };
    let stands = owner != *p && spots::stands_still(*db, name, owner);
    let appended = if stands { Err(Error::Full) } else { append(ctx, &view, owner, home, place) };
    drop(view);
    let Err(error) = appended else {
        counters::CAME_DUE.add(1);
        spots::move_on(spot);
        // Nothing is left of it to be replicated if the key is gone.
        let _ = change(ctx, &home.later, Change::Appended(clock, place.ticket));
        return;
    };
    let again_ms = now_ms + if error == Error::Full { FULL_MS } else { MISSING_MS };
    // It waits where it belongs, so that others go on that wait here for other partitions.
    let moved =
        owner != *p && moving::hand_over(ctx, home, &names.partition(owner), place, clock).is_ok();
    if !moved {
        spots::stand_still(spot, again_ms);
    } else if !stands {
        spots::stand_still(&(*db, name.clone(), owner), again_ms);
    }
}

/// The partition that owns the key of a scheduled event now, and the clock of the ring's tokens.
fn owner_of(
    ctx: &Ctx,
    view: &RingView,
    home: &PartitionNames,
    place: Place,
) -> Result<(u32, Clock), Error> {
    let value = view.value()?;
    let key = key::open_read(ctx, &home.later);
    let schedule = key.value::<Schedule>()?;
    let parts = schedule.and_then(|schedule| schedule.parts(place));
    let parts = parts.ok_or(Error::Bug("a scheduled event is missing"))?;
    Ok((value.continuum.route(parts.key()), judge::clock(ctx, value)))
}

/// Appends a scheduled event to a partition as EVQ.TRIGGER does at this moment; it travels as XADD.
///
/// # Errors
/// [`Error::Full`] if there is no room, [`Error::WrongType`], [`Error::Exhausted`]; nothing has
/// changed then.
fn append(
    ctx: &Ctx,
    view: &RingView,
    p: u32,
    home: &PartitionNames,
    place: Place,
) -> Result<(), Error> {
    let mut draft = {
        let key = key::open_read(ctx, &home.later);
        let schedule = key.value::<Schedule>()?;
        let parts = schedule.and_then(|schedule| schedule.parts(place));
        Draft::of(parts.ok_or(Error::Bug("a scheduled event is missing"))?)
    };
    let target = append::target(ctx, &User::Replay, view, p, None)?;
    let room = depth::room_for_due(ctx, view, view.value()?, p)?;
    let added = append::append_to(ctx, view, &target, &mut draft)?;
    replicate::event(ctx, &target.names.stream, added.id, draft.fields());
    append::announce(ctx, view, &target);
    // No key may be open while its stream is trimmed.
    drop(target);
    depth::make_room(ctx, view, &room);
    Ok(())
}
