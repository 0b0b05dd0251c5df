//! A ring's definition: its partitions and weights, its virtual nodes, its settings and its
//! groups. It is the authority for the mapping and is saved under the ring's key.

pub mod activity;
pub mod clock;
pub mod continuum;
pub mod control;
pub mod definition;
pub mod group;
pub mod history;
pub mod homes;
mod layout;
pub mod moves;
pub mod resizes;
pub mod retention;
pub mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::ids::EventId;
use super::limits::{MAX_GROUPS, MAX_PARTITIONS, MAX_RESIZES, MAX_TICKET};
use super::memory::{Filled, block, tree};
use super::name::Name;
use crate::model::ring::continuum::{Continuum, Node};
use crate::model::ring::group::Group;
use crate::model::ring::history::{End, Past};
use crate::model::ring::retention::Retention;
pub use crate::model::ring::shape::{Payload, Shape};

/// A ring as it is saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    pub(in crate::model) shape: Shape,
    /// Counts the shapes the ring has had, from 1.
    pub(in crate::model) generation: u64,
    /// Every group of the ring, so that each partition knows who still needs its events.
    groups: BTreeMap<Name, Arc<Group>>,
    /// The generations before this one whose events may still have to be handed out first, the
    /// oldest first.
    pub(in crate::model) past: Vec<Past>,
    /// Partitions that take no new events and are there until their events are gone.
    pub(in crate::model) leaving: BTreeSet<u32>,
    /// The last ticket that was issued in a partition which is gone.
    last_ticket: u64,
    /// In unix ms, see [`crate::model::ring::clock`].
    clock_ms: u64,
}

/// Refuses ends of partitions that no ring can have.
pub(in crate::model) fn check_ends(ends: &BTreeMap<u32, End>) -> Result<(), Error> {
    match ends.keys().next_back() {
        Some(last) if *last >= MAX_PARTITIONS => {
            Err(Error::Limit("partitions of a ring", MAX_PARTITIONS.into()))
        }
        _ => Ok(()),
    }
}

impl Ring {
    /// A new ring without groups, generation 1.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            generation: 1,
            groups: BTreeMap::new(),
            past: Vec::new(),
            leaving: BTreeSet::new(),
            last_ticket: 0,
            clock_ms: 0,
        }
    }

    /// The ring's shape.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Shares in memory what a ring of an equal shape has.
    pub fn share(&mut self, shape: &Shape) {
        self.shape.share(shape);
    }

    /// The number of this shape in the ring's history, from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Virtual nodes per unit of weight.
    #[must_use]
    pub fn vnodes(&self) -> u32 {
        self.shape.vnodes()
    }

    /// The payloads that the ring accepts.
    #[must_use]
    pub fn payload(&self) -> Payload {
        self.shape.payload()
    }

    /// The settings for how long the ring keeps events.
    #[must_use]
    pub fn retention(&self) -> &Retention {
        self.shape.retention()
    }

    /// The retention of a partition, where the server's age is `default_age_ms`.
    #[must_use]
    pub fn retention_of(&self, partition: u32, default_age_ms: u64) -> Retention {
        let leaves = partition >= self.len();
        let all = *self.retention();
        if leaves { all.of_leaving(default_age_ms) } else { all }
    }

    /// How long the token of an event is remembered, where the server's setting is `default_ms`.
    #[must_use]
    pub fn unique_ms(&self, default_ms: u64) -> u64 {
        self.shape.unique_for_ms().unwrap_or(default_ms)
    }

    /// The number of partitions that take new events.
    #[must_use]
    pub fn len(&self) -> u32 {
        // The shape was checked against MAX_PARTITIONS, so this cannot saturate.
        u32::try_from(self.shape.weights().len()).unwrap_or(u32::MAX)
    }

    /// Whether the ring has no partitions; no ring has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shape.weights().is_empty()
    }

    /// The partitions in the order of their numbers; those that are leaving have the weight 0.
    pub fn nodes(&self) -> impl Iterator<Item = Node> + '_ {
        let staying = (0..).zip(self.shape.weights());
        let leaving = self.leaving.iter().map(|partition| (*partition, &0));
        staying.chain(leaving).map(|(partition, weight)| Node { partition, weight: *weight })
    }

    /// Refuses a partition that the ring does not have.
    ///
    /// # Errors
    /// [`Error::NoPartition`].
    pub fn check_partition(&self, partition: u32) -> Result<(), Error> {
        if partition < self.len() || self.leaving.contains(&partition) {
            Ok(())
        } else {
            Err(Error::NoPartition)
        }
    }

    /// The ring's groups in the order of their names.
    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&Name, &Arc<Group>)> {
        self.groups.iter()
    }

    /// The settings of a group, if the ring has it.
    #[must_use]
    pub fn group(&self, name: &Name) -> Option<&Arc<Group>> {
        self.groups.get(name)
    }

    /// The id that a new stream of this partition must begin above, as far as the ring knows: where
    /// groups start in it and where generations ended.
    #[must_use]
    pub fn floor(&self, partition: u32) -> EventId {
        let starts = self.groups.values().map(|group| group.start(partition));
        let ends = self.past.iter().filter_map(|past| past.ends.get(&partition));
        starts.chain(ends.map(|end| end.last)).max().unwrap_or_default()
    }

    /// Refuses one group more than allowed.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check_room_for_group(&self) -> Result<(), Error> {
        if self.groups.len() >= MAX_GROUPS {
            return Err(Error::Limit("groups of a ring", MAX_GROUPS as u64));
        }
        Ok(())
    }

    /// Sets a group's settings; it is made if it is missing.
    pub(in crate::model) fn set_group(&mut self, name: Name, group: Group) {
        self.groups.insert(name, Arc::new(group));
    }

    /// Removes a group.
    pub(in crate::model) fn remove_group(&mut self, name: &Name) {
        self.groups.remove(name);
    }

    /// The ring's clock in unix ms, see [`crate::model::ring::clock`].
    #[must_use]
    pub fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// Sets the ring's clock.
    pub(in crate::model) fn tick(&mut self, ms: u64) {
        self.clock_ms = ms;
    }

    /// The last ticket of a scheduled event that was issued in a partition which is gone.
    #[must_use]
    pub fn last_ticket(&self) -> u64 {
        self.last_ticket
    }

    /// Tickets up to this one were issued in partitions that are gone.
    pub(in crate::model) fn remember_ticket(&mut self, ticket: u64) {
        self.last_ticket = self.last_ticket.max(ticket);
    }

    /// Lays out the continuum. O(points log points).
    #[must_use]
    pub fn continuum(&self) -> Continuum {
        self.shape.continuum()
    }

    /// Refuses what no EVQ.CREATE could have made: a snapshot is hostile bytes.
    ///
    /// # Errors
    /// As [`Shape::new`], or a limit on groups.
    pub fn check(&self) -> Result<(), Error> {
        self.shape.check()?;
        // One at the end of the range could not grow.
        if self.generation == 0 || i64::try_from(self.generation).is_err() {
            return Err(Error::Usage("the generation of a ring must be at least 1"));
        }
        if self.last_ticket > MAX_TICKET {
            return Err(Error::Limit("tickets", MAX_TICKET));
        }
        if self.groups.len() > MAX_GROUPS {
            return Err(Error::Limit("groups of a ring", MAX_GROUPS as u64));
        }
        if self.past.len() > MAX_RESIZES {
            return Err(Error::Limit("remembered resizes", MAX_RESIZES as u64));
        }
        for past in &self.past {
            self.shape.resized(past.weights.clone())?;
            check_ends(&past.ends)?;
        }
        if self.leaving.iter().any(|p| *p < self.len() || *p >= MAX_PARTITIONS) {
            return Err(Error::Usage("a partition must be either active or leaving"));
        }
        self.groups.values().try_for_each(|group| group.check())
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        // An Arc keeps its two counts beside the value.
        let shared = block(size_of::<Group>() + 2 * size_of::<usize>());
        let of_group =
            |(name, group): (&Name, &Arc<Group>)| name.heap_bytes() + shared + group.heap_bytes();
        let of_past = |past: &Past| {
            block(past.weights.capacity() * size_of::<u32>())
                + tree::<u32, End>(past.ends.len(), Filled::InOrder)
        };
        self.shape.heap_bytes()
            + self.past.iter().map(of_past).sum::<usize>()
            + tree::<u32, ()>(self.leaving.len(), Filled::InOrder)
            + tree::<Name, Arc<Group>>(self.groups.len(), Filled::InOrder)
            + self.groups.iter().map(of_group).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_bounded() {
        let mut ring = Ring::new(Shape::even(1, 1).unwrap());
        for n in 0..MAX_GROUPS {
            ring.check_room_for_group().unwrap();
            let name = Name::group(format!("g{n}").as_bytes()).unwrap();
            ring.set_group(name, Group::default());
        }
        assert!(ring.check_room_for_group().is_err());
        assert!(ring.check().is_ok());
    }
}
