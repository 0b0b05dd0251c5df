//! The tenure of a lease, from its grant to its end: granted, lost, given up, and fenced by an
//! operator who moves the group.
//!
//! Every new epoch fences the owner before. A lease that is lost, unlike one that is given up,
//! blames the event that was alone in flight; of several, none, but they come one at a time from
//! then on.

use super::answers::{Report, record};
use super::delivery;
use super::shell::{Occurrence, Shell};
use super::source::Entry;
use super::steps::or_beginning;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::progress::lease::{Caller, Pace, Scene, Turn};
use crate::model::saved::effect::Change;

/// Whether a worker that pulls from one partition is new in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It comes, and whoever stands in line is before it.
    New,
    /// It stood in line and its turn has come: nobody is before it, even if the lease it had is
    /// gone with its key.
    Called,
}

/// Where a pull takes events from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// From one partition.
    One,
    /// From any of the ring: with nothing in flight any worker may take the lease.
    Any,
}

/// What a pull does to the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pull {
    /// Where it takes events from.
    pub target: Target,
    /// Where it goes on.
    pub pace: Pace,
    /// The length of the lease, in ms.
    pub lease_ms: u64,
}

/// Decides whether a pull of `caller` goes on, takes the lease or waits.
///
/// # Errors
/// [`Error::WrongType`].
pub fn turn<S: Shell>(shell: &mut S, caller: &Caller, arrival: Arrival) -> Result<Turn, Error> {
    shell.with(|shell, progress| {
        let scene = shell.scene(progress.as_deref());
        let queue = scene.queue && arrival == Arrival::New;
        or_beginning(shell, progress, |progress| {
            progress.turn(caller, shell.now(), Scene { queue, ..scene })
        })
    })
}

/// Issues `epoch` to `caller`, which fences whoever had the lease.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub fn grant<S: Shell>(
    shell: &mut S,
    caller: &Caller,
    epoch: u64,
    lease_ms: u64,
) -> Result<(), Error> {
    let now = shell.now();
    let is_lost = shell.with(|shell, progress| {
        let scene = shell.scene(progress.as_deref());
        progress.is_some_and(|progress| progress.is_lost(caller, now, scene))
    })?;
    if is_lost {
        lose(shell)?;
    }
    issue(shell, epoch)?;
    shell.with(|shell, progress| {
        if let Some(progress) = progress {
            progress.begin_lease(caller, now, lease_ms, shell.era());
        }
    })
}

/// The lease goes on at the connection of `caller`, whose pull renews it.
///
/// # Errors
/// [`Error::WrongType`].
pub fn proceed<S: Shell>(shell: &mut S, caller: &Caller, pull: Pull) -> Result<(), Error> {
    let Pull { target, pace, lease_ms } = pull;
    shell.with(|shell, progress| {
        if let Some(progress) = progress {
            progress.continue_lease(caller.connection, shell.now(), lease_ms);
            progress.share_lease(target == Target::Any);
            progress.set_pace(pace);
        }
    })
}

/// A pull of `caller` from any partition goes on after what is acknowledged, so in this one too if
/// the lease is its own. Returns whether something is in flight, which then comes first.
///
/// # Errors
/// [`Error::WrongType`].
pub fn set_back<S: Shell>(shell: &mut S, caller: &Caller) -> Result<bool, Error> {
    shell.with(|shell, progress| {
        let scene = shell.scene(progress.as_deref());
        let Some(progress) = progress else { return false };
        if progress.turn(caller, shell.now(), scene) != Turn::Continue {
            return false;
        }
        progress.set_pace(Pace::Steady);
        progress.lease().is_some_and(|lease| !lease.is_idle(progress.cursor()))
    })
}

/// Ends a lease that was lost by a closed connection, expiry or a takeover. An event that was alone
/// in flight has failed with it; of several, none is blamed. Nor is any for a lease that a change
/// of role has ended.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub fn lose<S: Shell>(shell: &mut S) -> Result<(), Error> {
    let loss = shell.with(|shell, progress| loss(shell, progress?))?;
    let mut blamed = None;
    if let Some(Loss { worker, in_flight, blame }) = loss {
        blamed = blame.as_ref().map(|(event, _)| event.id());
        shell.note(Occurrence::LeaseLost { worker: &worker, in_flight, blamed });
        match blame {
            Some((event, Change::Failed(failure))) => {
                let report = Report { worker: &worker, reason: b"the worker was lost" };
                record(shell, &event, failure, report)?;
            }
            Some((_, change)) => shell.change(change)?,
            None => {}
        }
    }
    shell.with(|_, progress| {
        if let Some(progress) = progress {
            progress.lose_lease(blamed);
        }
    })
}

/// A lease that is being lost.
struct Loss<E> {
    worker: String,
    /// Something was handed out that is not finished.
    in_flight: bool,
    /// The event that was alone in flight, and what being blamed does to it.
    blame: Option<(E, Change)>,
}

/// None without a lease of this era.
fn loss<S: Shell>(shell: &S, progress: &Progress) -> Option<Loss<S::Entry>> {
    let lease = progress.lease().filter(|lease| lease.era == shell.era())?;
    // A key that holds something else has nothing in flight.
    let stream = shell.stream().ok().flatten();
    let blame =
        stream.and_then(|stream| delivery::loss(progress, shell.group(), &stream, shell.now()));
    let in_flight = !lease.is_idle(progress.cursor());
    Some(Loss { worker: lease.owner(), in_flight, blame })
}

/// Decides an EVQ.RELEASE and ends the lease. Nobody is to blame.
///
/// # Errors
/// [`Error::Fenced`], [`Error::WrongType`]; nothing has changed then.
pub fn release<S: Shell>(shell: &mut S, caller: &Caller) -> Result<(), Error> {
    let epoch = shell.with(|shell, progress| {
        let progress = progress.ok_or(Error::Fenced)?;
        progress.authorize(caller, shell.scene(Some(progress)))?;
        shell.group().activity.note(shell.now());
        Ok(progress.next_epoch(shell.now()))
    })??;
    issue(shell, epoch)
}

/// Moves the group to after `cursor`, which ends the lease.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub fn seek<S: Shell>(shell: &mut S, cursor: EventId) -> Result<(), Error> {
    let epoch = shell.with(|shell, progress| {
        or_beginning(shell, progress, |progress| progress.next_epoch(shell.now()))
    })?;
    shell.change(Change::Sought { cursor, epoch })
}

fn issue<S: Shell>(shell: &mut S, epoch: u64) -> Result<(), Error> {
    let start = shell.start();
    shell.change(Change::Epoch { epoch, start })
}
