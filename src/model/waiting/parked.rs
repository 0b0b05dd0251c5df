//! The owners that an append does not reach by itself: those that became owners as standbys.

use super::fast_map::QuickMap;
use super::line::Line;
use crate::model::name::Name;

/// The parked owners by ring, then by database and partition.
#[derive(Debug, Default)]
pub(super) struct ParkedOwners(QuickMap<Name, QuickMap<(i32, u32), Vec<u64>>>);

impl ParkedOwners {
    /// A client became the owner of `line`.
    pub(super) fn add(&mut self, client: u64, line: &Line) {
        let ring = self.0.entry(line.ring.clone()).or_default();
        ring.entry((line.db, line.partition)).or_default().push(client);
    }

    /// A client that may have been the owner of `line` is not any more.
    pub(super) fn remove(&mut self, client: u64, line: &Line) {
        let Some(ring) = self.0.get_mut(&line.ring) else { return };
        if let Some(clients) = ring.get_mut(&(line.db, line.partition)) {
            clients.retain(|other| *other != client);
        }
        ring.retain(|_, clients| !clients.is_empty());
        if ring.is_empty() {
            self.0.remove(&line.ring);
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of one partition, whatever their group.
    pub(super) fn of(&self, db: i32, ring: &Name, partition: u32) -> Vec<u64> {
        let clients = self.0.get(ring).and_then(|ring| ring.get(&(db, partition)));
        clients.cloned().unwrap_or_default()
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<u64> {
        self.0.values().flat_map(QuickMap::values).flatten().copied().collect()
    }
}
