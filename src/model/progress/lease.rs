//! The lease: who owns a partition for its group, and what a request for it comes to. Volatile:
//! after a restart, a reload or a change of role nobody holds one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::counts::Reply;
use super::keys_in_flight::KeysInFlight;
use crate::model::claim::Claim;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::memory::{Filled, block, tree};
use crate::model::name::Name;

/// The caller of a command: what the command says, and the connection it came through.
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
    /// The caller with these words through this connection.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no connection and the words name nobody.
    pub fn of(claim: &Claim, connection: Option<u64>) -> Result<Self, Error> {
        let (worker, epoch) = (&claim.worker, claim.epoch);
        if connection.is_none() && worker.is_none() && epoch.is_none() {
            return Err(Error::Usage("WORKER or EPOCH is required in a script"));
        }
        Ok(Self { worker: worker.clone(), epoch, connection })
    }

    /// The caller of EVQ.CONSUME, which becomes an owner: an epoch names none.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no connection and no WORKER.
    pub fn of_consumer(claim: &Claim, connection: Option<u64>) -> Result<Self, Error> {
        if connection.is_none() && claim.worker.is_none() {
            return Err(Error::Usage("WORKER is required in a script"));
        }
        Self::of(claim, connection)
    }
}

/// Where a pull goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// After what is acknowledged: what is in flight is handed out again.
    Steady,
    /// After what was handed out last.
    Ahead,
}

/// A worker's ownership of a partition for its group.
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
    /// The first fresh event handed out under this epoch: what is below it was not.
    pub first: Option<EventId>,
    /// The last event handed out under this epoch; the cursor if none was. It never goes back.
    pub given: EventId,
    /// The next pull reads on after here: at most `given`.
    pub position: EventId,
    /// Whether the last pull went on after what was acknowledged, or after what was handed out.
    pub pace: Pace,
    /// Keys of which an event was revived that left their order before, see [`Lease::repeats`].
    pub revived: BTreeSet<u128>,
    /// Refused events that were not handed out since, with what each holds.
    pub refused: BTreeMap<EventId, Vec<EventId>>,
    /// The keys of what is in flight, from the first refusal on.
    pub keys: Option<Box<KeysInFlight>>,
    /// Replies since the last answer that only repeated what was in flight.
    pub repeated: u32,
    /// Redelivered events that were handed out and not answered.
    pub redelivering: BTreeSet<EventId>,
    /// The last reply left something behind, as far as is known: the next pull that is ready to
    /// wait then reads on from there instead of from the stream's end. Saves 6 % of it.
    pub behind: bool,
    /// Pulled by `EVQ.CONSUME *`: with nothing in flight, any worker of the group may take it.
    pub shared: bool,
    /// `EVQ.CONSUME *` was called here while it waited and is on its way: until it has come, nobody
    /// else may take the lease.
    pub called: bool,
    /// The owner was told that there is nothing, and does not wait: with nothing in flight, another
    /// worker may take it as soon as there is something to hand out.
    pub told_nothing: bool,
    /// The connection of a named owner has closed; the lease goes on to its deadline.
    pub abandoned: bool,
    /// The era it was granted in, see [`Scene::era`].
    pub era: u64,
    /// The replies that are not acknowledged yet.
    pub replies: VecDeque<Reply>,
}

impl Lease {
    /// Whether nothing that was handed out is unfinished.
    #[must_use]
    pub fn is_idle(&self, cursor: EventId) -> bool {
        self.given <= cursor && self.redelivering.is_empty()
    }

    /// Whether the fresh event `id` of `key` comes again, though it may come after an exception
    /// that began anew while it was in flight.
    #[must_use]
    pub fn repeats(&self, id: EventId) -> bool {
        id <= self.given && self.first.is_some_and(|first| id >= first)
    }

    /// Up to where a pull is given what is in flight again.
    #[must_use]
    pub fn repeats_until(&self) -> EventId {
        match self.pace {
            Pace::Steady => self.given,
            Pace::Ahead => self.position,
        }
    }

    /// The redelivery in flight that a pull is given again, before anything else.
    #[must_use]
    pub fn again(&self) -> Option<EventId> {
        match self.pace {
            Pace::Steady => self.redelivering.first().copied(),
            Pace::Ahead => None,
        }
    }

    /// The worker as dead letters, EVQ.PENDING and EVQ.STATS name it.
    #[must_use]
    pub fn owner(&self) -> String {
        match (&self.worker, self.connection) {
            (Some(name), _) => name.to_string(),
            (None, Some(connection)) => format!("connection {connection}"),
            (None, None) => String::new(),
        }
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.worker.as_ref().map_or(0, Name::heap_bytes)
            + tree::<EventId, ()>(self.redelivering.len(), Filled::InOrder)
            + tree::<u128, ()>(self.revived.len(), Filled::Anywhere)
            + tree::<EventId, Vec<EventId>>(self.refused.len(), Filled::Anywhere)
            + self
                .refused
                .values()
                .map(|ids| block(ids.capacity() * size_of::<EventId>()))
                .sum::<usize>()
            + self.keys.as_ref().map_or(0, |k| block(size_of::<KeysInFlight>()) + k.heap_bytes())
            + block(self.replies.capacity() * size_of::<Reply>())
    }
}

/// Facts that the server has about a (partition, group) beside its value.
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

/// The decision about an EVQ.CONSUME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The caller's lease goes on.
    Continue,
    /// The caller gets the lease under this new epoch, from the cursor.
    Grant(u64),
    /// The caller gets the lease under this new epoch if there is something to hand out. Its owner
    /// has nothing in flight and was told that there is nothing: without work two idle workers
    /// would pass it to and fro.
    Claim(u64),
    /// Somebody else has it, or comes first.
    Wait,
}
