//! What may be given out now, from the state alone: how many fresh events, which redelivery, and
//! what happens to the next entry. [`super::delivery`] applies these rules to a stream.

use super::group::Group;
use super::ids::EventId;
use super::lease::{Lease, Now};
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
    /// It would have to be held and there is no room: the partition waits here.
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
        match (self.is_careful(), idle) {
            (false, _) => u64::MAX,
            (true, true) => 1,
            (true, false) => 0,
        }
    }

    fn is_careful(&self) -> bool {
        self.cursor < self.careful.until
            || self.suspect.is_some()
            || self.careful.redelivered.iter().any(|id| self.exceptions.get(*id).is_some())
    }

    /// The redelivery that comes next, if one is due and the cursor has reached it. While events
    /// are handed out one at a time it waits for what is in flight.
    #[must_use]
    pub fn due(&self, lease: Option<&Lease>, now: Now) -> Option<EventId> {
        if self.fresh_allowed(lease) == 0 {
            return None;
        }
        let in_flight = |id: &EventId| lease.is_some_and(|l| l.redelivering.contains(id));
        let due = self.exceptions.retries().take_while(|(due_ms, _)| *due_ms <= now.ms());
        due.map(|(_, id)| id).filter(|id| *id <= self.cursor && !in_flight(id)).min()
    }

    /// When the next redelivery that is not in flight is due, in unix ms.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<u64> {
        let lease = self.lease.as_ref();
        let in_flight = |id| lease.is_some_and(|lease| lease.redelivering.contains(&id));
        self.exceptions.retries().find(|(_, id)| !in_flight(*id)).map(|(due_ms, _)| due_ms)
    }

    /// What happens to the entry `id` with this key and type, when the stream is read from the
    /// lease's position. `holding` is how many entries this command has decided to hold so far,
    /// and `held` whether one of them has this key.
    #[must_use]
    pub fn offer(
        &self,
        group: &Group,
        id: EventId,
        key: u128,
        kind: &[u8],
        holding: usize,
        held: bool,
    ) -> Offer {
        if !group.takes(kind) || self.exceptions.get(id).is_some() {
            Offer::Skip
        } else if !held && self.exceptions.holder(key, id).is_none() {
            Offer::Give
        } else if self.check_room(holding + 1).is_ok() {
            Offer::Hold
        } else {
            Offer::Wait
        }
    }
}
