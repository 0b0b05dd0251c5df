//! Leases on a server: grants, losses and answers.
//!
//! What each of them does, in which order, is written in [`crate::model::rules::tenure`] and
//! [`crate::model::rules::answers`]. This adds what only a server has: blocked clients, counters.

use super::shell::PlaceShell;
use super::state;
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::progress::lease::{Caller, Lease, Turn};
use crate::model::rules::answers::{Answered, Failed};
use crate::model::rules::failure::Refusal;
use crate::model::rules::tenure::{Arrival, Pull};
use crate::model::rules::{answers, tenure};
use crate::server::api::acl::User;
use crate::server::api::ctx::Ctx;
use crate::server::api::timer;
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::place::Place;
use crate::server::ops::counters;
use crate::server::waiting::lines;
use crate::server::waiting::release::fence_owner;

/// Decides a CONSUME.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn turn(ctx: &Ctx, place: &Place, caller: &Caller, now: Now) -> Result<Turn, Error> {
    tenure::turn(&mut PlaceShell::new(ctx, place, now), caller, Arrival::New)
}

/// Decides a CONSUME whose turn has come after it had waited.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn next_turn(
    ctx: &Ctx,
    place: &Place,
    caller: &Caller,
    now: Now,
) -> Result<Turn, Error> {
    tenure::turn(&mut PlaceShell::new(ctx, place, now), caller, Arrival::Called)
}

/// Issues `epoch` to `caller`, which fences whoever had the lease; a client that is blocked under
/// the old lease is refused.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn grant(
    ctx: &Ctx,
    place: &Place,
    caller: &Caller,
    epoch: u64,
    now: Now,
    lease_ms: u64,
) -> Result<(), Error> {
    tenure::grant(&mut PlaceShell::new(ctx, place, now), caller, epoch, lease_ms)?;
    counters::GRANTS.add(1);
    fence_owner(ctx, &place.line, caller.connection);
    Ok(())
}

/// The lease goes on at the connection of `caller`, whose pull from one partition or from any
/// renews it.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn proceed(
    ctx: &Ctx,
    place: &Place,
    caller: &Caller,
    pull: Pull,
    now: Now,
) -> Result<(), Error> {
    tenure::proceed(&mut PlaceShell::new(ctx, place, now), caller, pull)
}

/// A pull of `caller` from any partition goes on after what is acknowledged, in this one too.
/// Returns whether something is in flight here under its lease.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn set_back(ctx: &Ctx, place: &Place, caller: &Caller, now: Now) -> Result<bool, Error> {
    tenure::set_back(&mut PlaceShell::new(ctx, place, now), caller)
}

/// The owner of the lease, if it is `caller`, is told that there is nothing and does not wait.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn tell_nothing(ctx: &Ctx, place: &Place, caller: &Caller) -> Result<(), Error> {
    let mut state = state::open(ctx, &place.names);
    state.volatile(&place.line.group, |progress| progress.tell_nothing(caller))?;
    if lines::scene(&place.line, None).queue {
        timer::arm(ctx, Reason::Lease, ctx.now().ms() + 1);
    }
    Ok(())
}

/// Ends a lease that was lost by a closed connection, expiry or a takeover.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn lose(ctx: &Ctx, place: &Place, now: Now) -> Result<(), Error> {
    tenure::lose(&mut PlaceShell::new(ctx, place, now))
}

/// Ends the lease of `caller`, who gives it up; a client that is blocked under it is refused.
///
/// # Errors
/// [`Error::Fenced`], [`Error::WrongType`]; nothing has changed then.
pub(crate) fn release(ctx: &Ctx, place: &Place, caller: &Caller, now: Now) -> Result<(), Error> {
    tenure::release(&mut PlaceShell::new(ctx, place, now), caller)?;
    fence_owner(ctx, &place.line, None);
    Ok(())
}

/// Moves the group to after `cursor`, which ends the lease; a client that is blocked under it is
/// refused.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn seek(ctx: &Ctx, place: &Place, cursor: EventId, now: Now) -> Result<(), Error> {
    tenure::seek(&mut PlaceShell::new(ctx, place, now), cursor)?;
    fence_owner(ctx, &place.line, None);
    Ok(())
}

/// Decides an acknowledgement and applies it. Renews the lease. The command replicates it, as it
/// was sent.
///
/// # Errors
/// [`Error::Fenced`], [`Error::BadId`], [`Error::WrongType`]; nothing has changed then.
pub(crate) fn acknowledge(
    ctx: &Ctx,
    place: &Place,
    caller: &Caller,
    id: EventId,
    now: Now,
) -> Result<Answered, Error> {
    answers::acknowledge(&mut PlaceShell::new(ctx, place, now), caller, id)
}

/// Decides a failure and records it, with a dead letter after the last attempt, which `user` has to
/// be allowed to write. Renews the lease.
///
/// # Errors
/// As [`answers::fail`]; nothing has changed then.
pub(crate) fn fail(
    ctx: &Ctx,
    place: &Place,
    user: &User,
    caller: &Caller,
    refusal: &Refusal<'_>,
    now: Now,
) -> Result<Failed, Error> {
    let mut shell = PlaceShell::new(ctx, place, now).with_writer(user);
    answers::fail(&mut shell, caller, refusal)
}

/// Applies an acknowledgement that the primary has decided.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn replay_acknowledgement(
    ctx: &Ctx,
    ring: &Name,
    p: u32,
    group: &Name,
    id: EventId,
) -> Result<(), Error> {
    let names = RingNames::of(ring).partition(p);
    if let Some(partition) = state::open(ctx, &names).partition()? {
        partition.acknowledge(group, id);
    }
    Ok(())
}

/// How EVQ.STATS and EVQ.PENDING name the worker that has the lease.
pub(crate) fn worker_of(lease: &Lease) -> String {
    lease.owner()
}
