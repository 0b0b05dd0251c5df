//! The keys of what is in flight, so that a refused event finds the later ones of its key without
//! reading all that was handed out. Made by the first EVQ.NACK of a batch, extended by the next,
//! and gone when nothing is in flight.

use std::collections::{BTreeSet, VecDeque};

use crate::model::ids::EventId;
use crate::model::memory::{Filled, block, tree};

/// Events that were handed out, by their keys and in the order of the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysInFlight {
    by_key: BTreeSet<(u128, EventId)>,
    in_order: VecDeque<(EventId, u128)>,
    until: EventId,
}

impl KeysInFlight {
    /// Forgets what the cursor has passed.
    pub(in crate::model) fn pass(&mut self, cursor: EventId) {
        while let Some((id, key)) = self.in_order.front().copied().filter(|(id, _)| *id <= cursor) {
            self.in_order.pop_front();
            self.by_key.remove(&(key, id));
        }
    }

    /// All up to here are known.
    #[must_use]
    pub fn until(&self) -> EventId {
        self.until
    }

    /// The next event, whose key has this digest.
    pub(in crate::model) fn add(&mut self, id: EventId, key: u128) {
        self.by_key.insert((key, id));
        self.in_order.push_back((id, key));
        self.until = id;
    }

    /// Those of a key after `id`, in the order of the stream.
    pub fn later(&self, key: u128, id: EventId) -> impl Iterator<Item = EventId> + '_ {
        let from = self.by_key.range((key, id)..=(key, EventId::MAX));
        from.map(|(_, other)| *other).filter(move |other| *other > id)
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        tree::<(u128, EventId), ()>(self.by_key.len(), Filled::Anywhere)
            + block(self.in_order.capacity() * size_of::<(EventId, u128)>())
    }
}
