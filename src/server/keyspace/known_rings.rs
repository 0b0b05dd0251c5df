//! The rings this server has seen: a hint for EVQ.RINGS and for the sweep, so that neither scans
//! the keyspace.
//!
//! Fed by whatever brings a ring's value into being (EVQ.CREATE, a load, RESTORE, COPY), to a name
//! or a database (RENAME, MOVE), or finds one. Every use opens the key and checks; a ring that is
//! gone is forgotten.

use std::cell::{Cell, RefCell};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::name::Name;

/// A partition of a ring in a database.
pub(crate) type Spot = (i32, Name, u32);

thread_local! {
    static KNOWN: RefCell<BTreeMap<(i32, Name), BTreeSet<u32>>> =
        const { RefCell::new(BTreeMap::new()) };
    static CHANGES: Cell<u64> = const { Cell::new(0) };
}

/// Grows whenever another set of rings is known.
pub(crate) fn changes() -> u64 {
    CHANGES.get()
}

fn changed() {
    CHANGES.set(CHANGES.get() + 1);
}

/// A ring of this name was seen in `db`.
pub(crate) fn note(db: i32, ring: &Name) {
    KNOWN.with_borrow_mut(|known| {
        if let Entry::Vacant(place) = known.entry((db, ring.clone())) {
            place.insert(BTreeSet::new());
            changed();
        }
    });
}

/// A copy of its definition was seen beside the partition `p`.
pub(crate) fn note_copy(db: i32, ring: &Name, p: u32) {
    KNOWN.with_borrow_mut(|known| {
        if known.entry((db, ring.clone())).or_default().insert(p) {
            changed();
        }
    });
}

/// It is not there. A ring without copies may still have its authority here.
pub(crate) fn forget_copy(db: i32, ring: &Name, p: u32) {
    KNOWN.with_borrow_mut(|known| {
        let copies = known.get_mut(&(db, ring.clone()));
        if copies.is_some_and(|copies| copies.remove(&p)) {
            changed();
        }
    });
}

/// The partitions of a ring beside which copies were seen.
pub(crate) fn copies(db: i32, ring: &Name) -> Vec<u32> {
    KNOWN.with_borrow(|known| {
        known.get(&(db, ring.clone())).into_iter().flatten().copied().collect()
    })
}

/// It is not there.
pub(crate) fn forget(db: i32, ring: &Name) {
    KNOWN.with_borrow_mut(|known| {
        if known.remove(&(db, ring.clone())).is_some() {
            changed();
        }
    });
}

/// A database was emptied; all of them for none.
pub(crate) fn forget_all(db: Option<i32>) {
    changed();
    KNOWN.with_borrow_mut(|known| known.retain(|(at, _), _| db.is_some_and(|db| *at != db)));
}

/// Where what was in `db` is after these two databases changed places.
pub(crate) fn swapped(db: i32, one: i32, other: i32) -> i32 {
    match db {
        db if db == one => other,
        db if db == other => one,
        db => db,
    }
}

/// Two databases changed places.
pub(crate) fn swap(one: i32, other: i32) {
    changed();
    KNOWN.with_borrow_mut(|known| {
        let rings = std::mem::take(known).into_iter();
        *known =
            rings.map(|((db, ring), copies)| ((swapped(db, one, other), ring), copies)).collect();
    });
}

/// Every ring that is known, with its database.
pub(crate) fn all() -> Vec<(i32, Name)> {
    KNOWN.with_borrow(|known| known.keys().cloned().collect())
}

/// How many rings are known, in all databases.
pub(crate) fn len() -> u64 {
    KNOWN.with_borrow(|known| known.len() as u64)
}

/// The rings seen in `db`, in the order of their names.
pub(crate) fn in_db(db: i32) -> Vec<Name> {
    KNOWN.with_borrow(|known| {
        known.keys().filter(|(at, _)| *at == db).map(|(_, ring)| ring.clone()).collect()
    })
}
