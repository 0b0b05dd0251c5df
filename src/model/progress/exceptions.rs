//! The exceptions of a group in a partition: events that are not finished though the cursor may
//! have passed them, because they failed or are held behind one of their key that failed.
//!
//! Per key at most one of them is handed out at a time, in the order of ids: the first waits for
//! its retry or is dead, the others are held. Bounded by [`crate::model::limits::MAX_EXCEPTIONS`].

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::by_state::{ByState, Kind};
use super::ended_keys::{Ends, Mark};
use super::retries::{Due, Marks};
use crate::model::ids::EventId;
use crate::model::memory::{Filled, tree};

/// The state of an exception: what it waits for.
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
    /// The digest of its key, see [`crate::model::hash::digest`].
    pub key: u128,
    /// Failures of its handling so far.
    pub attempts: u32,
    /// When it failed first, in unix ms; 0 if it never did.
    pub first_ms: u64,
    /// Its state.
    pub state: State,
}

impl Exception {
    fn kind(&self) -> Kind {
        match self.state {
            State::Retry(_) => Kind::Retry,
            State::Held => Kind::Held,
            State::Dead => Kind::Dead,
            State::Finished => Kind::Finished,
        }
    }

    /// Whether it is finished, and only waits for the cursor to pass it.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == State::Finished
    }

    /// Whether an operator has to decide about it.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state == State::Dead
    }
}

/// All exceptions of a group in a partition, by id, with what is needed to find them by key and
/// by due time. Only the map by id is saved.
#[derive(Clone, Debug, Default)]
pub struct Exceptions {
    by_id: BTreeMap<EventId, Exception>,
    by_key: BTreeSet<(u128, EventId)>,
    due: Due,
    by_state: ByState,
    /// For those who wait for them in other partitions, if any do.
    ends: Option<Box<Ends>>,
}

impl Exceptions {
    /// The number of exceptions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// How many are in which state.
    #[must_use]
    pub fn by_state(&self) -> ByState {
        self.by_state
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

    /// Whether the event `id` is an exception that still has to be finished.
    #[must_use]
    pub fn is_unfinished(&self, id: EventId) -> bool {
        self.get(id).is_some_and(|exception| !exception.is_finished())
    }

    /// Whether the event `id` is an exception that is finished, and only waits for the cursor.
    #[must_use]
    pub fn is_finished(&self, id: EventId) -> bool {
        self.get(id).is_some_and(Exception::is_finished)
    }

    /// Those up to `until` that still have to be finished, in the order of ids.
    pub fn unfinished(&self, until: EventId) -> impl Iterator<Item = EventId> + '_ {
        self.by_id.range(..=until).filter(|(_, e)| !e.is_finished()).map(|(id, _)| *id)
    }

    /// Those above `after` that still have to be finished, in the order of ids.
    pub fn unfinished_after(&self, after: EventId) -> impl Iterator<Item = EventId> + '_ {
        let above = self.by_id.range((Bound::Excluded(after), Bound::Unbounded));
        above.filter(|(_, e)| !e.is_finished()).map(|(id, _)| *id)
    }

    /// Those of `key` that still have to be finished, in the order of ids.
    pub fn of_key(&self, key: u128) -> impl Iterator<Item = EventId> + '_ {
        let of_key = self.by_key.range((key, EventId::ZERO)..=(key, EventId::MAX));
        of_key.map(|(_, id)| *id).filter(|id| self.is_unfinished(*id))
    }

    /// The last one of `key`, whatever its state.
    pub(in crate::model) fn last_of_key(&self, key: u128) -> Option<EventId> {
        let of_key = self.by_key.range((key, EventId::ZERO)..=(key, EventId::MAX));
        of_key.map(|(_, id)| *id).next_back()
    }

    /// Those from `first` on that are finished, in the order of ids.
    pub fn finished_from(&self, first: EventId) -> impl Iterator<Item = EventId> + '_ {
        self.by_id.range(first..).filter(|(_, e)| e.is_finished()).map(|(id, _)| *id)
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

    /// The exception that the held event `id` of `key` is held behind: the nearest one that is not
    /// held itself.
    #[must_use]
    pub fn head(&self, key: u128, id: EventId) -> Option<EventId> {
        let earlier = self.by_key.range((key, EventId::ZERO)..(key, id)).rev();
        earlier.map(|(_, id)| *id).find(|id| {
            self.get(*id).is_some_and(|e| !matches!(e.state, State::Held | State::Finished))
        })
    }

    /// The exceptions that wait for a retry, sorted.
    pub(in crate::model) fn due(&self) -> &Due {
        &self.due
    }

    /// Whether it waits for a retry that is due at `ms`.
    pub(in crate::model) fn is_due(&self, id: EventId, ms: u64) -> bool {
        self.get(id).is_some_and(|e| matches!(e.state, State::Retry(due_ms) if due_ms <= ms))
    }

    /// Volatile: keys whose exceptions end are kept from now on, for a reader in another partition.
    /// Not where there is no exception to end.
    pub(in crate::model) fn keep_ends(&mut self) {
        if self.ends.is_some() || !self.is_empty() {
            self.ends.get_or_insert_default().keep();
        }
    }

    /// The mark of a reader that reads everything now; None if ends are not kept.
    pub(in crate::model) fn mark(&self) -> Option<Mark> {
        match &self.ends {
            Some(ends) => Some(ends.mark()),
            None => self.is_empty().then_some(Mark::Never),
        }
    }

    /// The keys of which exceptions ended since `mark`; None if they are not known.
    pub(in crate::model) fn ended_since(&self, mark: Mark) -> Option<&[u128]> {
        match &self.ends {
            Some(ends) => ends.since(mark),
            None => (mark == Mark::Never && self.is_empty()).then_some(&[]),
        }
    }

    /// Volatile: sorts out what is due at `ms`.
    pub(in crate::model) fn advance(&mut self, ms: u64, reached: EventId) {
        if self.due.is_ahead_of(ms) {
            // The clock went back, and what was due may not be any more.
            for (id, exception) in &self.by_id {
                if let State::Retry(due_ms) = exception.state
                    && due_ms > ms
                {
                    self.due.put_off(due_ms, *id);
                }
            }
        }
        self.due.advance(ms, reached);
    }

    /// Volatile: exceptions of these keys ended upstream since the marks that were known, or of any
    /// key where none are given. What is still behind others rests on `marks` from now on.
    pub(in crate::model) fn free_ended(&mut self, keys: Option<Vec<u128>>, marks: Marks) {
        match keys {
            Some(keys) => keys.into_iter().for_each(|key| self.free(key)),
            None => self.due.free_all(),
        }
        self.due.rest_on(marks);
    }

    /// Volatile: these were due, and something comes before each.
    pub(in crate::model) fn block(&mut self, ids: Vec<EventId>) {
        ids.into_iter().for_each(|id| self.due.block(id));
    }

    /// Adds an exception, or replaces the one with this id.
    pub(in crate::model) fn set(&mut self, id: EventId, exception: Exception) {
        self.forget(id);
        if let State::Retry(due_ms) = exception.state {
            self.due.insert(due_ms, id);
        }
        self.add(id, exception);
    }

    fn add(&mut self, id: EventId, exception: Exception) {
        self.by_key.insert((exception.key, id));
        self.by_state.add(exception.kind());
        self.by_id.insert(id, exception);
    }

    /// The exception `id` is over; the next one held behind it, if nothing else holds it, is due.
    pub(in crate::model) fn finish(&mut self, id: EventId) {
        if let Some(exception) = self.forget(id) {
            self.release(exception.key);
        }
    }

    /// Removes an exception. Every exception that ends or is replaced goes through here, so this is
    /// where all are told that may have waited for it.
    fn forget(&mut self, id: EventId) -> Option<Exception> {
        let exception = self.by_id.remove(&id)?;
        self.by_state.remove(exception.kind());
        self.by_key.remove(&(exception.key, id));
        if let State::Retry(due_ms) = exception.state {
            self.due.remove(due_ms, id);
        }
        self.free(exception.key);
        if let Some(ends) = &mut self.ends {
            ends.note(exception.key);
        }
        Some(exception)
    }

    /// Something that came before events of `key` may have ended: takes the first of them back.
    fn free(&mut self, key: u128) {
        if self.due.any_behind()
            && let Some(id) = self.first(key)
        {
            self.due.free(id);
        }
    }

    /// The first unfinished exception of `key`.
    fn first(&self, key: u128) -> Option<EventId> {
        self.of_key(key).next()
    }

    /// Makes the first exception of `key` due if it was held.
    pub(in crate::model) fn release(&mut self, key: u128) {
        if let Some(id) = self.first(key)
            && let Some(exception) = self.get(id).copied()
            && exception.state == State::Held
        {
            self.set(id, Exception { state: State::Retry(0), ..exception });
        }
    }

    /// The cursor has reached `cursor`: what was only waiting for that is forgotten.
    pub(in crate::model) fn pass(&mut self, cursor: EventId) {
        let passed = self.by_id.range(..=cursor).filter(|(_, e)| e.is_finished());
        let passed: Vec<EventId> = passed.map(|(id, _)| *id).collect();
        for id in passed {
            self.forget(id);
        }
    }

    /// Forgets all.
    pub(in crate::model) fn clear(&mut self) {
        *self = Self::default();
    }

    /// These exceptions as a reload finds them.
    #[cfg(test)]
    pub(in crate::model) fn as_loaded(&self) -> Self {
        Self::of(self.by_id.clone())
    }

    fn of(by_id: BTreeMap<EventId, Exception>) -> Self {
        let mut exceptions = Self::default();
        for (id, exception) in by_id {
            if let State::Retry(due_ms) = exception.state {
                exceptions.due.load(due_ms, id);
            }
            exceptions.add(id, exception);
        }
        exceptions
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        tree::<EventId, Exception>(self.by_id.len(), Filled::InOrder)
            + tree::<(u128, EventId), ()>(self.by_key.len(), Filled::Anywhere)
            + self.due.heap_bytes()
            + self.ends.as_ref().map_or(0, |ends| ends.heap_bytes())
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
        BTreeMap::deserialize(deserializer).map(Self::of)
    }
}

#[cfg(test)]
#[path = "exceptions_tests.rs"]
mod tests;
