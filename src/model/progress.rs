//! Delivery: how far one group has come in one partition, what it left behind on the way, and who
//! may take it further.
//!
//! Saved are the cursor, the exceptions, the last epoch and the suspect; the lease is volatile, so
//! after a crash an old epoch is fenced and what was not finished is handed out again.
//!
//! The functions that take `&self` decide and change nothing. The saved part changes only through
//! effects (see [`super::effect`]), the rest only through the functions under "Volatile".

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::exceptions::{Exception, Exceptions, State};
use super::group::{Group, OnDead};
use super::ids::EventId;
use super::lease::{Caller, Lease, Now, Scene, Turn};
use super::limits::MAX_EXCEPTIONS;

/// One group's progress in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    cursor: EventId,
    epoch: u64,
    exceptions: Exceptions,
    /// An event that was alone in flight when leases were lost, and how often.
    suspect: Option<(EventId, u32)>,
    #[serde(skip)]
    lease: Option<Lease>,
    #[serde(skip)]
    careful: Careful,
    #[serde(skip)]
    totals: Totals,
    #[serde(skip)]
    counted: Option<Counted>,
}

/// What has been delivered since the server started or loaded the value. Volatile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events handed out.
    pub deliveries: u64,
    /// Failures that led to a retry.
    pub retries: u64,
    /// Failures that led to a dead letter.
    pub dead: u64,
    /// Deliveries in the second `second`, and in the one before it.
    second: u64,
    this_second: u64,
    last_second: u64,
}

impl Totals {
    fn deliver(&mut self, now: Now, events: u64) {
        self.deliveries += events;
        self.turn_to(now.ms() / 1000);
        self.this_second += events;
    }

    fn turn_to(&mut self, second: u64) {
        if second != self.second {
            self.last_second = if second == self.second + 1 { self.this_second } else { 0 };
            self.this_second = 0;
            self.second = second;
        }
    }

    /// Deliveries in the last full second.
    #[must_use]
    pub fn deliveries_per_second(mut self, now: Now) -> u64 {
        self.turn_to(now.ms() / 1000);
        self.last_second
    }
}

/// How many entries of the stream lie at or below the cursor: what is not finished follows from
/// the stream's length. Volatile; good as long as nothing else removes entries, which the stamp
/// tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Counted up to here, which the cursor may have left behind.
    pub cursor: EventId,
    /// Entries at or below it.
    pub below: u64,
    /// How many entries were ever removed from the stream, and its first entry.
    pub stamp: (u64, EventId),
}

/// What was in flight when a lease was lost is handed out one event at a time until it is
/// finished, so that a poison event shows itself and its neighbours are not blamed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Careful {
    until: EventId,
    redelivered: BTreeSet<EventId>,
}

/// What a failure does to its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It is handed out again at this unix time in ms.
    Retry(u64),
    /// It is dead and holds its key.
    Dead,
    /// It is dead and its key goes on.
    Skipped,
}

/// A failure that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The event.
    pub id: EventId,
    /// The digest of its key.
    pub key: u128,
    /// How often it has failed, this time included.
    pub attempts: u32,
    /// When it failed first, in unix ms.
    pub first_ms: u64,
    /// What happens to it.
    pub fate: Fate,
    /// Later events of its key that were handed out already: they are held behind it from now on.
    pub held: Vec<EventId>,
}

/// What an acknowledgement comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It repeats, or names an exception that is not in flight: nothing changes.
    Nothing,
    /// It finishes events or an exception.
    Finishes,
}

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

    /// The last epoch that was issued; 0 before the first.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last lease, which may be past its deadline or its era.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// What the cursor passed, or may pass, without it being finished.
    #[must_use]
    pub fn exceptions(&self) -> &Exceptions {
        &self.exceptions
    }

    /// The highest id that the group knows of: cursor, exceptions, events in flight.
    #[must_use]
    pub fn highest_id(&self) -> EventId {
        let position = self.lease.as_ref().map(|lease| lease.position);
        self.cursor.max(self.exceptions.last().max(position).unwrap_or_default())
    }

    /// Whether `id` is the event that was alone in flight when a lease was lost.
    #[must_use]
    pub fn is_suspect(&self, id: EventId) -> bool {
        self.suspect.is_some_and(|(suspect, _)| suspect == id)
    }

    /// How often `id` has been handed out in vain so far.
    #[must_use]
    pub fn attempts(&self, id: EventId) -> u32 {
        match (self.exceptions.get(id), self.suspect) {
            (Some(exception), _) => exception.attempts,
            (None, Some((suspect, count))) if suspect == id => count,
            (None, _) => 0,
        }
    }

    /// The next epoch: greater than any before, even than one whose grant was lost in a failover,
    /// because that one was no later than its clock.
    #[must_use]
    pub fn next_epoch(&self, now: Now) -> u64 {
        self.epoch.saturating_add(1).max(now.unix_us)
    }

    /// The lease if it still stands: it is of this era, and its owner's connection has not closed
    /// under it.
    #[must_use]
    pub fn standing(&self, scene: Scene) -> Option<&Lease> {
        self.lease
            .as_ref()
            .filter(|lease| lease.era == scene.era && !(scene.owner_gone && lease.worker.is_none()))
    }

    /// Whether the next worker that asks may take over. A lease does not lapse while its owner is
    /// blocked with nothing in flight.
    #[must_use]
    pub fn is_free(&self, now: Now, scene: Scene) -> bool {
        self.standing(scene).is_none_or(|lease| {
            let idle = lease.is_idle(self.cursor);
            idle && lease.shared || now.ms() >= lease.deadline_ms && !(idle && scene.owner_waits)
        })
    }

    /// Decides whether a CONSUME of `caller` goes on, takes the lease or waits.
    #[must_use]
    pub fn turn(&self, caller: &Caller, now: Now, scene: Scene) -> Turn {
        if let Some(lease) = self.standing(scene) {
            let connected = lease.connection.is_some() && lease.connection == caller.connection;
            let named = lease.worker == caller.worker;
            let anonymous = caller.worker.is_none();
            if caller.epoch == Some(self.epoch) || connected && (named || anonymous) {
                return Turn::Continue;
            }
            if named && !anonymous {
                return Turn::Grant(self.next_epoch(now));
            }
        }
        if self.is_free(now, scene) && !scene.queue {
            Turn::Grant(self.next_epoch(now))
        } else {
            Turn::Wait
        }
    }

    /// The lease, if `caller` may act under it: whoever gives the current epoch, else the worker
    /// itself, by its name or its connection. A deadline that has passed does not matter until
    /// somebody takes over.
    ///
    /// # Errors
    /// [`Error::Fenced`].
    pub fn authorize(&self, caller: &Caller, scene: Scene) -> Result<&Lease, Error> {
        let lease = self.standing(scene).ok_or(Error::Fenced)?;
        let may = match (caller.epoch, &caller.worker) {
            (Some(epoch), _) => epoch == self.epoch,
            (None, Some(worker)) => lease.worker.as_ref() == Some(worker),
            (None, None) => caller.connection.is_some() && lease.connection == caller.connection,
        };
        if may { Ok(lease) } else { Err(Error::Fenced) }
    }

    /// Decides an ACK of `id`.
    ///
    /// # Errors
    /// [`Error::Fenced`]; [`Error::BadId`] for an id beyond what this epoch was given.
    pub fn ack(&self, caller: &Caller, scene: Scene, id: EventId) -> Result<Ack, Error> {
        let lease = self.authorize(caller, scene)?;
        if id > lease.position.max(self.cursor) {
            return Err(Error::BadId("the event was not handed out under this lease"));
        }
        let finishes = id > self.cursor || lease.redelivering.contains(&id);
        Ok(if finishes { Ack::Finishes } else { Ack::Nothing })
    }

    /// Whether `id` is in flight under the standing lease, as far as the ids tell.
    ///
    /// # Errors
    /// [`Error::BadId`] if it is not.
    pub fn check_in_flight(&self, lease: &Lease, id: EventId) -> Result<(), Error> {
        let fresh = id > self.cursor && id <= lease.position && self.exceptions.get(id).is_none();
        if fresh || lease.redelivering.contains(&id) {
            Ok(())
        } else {
            Err(Error::BadId("the event is not in flight under this lease"))
        }
    }

    /// Decides the failure of an event in flight. `later` are the events of its key that were
    /// handed out after it; those that are no exceptions yet become held. `delay_ms` replaces the
    /// group's backoff.
    ///
    /// # Errors
    /// [`Error::Limit`] if the exceptions would not fit.
    pub fn fail(
        &self,
        group: &Group,
        now: Now,
        id: EventId,
        key: u128,
        later: &[EventId],
        delay_ms: Option<u64>,
    ) -> Result<Failure, Error> {
        let attempts = self.attempts(id).saturating_add(1);
        let first_ms = match self.exceptions.get(id) {
            Some(exception) if exception.first_ms > 0 => exception.first_ms,
            _ => now.ms(),
        };
        let fate = if attempts < group.max_attempts {
            let delay_ms = delay_ms.unwrap_or_else(|| group.backoff_ms(attempts));
            Fate::Retry(now.ms().saturating_add(delay_ms))
        } else {
            match group.on_dead {
                OnDead::Hold => Fate::Dead,
                OnDead::Skip => Fate::Skipped,
            }
        };
        // Behind an event that is skipped nothing has to wait.
        let held: Vec<EventId> = match fate {
            Fate::Skipped => Vec::new(),
            Fate::Retry(_) | Fate::Dead => {
                later.iter().copied().filter(|id| self.exceptions.get(*id).is_none()).collect()
            }
        };
        let new = usize::from(self.exceptions.get(id).is_none());
        self.check_room(held.len() + new)?;
        Ok(Failure { id, key, attempts, first_ms, fate, held })
    }

    /// Refuses one more exception where there is no room, unless `id` is one already.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check_room_for(&self, id: EventId) -> Result<(), Error> {
        self.check_room(usize::from(self.exceptions.get(id).is_none()))
    }

    fn check_room(&self, more: usize) -> Result<(), Error> {
        if self.exceptions.len() + more > MAX_EXCEPTIONS {
            let what = "events of a group that wait for a retry or are held in a partition";
            return Err(Error::Limit(what, MAX_EXCEPTIONS as u64));
        }
        Ok(())
    }

    /// Whether delivery is plain: no event has to be looked at before it is handed out.
    #[must_use]
    pub fn is_plain(&self, group: &Group) -> bool {
        self.exceptions.is_empty() && group.types.is_empty() && !self.is_careful()
    }

    /// How many fresh events may be handed out now: all, one, or none while one that was in
    /// flight when a lease was lost has to be finished first.
    #[must_use]
    pub fn fresh_allowed(&self, lease: &Lease) -> u64 {
        match (self.is_careful(), lease.is_idle(self.cursor)) {
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
    pub fn due(&self, lease: &Lease, now: Now) -> Option<EventId> {
        if self.fresh_allowed(lease) == 0 {
            return None;
        }
        let due = self.exceptions.retries().take_while(|(due_ms, _)| *due_ms <= now.ms());
        due.map(|(_, id)| id)
            .filter(|id| *id <= self.cursor && !lease.redelivering.contains(id))
            .min()
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

    /// What was delivered, since when see [`Totals`].
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// What is known of the number of entries below the cursor.
    #[must_use]
    pub fn counted(&self) -> Option<Counted> {
        self.counted
    }

    /// Saved: everything up to `id` is finished; at or below the cursor, exactly the exception
    /// `id` is.
    pub(super) fn finish(&mut self, id: EventId) {
        if id > self.cursor {
            self.count_up_to(id);
            self.pass(id);
        } else {
            self.exceptions.finish(id);
        }
        if let Some(lease) = &mut self.lease {
            lease.redelivering.remove(&id);
        }
    }

    /// Keeps the count if `id` ends a reply. If it ends within one, the count stays where it was
    /// and whoever wants it reads on from there; replies that lie behind it add nothing then.
    fn count_up_to(&mut self, id: EventId) {
        let Some(lease) = &mut self.lease else { return };
        let mut entries = 0;
        let mut ends_reply = false;
        while let Some((last, more)) = lease.replies.front().copied()
            && last <= id
        {
            lease.replies.pop_front();
            entries += more;
            ends_reply = last == id;
        }
        if let Some(counted) = &mut self.counted
            && ends_reply
            && counted.cursor == self.cursor
        {
            counted.cursor = id;
            counted.below += entries;
        }
    }

    /// Saved: the cursor moves on, over exceptions and what the group does not take.
    pub(super) fn pass(&mut self, cursor: EventId) {
        self.cursor = self.cursor.max(cursor);
        self.exceptions.pass(self.cursor);
        self.suspect.take_if(|(id, _)| *id <= cursor);
    }

    /// Saved: `epoch` is issued; whoever held the lease under an older one is fenced.
    pub(super) fn issue(&mut self, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        self.lease = None;
    }

    /// Saved: the event `id` was alone in flight when a lease was lost, for the `count`-th time.
    pub(super) fn suspect(&mut self, id: EventId, count: u32) {
        self.suspect = Some((id, count));
    }

    /// Saved: a failure.
    pub(super) fn failed(&mut self, failure: &Failure) {
        let Failure { id, key, attempts, first_ms, fate, held } = failure;
        let state = match fate {
            Fate::Retry(due_ms) => State::Retry(*due_ms),
            Fate::Dead => State::Dead,
            Fate::Skipped => State::Finished,
        };
        let exception = Exception { key: *key, attempts: *attempts, first_ms: *first_ms, state };
        self.exceptions.set(*id, exception);
        for id in held {
            self.hold(*id, *key);
        }
        if *fate == Fate::Skipped {
            self.exceptions.pass(self.cursor);
            self.exceptions.release(*key);
        }
        self.suspect.take_if(|(suspect, _)| suspect == id);
        match fate {
            Fate::Retry(_) => self.totals.retries += 1,
            Fate::Dead | Fate::Skipped => self.totals.dead += 1,
        }
        if let Some(lease) = &mut self.lease {
            lease.redelivering.remove(id);
        }
    }

    /// Saved: an event is held behind an earlier one of its key.
    pub(super) fn hold(&mut self, id: EventId, key: u128) {
        if self.exceptions.get(id).is_none() {
            let held = Exception { key, attempts: 0, first_ms: 0, state: State::Held };
            self.exceptions.set(id, held);
        }
    }

    /// Saved: an exception is over without an acknowledgement: an operator skipped it, or its
    /// entry is gone. Above the cursor it stays as finished until the cursor passes it.
    pub(super) fn drop_exception(&mut self, id: EventId) {
        let Some(exception) = self.exceptions.get(id).copied() else { return };
        if id > self.cursor {
            self.exceptions.set(id, Exception { state: State::Finished, ..exception });
            self.exceptions.release(exception.key);
        } else {
            self.exceptions.finish(id);
        }
        if let Some(lease) = &mut self.lease {
            lease.redelivering.remove(&id);
        }
    }

    /// Saved: a dead event starts again at attempt 1.
    pub(super) fn revive(&mut self, id: EventId, key: u128) {
        let exception = Exception { key, attempts: 0, first_ms: 0, state: State::Retry(0) };
        self.exceptions.set(id, exception);
    }

    /// Saved: the group goes on after `cursor`, wherever it was, and forgets its exceptions.
    pub(super) fn seek(&mut self, cursor: EventId, epoch: u64) {
        self.exceptions.clear();
        self.suspect = None;
        self.counted = None;
        self.careful = Careful::default();
        self.cursor = cursor;
        self.issue(epoch);
    }

    /// Volatile: the worker of `caller` owns the last issued epoch, from the cursor.
    pub fn begin_lease(&mut self, caller: &Caller, now: Now, lease_ms: u64, era: u64) {
        self.lease = Some(Lease {
            worker: caller.worker.clone(),
            connection: caller.connection,
            deadline_ms: now.ms().saturating_add(lease_ms),
            lease_ms,
            position: self.cursor,
            redelivering: BTreeSet::new(),
            shared: false,
            abandoned: false,
            era,
            replies: std::collections::VecDeque::new(),
        });
    }

    /// Volatile: the owner's pull moves the lease to its connection, if it has one, and renews it.
    pub fn continue_lease(&mut self, connection: Option<u64>, now: Now, lease_ms: u64) {
        if let Some(lease) = &mut self.lease {
            lease.connection = connection.or(lease.connection);
            lease.abandoned = false;
            lease.lease_ms = lease_ms;
        }
        self.renew(now);
    }

    /// Volatile: the lease was pulled by partition, or (`shared`) with all others of the ring.
    pub fn share_lease(&mut self, shared: bool) {
        if let Some(lease) = &mut self.lease {
            lease.shared = shared;
        }
    }

    /// Volatile: a sign of life from the owner moves the deadline.
    pub fn renew(&mut self, now: Now) {
        if let Some(lease) = &mut self.lease {
            lease.deadline_ms = now.ms().saturating_add(lease.lease_ms);
        }
    }

    /// Volatile: as [`Progress::renew`], if `connection` holds the lease.
    pub fn renew_for(&mut self, connection: u64, now: Now) {
        if self.lease.as_ref().is_some_and(|lease| lease.connection == Some(connection)) {
            self.renew(now);
        }
    }

    /// Volatile: the connection of the lease's named owner has closed.
    pub fn abandon_lease(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.abandoned = true;
        }
    }

    /// Volatile: renews with another length from now on.
    pub fn extend(&mut self, now: Now, lease_ms: u64) {
        if let Some(lease) = &mut self.lease {
            lease.lease_ms = lease_ms;
        }
        self.renew(now);
    }

    /// Volatile: the stream was read up to `id`, over `entries` entries, of which `given` were
    /// handed out.
    pub fn hand_out(&mut self, id: EventId, entries: u64, given: u64, now: Now) {
        self.totals.deliver(now, given);
        if let Some(lease) = &mut self.lease {
            lease.position = lease.position.max(id);
            lease.replies.push_back((id, entries));
        }
    }

    /// Volatile: entries below the cursor were counted.
    pub fn set_counted(&mut self, counted: Option<Counted>) {
        self.counted = counted;
    }

    /// Volatile: the exception `id` was handed out again.
    pub fn redeliver(&mut self, id: EventId, now: Now) {
        self.totals.deliver(now, 1);
        if let Some(lease) = &mut self.lease {
            lease.redelivering.insert(id);
        }
    }

    /// Volatile: a lease is over that was lost. Whatever was in flight is handed out one event at
    /// a time until it is finished.
    pub fn lose_lease(&mut self) {
        if let Some(lease) = self.lease.take() {
            self.careful.until = self.careful.until.max(lease.position);
            self.careful.redelivered.extend(lease.redelivering);
        }
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
