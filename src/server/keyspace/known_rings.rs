//! The rings this server has seen: a hint for EVQ.RINGS and for the sweep, so that neither scans
//! the keyspace.
//!
//! Fed by whatever brings a ring's value into being (EVQ.CREATE, a load, RESTORE, COPY), to a name
//! or a database (RENAME, MOVE), or finds one. Every use opens the key and checks; a ring that is
//! gone is forgotten.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use crate::model::name::Name;

/// A partition of a ring in a database.
pub(crate) type Spot = (i32, Name, u32);

thread_local! {
    static KNOWN: RefCell<BTreeSet<(i32, Name)>> = const { RefCell::new(BTreeSet::new()) };
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
        if known.insert((db, ring.clone())) {
            changed();
        }
    });
}

/// It is not there.
pub(crate) fn forget(db: i32, ring: &Name) {
    KNOWN.with_borrow_mut(|known| {
        if known.remove(&(db, ring.clone())) {
            changed();
        }
    });
}

/// A database was emptied; all of them for none.
pub(crate) fn forget_all(db: Option<i32>) {
    changed();
    KNOWN.with_borrow_mut(|known| known.retain(|(at, _)| db.is_some_and(|db| *at != db)));
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
        *known = rings.map(|(db, ring)| (swapped(db, one, other), ring)).collect();
    });
}

/// Every ring that is known, with its database.
pub(crate) fn all() -> Vec<(i32, Name)> {
    KNOWN.with_borrow(|known| known.iter().cloned().collect())
}

/// How many rings are known, in all databases.
pub(crate) fn len() -> u64 {
    KNOWN.with_borrow(|known| known.len() as u64)
}

/// The rings seen in `db`, in the order of their names.
pub(crate) fn in_db(db: i32) -> Vec<Name> {
    KNOWN.with_borrow(|known| {
        known.iter().filter(|(at, _)| *at == db).map(|(_, ring)| ring.clone()).collect()
    })
}
