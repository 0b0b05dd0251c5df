//! A group's settings: where it starts, which types it takes, what a failure does.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::activity::Activity;
use crate::model::error::Error;
use crate::model::hash::digest;
use crate::model::ids::EventId;
use crate::model::limits::{
    MAX_ATTEMPTS, MAX_DURATION_MS, MAX_PARTITIONS, MAX_TYPE_BYTES, MAX_TYPES,
};
use crate::model::memory::{Filled, block, tree};

/// The policy for a key when one of its events is dead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDead {
    /// The key goes on without it.
    #[default]
    Skip,
    /// The key stays held until an operator decides.
    Hold,
}

impl OnDead {
    /// As EVQ.GROUP takes it and shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Hold => "hold",
        }
    }
}

/// The settings of one group. They belong to the ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Per partition, the id after which the group begins; a partition that is missing begins at
    /// its first event.
    #[serde(deserialize_with = "all_at_once")]
    pub starts: BTreeMap<u32, EventId>,
    /// The types it takes; all if empty. An event without a type has the empty type.
    pub types: Vec<Box<[u8]>>,
    /// The most times that an event is handed out, from 1.
    pub max_attempts: u32,
    /// The delay after the first failure.
    pub backoff_min_ms: u64,
    /// The delay is doubled with each failure up to this.
    pub backoff_max_ms: u64,
    /// The policy for the key of a dead event.
    pub on_dead: OnDead,
    /// Dead letters go when they are older than this, unless they hold their key; 0 keeps them.
    pub dead_age_ms: u64,
    /// The last request of a worker.
    #[serde(skip)]
    pub activity: Activity,
}

/// Reads the starts all at once: they never change, and a tree that is built so takes little more
/// than half of the memory.
fn all_at_once<'de, D: Deserializer<'de>>(source: D) -> Result<BTreeMap<u32, EventId>, D::Error> {
    Ok(Vec::deserialize(source)?.into_iter().collect())
}

impl Default for Group {
    fn default() -> Self {
        Self {
            starts: BTreeMap::new(),
            types: Vec::new(),
            max_attempts: 10,
            backoff_min_ms: 1000,
            backoff_max_ms: 60_000,
            on_dead: OnDead::Skip,
            dead_age_ms: 0,
            activity: Activity::default(),
        }
    }
}

impl Group {
    /// Whether the group takes events of this type.
    #[must_use]
    pub fn takes(&self, kind: &[u8]) -> bool {
        self.types.is_empty() || self.types.iter().any(|taken| **taken == *kind)
    }

    /// Stands for the types that the group takes; none if it takes all. O(bytes of the types).
    #[must_use]
    pub fn types_digest(&self) -> Option<u64> {
        let digests = self.types.iter().map(|kind| digest(kind) as u64);
        digests.reduce(|so_far, digest| so_far.rotate_left(5) ^ digest)
    }

    /// The id after which the group begins in a partition.
    #[must_use]
    pub fn start(&self, partition: u32) -> EventId {
        self.starts.get(&partition).copied().unwrap_or_default()
    }

    /// The delay after the `attempts`-th failure: exponential backoff, doubling, capped.
    #[must_use]
    pub fn backoff_ms(&self, attempts: u32) -> u64 {
        let doublings = attempts.saturating_sub(1).min(63);
        let grown = self.backoff_min_ms.saturating_mul(1 << doublings);
        grown.min(self.backoff_max_ms)
    }

    /// Refuses what no EVQ.GROUP could have made: a snapshot is hostile bytes.
    ///
    /// # Errors
    /// The limit that is exceeded.
    pub fn check(&self) -> Result<(), Error> {
        if self.types.len() > MAX_TYPES {
            return Err(Error::Limit("types of a group", MAX_TYPES as u64));
        }
        if self.types.iter().any(|kind| kind.len() > MAX_TYPE_BYTES) {
            return Err(Error::Limit("bytes of a type in TYPES", MAX_TYPE_BYTES as u64));
        }
        if self.max_attempts == 0 || self.max_attempts > MAX_ATTEMPTS {
            return Err(Error::Limit("attempts", MAX_ATTEMPTS.into()));
        }
        let longest = MAX_DURATION_MS.unsigned_abs();
        if self.backoff_min_ms > self.backoff_max_ms || self.backoff_max_ms > longest {
            return Err(Error::Usage("BACKOFF takes the minimum and then the maximum delay"));
        }
        if self.dead_age_ms > longest {
            return Err(Error::Number { what: "DEADAGE", min: 0, max: MAX_DURATION_MS });
        }
        if self.starts.len() > MAX_PARTITIONS as usize {
            return Err(Error::Limit("partitions of a ring", MAX_PARTITIONS.into()));
        }
        Ok(())
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let types: usize = self.types.iter().map(|kind| block(kind.len())).sum();
        types
            + block(self.types.capacity() * size_of::<Box<[u8]>>())
            + tree::<u32, EventId>(self.starts.len(), Filled::AtOnce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let group = Group { backoff_min_ms: 100, backoff_max_ms: 1000, ..Group::default() };
        let delays: Vec<u64> = (1..7).map(|n| group.backoff_ms(n)).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(group.backoff_ms(u32::MAX), 1000);
    }
}
