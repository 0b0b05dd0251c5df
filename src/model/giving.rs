//! What may be given out now, from the state alone: how many fresh events, which redelivery, and
//! what happens to the next entry. [`super::delivery`] applies these rules to a stream.

use super::group::{Group, OnDead};
use super::ids::EventId;
use super::lease::{Lease, Now};
use super::limits::MAX_EXCEPTIONS;
use super::progress::Progress;

/// What may happen to the next entry of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is handed out.
    Give,
    /// The group does not take its type, or it is an exception itself.
    Skip,
    /// An earlier event of its key comes first: it becomes an exception.
    Hold,
    /// It would have to be held, or may have to hold its key as dead, and there is no room: the
    /// partition waits here.
    Wait,
}

impl Progress {
    /// Whether delivery is plain: no event has to be looked at before it is handed out.
    #[must_use]
    pub fn is_plain(&self, group: &Group) -> bool {
        self.exceptions.is_empty() && group.types.is_empty() && !self.is_careful()
    }

    /// How many fresh events may be handed out now: all, one, or none while one that was in
    /// flight when a lease was lost has to be finished first.
    #[must_use]
    pub fn fresh_allowed(&self, lease: Option<&Lease>) -> u64 {
        let idle = lease.is_none_or(|lease| lease.is_idle(self.cursor));
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
    /// earlier one of its key holds back. While events are handed out one at a time it waits for
    /// what is in flight.
    #[must_use]
    pub fn due(&self, lease: Option<&Lease>, now: Now) -> Option<EventId> {
        if self.fresh_allowed(lease) == 0 {
            return None;
        }
        let in_flight = |id: &EventId| lease.is_some_and(|l| l.redelivering.contains(id));
        let due = self.exceptions.retries().take_while(|(due_ms, _)| *due_ms <= now.ms());
        let is_first = |id: &EventId| {
            let exception = self.exceptions.get(*id);
            exception.is_some_and(|e| self.exceptions.holder(e.key, *id).is_none())
        };
        let may = |id: &EventId| *id <= self.cursor && !in_flight(id) && is_first(id);
        due.map(|(_, id)| id).filter(may).min()
    }

    /// When the next redelivery after `now` that is not in flight is due, in unix ms. What is due
    /// already and waits for the cursor, or for what is in flight, goes on when that changes.
    #[must_use]
    pub fn next_due_ms(&self, now: Now) -> Option<u64> {
        let lease = self.lease.as_ref();
        let in_flight = |id| lease.is_some_and(|lease| lease.redelivering.contains(&id));
        let mut later = self.exceptions.retries_after(now.ms());
        later.find(|(_, id)| !in_flight(*id)).map(|(due_ms, _)| due_ms)
    }

    /// What happens to the entry `id` with this key and type, when the stream is read from the
    /// lease's position. `chosen` is how many entries this command has decided to hold or to give
    /// so far, and `held` whether one of the held has this key.
    #[must_use]
    pub fn offer(
        &self,
        group: &Group,
        id: EventId,
        key: u128,
        kind: &[u8],
        chosen: usize,
        held: bool,
    ) -> Offer {
        if !group.takes(kind) || self.exceptions.get(id).is_some() {
            Offer::Skip
        } else if !held && self.exceptions.holder(key, id).is_none() {
            // Its last attempt may leave a dead event that holds its key, for which there is more
            // room: if it had to wait, so would the retries behind it that make room.
            let last = self.attempts(id).saturating_add(1) >= group.max_attempts;
            let full = self.exceptions.len() + chosen >= 2 * MAX_EXCEPTIONS;
            if last && full && group.on_dead == OnDead::Hold { Offer::Wait } else { Offer::Give }
        } else if self.check_room(chosen + 1).is_ok() {
            Offer::Hold
        } else {
            Offer::Wait
        }
    }
}
