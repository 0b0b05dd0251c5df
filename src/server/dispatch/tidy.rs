//! The life of a resize after its one instant: leaving partitions that nobody needs disappear, and
//! generations that are of no concern any more are forgotten.
//!
//! Done now and then by the sweep, on primaries, for each ring that this server has seen. The keys
//! tell what has to be done, so nothing is lost by a restart or a failover.

use std::collections::BTreeMap;

use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::ring::history::End;
use crate::model::saved::effect::Effect;
use crate::model::unique::tokens::Clock;
use crate::server::api::ctx::Ctx;
use crate::server::api::stream::Entries;
use crate::server::api::xinfo::Info;
use crate::server::api::{key, timer};
use crate::server::delivery::letters::letters_name;
use crate::server::delivery::state;
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::keyspace::{known_rings, ring};
use crate::server::later::{change, judge as later, moving};
use crate::server::unique::forget::remembers;
use crate::server::unique::{forget, judge};
use crate::server::waiting::release::dismiss_partition;

/// How often rings that were resized are cared for.
const TIDY_MS: u64 = 1000;

/// Cares for every ring that was resized, and again later if any may need it.
pub(crate) fn tidy(ctx: &Ctx, now_ms: u64) {
    // In a cluster no ring is resized.
    let mut any = false;
    for (db, ring) in known_rings::all() {
        // What could not be done now may be later: a key of another type may go.
        any |= ctx.select_db(db) && tidy_ring(ctx, &ring).unwrap_or(true);
    }
    if any {
        timer::arm(ctx, Reason::Tidy, now_ms + TIDY_MS);
    }
}

/// Returns whether the ring has to be cared for again.
fn tidy_ring(ctx: &Ctx, name: &Name) -> Result<bool, Error> {
    let names = RingNames::of(name);
    let mut gone = Vec::new();
    let forgotten = {
        let key = key::open_read(ctx, &names.ring);
        let Some(value) = key.value::<RingValue>()? else { return Ok(false) };
        if !value.ring.is_changing() {
            return Ok(false);
        }
        for p in value.ring.leaving() {
            let partition = names.partition(p);
            // A key that holds something else keeps its partition, and no other.
            let empty = |text| {
                let stream = key::open_read(ctx, text).stream();
                stream.is_ok_and(|stream| stream.is_none_or(|stream| stream.length() == 0))
            };
            if !empty(&partition.stream) || state::open(ctx, &partition).check().is_err() {
                continue;
            }
            let groups = value.ring.groups().map(|(group, _)| group);
            let letters: Vec<_> = groups.map(|group| letters_name(name, p, group)).collect();
            let clock = judge::clock(ctx, value);
            let remembers = |until_ms| {
                remembers(ctx, &partition, until_ms, clock)
                    || later::remembers(ctx, &partition, until_ms, clock)
            };
            let settled = moving::is_settled(ctx, value, &names, p)
                && later::waiting(ctx, &partition).is_ok_and(|(events, _)| events == 0);
            if settled && letters.iter().all(empty) && !remembers(u64::MAX) {
                gone.push((p, letters));
            }
        }
        forgettable_of(ctx, &names, value)
    };
    for (p, letters) in gone {
        let partition = names.partition(p);
        let last = later::last_ticket(ctx, &partition)?;
        if last > 0 {
            ring::change(ctx, &names, Effect::Ticketed(last))?;
        }
        let all = [&partition.stream, &partition.groups, &partition.unique, &partition.later];
        let mut keys = Vec::from(all);
        keys.extend(&letters);
        key::unlink(ctx, &keys)?;
        ring::change(ctx, &names, Effect::Retired(p))?;
        key::notify_module(ctx, c"evq.retire", &partition.stream);
        dismiss_partition(ctx, (name, p), None, &Error::NoPartition);
    }
    if forgotten > 0 {
        ring::change(ctx, &names, Effect::Forgotten(forgotten))?;
        // Events that waited for a barrier that nobody remembers go on.
        timer::soon(ctx, Reason::Barrier);
    }
    let key = key::open_read(ctx, &names.ring);
    Ok(key.value::<RingValue>()?.is_some_and(|value| value.ring.is_changing()))
}

/// The first event of a partition. A key of another type holds none.
fn first_of(ctx: &Ctx, names: &RingNames, p: u32) -> Option<EventId> {
    let stream = key::open_read(ctx, &names.partition(p).stream).stream().ok()??;
    Entries::first(&stream).next_entry().map(|(id, _)| id)
}

/// How many of a ring's past generations are of no concern any more.
///
/// # Errors
/// As [`RingView::value`].
pub(crate) fn forgettable(ctx: &Ctx, view: &RingView) -> Result<u32, Error> {
    Ok(forgettable_of(ctx, &view.names, view.value()?))
}

fn forgettable_of(ctx: &Ctx, names: &RingNames, value: &RingValue) -> u32 {
    let clock = judge::clock(ctx, value);
    // While events wait where their keys lived before, a repeated one is looked for there.
    let all = value.ring.nodes().map(|node| node.partition);
    if all.filter(|p| !moving::is_settled(ctx, value, names, *p)).count() > 0 {
        return 0;
    }
    let any_remembers = |until_ms| {
        let mut partitions = value.ring.nodes().map(|node| names.partition(node.partition));
        partitions.any(|partition| {
            remembers(ctx, &partition, until_ms, clock)
                || later::remembers(ctx, &partition, until_ms, clock)
        })
    };
    value.ring.forgettable(|p| first_of(ctx, names, p), any_remembers)
}

/// Whatever is remembered in a ring hears of the clock before a generation ends at that moment.
///
/// # Errors
/// As [`RingView::value`].
pub(crate) fn before_an_end(ctx: &Ctx, view: &RingView, clock: Clock) -> Result<(), Error> {
    for p in view.partitions(None)? {
        let names = view.names.partition(p);
        forget::before_an_end(ctx, &names, clock)?;
        change::before_an_end(ctx, &names, clock)?;
    }
    Ok(())
}

/// Where each partition of a ring ends at this moment, if it holds events.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn ends(ctx: &Ctx, view: &RingView) -> Result<BTreeMap<u32, End>, Error> {
    let mut ends = BTreeMap::new();
    for p in view.partitions(None)? {
        let names = view.names.partition(p);
        let Some(stream) = key::open_read(ctx, &names.stream).stream()? else { continue };
        let Some((last, _)) = Entries::last(&stream).next_entry() else { continue };
        drop(stream);
        ends.insert(p, End { last, added: Info::of(ctx, &names.stream)?.added });
    }
    Ok(ends)
}
