//! `EVQ.CONSUME partition|* [RING ring] [GROUP group] [WORKER name] [EPOCH epoch] [COUNT n]
//! [BLOCK ms | NOBLOCK] [LEASE ms] [ACK id]` (with `*`: `ACK partition id`)
//!
//! The ordered pull loop of one worker on one partition, or on whichever partition of the ring has
//! work and no other owner. Replies `[partition, epoch, events]`, or null when there was nothing
//! to give in time.
//!
//! The same code runs once more when a client that waited is to be served ([`resume`]): then it
//! always replies.

use std::sync::Arc;

use crate::model::error::Error;
use crate::model::group::Group;
use crate::model::ids::EventId;
use crate::model::lease::{Caller, Now, Turn};
use crate::model::limits::MAX_COUNT;
use crate::model::name::Name;
use crate::model::words::{Claim, PartitionArg, Words, event_id, is, once, partition_or_all};
use crate::server::acl::{Access, User};
use crate::server::args::Args;
use crate::server::blocking::move_wait;
use crate::server::config;
use crate::server::connections::note_owner;
use crate::server::ctx::Ctx;
use crate::server::deliver::Ready;
use crate::server::entry::Command;
use crate::server::registry::{Arg, Routing, Spec};
use crate::server::rings::RingView;
use crate::server::rounds;
use crate::server::state::Place;
use crate::server::waiter::Wait;
use crate::server::waiting::{ANY, Line};

pub(super) struct Consume;

struct Request {
    ring: Name,
    /// None: any partition of the ring.
    partition: Option<u32>,
    claim: Claim,
    count: u64,
    /// None: do not wait. 0: wait for ever.
    block_ms: Option<u64>,
    lease_ms: u64,
    /// The event to acknowledge first, and its partition.
    ack: Option<(u32, EventId)>,
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.consume", all);
    let target = words.positional()?;
    let any = target == b"*";
    let mut claim = Claim::default();
    let (mut count, mut block, mut lease, mut ack) = (None, None, None, None);
    while let Some(word) = words.next() {
        if is(word, "COUNT") {
            once(&mut count, word, words.count_after(word, "events of one reply", MAX_COUNT)?)?;
        } else if is(word, "BLOCK") {
            let ms = words.duration_ms(word, "BLOCK", 0)?.unsigned_abs();
            once(&mut block, word, Some(ms))?;
        } else if is(word, "NOBLOCK") {
            once(&mut block, word, None)?;
        } else if is(word, "LEASE") {
            once(&mut lease, word, words.duration_ms(word, "LEASE", 1)?.unsigned_abs())?;
        } else if is(word, "ACK") {
            let partition = if any { words.value(word)? } else { target };
            once(&mut ack, word, (partition, event_id(words.value(word)?)?))?;
        } else if !claim.take(word, &mut words)? {
            return Err(Error::syntax(word));
        }
    }
    let (ring, partition) = partition_or_all(target, claim.ring.clone())?;
    let ack = match ack {
        None => None,
        Some((text, id)) => {
            let (_, p) = PartitionArg::parse(text)?.resolve(Some(ring.clone()))?;
            Some((p, id))
        }
    };
    Ok(Request {
        ring,
        partition,
        claim,
        count: count.unwrap_or(1),
        block_ms: block.unwrap_or_else(|| Some(config::BLOCK_MS.get())),
        lease_ms: lease.unwrap_or_else(|| config::LEASE_MS.get()),
        ack,
    })
}

/// Whether this is the client's call, or its turn after it has waited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    First,
    Again,
}

fn serve(ctx: &Ctx, args: &Args<'_>, visit: Visit) -> Result<(), Error> {
    let request = parse(args.words())?;
    let caller = Caller::of_consumer(&request.claim, ctx.connection())?;
    let user = User::of(ctx);
    let view = ctx.ring(&user, &request.ring)?;
    let places = places(ctx, &user, &view, &request)?;
    join(ctx, &user, &view, &request)?;
    let now = ctx.now();
    if visit == Visit::First {
        acknowledge(ctx, &user, &view, &request, &caller, now)?;
    }
    let mut owns = false;
    for place in in_turn(&places, &request) {
        if take(ctx, place, &caller, &request, now, visit)? {
            owns = true;
            if ctx.deliver(place, request.count, now)? {
                if request.partition.is_none() {
                    rounds::end(&any_line(place), place.line.partition);
                }
                return Ok(());
            }
        }
    }
    match (request.block_ms, places.into_iter().next()) {
        (Some(block_ms), Some(place)) if visit == Visit::First && ctx.may_block() => {
            wait(ctx, place, owns, caller, &request, block_ms)
        }
        _ => {
            ctx.reply_null_array();
            Ok(())
        }
    }
}

/// The partitions that are meant, with everything checked that can refuse the command.
fn places(ctx: &Ctx, user: &User, view: &RingView, request: &Request) -> Result<Vec<Place>, Error> {
    let name = request.claim.group();
    let ring = &view.value()?.ring;
    let group = match ring.group(&name) {
        Some(group) => Arc::clone(group),
        None if request.ack.is_some() || request.claim.epoch.is_some() => {
            return Err(Error::NoGroup);
        }
        None => {
            ring.check_room_for_group()?;
            user.check(&view.names.ring, Access::Update)?;
            Arc::new(Group::default())
        }
    };
    let checked = |p| {
        let place =
            ctx.place(user, Access::ReadUpdate, &view.names, p, &name, Arc::clone(&group))?;
        user.check(&place.names.stream, Access::Read)?;
        ctx.open_read(&place.names.stream).stream()?;
        ctx.open_state(&place.names).check()?;
        Ok(place)
    };
    view.partitions(request.partition)?.map(checked).collect()
}

/// Makes the ring and the group if this is their first use.
fn join(ctx: &Ctx, user: &User, view: &RingView, request: &Request) -> Result<(), Error> {
    let name = request.claim.group();
    if view.value()?.ring.group(&name).is_none() {
        ctx.settle(user, view)?;
        ctx.set_group(user, &view.names, &name, Group::default())?;
    }
    Ok(())
}

fn acknowledge(
    ctx: &Ctx,
    user: &User,
    view: &RingView,
    request: &Request,
    caller: &Caller,
    now: Now,
) -> Result<(), Error> {
    let Some((p, id)) = request.ack else { return Ok(()) };
    let place = ctx.place_of(user, Access::ReadUpdate, view, p, &request.claim.group())?;
    let answered = ctx.acknowledge(&place, caller, id, now)?;
    if answered.finishes {
        ctx.replicate_ack(&place.names, &place.line.group, id);
    }
    if answered.shared {
        ctx.share(&place, now)?;
    }
    Ok(())
}

/// The partitions in the order in which they are tried: for `*` each round begins behind the
/// partition that was served last, so that each gets its turn.
fn in_turn<'p>(places: &'p [Place], request: &Request) -> impl Iterator<Item = &'p Place> {
    let begin = match (request.partition, places.first()) {
        (None, Some(place)) => rounds::begins_at(&any_line(place)) as usize % places.len(),
        _ => 0,
    };
    let (before, from) = places.split_at(begin);
    from.iter().chain(before)
}

fn any_line(place: &Place) -> Line {
    Line { partition: ANY, ..place.line.clone() }
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
    let any = request.partition.is_none();
    let turn = match visit {
        Visit::Again if !any => ctx.next_turn(place, caller, now)?,
        Visit::Again | Visit::First => ctx.turn(place, caller, now)?,
    };
    match turn {
        Turn::Wait => return Ok(false),
        Turn::Grant(_) if any && ctx.prepare(place, now, false)? != Ready::Work => {
            return Ok(false);
        }
        Turn::Grant(epoch) => ctx.grant(place, caller, epoch, now, request.lease_ms)?,
        Turn::Continue => move_wait(ctx, &place.line, caller.connection),
    }
    ctx.open_state(&place.names).volatile(&place.line.group, |progress| {
        progress.continue_lease(caller.connection, now, request.lease_ms);
        progress.share_lease(any);
    })?;
    note_owner(&place.line, caller);
    Ok(true)
}

fn wait(
    ctx: &Ctx,
    place: Place,
    owns: bool,
    caller: Caller,
    request: &Request,
    block_ms: u64,
) -> Result<(), Error> {
    let state = ctx.open_state(&place.names);
    let beginning = place.beginning();
    let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
    let line = if request.partition.is_none() { any_line(&place) } else { place.line.clone() };
    let plain = progress.is_plain(&place.group);
    let wait = Wait {
        position: progress.lease().map_or(progress.cursor(), |lease| lease.position),
        plain,
        // The sweep looks at once, and knows from there on when to look again.
        look_ms: (!plain).then(|| ctx.now().ms()),
        lease_ms: request.lease_ms,
        line,
        names: place.names,
        caller,
        resume,
    };
    if owns && request.partition.is_some() {
        ctx.block_on_stream(wait, block_ms);
    } else if request.partition.is_none() {
        ctx.park(wait, block_ms, None);
    } else {
        ctx.park(wait, block_ms, Some(progress));
    }
    Ok(())
}

fn resume(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
    serve(ctx, args, Visit::Again)
}

impl Command for Consume {
    const SPEC: Spec = Spec {
        name: c"EVQ.CONSUME",
        flags: c"write blocking",
        acl: c"write slow blocking",
        arity: -2,
        summary: c"Pulls the next events of a partition, or of any, for a group, in order, under a lease.",
        complexity: c"O(log(S)+N), where S is the number of nodes of the stream and N the number of events given; with * also O(P), where P is the number of partitions.",
        routing: Routing::Word(1),
        args: &[
            super::PARTITION,
            super::RING,
            super::GROUP,
            super::WORKER,
            super::EPOCH,
            Arg::number(c"count", c"COUNT"),
            Arg::one_of(
                c"wait",
                &[Arg::number(c"block-ms", c"BLOCK").required(), Arg::flag(c"noblock", c"NOBLOCK")],
            )
            .optional(),
            Arg::number(c"lease-ms", c"LEASE"),
            Arg::block(c"ack", &[super::PARTITION.optional(), Arg::string(c"id")])
                .after(c"ACK")
                .optional(),
        ],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        serve(ctx, args, Visit::First)
    }
}
