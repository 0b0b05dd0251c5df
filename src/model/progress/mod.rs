//! The progress of one group in one partition: its cursor, the exceptions it left behind, its last
//! epoch, and the lease of the worker that takes it further.
//!
//! Saved are the cursor, the exceptions, the last epoch and the suspect. The lease is volatile, so
//! after a crash an old epoch is fenced and what was not finished is handed out again.
//!
//! Decisions about it are made by [`crate::model::rules`] and change nothing. The saved part
//! changes only through effects ([`crate::model::saved::effect`]), by the functions here; the
//! volatile part changes in [`volatile`].

pub mod by_state;
pub mod counting;
pub mod counts;
pub mod ended_keys;
pub mod exceptions;
pub mod keys_in_flight;
pub mod lease;
pub mod partition;
mod replay;
pub mod retries;
pub mod volatile;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::ids::EventId;
use super::memory::{Filled, block, tree};
use crate::model::progress::counts::{Counted, Search, Totals};
use crate::model::progress::exceptions::{Exception, Exceptions, State};
use crate::model::progress::lease::Lease;

/// One group's progress in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub(in crate::model) cursor: EventId,
    pub(in crate::model) epoch: u64,
    pub(in crate::model) exceptions: Exceptions,
    pub(in crate::model) suspect: Option<Suspect>,
    #[serde(skip)]
    pub(in crate::model) lease: Option<Box<Lease>>,
    #[serde(skip)]
    pub(in crate::model) careful: Careful,
    #[serde(skip)]
    pub(in crate::model) turn: Source,
    #[serde(skip)]
    pub(in crate::model) totals: Totals,
    #[serde(skip)]
    pub(in crate::model) counted: Option<Counted>,
    #[serde(skip)]
    pub(in crate::model) search: Option<Search>,
    /// Mean bytes per event in the last measured reply; 0 before the first one.
    #[serde(skip)]
    pub(in crate::model) event_bytes: u32,
}

/// Events come from two sources, which take turns: so however many keys fail, others go on, and
/// however much is fresh, what failed comes again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// What is in the stream and was not handed out.
    Fresh,
    /// What is handed out again. It has waited longer, so it has the first turn.
    #[default]
    Redeliveries,
}

/// An event that was alone in flight when leases were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::model) struct Suspect {
    pub(in crate::model) id: EventId,
    /// The number of leases.
    pub(in crate::model) count: u32,
}

/// Events that were in flight when a lease was lost. They are handed out one at a time until they
/// are finished, so that a poison event shows itself and its neighbours are not blamed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::model) struct Careful {
    pub(in crate::model) until: EventId,
    pub(in crate::model) redelivered: BTreeSet<EventId>,
}

impl Progress {
    /// A group that begins after `start`.
    #[must_use]
    pub fn new(start: EventId) -> Self {
        Self { cursor: start, ..Self::default() }
    }

    /// Everything at or below it is finished, apart from the exceptions.
    #[must_use]
    pub fn cursor(&self) -> EventId {
        self.cursor
    }

    /// Mean bytes per event in the last measured reply.
    #[must_use]
    pub fn event_bytes(&self) -> Option<u32> {
        (self.event_bytes > 0).then_some(self.event_bytes)
    }

    /// The last epoch that was issued; 0 before the first.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last lease, which may be past its deadline or its era.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_deref()
    }

    /// The events that the cursor passed, or may pass, without their being finished.
    #[must_use]
    pub fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }

    /// The highest id that the group knows of: cursor, exceptions, events in flight.
    #[must_use]
    pub fn highest_id(&self) -> EventId {
        let given = self.lease.as_ref().map(|lease| lease.given);
        self.cursor.max(self.exceptions.last().max(given).unwrap_or_default())
    }

    /// Whether `id` is the event that was alone in flight when a lease was lost.
    #[must_use]
    pub fn is_suspect(&self, id: EventId) -> bool {
        self.suspect.is_some_and(|suspect| suspect.id == id)
    }

    /// The number of times that `id` was handed out in vain.
    #[must_use]
    pub fn attempts(&self, id: EventId) -> u32 {
        match (self.exceptions.get(id), self.suspect) {
            (Some(exception), _) => exception.attempts,
            (None, Some(suspect)) if suspect.id == id => suspect.count,
            (None, _) => 0,
        }
    }

    /// The source whose turn it is, if both have something.
    #[must_use]
    pub fn turn_of(&self) -> Source {
        self.turn
    }

    /// What was delivered, since when see [`Totals`].
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The counted entries below the cursor, if they were counted.
    #[must_use]
    pub fn counted(&self) -> Option<Counted> {
        self.counted
    }

    /// The last search for exceptions whose entries were removed.
    #[must_use]
    pub fn search(&self) -> Option<Search> {
        self.search
    }

    /// Volatile: exceptions whose entries were removed were searched for.
    pub fn set_search(&mut self, search: Search) {
        self.search = Some(search);
    }

    /// Heap bytes held, about: also by what is volatile.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let lease = self.lease.as_ref().map_or(0, |l| block(size_of::<Lease>()) + l.heap_bytes());
        let careful = tree::<EventId, ()>(self.careful.redelivered.len(), Filled::InOrder);
        self.exceptions.heap_bytes() + lease + careful
    }

    /// This progress with nothing remembered of what is due.
    #[cfg(test)]
    pub(in crate::model) fn without_looks(&self) -> Self {
        Self { exceptions: self.exceptions.as_loaded(), ..self.clone() }
    }

    /// Saved, the effect of an acknowledgement: everything up to `id` is finished; at or below the
    /// cursor, exactly the exception `id` is.
    pub fn finish(&mut self, id: EventId) {
        if id > self.cursor {
            self.count_up_to(id);
            self.pass(id);
        } else {
            self.exceptions.finish(id);
        }
        self.answered(id);
    }

    /// Volatile: the exception `id` is not in flight any more.
    pub(in crate::model) fn answered(&mut self, id: EventId) {
        if let Some(lease) = &mut self.lease {
            lease.redelivering.remove(&id);
            lease.repeated = 0;
        }
        self.forget_keys();
        let over = |e: &Exception| matches!(e.state, State::Dead | State::Finished);
        if self.exceptions.get(id).is_none_or(over) {
            self.careful.redelivered.remove(&id);
        }
    }

    /// Volatile: with nothing in flight the keys of that are not kept.
    fn forget_keys(&mut self) {
        if let Some(lease) = &mut self.lease
            && lease.keys.is_some()
            && lease.is_idle(self.cursor)
        {
            lease.keys = None;
        }
    }

    /// Saved: the cursor moves on, over exceptions and what the group does not take.
    pub(in crate::model) fn pass(&mut self, cursor: EventId) {
        self.cursor = self.cursor.max(cursor);
        self.exceptions.pass(self.cursor);
        self.forget_keys();
        self.suspect.take_if(|suspect| suspect.id <= cursor);
    }

    /// Saved: `epoch` is issued; whoever held the lease under an older one is fenced.
    pub(in crate::model) fn issue(&mut self, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        self.lease = None;
    }

    /// Saved: the event `id` was alone in flight when a lease was lost, for the `count`-th time.
    pub(in crate::model) fn suspect(&mut self, id: EventId, count: u32) {
        self.suspect = Some(Suspect { id, count });
    }

    /// Saved: an event is held behind an earlier one of its key.
    pub(in crate::model) fn hold(&mut self, id: EventId, key: u128) {
        self.except(id, key, State::Held);
    }

    /// Saved: an event comes after an exception of another partition. It is due whenever the gate
    /// in front of this one lets it pass, see [`crate::model::rules::gate::Gate::holder`].
    pub(in crate::model) fn hold_elsewhere(&mut self, id: EventId, key: u128) {
        self.except(id, key, State::Retry(0));
    }

    fn except(&mut self, id: EventId, key: u128, state: State) {
        if self.exceptions.get(id).is_none() {
            let attempts = self.attempts(id);
            self.exceptions.set(id, Exception { key, attempts, first_ms: 0, state });
            if self.is_in_care(id) {
                self.careful.redelivered.insert(id);
            }
        }
    }

    /// Whether the fresh event `id` may have been in flight when a lease was lost.
    fn is_in_care(&self, id: EventId) -> bool {
        id > self.cursor && id <= self.careful.until
    }

    /// Saved: an exception is over without an acknowledgement: an operator skipped it, or its
    /// entry is gone. Above the cursor it stays as finished until the cursor passes it.
    pub(in crate::model) fn drop_exception(&mut self, id: EventId) {
        let Some(exception) = self.exceptions.get(id).copied() else { return };
        if id > self.cursor {
            self.exceptions.set(id, Exception { state: State::Finished, ..exception });
            self.exceptions.release(exception.key);
        } else {
            self.exceptions.finish(id);
        }
        // An operator has decided: a refusal that comes again has nothing to repeat.
        if let Some(lease) = &mut self.lease {
            lease.refused.remove(&id);
        }
        self.answered(id);
    }

    /// Saved: a dead event starts again at attempt 1.
    pub(in crate::model) fn revive(&mut self, id: EventId, key: u128) {
        // What of its key is in flight was handed out before, and does not wait for it.
        if let Some(lease) = &mut self.lease
            && self.exceptions.holder(key, EventId::MAX).is_none_or(|other| other == id)
        {
            lease.revived.insert(key);
        }
        let exception = Exception { key, attempts: 0, first_ms: 0, state: State::Retry(0) };
        self.exceptions.set(id, exception);
    }

    /// Saved: the group goes on after `cursor`, wherever it was, and forgets its exceptions.
    pub(in crate::model) fn seek(&mut self, cursor: EventId, epoch: u64) {
        self.exceptions.clear();
        self.suspect = None;
        self.counted = None;
        self.careful = Careful::default();
        self.cursor = cursor;
        self.issue(epoch);
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
