//! What may be handed out now, from the state alone: how many fresh events, which redelivery, and
//! what happens to the next entry. [`super::delivery`] applies these rules to a stream.

use std::collections::HashSet;

use super::gate::Gate;
use super::source::Entry;
use crate::model::ids::EventId;
use crate::model::limits::MAX_EXCEPTIONS;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::Lease;
use crate::model::ring::group::{Group, OnDead};

/// The decision about the next entry of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is handed out.
    Give,
    /// The group does not take its type, or it is an exception itself.
    Skip,
    /// An earlier event of its key comes first: it becomes an exception.
    Hold,
    /// An earlier event of its key, an exception of another partition, comes first: it becomes an
    /// exception here.
    HoldElsewhere,
    /// The partition waits here: the event lies after a closed barrier; or it would have to be
    /// held, or may have to hold its key as dead, and there is no room.
    Wait,
}

/// What this command has decided about the entries before.
#[derive(Clone, Debug, Default)]
pub struct SoFar {
    /// How many it hands out or holds.
    pub chosen: usize,
    /// The digests of the keys of those that it holds.
    pub held_keys: HashSet<u128>,
}

impl SoFar {
    /// One more entry is held, whose key has this digest.
    pub fn hold(&mut self, key: u128) {
        self.chosen += 1;
        self.held_keys.insert(key);
    }
}

impl Progress {
    /// Whether delivery is plain: no event has to be looked at before it is handed out.
    #[must_use]
    pub fn is_plain(&self, group: &Group) -> bool {
        self.exceptions.is_empty() && group.types.is_empty() && !self.is_careful()
    }

    /// The number of fresh events that may be handed out now: all, one, or none while one that was
    /// in flight when a lease was lost has to be finished first.
    #[must_use]
    pub fn fresh_allowed(&self, lease: Option<&Lease>) -> u64 {
        // One that is in flight may come again.
        let idle = lease.is_none_or(|l| l.position <= self.cursor && l.redelivering.is_empty());
        let alone = |lease: &Lease| lease.redelivering.iter().any(|id| self.comes_alone(*id));
        match (self.is_careful(), idle) {
            _ if lease.is_some_and(alone) => 0,
            (false, _) => u64::MAX,
            (true, true) => 1,
            (true, false) => 0,
        }
    }

    /// Whether fresh events are handed out one at a time.
    fn is_careful(&self) -> bool {
        self.cursor < self.careful.until || self.suspect.is_some()
    }

    /// Whether nothing else may be in flight with the exception `id`, which was when a lease was
    /// lost. Until it is due it slows nobody down.
    #[must_use]
    pub fn comes_alone(&self, id: EventId) -> bool {
        self.careful.redelivered.contains(&id)
    }

    /// The redelivery that comes next, if one is due that the cursor has reached and that no
    /// earlier one of its key holds back, here or elsewhere. While events are handed out one at a
    /// time it waits for what is in flight.
    ///
    /// The answer is the same whenever [`Progress::look`] was called last, but the time it takes is
    /// not: right after that O(log(exceptions) + redeliveries in flight), else O(exceptions).
    #[must_use]
    pub fn due(&self, lease: Option<&Lease>, gate: &Gate<'_>, now: Now) -> Option<EventId> {
        if self.fresh_allowed(lease) == 0 {
            return None;
        }
        let (known, reached) = (self.exceptions.due(), self.reached(gate));
        let in_flight = |id: &EventId| lease.is_some_and(|l| l.redelivering.contains(id));
        let may = |id: &EventId| {
            let due = self.exceptions.is_due(*id, now.ms());
            *id <= reached && due && !in_flight(id) && self.is_first(*id, gate)
        };
        // What was behind something still is, unless something may have ended since.
        let ended = known.any_behind()
            && known.marks().and_then(|marks| gate.ended_since(marks)) != Some(Vec::new());
        let freed = || known.behind(reached).take_while(|_| ended).find(may);
        let unknown = || known.unknown_until(now.ms()).find(may);
        let beyond = || known.beyond(reached).find(may);
        known.come().find(may).or_else(beyond).or_else(freed).or_else(unknown)
    }

    /// Volatile: sorts out what is due, so that what waits is not checked at every pull.
    ///
    /// Of what is due, the first that nothing comes before is found, and what is passed on the way
    /// is put aside as being behind something. That an event is behind something changes in these
    /// ways only, and each brings it back:
    ///
    /// - An exception of its key ended. In this partition: then the first one left of the key is
    ///   taken back; the others are behind that. In another: the key is read from the list of ends
    ///   there (see [`crate::model::progress::ended_keys`]), with the same consequence.
    /// - It cannot be known what ended: a partition upstream was put back, sought, deleted or
    ///   renamed, or too much ended in it; its stream is gone; the ring's past is another one. Then
    ///   all are taken back.
    /// - The clock goes back. Then all begins anew.
    ///
    /// That other exceptions came to be only makes more wait. Each exception is put aside at most
    /// once for each time it is taken back, so a pull takes O(log(exceptions)) and as much for each
    /// end since the last look, apart from redeliveries in flight.
    pub fn look(&mut self, gate: &Gate<'_>, now: Now) {
        if self.exceptions.is_empty() {
            return;
        }
        self.advance(gate, now);
        let in_flight =
            |id: &EventId| self.lease.as_ref().is_some_and(|l| l.redelivering.contains(id));
        let come = self.exceptions.due().come().filter(|id| !in_flight(id));
        let behind = come.take_while(|id| !self.is_first(*id, gate)).collect();
        self.exceptions.block(behind);
    }

    /// Volatile: takes back what is due by now, and what may have ended upstream since the last
    /// call.
    pub(in crate::model) fn advance(&mut self, gate: &Gate<'_>, now: Now) {
        let ended = self.exceptions.due().marks().and_then(|marks| gate.ended_since(marks));
        if ended.as_ref().is_none_or(|keys| !keys.is_empty()) {
            self.exceptions.free_ended(ended, gate.marks());
        }
        let reached = self.reached(gate);
        self.exceptions.advance(now.ms(), reached);
    }

    /// Volatile: events of other partitions may wait for the exceptions of this one.
    pub fn keep_ends(&mut self) {
        self.exceptions.keep_ends();
    }

    /// The last event that may be handed out again.
    pub(in crate::model) fn reached(&self, gate: &Gate<'_>) -> EventId {
        gate.closed_after().map_or(self.cursor, |end| end.min(self.cursor))
    }

    /// Whether no earlier event of its key holds the exception `id` back, here or elsewhere.
    pub(in crate::model) fn is_first(&self, id: EventId, gate: &Gate<'_>) -> bool {
        self.exceptions.get(id).is_some_and(|e| {
            self.exceptions.holder(e.key, id).is_none() && gate.holder(e.key, id).is_none()
        })
    }

    /// When the next redelivery after `now` that is not in flight is due, in unix ms. What is due
    /// already and waits for the cursor, or for what is in flight, goes on when that changes.
    #[must_use]
    pub fn next_due_ms(&self, now: Now) -> Option<u64> {
        let lease = self.lease.as_ref();
        let in_flight = |id| lease.is_some_and(|lease| lease.redelivering.contains(&id));
        let mut later = self.exceptions.due().unknown_after(now.ms());
        later.find(|(_, id)| !in_flight(*id)).map(|(due_ms, _)| due_ms)
    }

    /// What happens to the next entry, whose key has the digest `key`, when the stream is read from
    /// the lease's position.
    #[must_use]
    pub fn offer(
        &self,
        lease: Option<&Lease>,
        group: &Group,
        gate: &Gate<'_>,
        entry: &impl Entry,
        key: u128,
        so_far: &SoFar,
    ) -> Offer {
        let (id, chosen) = (entry.id(), so_far.chosen);
        if !self.is_fresh(group, entry) {
            return Offer::Skip;
        }
        if !gate.admits(id) {
            return Offer::Wait;
        }
        let again = lease.filter(|lease| lease.repeats(id));
        if again.is_some_and(|lease| lease.revived.contains(&key)) {
            return Offer::Give;
        }
        let here = so_far.held_keys.contains(&key) || self.exceptions.holder(key, id).is_some();
        // What began anew elsewhere does not hold what is in flight already.
        let elsewhere = !here && again.is_none() && gate.holder(key, id).is_some();
        if !here && !elsewhere {
            // Its last attempt may leave a dead event that holds its key, for which there is more
            // room: if it had to wait, so would the retries behind it that make room.
            let last = self.attempts(id).saturating_add(1) >= group.max_attempts;
            let full = self.exceptions.len() + chosen >= 2 * MAX_EXCEPTIONS;
            if again.is_none() && last && full && group.on_dead == OnDead::Hold {
                Offer::Wait
            } else {
                Offer::Give
            }
        } else if self.check_room(chosen + 1).is_err() {
            Offer::Wait
        } else if elsewhere {
            Offer::HoldElsewhere
        } else {
            Offer::Hold
        }
    }
}

#[cfg(test)]
#[path = "offer_tests.rs"]
mod tests;
