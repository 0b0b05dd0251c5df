//! `EVQ.CONSUME partition [RING ring] [GROUP group] [WORKER name] [EPOCH epoch] [COUNT n]
//! [BLOCK ms | NOBLOCK] [LEASE ms] [ACK id]`
//!
//! The ordered pull loop of one worker on one partition. Replies `[partition, epoch, events]`, or
//! null when there was nothing to give in time. A worker that finds another's lease waits in line
//! for it.
//!
//! The same code runs once more when a client that waited is to be served ([`resume`]): then it
//! always replies.

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::MAX_COUNT;
use crate::model::name::Name;
use crate::model::progress::{Caller, Progress, Turn};
use crate::model::words::{Claim, PartitionArg, Words, event_id, is, once};
use crate::server::acl::{Access, User};
use crate::server::args::Args;
use crate::server::blocking::move_wait;
use crate::server::config;
use crate::server::ctx::Ctx;
use crate::server::entry::Command;
use crate::server::partitions::Place;
use crate::server::registry::{Arg, Routing, Spec};
use crate::server::waiting::{Wait, note_owner};

pub(super) struct Consume;

struct Request {
    ring: Name,
    partition: u32,
    claim: Claim,
    count: u64,
    /// None: do not wait. 0: wait for ever.
    block_ms: Option<u64>,
    lease_ms: u64,
    ack: Option<EventId>,
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.consume", all);
    let partition = PartitionArg::parse(words.positional()?)?;
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
            once(&mut ack, word, event_id(words.value(word)?)?)?;
        } else if !claim.take(word, &mut words)? {
            return Err(Error::syntax(word));
        }
    }
    let (ring, partition) = partition.resolve(claim.ring.clone())?;
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
    let place = prepare(ctx, &user, &request)?;
    let group = &place.line.group;
    let now = ctx.now();
    if let Some(id) = request.ack.filter(|_| visit == Visit::First)
        && ctx.acknowledge(&place, &caller, id, now)?
    {
        ctx.replicate_ack(&place.names, group, id);
    }
    let turn = match visit {
        Visit::First => ctx.turn(&place, &caller, now)?,
        Visit::Again => ctx.next_turn(&place, &caller, now)?,
    };
    match turn {
        Turn::Wait => {}
        Turn::Continue => {
            ctx.open_state(&place.names).volatile(group, |progress| {
                progress.continue_lease(caller.connection, now, request.lease_ms);
            })?;
            move_wait(&place.line, caller.connection);
        }
        Turn::Grant(epoch) => ctx.grant(&place, &caller, epoch, now, request.lease_ms)?,
    }
    if turn != Turn::Wait {
        note_owner(&place.line, &caller);
        if ctx.deliver(&place, request.count)? {
            return Ok(());
        }
    }
    match request.block_ms {
        Some(block_ms) if visit == Visit::First && ctx.may_block() => {
            wait(ctx, place, caller, &request, block_ms, turn)
        }
        _ => {
            ctx.reply_null_array();
            Ok(())
        }
    }
}

/// Finds the partition, checks everything that can refuse the command, and makes the ring and the
/// group if this is their first use.
fn prepare(ctx: &Ctx, user: &User, request: &Request) -> Result<Place, Error> {
    let group = request.claim.group();
    let ring = ctx.ring(user, &request.ring)?;
    let value = ring.value()?;
    value.ring.check_partition(request.partition)?;
    let known = value.ring.has_group(&group);
    let place = ctx.place(user, &ring.names, request.partition, &group)?;
    user.check(&place.names.stream, Access::Read)?;
    ctx.open_read(&place.names.stream).stream()?;
    ctx.open_state(&place.names).check()?;
    if !known {
        if request.ack.is_some() || request.claim.epoch.is_some() {
            return Err(Error::NoGroup);
        }
        value.ring.check_room_for_group()?;
        user.check(&ring.names.ring, Access::Update)?;
        ctx.settle(user, &ring)?;
        ctx.add_group(user, &ring.names, &group)?;
    }
    Ok(place)
}

fn wait(
    ctx: &Ctx,
    place: Place,
    caller: Caller,
    request: &Request,
    block_ms: u64,
    turn: Turn,
) -> Result<(), Error> {
    let state = ctx.open_state(&place.names);
    let progress = state.progress(&place.line.group)?;
    let position = progress.and_then(Progress::lease).map(|lease| lease.position);
    let wait = Wait {
        position: position.unwrap_or_default(),
        lease_ms: request.lease_ms,
        line: place.line,
        names: place.names,
        caller,
        resume,
    };
    if turn != Turn::Wait {
        ctx.block_on_stream(wait, block_ms);
    } else {
        ctx.park(wait, block_ms, progress);
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
        summary: c"Pulls the next events of a partition for a group, in order, under a lease.",
        complexity: c"O(log(S)+N), where S is the number of nodes of the stream and N the number of events given.",
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
            Arg::option(c"ack-id", c"ACK"),
        ],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        serve(ctx, args, Visit::First)
    }
}
