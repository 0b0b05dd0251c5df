//! A pull from word to reply: the ordered loop of one worker on one partition, or on whichever
//! partition of the ring has work and no other owner.
//!
//! The request is checked with everything that can refuse it, what it acknowledges is finished, and
//! each partition that it is about is tried in turn: the worker goes on under its lease or takes a
//! free one, and events are handed out straight into the reply. If there are none the client waits,
//! if it may. When its turn comes the same code runs once more and always replies ([`resume`]).

use super::places::{Places, end_round, join, places};
use super::request::{Acknowledged, Request};
use super::{arrivals, block};
use crate::model::error::Error;
use crate::model::now::Now;
use crate::model::progress::lease::{Caller, Pace, Turn};
use crate::model::rules::ready::{Ready, Taker};
use crate::model::rules::tenure::{Pull, Target};
use crate::model::waiting::waiter::Wait;
use crate::server::api::acl::User;
use crate::server::api::cluster;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::stream_end::{Seen, Stand};
use crate::server::delivery::{hand_out, leases, shell, state};
use crate::server::keyspace::place::Place;
use crate::server::keyspace::{replicate, ring};
use crate::server::waiting::connections::{note_answered, note_any_owner, note_owner};
use crate::server::waiting::release::move_wait;
use crate::server::waiting::waiter::{Resume, Woken};

/// Whether this is the client's call, or its turn after it has waited.
#[derive(Clone, Copy)]
enum Visit {
    /// The call. If the client waits, this runs when its turn comes.
    First(Resume),
    /// Its turn.
    Again,
}

impl Visit {
    fn is_first(self) -> bool {
        matches!(self, Self::First(_))
    }
}

/// What a worker that has to wait is to the partitions that it asks for.
#[derive(Clone, Copy)]
enum Role {
    /// It has the lease of one, and there is nothing to give.
    Owner,
    /// It has none.
    Standby,
}

/// A worker that has to wait.
struct Worker {
    caller: Caller,
    role: Role,
    timeout_ms: u64,
    resume: Resume,
}

/// Runs the call of a client. If it waits, `resume` runs when its turn comes, and calls [`resume`].
///
/// # Errors
/// [`Error::NoRing`], [`Error::NoPartition`], [`Error::NoGroup`], [`Error::NoPermission`],
/// [`Error::WrongType`], [`Error::Limit`], [`Error::Usage`]; as [`leases::acknowledge`].
pub(crate) fn pull(ctx: &Ctx, request: &Request, resume: Resume) -> Result<(), Error> {
    serve(ctx, request, Visit::First(resume), Woken::default())
}

/// Runs the call of a client whose turn has come after it waited: it always replies.
///
/// # Errors
/// As [`pull`].
pub(crate) fn resume(ctx: &Ctx, request: &Request, woken: Woken) -> Result<(), Error> {
    serve(ctx, request, Visit::Again, woken)
}

fn serve(ctx: &Ctx, request: &Request, visit: Visit, woken: Woken) -> Result<(), Error> {
    let Woken { mut seen, partition: called } = woken;
    if ctx.is_replay() {
        return replay(ctx, request);
    }
    let caller = Caller::of_consumer(&request.claim, ctx.connection())?;
    if let (Visit::First(resume), Some(beside), true) = (visit, request.beside, cluster::is_on()) {
        return arrivals::arrive(ctx, request, beside, caller, resume);
    }
    let user = User::of(ctx);
    let view = match request.partition.or(called.filter(|_| cluster::is_on())) {
        Some(p) => ring::find_at(ctx, &user, &request.ring, p)?,
        // Called to what was deleted at that very moment.
        None if cluster::is_on() => {
            reply::null_array(ctx);
            return Ok(());
        }
        None => ring::find(ctx, &user, &request.ring)?,
    };
    let places = places(ctx, &user, &view, request, called)?;
    join(ctx, &user, &view, request)?;
    let now = ctx.now();
    if let Some(place) = places.all().first() {
        place.group.activity.note(now);
    }
    if visit.is_first() {
        acknowledge(ctx, places.all(), request, &caller, now)?;
    }
    let mut role = Role::Standby;
    let unfinished = set_back(ctx, &places, &caller, request, now)?;
    for place in places.in_turn(&unfinished) {
        if take(ctx, place, &caller, request, now, visit)? {
            role = Role::Owner;
            let stand = stand(request, visit, seen.take());
            if hand_out::deliver(ctx, place, request.count, now, stand)? {
                if request.is_for_any() {
                    end_round(place, &caller);
                }
                return Ok(());
            }
        }
    }
    if called.is_some() {
        // What it was called for was deleted at that very moment.
        drop(view);
        return serve(ctx, request, visit, Woken::default());
    }
    match (visit, request.block_ms, places.into_first()) {
        (Visit::First(resume), Some(timeout_ms), Some(place)) if ctx.may_block() => {
            let worker = Worker { caller, role, timeout_ms, resume };
            wait(ctx, place, worker, request)
        }
        (.., place) => {
            if let (Role::Owner, Some(place), false) = (role, place, request.is_for_any()) {
                leases::tell_nothing(ctx, &place, &caller)?;
            }
            reply::null_array(ctx);
            Ok(())
        }
    }
}

/// The primary has judged it: of a command that travels as it was sent, only what it acknowledged
/// is left to do. What it took or gave out came by itself.
fn replay(ctx: &Ctx, request: &Request) -> Result<(), Error> {
    if let Some(Acknowledged { partition, id }) = request.ack {
        let group = request.claim.group();
        leases::replay_acknowledgement(ctx, &request.ring, partition, &group, id)?;
        replicate::verbatim(ctx);
    }
    reply::null_array(ctx);
    Ok(())
}

/// Acknowledges what the command names, in a partition that is among those it pulls from.
fn acknowledge(
    ctx: &Ctx,
    places: &[Place],
    request: &Request,
    caller: &Caller,
    now: Now,
) -> Result<(), Error> {
    let Some(Acknowledged { partition, id }) = request.ack else { return Ok(()) };
    let named = places.iter().find(|place| place.line.partition == partition);
    let place = named.ok_or(Error::NoPartition)?;
    let answered = leases::acknowledge(ctx, place, caller, id, now)?;
    if answered.finishes {
        // What else this command does travels by itself.
        replicate::verbatim(ctx);
    }
    if answered.shared {
        hand_out::share(ctx, place, now)?;
    }
    Ok(())
}

/// A pull from any partition goes on after what is acknowledged in each that the worker holds,
/// whichever it is given from. Returns those where something is in flight, which come first.
fn set_back(
    ctx: &Ctx,
    places: &Places,
    caller: &Caller,
    request: &Request,
    now: Now,
) -> Result<Vec<u32>, Error> {
    let mut unfinished = Vec::new();
    if !request.is_for_any() || request.pace == Pace::Ahead {
        return Ok(unfinished);
    }
    for place in places.given_to(caller) {
        if leases::set_back(ctx, place, caller, now)? {
            unfinished.push(place.line.partition);
        } else {
            note_answered(&place.line, caller);
        }
    }
    Ok(unfinished)
}

/// Continues or takes the lease of a partition; false if it is another's. With `*`, a free lease
/// is taken only where there is work.
fn take(
    ctx: &Ctx,
    place: &Place,
    caller: &Caller,
    request: &Request,
    now: Now,
    visit: Visit,
) -> Result<bool, Error> {
    let any = request.is_for_any();
    let turn = match visit {
        Visit::Again if !any => leases::next_turn(ctx, place, caller, now)?,
        Visit::Again | Visit::First(_) => leases::turn(ctx, place, caller, now)?,
    };
    match turn {
        Turn::Wait => return Ok(false),
        Turn::Grant(_) | Turn::Claim(_)
            if (any || matches!(turn, Turn::Claim(_)))
                && hand_out::prepare(ctx, place, now, Taker::Next)? != Ready::Work =>
        {
            return Ok(false);
        }
        Turn::Grant(epoch) | Turn::Claim(epoch) => {
            leases::grant(ctx, place, caller, epoch, now, request.lease_ms)?;
        }
        Turn::Continue => move_wait(ctx, &place.line, caller.connection),
    }
    let target = if any { Target::Any } else { Target::One };
    let pull = Pull { target, pace: request.pace, lease_ms: request.lease_ms };
    leases::proceed(ctx, place, caller, pull, now)?;
    match target {
        Target::One => note_owner(&place.line, caller),
        Target::Any => note_any_owner(&place.line, caller),
    }
    Ok(true)
}

/// Where the worker most likely stands in the stream.
fn stand(request: &Request, visit: Visit, seen: Option<Seen>) -> Stand {
    match (visit, request.block_ms) {
        (Visit::Again, _) => Stand::BeforeTheLast(seen),
        (Visit::First(_), Some(_)) => Stand::AtTheEnd,
        (Visit::First(_), None) => Stand::Anywhere,
    }
}

/// Lets the client wait: an owner of the one partition that it asks for on its stream, all others
/// in line.
fn wait(ctx: &Ctx, place: Place, worker: Worker, request: &Request) -> Result<(), Error> {
    let open = shell::barriers_of(ctx, &place)?.is_none_or(|barriers| barriers.are_open());
    let state = state::open(ctx, &place.names);
    let beginning = place.beginning();
    let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
    let lease = progress.lease();
    let any = request.is_for_any();
    let Worker { caller, role, timeout_ms, resume } = worker;
    let wait = Wait {
        position: lease.map_or(progress.cursor(), |lease| lease.position),
        plain: open && progress.is_plain(&place.group),
        lease_ms: request.lease_ms,
        line: if any { place.line.any() } else { place.line },
        caller,
    };
    // What may be claimed is checked at once, and from there on when there may be something.
    let lapses_ms = lease.filter(|lease| !lease.told_nothing).map_or(0, |lease| lease.deadline_ms);
    let request = block::Request { wait, names: place.names, timeout_ms, resume };
    match role {
        Role::Owner if !any => block::on_stream_key(ctx, request),
        Role::Owner | Role::Standby => block::park(ctx, request, lapses_ms),
    }
    Ok(())
}
