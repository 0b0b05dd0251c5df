//! Retention in the background: each partition is visited when its oldest entry may have to go, and
//! trimmed in bounded steps, by the one timer and on primaries only. Dead letters go the same way,
//! see [`crate::server::retention::dead_age`].
//!
//! The rules are in [`crate::model::rules::trim`]. A sweep works for [`SLICE`] at most and then
//! lets clients go on for [`REST_MS`], however much there is to do. What there is to visit follows
//! from [`crate::server::keyspace::known_rings`]; every visit opens the keys and checks.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::front::FromFront;
use super::pace::{MOST, Pace, SLICE};
use super::schedule::{Part, Schedule, Spot};
use super::{dead_age, front, idle_groups, trim};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::ring::Ring;
use crate::model::ring::group::Group;
use crate::model::ring::retention::{Retention, Trim};
use crate::model::rules::trim::{Cut, HeldUp, IDLE_MS, Scan, Stop};
use crate::server::api::cluster;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::api::log::{Level, line};
use crate::server::api::stream::Entries;
use crate::server::delivery::state;
use crate::server::keyspace::key_names::{PartitionNames, RingNames};
use crate::server::keyspace::ring_value::RingValue;
use crate::server::keyspace::{copies, known_rings};
use crate::server::ops::{config, counters};

/// How long it then rests.
const REST_MS: u64 = 4;
/// How soon a ring's definition is looked at again: it may be another one.
const RING_MS: u64 = 1000;

/// A group that has not finished an event which keeps others from going, or producers from going
/// on.
#[derive(Debug)]
struct Holder {
    group: Name,
    settings: Arc<Group>,
}

/// What decides when a ring's partitions are due: all at once where it changes.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    retention: Retention,
    default_age_ms: u64,
    partitions: Vec<u32>,
    /// How long each group keeps its dead letters, of those that do not keep them for ever.
    dead_ages_ms: BTreeMap<Name, u64>,
}

#[derive(Debug)]
struct Background {
    pace: Pace,
    schedule: Schedule,
    /// The rings in the schedule, by database, as they were seen last.
    rings: BTreeMap<(i32, Name), Plan>,
    known_changes: Option<u64>,
    holders: BTreeMap<Spot, Holder>,
    longest: Duration,
}

impl Plan {
    /// That of a ring of which these partitions are stored here.
    fn of(ring: &Ring, partitions: Vec<u32>) -> Self {
        let dead_ages = ring.groups().filter(|(_, group)| group.dead_age_ms > 0);
        Self {
            retention: *ring.retention(),
            default_age_ms: config::MAX_AGE_MS.get(),
            partitions,
            dead_ages_ms: dead_ages
                .map(|(name, group)| (name.clone(), group.dead_age_ms))
                .collect(),
        }
    }

    fn parts(&self) -> impl Iterator<Item = Part> {
        let with_letters = !self.dead_ages_ms.is_empty();
        self.partitions.iter().flat_map(move |p| {
            [Some(Part::Events(*p)), with_letters.then_some(Part::Letters(*p))]
                .into_iter()
                .flatten()
        })
    }
}

thread_local! {
    static BACKGROUND: RefCell<Background> = RefCell::new(Background::new());
    static COMPLAINED: Cell<bool> = const { Cell::new(false) };
}

impl Background {
    fn new() -> Self {
        Self {
            pace: Pace::new(),
            schedule: Schedule::default(),
            rings: BTreeMap::new(),
            known_changes: None,
            holders: BTreeMap::new(),
            longest: Duration::ZERO,
        }
    }

    /// Takes in which rings there are.
    fn refresh(&mut self, now_ms: u64) {
        if self.known_changes != Some(known_rings::changes()) {
            self.known_changes = Some(known_rings::changes());
            let all: BTreeSet<_> = known_rings::all().into_iter().collect();
            let gone: Vec<_> =
                self.rings.keys().filter(|ring| !all.contains(ring)).cloned().collect();
            gone.iter().for_each(|(db, ring)| self.forget(*db, ring));
            for (db, ring) in all {
                let spot = Spot { db, ring, part: Part::Ring };
                if !self.rings.contains_key(&(db, spot.ring.clone())) {
                    self.schedule.put(spot, now_ms);
                }
            }
        }
    }

    fn schedule_all(&mut self, db: i32, ring: &Name, plan: &Plan, at_ms: u64) {
        for part in plan.parts() {
            self.schedule.put(Spot { db, ring: ring.clone(), part }, at_ms);
        }
    }

    /// A partition was not there when it was due. A partition of this number that comes back before
    /// the ring is visited again is a new one.
    fn lose_sight_of(&mut self, spot: &Spot) {
        self.holders.remove(spot);
        if let Some(plan) = self.rings.get_mut(&(spot.db, spot.ring.clone())) {
            plan.partitions.retain(|p| spot.part != Part::Events(*p));
        }
    }

    fn forget(&mut self, db: i32, ring: &Name) {
        let Some(plan) = self.rings.remove(&(db, ring.clone())) else { return };
        for part in plan.parts().chain([Part::Ring]) {
            let spot = Spot { db, ring: ring.clone(), part };
            self.schedule.take(&spot);
            self.holders.remove(&spot);
        }
    }
}

/// Whether other rings are known than when it was last done.
pub(crate) fn has_other_rings() -> bool {
    BACKGROUND.with_borrow(|all| all.known_changes != Some(known_rings::changes()))
}

/// Trims what is due, for a bounded time; returns when something is due again.
pub(crate) fn sweep(ctx: &Ctx) -> Option<u64> {
    let begun = Instant::now();
    let now_ms = ctx.now().ms();
    BACKGROUND.with_borrow_mut(|all| all.refresh(now_ms));
    let mut rests = false;
    while let Some(spot) = BACKGROUND.with_borrow_mut(|all| all.schedule.next_due(ctx.now().ms())) {
        let next_ms = visit(ctx, &spot).unwrap_or_else(|error| {
            complain(ctx, &error);
            Some(now_ms + IDLE_MS)
        });
        if let Some(next_ms) = next_ms {
            BACKGROUND.with_borrow_mut(|all| all.schedule.put(spot, next_ms));
        }
        rests = begun.elapsed() >= SLICE;
        if rests {
            break;
        }
    }
    BACKGROUND.with_borrow_mut(|all| {
        all.longest = all.longest.max(begun.elapsed());
        let now_ms = ctx.now().ms();
        let first_ms = all.schedule.first_ms()?;
        Some(first_ms.max(now_ms + if rests { REST_MS } else { 1 }))
    })
}

/// Says once if the server refuses to trim. A key of another type is nothing to trim.
fn complain(ctx: &Ctx, error: &Error) {
    if let Error::Bug(why) = error
        && !COMPLAINED.replace(true)
    {
        let text = format!("events cannot be trimmed: {why}; check that XTRIM is not renamed");
        line(ctx.raw(), Level::Warning, &text);
    }
}

/// Visits a spot; returns when it is due again, if ever.
fn visit(ctx: &Ctx, spot: &Spot) -> Result<Option<u64>, Error> {
    match spot.part {
        Part::Ring => Ok(visit_ring(ctx, spot)),
        Part::Events(p) if ctx.select_db(spot.db) => retain(ctx, spot, p),
        Part::Letters(p) if ctx.select_db(spot.db) => dead_age::visit(ctx, &spot.ring, p),
        Part::Events(_) | Part::Letters(_) => Ok(None),
    }
}

/// Visits a ring: checks that it is still there, takes in its settings, removes an idle group.
fn visit_ring(ctx: &Ctx, spot: &Spot) -> Option<u64> {
    let now = ctx.now();
    let names = RingNames::of(&spot.ring);
    let plan = ctx.select_db(spot.db).then(|| {
        let key = copies::open_any(ctx, &names);
        let value = key.value::<RingValue>().ok().flatten();
        value.map(|value| Plan::of(&value.ring, copies::stored(spot.db, &names, value)))
    });
    let Some(plan) = plan.flatten() else {
        BACKGROUND.with_borrow_mut(|all| all.forget(spot.db, &spot.ring));
        known_rings::forget(spot.db, &spot.ring);
        return None;
    };
    BACKGROUND.with_borrow_mut(|all| {
        let at = (spot.db, spot.ring.clone());
        if all.rings.get(&at) != Some(&plan) {
            all.schedule_all(spot.db, &spot.ring, &plan, now.ms());
            all.rings.insert(at, plan);
        }
    });
    // In a cluster no node sees all workers of a group.
    let is_cluster = cluster::is_on();
    let idle_ms = if is_cluster { u64::MAX } else { idle_groups::expire(ctx, &names, now) };
    Some(idle_ms.clamp(now.ms() + 1, now.ms() + RING_MS))
}

/// Trims a partition by one step if it has to be; returns when it is due again. Any partition: also
/// one that takes no new events.
fn retain(ctx: &Ctx, spot: &Spot, p: u32) -> Result<Option<u64>, Error> {
    let (now, default_age_ms) = (ctx.now(), config::MAX_AGE_MS.get());
    counters::TRIM_LOOKS.add(1);
    let ring = RingNames::of(&spot.ring);
    let names = ring.partition(p);
    let (retention, cut, holder) = {
        let key = copies::open_at(ctx, &ring, p);
        let value = key.value::<RingValue>()?.filter(|value| copies::is_live(value));
        let Some(value) = value.filter(|value| value.ring.check_partition(p).is_ok()) else {
            BACKGROUND.with_borrow_mut(|all| all.lose_sight_of(spot));
            return Ok(None);
        };
        if !copies::may_act_on(ctx, &ring, p) || !copies::may_trim(value) {
            return Ok(Some(now.ms() + IDLE_MS));
        }
        let retention = value.ring.retention_of(p, default_age_ms);
        let step = step_in(ctx, retention.trim, &names)?;
        let Found { cut, held_up } = scan(ctx, value, &names, p, now, step)?;
        let holder = held_up.and_then(|Unfinished { group, .. }| {
            let settings = value.ring.group(&group).cloned()?;
            Some(Holder { group, settings })
        });
        (retention, cut, holder)
    };
    BACKGROUND.with_borrow_mut(|all| match holder {
        Some(holder) => drop(all.holders.insert(spot.clone(), holder)),
        None => drop(all.holders.remove(spot)),
    });
    let begun = Instant::now();
    let removed = trim::trim(ctx, &names, &cut)?;
    if cut.stop == Stop::Step {
        BACKGROUND.with_borrow_mut(|all| all.pace.took(begun.elapsed()));
    }
    if removed > 0 && retention.trim == Trim::Any {
        trim::finish_removed(ctx, &ring, p, cut.last)?;
    }
    let idle = cut.stop == Stop::Step && removed == 0;
    Ok(if idle {
        Some(now.ms() + IDLE_MS)
    } else {
        retention.next_scan_ms(default_age_ms, now, &cut)
    })
}

/// How many entries one step may remove. Each that failed in a group and is removed unfinished is a
/// change to replicate, so where several groups have such there are fewer entries.
fn step_in(ctx: &Ctx, trim: Trim, names: &PartitionNames) -> Result<u64, Error> {
    let step = BACKGROUND.with_borrow(|all| all.pace.step());
    if trim == Trim::Finished {
        return Ok(step);
    }
    let state = state::open(ctx, names);
    let groups = state.saved()?.map_or(0, |saved| {
        saved.iter().filter(|(_, progress)| !progress.exceptions().is_empty()).count() as u64
    });
    Ok((step / groups.max(1)).max(1))
}

/// A group, and an event that it has not finished.
#[derive(Debug)]
pub(crate) struct Unfinished {
    /// The group.
    pub(crate) group: Name,
    /// The event.
    pub(crate) event: EventId,
}

/// What a scan of a partition's front found.
struct Found {
    /// What goes now.
    cut: Cut,
    /// What keeps others from going, or producers from going on.
    held_up: Option<Unfinished>,
}

impl Found {
    fn nothing_held_up(cut: Cut) -> Self {
        Self { cut, held_up: None }
    }
}

/// Finds what has to go from the front of a partition now, at most `step` entries.
///
/// # Errors
/// [`Error::WrongType`].
fn scan(
    ctx: &Ctx,
    value: &RingValue,
    names: &PartitionNames,
    p: u32,
    now: Now,
    step: u64,
) -> Result<Found, Error> {
    let default_age_ms = config::MAX_AGE_MS.get();
    let rules = value.ring.retention_of(p, default_age_ms).rules(default_age_ms, now);
    let Some(stream) = key::open_read(ctx, &names.stream).stream()? else {
        return Ok(Found::nothing_held_up(Cut::nothing()));
    };
    let length = stream.length();
    let Some((first, _)) = Entries::first(&stream).next_entry() else {
        return Ok(Found::nothing_held_up(Cut::nothing()));
    };
    if !rules.concern(first, length) {
        let cut = Cut { stop: Stop::Keeps(first), ..Cut::nothing() };
        return Ok(Found::nothing_held_up(cut));
    }
    let state = state::open(ctx, names);
    let needs = front::needs(value, p, &state, &stream)?;
    let Scan { cut, held_up } = rules.scan(&mut FromFront::of(&stream), length, &needs, step);
    let held_up = held_up.map(|HeldUp { group, event }| Unfinished { group: group.clone(), event });
    Ok(Found { cut, held_up })
}

/// The event of a partition that should be removed by now, or before producers may go on, and
/// cannot be, because a group has not finished it: the group and the event.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn held_up(
    ctx: &Ctx,
    value: &RingValue,
    names: &PartitionNames,
    p: u32,
    now: Now,
) -> Result<Option<Unfinished>, Error> {
    Ok(scan(ctx, value, names, p, now, MOST)?.held_up)
}

/// What INFO tells of retention.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    /// Partitions in which an unfinished event keeps others that should go.
    pub(crate) held_up: u64,
    /// Of the groups that have not finished those, the one without workers for the longest time,
    /// as `db/ring/group`, and for how long in ms.
    pub(crate) idlest: Option<(String, u64)>,
    /// The longest that one sweep has trimmed, in microseconds.
    pub(crate) longest_us: u64,
}

/// How retention stands, as of the last looks.
pub(crate) fn overview(now: Now) -> Overview {
    BACKGROUND.with_borrow(|all| {
        // A group may hold up many partitions.
        let groups = all
            .holders
            .iter()
            .map(|(spot, holder)| ((spot.db, &spot.ring, &holder.group), &holder.settings));
        let groups: BTreeMap<_, _> = groups.collect();
        let idle = groups.into_iter().map(|((db, ring, group), settings)| {
            (idle_groups::idle_ms_in(db, ring, group, settings, now), db, ring, group)
        });
        let idlest = idle.max_by_key(|(ms, ..)| *ms).map(|(ms, db, ring, group)| {
            (format!("{db}/{}/{}", ring.as_str(), group.as_str()), ms)
        });
        Overview {
            held_up: all.holders.len() as u64,
            idlest,
            longest_us: u64::try_from(all.longest.as_micros()).unwrap_or(u64::MAX),
        }
    })
}
