//! The exceptions of a group in a partition: events that are not finished though the cursor may
//! have passed them, because they failed or are held behind one of their key that failed.
//!
//! Per key at most one of them is handed out at a time, in the order of ids: the first waits for
//! its retry or is dead, the others are held. Bounded by [`super::limits::MAX_EXCEPTIONS`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::ids::EventId;

/// What an exception waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is handed out again once this unix time in ms has come.
    Retry(u64),
    /// An earlier event of its key comes first.
    Held,
    /// An operator decides; until then it holds its key.
    Dead,
    /// Nothing: it is finished, and only waits for the cursor to pass it.
    Finished,
}

/// One event that is an exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exception {
    /// The digest of its key, see [`super::hash::digest`].
    pub key: u128,
    /// How often its handling has failed.
    pub attempts: u32,
    /// When it failed first, in unix ms; 0 if it never did.
    pub first_ms: u64,
    /// What it waits for.
    pub state: State,
}

/// All exceptions of a group in a partition, by id, with what is needed to find them by key and
/// by due time. Only the map by id is saved.
#[derive(Clone, Debug, Default)]
pub struct Exceptions {
    by_id: BTreeMap<EventId, Exception>,
    by_key: BTreeSet<(u128, EventId)>,
    due: BTreeSet<(u64, EventId)>,
}

impl Exceptions {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none: then delivery is plain.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The exception that the event `id` is.
    #[must_use]
    pub fn get(&self, id: EventId) -> Option<&Exception> {
        self.by_id.get(&id)
    }

    /// All of them in the order of ids.
    pub fn iter(&self) -> impl Iterator<Item = (EventId, &Exception)> {
        self.by_id.iter().map(|(id, exception)| (*id, exception))
    }

    /// Those above `id`, in the order of ids.
    pub fn above(&self, id: EventId) -> impl Iterator<Item = EventId> + '_ {
        self.by_id.range(id..).map(|(id, _)| *id).filter(move |other| *other > id)
    }

    /// The one with the highest id.
    #[must_use]
    pub fn last(&self) -> Option<EventId> {
        self.last_before(None)
    }

    /// The last one before `end`, or of all.
    #[must_use]
    pub fn last_before(&self, end: Option<EventId>) -> Option<EventId> {
        let end = end.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id.range((Bound::Unbounded, end)).next_back().map(|(id, _)| *id)
    }

    /// The latest unfinished exception of `key` before `id`: it holds the event `id` back.
    #[must_use]
    pub fn holder(&self, key: u128, id: EventId) -> Option<EventId> {
        let earlier = self.by_key.range((key, EventId::ZERO)..(key, id)).rev();
        earlier.map(|(_, id)| *id).find(|id| self.is_unfinished(*id))
    }

    /// What the held event `id` of `key` is held behind: the nearest one that is not held itself.
    #[must_use]
    pub fn head(&self, key: u128, id: EventId) -> Option<EventId> {
        let earlier = self.by_key.range((key, EventId::ZERO)..(key, id)).rev();
        earlier.map(|(_, id)| *id).find(|id| {
            self.get(*id).is_some_and(|e| !matches!(e.state, State::Held | State::Finished))
        })
    }

    /// Those that wait for a retry, by due time.
    pub fn retries(&self) -> impl Iterator<Item = (u64, EventId)> + '_ {
        self.due.iter().copied()
    }

    /// The same, due after `ms` only.
    pub fn retries_after(&self, ms: u64) -> impl Iterator<Item = (u64, EventId)> + '_ {
        self.due.range((ms.saturating_add(1), EventId::ZERO)..).copied()
    }

    fn is_unfinished(&self, id: EventId) -> bool {
        self.get(id).is_some_and(|exception| exception.state != State::Finished)
    }

    /// Adds an exception, or replaces the one with this id.
    pub(super) fn set(&mut self, id: EventId, exception: Exception) {
        self.forget(id);
        if let State::Retry(due_ms) = exception.state {
            self.due.insert((due_ms, id));
        }
        self.by_key.insert((exception.key, id));
        self.by_id.insert(id, exception);
    }

    /// The exception `id` is over; the next one held behind it, if nothing else holds it, is due.
    pub(super) fn finish(&mut self, id: EventId) {
        if let Some(exception) = self.forget(id) {
            self.release(exception.key);
        }
    }

    /// Removes an exception without a consequence.
    fn forget(&mut self, id: EventId) -> Option<Exception> {
        let exception = self.by_id.remove(&id)?;
        self.by_key.remove(&(exception.key, id));
        if let State::Retry(due_ms) = exception.state {
            self.due.remove(&(due_ms, id));
        }
        Some(exception)
    }

    /// Makes the first exception of `key` due if it was held.
    pub(super) fn release(&mut self, key: u128) {
        let of_key = self.by_key.range((key, EventId::ZERO)..=(key, EventId::MAX));
        let first = of_key.map(|(_, id)| *id).find(|id| self.is_unfinished(*id));
        if let Some(id) = first
            && let Some(exception) = self.get(id).copied()
            && exception.state == State::Held
        {
            self.set(id, Exception { state: State::Retry(0), ..exception });
        }
    }

    /// The cursor has reached `cursor`: what was only waiting for that is forgotten.
    pub(super) fn pass(&mut self, cursor: EventId) {
        let passed = self.by_id.range(..=cursor).filter(|(_, e)| e.state == State::Finished);
        let passed: Vec<EventId> = passed.map(|(id, _)| *id).collect();
        for id in passed {
            self.forget(id);
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        // B-trees keep nodes of up to 11 entries that are two thirds full on average.
        let per_event = size_of::<(EventId, Exception)>() + size_of::<(u128, EventId)>();
        let per_retry = size_of::<(u64, EventId)>();
        (self.by_id.len() * per_event + self.due.len() * per_retry) * 3 / 2
    }
}

impl PartialEq for Exceptions {
    fn eq(&self, other: &Self) -> bool {
        self.by_id == other.by_id
    }
}

impl Eq for Exceptions {}

impl Serialize for Exceptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.by_id.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Exceptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let by_id = BTreeMap::<EventId, Exception>::deserialize(deserializer)?;
        let mut exceptions = Self::default();
        for (id, exception) in by_id {
            exceptions.set(id, exception);
        }
        Ok(exceptions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(seq: u64) -> EventId {
        EventId { ms: 1, seq }
    }

    fn exception(key: u128, state: State) -> Exception {
        Exception { key, attempts: 0, first_ms: 0, state }
    }

    #[test]
    fn held_events_are_released_one_by_one_in_order() {
        let mut all = Exceptions::default();
        all.set(id(1), exception(7, State::Retry(50)));
        all.set(id(2), exception(7, State::Held));
        all.set(id(3), exception(7, State::Held));
        all.set(id(4), exception(8, State::Dead));
        assert_eq!(all.holder(7, id(9)), Some(id(3)));
        assert_eq!(all.head(7, id(3)), Some(id(1)));
        assert_eq!(all.holder(8, id(4)), None);
        all.finish(id(1));
        assert_eq!(all.retries().collect::<Vec<_>>(), [(0, id(2))]);
        all.finish(id(2));
        assert_eq!(all.retries().collect::<Vec<_>>(), [(0, id(3))]);
        all.finish(id(3));
        assert_eq!(all.retries().count(), 0);
        assert_eq!(all.len(), 1);
    }

    #[test]
    fn what_is_finished_holds_nobody_and_goes_when_passed() {
        let mut all = Exceptions::default();
        all.set(id(5), exception(7, State::Finished));
        assert_eq!(all.holder(7, id(9)), None);
        all.pass(id(4));
        assert_eq!(all.len(), 1);
        all.pass(id(5));
        assert!(all.is_empty());
    }
}
