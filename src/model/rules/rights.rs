//! Rights: whether a CONSUME goes on, takes the lease or waits, and whether an ACK, a NACK, an
//! EXTEND or a RELEASE comes from the owner. Nothing here changes anything.

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::{Caller, Lease, Scene, Turn};

/// The decision about an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It repeats, or names an exception that is not in flight: nothing changes.
    Nothing,
    /// It finishes events or an exception.
    Finishes,
}

impl Progress {
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
            .as_deref()
            .filter(|lease| lease.era == scene.era && !(scene.owner_gone && lease.worker.is_none()))
    }

    /// Whether the next worker that asks may take over. A lease does not lapse while its owner is
    /// blocked with nothing in flight.
    #[must_use]
    pub fn is_free(&self, now: Now, scene: Scene) -> bool {
        self.standing(scene).is_none_or(|lease| {
            let idle = lease.is_idle(self.cursor);
            let offered = idle && lease.shared && !lease.called;
            offered || now.ms() >= lease.deadline_ms && !(idle && scene.owner_waits)
        })
    }

    /// Whether another worker may take over once there is something to hand out, though the lease
    /// is not free: its owner was told that there is nothing.
    #[must_use]
    pub fn is_claimable(&self, scene: Scene) -> bool {
        self.standing(scene).is_some_and(|lease| {
            lease.told_nothing && !lease.called && !scene.owner_waits && lease.is_idle(self.cursor)
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
        if scene.queue {
            return Turn::Wait;
        }
        if self.is_free(now, scene) {
            Turn::Grant(self.next_epoch(now))
        } else if self.is_claimable(scene) {
            Turn::Claim(self.next_epoch(now))
        } else {
            Turn::Wait
        }
    }

    /// Whether the lease that a grant to `caller` replaces was lost. It was not if its own worker
    /// asks again by its name while its connection lives: then a reply got lost, and nobody is to
    /// blame. Nor is anybody for a lease that a change of role has ended.
    #[must_use]
    pub fn is_lost(&self, caller: &Caller, now: Now, scene: Scene) -> bool {
        self.lease().filter(|lease| lease.era == scene.era).is_some_and(|lease| {
            let same = lease.worker.is_some() && lease.worker == caller.worker;
            !same || lease.abandoned || scene.owner_gone || self.is_free(now, scene)
        })
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
    /// [`Error::Fenced`]; [`Error::BadId`] for an id beyond or before what this epoch was given.
    pub fn ack(&self, caller: &Caller, scene: Scene, id: EventId) -> Result<Ack, Error> {
        let lease = self.authorize(caller, scene)?;
        if id > lease.given.max(self.cursor) || self.comes_before(lease, id) {
            return Err(Error::BadId("the event was not handed out under this lease"));
        }
        let finishes = id > self.cursor || lease.redelivering.contains(&id);
        Ok(if finishes { Ack::Finishes } else { Ack::Nothing })
    }

    /// Whether `id` lies between the cursor and the first event that was handed out: then it was
    /// not. What lies between two events that were handed out cannot be told from one that was
    /// handed out and then deleted.
    fn comes_before(&self, lease: &Lease, id: EventId) -> bool {
        id > self.cursor
            && lease.first.is_none_or(|first| id < first)
            && self.exceptions.get(id).is_none()
    }

    /// Whether `id` is in flight under the standing lease, as far as the ids tell.
    ///
    /// # Errors
    /// [`Error::BadId`] if it is not.
    pub fn check_in_flight(&self, lease: &Lease, id: EventId) -> Result<(), Error> {
        let fresh = id > self.cursor
            && id <= lease.given
            && self.exceptions.get(id).is_none()
            && !self.comes_before(lease, id);
        if fresh || lease.redelivering.contains(&id) {
            Ok(())
        } else {
            Err(Error::BadId("the event is not in flight under this lease"))
        }
    }
}
