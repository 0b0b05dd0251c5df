//! Delivery: how far each group has come in one partition, and who may take it further.
//!
//! Saved are the cursor and the last epoch. The lease is not: after a restart, a reload or a
//! change of role nobody holds one, an old epoch is fenced, and what was handed out but not
//! finished is handed out again from the cursor.
//!
//! The functions that take `&self` decide and change nothing. The saved part changes only through
//! [`Partition::apply`](super::effect), the lease only through the few functions under "Volatile".

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::ids::EventId;
use super::limits::MAX_GROUPS;
use super::name::Name;
use super::words::Claim;

/// The moment a command runs: read once, by the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The server's clock in unix microseconds.
    pub unix_us: u64,
}

impl Now {
    /// The server's clock in unix milliseconds.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.unix_us / 1000
    }
}

/// Who asks: what the command says, and the connection it came through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name given with WORKER.
    pub worker: Option<Name>,
    /// The epoch given with EPOCH.
    pub epoch: Option<u64>,
    /// The client connection; none in a script, where a connection is no identity.
    pub connection: Option<u64>,
}

impl Caller {
    /// Who asks with these words through this connection.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no connection and the words name nobody.
    pub fn of(claim: &Claim, connection: Option<u64>) -> Result<Self, Error> {
        let Claim { worker, epoch, .. } = claim.clone();
        if connection.is_none() && worker.is_none() && epoch.is_none() {
            return Err(Error::Usage(
                "in a script a connection is no worker: give WORKER or EPOCH",
            ));
        }
        Ok(Self { worker, epoch, connection })
    }

    /// The same for EVQ.CONSUME, which makes the caller an owner: an epoch names none.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no connection and no WORKER.
    pub fn of_consumer(claim: &Claim, connection: Option<u64>) -> Result<Self, Error> {
        if connection.is_none() && claim.worker.is_none() {
            return Err(Error::Usage("in a script a connection is no worker: give WORKER"));
        }
        Self::of(claim, connection)
    }
}

/// A worker's ownership of a partition for its group. Volatile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The owner's name, if it gave one: then a closed connection does not end the lease.
    pub worker: Option<Name>,
    /// The connection that last pulled under this lease.
    pub connection: Option<u64>,
    /// Past this unix time in ms the next worker that asks takes over.
    pub deadline_ms: u64,
    /// By how much the owner's commands renew it.
    pub lease_ms: u64,
    /// The last event handed out under this epoch; the cursor if none was.
    pub position: EventId,
    /// The era it was granted in, see [`Scene::era`].
    pub era: u64,
}

/// What the server knows about a (partition, group) beside its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scene {
    /// The owner is blocked in EVQ.CONSUME at this moment.
    pub owner_waits: bool,
    /// The owner's connection has closed.
    pub owner_gone: bool,
    /// Other workers have been waiting for the lease already.
    pub queue: bool,
    /// Counts the server's changes of role: a lease of an earlier era is over.
    pub era: u64,
}

/// What EVQ.CONSUME comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The caller's lease goes on.
    Continue,
    /// The caller gets the lease under this new epoch, from the cursor.
    Grant(u64),
    /// Somebody else has it, or comes first.
    Wait,
}

/// One group's progress in one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    cursor: EventId,
    epoch: u64,
    #[serde(skip)]
    lease: Option<Lease>,
}

impl Progress {
    /// Everything at or below it is finished.
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
            let idle = scene.owner_waits && lease.position == self.cursor;
            now.ms() >= lease.deadline_ms && !idle
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

    /// Decides an ACK of `id`: true if it finishes anything, false if it repeats.
    ///
    /// # Errors
    /// [`Error::Fenced`]; [`Error::BadId`] for an id beyond what this epoch was given.
    pub fn ack(&self, caller: &Caller, scene: Scene, id: EventId) -> Result<bool, Error> {
        let lease = self.authorize(caller, scene)?;
        if id > lease.position {
            return Err(Error::BadId("the event was not handed out under this lease"));
        }
        Ok(id > self.cursor)
    }

    /// Saved: everything up to `id` is finished. Never goes back.
    pub(super) fn finish(&mut self, id: EventId) {
        self.cursor = self.cursor.max(id);
    }

    /// Saved: `epoch` is issued; whoever held the lease under an older one is fenced.
    pub(super) fn issue(&mut self, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        self.lease = None;
    }

    /// Volatile: the worker of `caller` owns the last issued epoch, from the cursor.
    pub fn begin_lease(&mut self, caller: &Caller, now: Now, lease_ms: u64, era: u64) {
        self.lease = Some(Lease {
            worker: caller.worker.clone(),
            connection: caller.connection,
            deadline_ms: now.ms().saturating_add(lease_ms),
            lease_ms,
            position: self.cursor,
            era,
        });
    }

    /// Volatile: the owner's pull moves the lease to its connection, if it has one, and renews it.
    pub fn continue_lease(&mut self, connection: Option<u64>, now: Now, lease_ms: u64) {
        if let Some(lease) = &mut self.lease {
            lease.connection = connection.or(lease.connection);
            lease.lease_ms = lease_ms;
        }
        self.renew(now);
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

    /// Volatile: renews with another length from now on.
    pub fn extend(&mut self, now: Now, lease_ms: u64) {
        if let Some(lease) = &mut self.lease {
            lease.lease_ms = lease_ms;
        }
        self.renew(now);
    }

    /// Volatile: events up to `id` have been handed out.
    pub fn hand_out(&mut self, id: EventId) {
        if let Some(lease) = &mut self.lease {
            lease.position = lease.position.max(id);
        }
    }

    /// Volatile: `connection` closed; a lease that was its own, and no name's, is over.
    pub fn end_lease_of(&mut self, connection: u64) {
        let own =
            |lease: &mut Lease| lease.worker.is_none() && lease.connection == Some(connection);
        self.lease.take_if(own);
    }
}

/// The delivery state of one partition, as it is saved under its `:groups` key. A group that is
/// missing here has finished nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    groups: BTreeMap<Name, Progress>,
}

impl Partition {
    /// The progress of `group`, if it has any.
    #[must_use]
    pub fn get(&self, group: &Name) -> Option<&Progress> {
        self.groups.get(group)
    }

    /// The same, for the volatile functions of [`Progress`].
    pub fn get_mut(&mut self, group: &Name) -> Option<&mut Progress> {
        self.groups.get_mut(group)
    }

    /// Changes the progress of `group`, made if it is missing.
    pub(super) fn update(&mut self, group: &Name, change: impl FnOnce(&mut Progress)) {
        // Looking first spares a clone of the name on every acknowledgement.
        match self.groups.get_mut(group) {
            Some(progress) => change(progress),
            None => change(self.groups.entry(group.clone()).or_default()),
        }
    }

    /// All groups with their progress, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, &Progress)> {
        self.groups.iter()
    }

    /// A stream that is made anew must begin above this: every cursor, and every event in flight,
    /// or the acknowledgement of one would finish new events that nobody was given.
    #[must_use]
    pub fn floor(&self) -> EventId {
        let reached = |progress: &Progress| {
            progress.lease().map_or(progress.cursor, |lease| lease.position.max(progress.cursor))
        };
        self.groups.values().map(reached).max().unwrap_or_default()
    }

    /// Refuses more groups than a ring can have: a snapshot is hostile bytes.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check(&self) -> Result<(), Error> {
        if self.groups.len() > MAX_GROUPS {
            return Err(Error::Limit("groups of a ring", MAX_GROUPS as u64));
        }
        Ok(())
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        // A B-tree keeps nodes of up to 11 entries that are two thirds full on average.
        let per_group = (size_of::<Name>() + size_of::<Progress>()) * 3 / 2;
        self.groups.keys().map(|group| group.as_str().len() + per_group).sum()
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
