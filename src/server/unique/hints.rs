//! The partitions that may have tokens: a hint, so that forgetting need not look at every partition
//! of every ring. Every use opens the key and checks.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::model::name::Name;
use crate::server::keyspace::known_rings::{Spot, swapped};

thread_local! {
    /// When to look at each, in unix ms.
    static DUE: RefCell<BTreeMap<Spot, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// A partition's tokens came into being, or to a name or a database: they are looked at soon.
pub(crate) fn note(db: i32, ring: &Name, p: u32) {
    put((db, ring.clone(), p), 0);
}

/// A database was emptied; all of them for none.
pub(crate) fn forget_all(db: Option<i32>) {
    DUE.with_borrow_mut(|due| due.retain(|(at, ..), _| db.is_some_and(|db| *at != db)));
}

/// Two databases changed places.
pub(crate) fn swap(one: i32, other: i32) {
    DUE.with_borrow_mut(|due| {
        let all = std::mem::take(due).into_iter();
        *due = all.map(|((db, ring, p), at)| ((swapped(db, one, other), ring, p), at)).collect();
    });
}

pub(super) fn put(spot: Spot, at_ms: u64) {
    DUE.with_borrow_mut(|due| due.insert(spot, at_ms));
}

pub(super) fn take(spot: &Spot) {
    DUE.with_borrow_mut(|due| due.remove(spot));
}

/// The one that has been due the longest.
pub(super) fn next_due(now_ms: u64) -> Option<Spot> {
    DUE.with_borrow(|due| {
        let due = due.iter().filter(|(_, at_ms)| **at_ms <= now_ms);
        due.min_by_key(|(_, at_ms)| **at_ms).map(|(spot, _)| spot.clone())
    })
}

/// When the next one is due.
pub(super) fn first_ms() -> Option<u64> {
    DUE.with_borrow(|due| due.values().min().copied())
}
