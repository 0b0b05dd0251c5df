//! A partition in the simulator: a stream of bare ids, and for each group the real rules of leases
//! over it. Retries, barriers and searches that stop early are mere facts here: what they do to the
//! order of events is checked elsewhere.

use crate::model::ids::EventId;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::{Caller, Lease};
use crate::model::progress::volatile::HandedOut;
use crate::model::rules::ready::{Ready, Taker};

/// The events of a partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    pub(super) events: Vec<Event>,
    pub(super) last: EventId,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) id: EventId,
    /// It dies with the first worker that has it alone.
    pub(super) poison: bool,
}

impl Stream {
    pub(super) fn append(&mut self, now: Now, poison: bool) {
        let id = EventId { ms: now.ms(), seq: 0 };
        self.last = if id > self.last { id } else { self.last.next().expect("another id") };
        self.events.push(Event { id: self.last, poison });
    }

    pub(super) fn after(&self, after: EventId) -> impl Iterator<Item = EventId> + '_ {
        self.events.iter().map(|event| event.id).filter(move |id| *id > after)
    }

    fn is_poison(&self, id: EventId) -> bool {
        self.events.iter().any(|event| event.id == id && event.poison)
    }
}

/// An event that failed.
#[derive(Clone, Copy, Debug)]
struct Retry {
    id: EventId,
    due_ms: u64,
    /// It is handed out.
    given: bool,
}

/// A group's side of a partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    pub(super) progress: Progress,
    retries: Vec<Retry>,
    /// A barrier is closed in front of everything but retries.
    pub(super) closed: bool,
    /// So many searches stop before they have found anything.
    pub(super) stops: u8,
}

impl Side {
    fn lease(&self, taker: Taker, era: u64) -> Option<&Lease> {
        self.progress.lease().filter(|lease| taker == Taker::Owner && lease.era == era)
    }

    /// What there is for a worker, found without an early stop.
    pub(super) fn ready(&self, stream: &Stream, taker: Taker, era: u64, now: Now) -> Ready {
        let owned = self.lease(taker, era);
        // The next owner is given again what this one has.
        let free = |retry: &Retry| !retry.given || owned.is_none();
        if owned.is_some_and(|lease| lease.again().is_some()) {
            return Ready::Work;
        }
        if self.retries.iter().any(|retry| free(retry) && retry.due_ms <= now.ms()) {
            return Ready::Work;
        }
        let cursor = self.progress.cursor();
        let after = owned.map_or(cursor, |lease| lease.position.max(cursor));
        match stream.after(after).next() {
            None => Ready::Nothing,
            Some(_) if self.closed => Ready::Closed,
            Some(_) => Ready::Work,
        }
    }

    /// A search, which may stop early.
    pub(super) fn search(&mut self, stream: &Stream, taker: Taker, era: u64, now: Now) -> Ready {
        if self.stops > 0 {
            self.stops -= 1;
            return Ready::Later;
        }
        self.ready(stream, taker, era, now)
    }

    pub(super) fn is_plain(&self) -> bool {
        self.retries.is_empty() && !self.closed && self.stops == 0
    }

    pub(super) fn next_retry_ms(&self, now: Now) -> Option<u64> {
        let later = self.retries.iter().filter(|retry| !retry.given && retry.due_ms > now.ms());
        later.map(|retry| retry.due_ms).min()
    }

    pub(super) fn has_in_flight(&self) -> bool {
        self.progress.lease().is_some_and(|lease| !lease.is_idle(self.progress.cursor()))
    }

    /// Hands out a retry alone, or up to `count` events, under the lease.
    pub(super) fn hand_out(&mut self, stream: &Stream, count: usize, now: Now) -> Vec<EventId> {
        self.stops = 0;
        if let Some(id) = self.progress.lease().and_then(Lease::again) {
            self.progress.redeliver(id, now);
            return vec![id];
        }
        let due = |retry: &&mut Retry| !retry.given && retry.due_ms <= now.ms();
        if let Some(retry) = self.retries.iter_mut().find(due) {
            retry.given = true;
            self.progress.redeliver(retry.id, now);
            return vec![retry.id];
        }
        let cursor = self.progress.cursor();
        let after = self.progress.lease().map_or(cursor, |lease| lease.position.max(cursor));
        let fresh = stream.after(after).take(if self.closed { 0 } else { count });
        let given: Vec<_> = fresh.collect();
        if let (first, Some(last)) = (given.first().copied(), given.last().copied()) {
            let entries = given.len() as u64;
            self.progress.hand_out(HandedOut { first, last, entries, given: entries }, now);
        }
        given
    }

    /// An acknowledgement of what is in flight.
    pub(super) fn finish(&mut self, id: EventId) {
        self.retries.retain(|retry| retry.id != id);
        self.progress.finish(id);
    }

    /// The first event in flight, or a retry that is, fails and is due again later.
    pub(super) fn fail(&mut self, id: EventId, due_ms: u64) {
        self.finish(id);
        self.progress.refuse(id, Vec::new());
        self.retries.push(Retry { id, due_ms, given: false });
    }

    pub(super) fn grant(&mut self, caller: &Caller, epoch: u64, lease_ms: u64, era: u64, now: Now) {
        self.end(epoch);
        self.progress.begin_lease(caller, now, lease_ms, era);
    }

    /// An epoch ends the lease: what was in flight is handed out again.
    pub(super) fn end(&mut self, epoch: u64) {
        self.progress.issue(epoch);
        self.retries.iter_mut().for_each(|retry| retry.given = false);
    }

    /// The lease was lost.
    pub(super) fn lose(&mut self, stream: &Stream, era: u64) {
        let Some(lease) = self.progress.lease().filter(|lease| lease.era == era) else { return };
        let fresh = stream.after(self.progress.cursor()).take_while(|id| *id <= lease.given);
        let alone: Vec<_> = fresh.chain(lease.redelivering.iter().copied()).collect();
        if let [id] = alone[..]
            && stream.is_poison(id)
        {
            self.finish(id);
        }
        self.progress.lose_lease(None);
        self.retries.iter_mut().for_each(|retry| retry.given = false);
    }

    /// The group goes on after `cursor`.
    pub(super) fn seek(&mut self, cursor: EventId, epoch: u64) {
        self.retries.clear();
        self.progress.seek(cursor, epoch);
    }
}
