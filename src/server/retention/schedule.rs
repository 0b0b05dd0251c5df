//! When retention looks at what next: each ring, and each part of it, has one moment.
//!
//! A hint like [`crate::server::keyspace::known_rings`]: every visit opens the keys and checks.

use std::collections::{BTreeSet, HashMap};

use crate::model::name::Name;

/// A ring or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Spot {
    /// The database.
    pub(crate) db: i32,
    /// The ring.
    pub(crate) ring: Name,
    /// Which part.
    pub(crate) part: Part,
}

/// What of a ring is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Its definition and its groups.
    Ring,
    /// The events of a partition.
    Events(u32),
    /// The dead letters of a partition, of all groups.
    Letters(u32),
}

/// Spots by the moment, in unix ms, when they are due.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    due: BTreeSet<(u64, Spot)>,
    at: HashMap<Spot, u64>,
}

impl Schedule {
    /// `spot` is due at `at_ms`, and not when it was due before.
    pub(crate) fn put(&mut self, spot: Spot, at_ms: u64) {
        self.take(&spot);
        self.at.insert(spot.clone(), at_ms);
        self.due.insert((at_ms, spot));
    }

    /// `spot` is not due at any time.
    pub(crate) fn take(&mut self, spot: &Spot) {
        if let Some((spot, at_ms)) = self.at.remove_entry(spot) {
            self.due.remove(&(at_ms, spot));
        }
    }

    /// The spot that has been due the longest.
    pub(crate) fn next_due(&mut self, now_ms: u64) -> Option<Spot> {
        let (at_ms, spot) = self.due.first().filter(|(at_ms, _)| *at_ms <= now_ms)?.clone();
        self.due.remove(&(at_ms, spot.clone()));
        self.at.remove(&spot);
        Some(spot)
    }

    /// When the next spot is due.
    pub(crate) fn first_ms(&self) -> Option<u64> {
        self.due.first().map(|(at_ms, _)| *at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spot_is_due_once_at_its_last_moment() {
        let spot = |part| Spot { db: 0, ring: Name::default_name(), part };
        let mut schedule = Schedule::default();
        schedule.put(spot(Part::Events(1)), 30);
        schedule.put(spot(Part::Events(2)), 10);
        schedule.put(spot(Part::Letters(1)), 99);
        schedule.put(spot(Part::Events(1)), 20);
        schedule.put(spot(Part::Ring), 15);
        schedule.take(&spot(Part::Ring));
        assert_eq!(schedule.first_ms(), Some(10));
        assert_eq!(schedule.next_due(9), None);
        assert_eq!(schedule.next_due(30), Some(spot(Part::Events(2))));
        assert_eq!(schedule.next_due(30), Some(spot(Part::Events(1))));
        assert_eq!(schedule.next_due(30), None);
        assert_eq!(schedule.next_due(99), Some(spot(Part::Letters(1))));
        assert_eq!((schedule.next_due(99), schedule.first_ms()), (None, None));
    }
}
