//! The partitions whose streams were deleted. A stream that is missing for another reason may come
//! back: between two RENAMEs, or between the RESTORE of a partition's groups and that of its
//! events.
//!
//! Fed by keyspace events, on replicas too, because a replica may be promoted before a search. A
//! restart forgets them; so a stream that is missing after a load counts as deleted until
//! everything was searched once.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::known_rings;
use super::known_rings::{Spot, swapped};

/// Partitions that are remembered. A deletion beyond them is noticed with the next event.
const MAX_NOTED: usize = 16 * 1024;

#[derive(Debug, Default)]
struct Deleted {
    spots: BTreeSet<Spot>,
    after_load: bool,
}

thread_local! {
    static DELETED: RefCell<Deleted> = RefCell::default();
}

/// The stream of a partition was deleted.
pub(crate) fn note(spot: Spot) {
    DELETED.with_borrow_mut(|deleted| {
        if deleted.spots.len() < MAX_NOTED {
            deleted.spots.insert(spot);
        }
    });
}

/// The server has loaded its data.
pub(crate) fn loaded() {
    DELETED.with_borrow_mut(|deleted| deleted.after_load = true);
}

/// Whether the stream of a partition, which is missing, was deleted.
pub(crate) fn is_deleted(spot: &Spot) -> bool {
    DELETED.with_borrow(|deleted| deleted.after_load || deleted.spots.contains(spot))
}

/// Nothing is left to do about the stream of a partition.
pub(crate) fn settle(spot: &Spot) {
    DELETED.with_borrow_mut(|deleted| deleted.spots.remove(spot));
}

/// All partitions of all rings were searched.
pub(crate) fn settle_all() {
    let known: BTreeSet<_> = known_rings::all().into_iter().collect();
    DELETED.with_borrow_mut(|deleted| {
        deleted.after_load = false;
        deleted.spots.retain(|(db, ring, _)| known.contains(&(*db, ring.clone())));
    });
}

/// A database was emptied; all of them for none.
pub(crate) fn forget_all(db: Option<i32>) {
    DELETED.with_borrow_mut(|deleted| {
        deleted.spots.retain(|(at, ..)| db.is_some_and(|db| *at != db));
    });
}

/// Two databases changed places.
pub(crate) fn swap(one: i32, other: i32) {
    DELETED.with_borrow_mut(|deleted| {
        let all = std::mem::take(&mut deleted.spots).into_iter();
        deleted.spots = all.map(|(db, ring, p)| (swapped(db, one, other), ring, p)).collect();
    });
}
