//! The stream as the rules read it, whatever holds it: the server's own stream, a simulator's, a
//! fuzzer's.

use crate::model::ids::EventId;

/// An entry of a partition's stream.
pub trait Entry {
    /// Its id.
    fn id(&self) -> EventId;
    /// The key it was triggered by; empty if it has none.
    fn key(&self) -> &[u8];
    /// Its type; empty if it has none.
    fn kind(&self) -> &[u8];
}

/// A partition's stream. It is read in one place at a time: what `after` returns has to be dropped
/// before anything else is read.
pub trait Source {
    /// The entries it holds.
    type Entry: Entry;
    /// The entries above `after`, in the order of ids.
    fn after(&self, after: EventId) -> impl Iterator<Item = Self::Entry>;
    /// The entry of this id, if it is there.
    fn get(&self, id: EventId) -> Option<Self::Entry>;
    /// Whether there is an entry of this id.
    fn has(&self, id: EventId) -> bool {
        self.get(id).is_some()
    }
    /// Whether there is an entry above `after`. A source that reads an entry's id sooner than its
    /// fields answers without those.
    fn has_after(&self, after: EventId) -> bool {
        self.after(after).next().is_some()
    }
}

impl<S: Source> Source for &S {
    type Entry = S::Entry;

    fn after(&self, after: EventId) -> impl Iterator<Item = Self::Entry> {
        S::after(self, after)
    }

    fn get(&self, id: EventId) -> Option<Self::Entry> {
        S::get(self, id)
    }

    fn has(&self, id: EventId) -> bool {
        S::has(self, id)
    }

    fn has_after(&self, after: EventId) -> bool {
        S::has_after(self, after)
    }
}
