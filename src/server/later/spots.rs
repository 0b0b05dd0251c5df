//! The partitions that have scheduled events: when to look at each, how many wait there, and which
//! stand still because an event that is due cannot be appended yet.
//!
//! All of it is a hint, so that no partition is looked at in vain: every use opens the key and
//! checks. The place of a partition in the queue is never after its first event, unless it stands
//! still, so whoever takes them in their order appends the events of a ring in theirs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::later::schedule::{Place, Schedule};
use crate::model::name::Name;
use crate::server::keyspace::known_rings::{Spot, swapped};

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Its place in the queue.
    at: Place,
    /// When to look after its tokens again.
    tokens_ms: u64,
    /// How many events wait there.
    waiting: u64,
    /// When the first of them is due.
    first_ms: Option<u64>,
    /// An event that is due cannot be appended yet.
    stands_still: bool,
}

#[derive(Debug, Default)]
struct Spots {
    known: BTreeMap<Spot, Known>,
    queue: BTreeSet<(Place, Spot)>,
    /// How many stand still.
    still: usize,
    /// Until when nothing is looked at, so that clients can go on.
    rests_ms: u64,
}

thread_local! {
    static SPOTS: RefCell<Spots> = RefCell::default();
}

impl Spots {
    fn put(&mut self, spot: Spot, known: Known) {
        self.take(&spot);
        self.still += usize::from(known.stands_still);
        self.queue.insert((known.at, spot.clone()));
        self.known.insert(spot, known);
    }

    fn take(&mut self, spot: &Spot) {
        if let Some(known) = self.known.remove(spot) {
            self.still -= usize::from(known.stands_still);
            self.queue.remove(&(known.at, spot.clone()));
        }
    }
}

/// When a partition has to be looked at: when its first event is due, or its tokens have to be
/// looked after.
fn natural(schedule: &Schedule, tokens_ms: u64) -> Place {
    let has_tokens = !schedule.appended().is_empty();
    let tokens = has_tokens.then_some(Place { due_ms: tokens_ms, ticket: u64::MAX });
    let never = Place { due_ms: u64::MAX, ticket: u64::MAX };
    schedule.first().into_iter().chain(tokens).min().unwrap_or(never)
}

/// The scheduled events of a partition are these now. A partition that stands still goes on doing
/// so.
pub(crate) fn note(spot: Spot, schedule: &Schedule) {
    SPOTS.with_borrow_mut(|spots| {
        let before = spots.known.get(&spot).copied().unwrap_or_default();
        let natural = natural(schedule, before.tokens_ms);
        let known = Known {
            at: if before.stands_still { before.at } else { natural },
            waiting: schedule.len() as u64,
            first_ms: schedule.first().map(|place| place.due_ms),
            ..before
        };
        spots.put(spot, known);
    });
}

/// Something came under the name of a partition's scheduled events: it is looked at soon.
pub(crate) fn note_unknown(spot: Spot) {
    SPOTS.with_borrow_mut(|spots| spots.put(spot, Known::default()));
}

/// A partition is looked at again at this place of the queue.
pub(crate) fn look_at(spot: &Spot, at: Place) {
    SPOTS.with_borrow_mut(|spots| {
        if let Some(known) = spots.known.get(spot).copied() {
            spots.put(spot.clone(), Known { at, ..known });
        }
    });
}

/// The first event of a partition can be appended.
pub(crate) fn move_on(spot: &Spot) {
    SPOTS.with_borrow_mut(|spots| {
        if let Some(known) = spots.known.get(spot).copied().filter(|known| known.stands_still) {
            spots.put(spot.clone(), Known { stands_still: false, ..known });
        }
    });
}

/// No event of a partition is due, and its tokens have to be looked after again at `again_ms`.
pub(crate) fn look_at_tokens(spot: &Spot, schedule: &Schedule, again_ms: u64) {
    SPOTS.with_borrow_mut(|spots| {
        let known = spots.known.get(spot).copied().unwrap_or_default();
        let known = Known { tokens_ms: again_ms, stands_still: false, ..known };
        spots.put(spot.clone(), known);
    });
    note(spot.clone(), schedule);
}

/// The first event of a partition is due and cannot be appended; it is tried again at `again_ms`.
pub(crate) fn stand_still(spot: &Spot, again_ms: u64) {
    SPOTS.with_borrow_mut(|spots| {
        let known = spots.known.get(spot).copied().unwrap_or_default();
        let at = Place { due_ms: again_ms, ticket: 0 };
        spots.put(spot.clone(), Known { at, stands_still: true, ..known });
    });
}

/// Whether an event that is due waits for room in a partition.
pub(crate) fn stands_still(db: i32, ring: &Name, p: u32) -> bool {
    SPOTS.with_borrow(|spots| {
        spots.still > 0
            && spots.known.get(&(db, ring.clone(), p)).is_some_and(|known| known.stands_still)
    })
}

/// A partition has no scheduled events.
pub(crate) fn forget(spot: &Spot) {
    SPOTS.with_borrow_mut(|spots| spots.take(spot));
}

/// A ring was dropped.
pub(crate) fn forget_ring(db: i32, ring: &Name) {
    SPOTS.with_borrow_mut(|spots| {
        let first = (db, ring.clone(), 0);
        let all = spots.known.range(first..).map(|(spot, _)| spot);
        let gone: Vec<Spot> =
            all.take_while(|(at, name, _)| (*at, name) == (db, ring)).cloned().collect();
        gone.iter().for_each(|spot| spots.take(spot));
    });
}

/// A database was emptied; all of them for none.
pub(crate) fn forget_all(db: Option<i32>) {
    SPOTS.with_borrow_mut(|spots| {
        let gone = |spot: &&Spot| db.is_none_or(|db| spot.0 == db);
        let gone: Vec<Spot> = spots.known.keys().filter(gone).cloned().collect();
        gone.iter().for_each(|spot| spots.take(spot));
    });
}

/// Two databases changed places.
pub(crate) fn swap(one: i32, other: i32) {
    SPOTS.with_borrow_mut(|spots| {
        let all = std::mem::take(spots);
        for ((db, ring, p), known) in all.known {
            spots.put((swapped(db, one, other), ring, p), known);
        }
    });
}

/// The first of the queue with its place, if that has come.
pub(crate) fn next_due(now_ms: u64) -> Option<(Place, Spot)> {
    SPOTS.with_borrow(|spots| {
        let first = spots.queue.first()?;
        (first.0.due_ms <= now_ms).then(|| first.clone())
    })
}

/// When the first of the queue has to be looked at, if ever.
pub(crate) fn first_ms() -> Option<u64> {
    let first = SPOTS.with_borrow(|spots| spots.queue.first().map(|(place, _)| place.due_ms));
    first.filter(|ms| *ms < u64::MAX)
}

/// Nothing is looked at before.
pub(crate) fn rest_until(ms: u64) {
    SPOTS.with_borrow_mut(|spots| spots.rests_ms = ms);
}

/// Until when nothing is looked at. A clock that was set back does not make it longer.
pub(crate) fn rests_until(now_ms: u64) -> u64 {
    SPOTS.with_borrow(|spots| spots.rests_ms.min(now_ms + 5))
}

/// Every partition after this one, in the order of their names, up to so many.
pub(crate) fn some_after(after: Option<&Spot>, most: usize) -> Vec<Spot> {
    use std::ops::Bound::{Excluded, Unbounded};
    let from = after.map_or(Unbounded, |spot| Excluded(spot.clone()));
    SPOTS.with_borrow(|spots| {
        let all = spots.known.range((from, Unbounded));
        all.take(most).map(|(spot, _)| spot.clone()).collect()
    })
}

/// What INFO tells of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Events that wait.
    pub(crate) waiting: u64,
    /// When the first of them is due, in unix ms.
    pub(crate) next_ms: Option<u64>,
    /// Partitions in which an event that is due cannot be appended yet.
    pub(crate) stand_still: u64,
}

/// How all of them stand.
pub(crate) fn totals() -> Totals {
    SPOTS.with_borrow(|spots| Totals {
        waiting: spots.known.values().map(|known| known.waiting).sum(),
        next_ms: spots.known.values().filter_map(|known| known.first_ms).min(),
        stand_still: spots.still as u64,
    })
}
