//! What a decision about those who wait has to know of the partitions, and does to them: all that
//! takes an open key.
//!
//! The server answers from its keys, the simulator from its own partitions.

use super::connections::Departure;
use super::line::Line;
use super::lines::Lines;
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::{Caller, Scene, Turn};
use crate::model::rules::ready::{Ready, Taker};

/// What there is of a line's partition and group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<P> {
    /// Both.
    Place(P),
    /// The partition has events and its ring does not have the group: the keys were deleted by
    /// hand, and perhaps made again. A worker that has waited since before makes the group again,
    /// as every EVQ.CONSUME would.
    Orphaned,
    /// The ring exists and does not have the partition: another ring is in its place.
    Outside,
    /// Nothing to wait for.
    Missing,
}

/// How the lease of a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenure {
    /// The next worker that asks may have it, under this epoch.
    Free {
        /// The epoch of the next lease.
        epoch: u64,
    },
    /// The next worker that asks may have it, under this epoch, if there is something to hand out:
    /// its owner was told that there is nothing, and does not wait.
    Claimable {
        /// The epoch of the next lease.
        epoch: u64,
        /// When it lapses, in unix ms.
        lapses_ms: u64,
    },
    /// A worker has it.
    Held {
        /// The connection that last pulled under it, unless a worker was called and is on its way.
        by: Option<u64>,
        /// When it lapses, in unix ms. It does not while its owner waits with nothing in flight.
        lapses_ms: u64,
    },
}

impl Tenure {
    /// How the lease of `progress` stands.
    #[must_use]
    pub fn of(progress: &Progress, scene: Scene, now: Now) -> Self {
        match progress.standing(scene) {
            _ if progress.is_free(now, scene) => Self::Free { epoch: progress.next_epoch(now) },
            Some(lease) if progress.is_claimable(scene) => {
                Self::Claimable { epoch: progress.next_epoch(now), lapses_ms: lease.deadline_ms }
            }
            Some(lease) => Self::Held {
                by: lease.connection.filter(|_| !lease.called),
                lapses_ms: lease.deadline_ms,
            },
            None => Self::Free { epoch: progress.next_epoch(now) },
        }
    }
}

/// A lease that is granted.
#[derive(Clone, Copy, Debug)]
pub struct Grant<'a> {
    /// Its owner.
    pub caller: &'a Caller,
    /// Its epoch.
    pub epoch: u64,
    /// Its length.
    pub lease_ms: u64,
}

/// The partitions that workers wait for, the lines in front of them, and the timer.
///
/// All errors are [`Error::WrongType`]: a key holds something else. They leave a line as it is; the
/// time-outs of its clients end their waits.
pub trait Partitions {
    /// What the server needs to unblock a client.
    type Handle;
    /// A partition and a group of it.
    type Place;

    /// Does something with the lines.
    fn lines<R>(&mut self, act: impl FnOnce(&mut Lines<Self::Handle>) -> R) -> R;

    /// Has a sweep for `reason` at `at_ms` at the latest.
    fn wake_at(&mut self, reason: Reason, at_ms: u64);

    /// Has a sweep for `reason` as soon as possible.
    fn wake_soon(&mut self, reason: Reason);

    /// What there is of a line's partition and group.
    fn find(&mut self, line: &Line) -> Result<Found<Self::Place>, Error>;

    /// Whether the partition of a line has left this node of a cluster, or is about to; for a line
    /// of [`super::line::ANY`], whether this node has no partition of the ring.
    fn is_away(&mut self, _line: &Line) -> bool {
        false
    }

    /// The partitions that a line of [`super::line::ANY`] waits for, if its ring exists.
    fn of_ring(&mut self, any: &Line) -> Option<Vec<u32>>;

    /// How the lease of `place` stands.
    fn tenure(&mut self, place: &Self::Place, now: Now) -> Result<Tenure, Error>;

    /// What an EVQ.CONSUME of `caller` would come to.
    fn turn(&mut self, place: &Self::Place, caller: &Caller, now: Now) -> Result<Turn, Error>;

    /// Whether any event is for the owner, so that none has to be checked.
    fn is_plain(&mut self, place: &Self::Place) -> Result<bool, Error>;

    /// Searches for work, and saves how far that came.
    fn search(&mut self, place: &Self::Place, taker: Taker, now: Now) -> Result<Ready, Error>;

    /// When the next retry of `place` is due, in unix ms.
    fn next_retry_ms(&mut self, place: &Self::Place, now: Now) -> Result<Option<u64>, Error>;

    /// Whether anything was handed out under the lease of `place` that is not finished.
    fn has_in_flight(&mut self, place: &Self::Place) -> Result<bool, Error>;

    /// Grants the lease.
    fn grant(&mut self, place: &Self::Place, grant: Grant<'_>, now: Now) -> Result<(), Error>;

    /// Ends a lease that was lost: an event that was alone in flight has failed with it.
    fn lose(&mut self, place: &Self::Place, now: Now) -> Result<(), Error>;

    /// Renews the lease of `place` by `lease_ms` for its owner `caller`, which waits and is called,
    /// and keeps it from others until that has come.
    fn keep(
        &mut self,
        place: &Self::Place,
        caller: &Caller,
        lease_ms: u64,
        now: Now,
    ) -> Result<(), Error>;

    /// The worker `client` was called to the partition of `line` and does not come: its lease is
    /// anybody's.
    fn call_off(&mut self, client: u64, line: &Line);

    /// What becomes of the lease of `place` when the connection `client` closes.
    fn departure(&mut self, place: &Self::Place, client: u64) -> Result<Departure, Error>;

    /// The lease of `place` goes on to its deadline, though its owner's connection has closed.
    fn abandon(&mut self, place: &Self::Place) -> Result<(), Error>;
}
