//! After a resize, scheduled events go to the partitions that own their keys now: so a leaving
//! partition gets empty, and a repeated EVQ.SCHEDULE finds its first one at home when nobody
//! remembers the resize any more.
//!
//! A partition is gone through once for each generation of its ring, in small steps. An event for
//! which the other partition has no room stays where it is and is tried again later; when it is due
//! it is appended from there. What was gone through is volatile: after a restart it is done again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{change, judge};
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::later::schedule::{Change, Place, Schedule};
use crate::model::unique::tokens::Clock;
use crate::server::api::ctx::Ctx;
use crate::server::api::{key, timer};
use crate::server::keyspace::key_names::{PartitionNames, RingNames};
use crate::server::keyspace::known_rings::Spot;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::unique::judge as unique;

/// Events that are looked at before the time is.
const STEP: usize = 100;
/// Bytes of the words of events that are moved before the time is looked at.
const STEP_BYTES: usize = 1 << 20;
/// How soon what had no room is tried again.
const AGAIN_MS: u64 = 10_000;

/// How far a partition was gone through.
#[derive(Clone, Copy, Debug)]
struct Scan {
    generation: u64,
    after: Option<Place>,
    /// Events stayed that belong elsewhere.
    left: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It goes on at this unix ms.
    GoesOn(u64),
    /// It is done.
    Done,
}

thread_local! {
    static SCANS: RefCell<BTreeMap<Spot, Scan>> = const { RefCell::new(BTreeMap::new()) };
}

/// Whether all scheduled events of a partition are where they belong. If that is not known, it is
/// found out and put right, in small steps from now on.
pub(crate) fn is_settled(ctx: &Ctx, value: &RingValue, ring: &RingNames, p: u32) -> bool {
    let spot = (ctx.db(), ring.name.clone(), p);
    let empty = {
        let key = key::open_read(ctx, &ring.partition(p).later);
        // A key of another type has none.
        key.value::<Schedule>().ok().flatten().is_none_or(Schedule::is_empty)
    };
    if empty {
        forget(&spot);
        return true;
    }
    let (generation, now_ms) = (value.ring.generation(), ctx.now().ms());
    SCANS.with_borrow_mut(|scans| {
        let state = State::GoesOn(now_ms);
        let begun = Scan { generation, after: None, left: false, state };
        let scan = scans.entry(spot).or_insert(begun);
        if scan.generation != generation {
            *scan = begun;
        }
        match scan.state {
            State::Done => true,
            State::GoesOn(at_ms) => {
                timer::arm(ctx, Reason::Later, at_ms);
                false
            }
        }
    })
}

/// What is known of a partition holds no longer.
pub(crate) fn forget(spot: &Spot) {
    SCANS.with_borrow_mut(|scans| scans.remove(spot));
}

/// What is known of all partitions holds no longer.
pub(crate) fn forget_all() {
    SCANS.with_borrow_mut(BTreeMap::clear);
}

/// Goes on for at most `time`; returns when to go on, if there is anything left to do.
pub(crate) fn step(ctx: &Ctx, time: Duration) -> Option<u64> {
    let (begun, now_ms) = (Instant::now(), ctx.now().ms());
    while let Some((spot, scan)) = next(now_ms) {
        let scan = go_on(ctx, &spot, scan).ok().flatten();
        SCANS.with_borrow_mut(|scans| match scan {
            Some(scan) => drop(scans.insert(spot, scan)),
            None => drop(scans.remove(&spot)),
        });
        if begun.elapsed() >= time {
            break;
        }
    }
    SCANS.with_borrow(|scans| {
        let open = scans.values().filter_map(|scan| match scan.state {
            State::GoesOn(at_ms) => Some(at_ms),
            State::Done => None,
        });
        open.min()
    })
}

fn next(now_ms: u64) -> Option<(Spot, Scan)> {
    SCANS.with_borrow(|scans| {
        let due = |scan: &Scan| matches!(scan.state, State::GoesOn(at_ms) if at_ms <= now_ms);
        let (spot, scan) = scans.iter().find(|(_, scan)| due(scan))?;
        Some((spot.clone(), *scan))
    })
}

/// Looks at some events; returns how far it is then, or none if there is nothing to look at.
fn go_on(ctx: &Ctx, (db, ring, p): &Spot, scan: Scan) -> Result<Option<Scan>, Error> {
    if !ctx.select_db(*db) {
        return Ok(None);
    }
    let ring = RingNames::of(ring);
    let names = ring.partition(*p);
    let (mut seen, mut away, clock) = (scan.after, Vec::new(), {
        let key = key::open_read(ctx, &ring.ring);
        let Some(value) = key.value::<RingValue>()? else { return Ok(None) };
        if value.ring.generation() != scan.generation {
            return Ok(None);
        }
        unique::clock(ctx, value)
    });
    {
        let (definition, later) =
            (key::open_read(ctx, &ring.ring), key::open_read(ctx, &names.later));
        let value = definition.value::<RingValue>()?;
        let (Some(value), Some(schedule)) = (value, later.value::<Schedule>()?) else {
            return Ok(None);
        };
        let mut bytes = 0;
        for (place, parts) in schedule.after(scan.after).take(STEP) {
            let owner = value.continuum.route(parts.key());
            if owner != *p {
                away.push((place, owner));
                bytes += parts.len();
            }
            seen = Some(place);
            if bytes > STEP_BYTES {
                break;
            }
        }
    }
    let mut left = scan.left;
    for (place, owner) in away {
        left |= hand_over(ctx, &names, &ring.partition(owner), place, clock).is_err();
    }
    let state = if seen != scan.after {
        State::GoesOn(ctx.now().ms())
    } else if left {
        let state = State::GoesOn(ctx.now().ms() + AGAIN_MS);
        return Ok(Some(Scan { after: None, left: false, state, ..scan }));
    } else {
        State::Done
    };
    Ok(Some(Scan { after: seen, left, state, ..scan }))
}

/// Moves an event from one partition to another; both changes travel together.
///
/// # Errors
/// [`Error::Limit`] if there is no room; [`Error::WrongType`]. Nothing has changed then.
pub(crate) fn hand_over(
    ctx: &Ctx,
    from: &PartitionNames,
    to: &PartitionNames,
    place: Place,
    clock: Clock,
) -> Result<(), Error> {
    let event = {
        let key = key::open_read(ctx, &from.later);
        key.value::<Schedule>()?.and_then(|schedule| schedule.get(place))
    };
    let Some(event) = event else { return Ok(()) };
    let begins = judge::check_room(ctx, to, &event.parts, clock)?;
    change::change(ctx, &to.later, Change::Added(event, begins))?;
    change::change(ctx, &from.later, Change::Removed(place.ticket))
}
