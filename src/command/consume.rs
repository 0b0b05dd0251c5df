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
use crate::model::ids::EventId;
use crate::model::limits::MAX_COUNT;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::parse::{Claim, PartitionArg, Words, event_id, is, once, partition_or_all};
use crate::model::progress::lease::{Caller, Turn};
use crate::model::ring::group::Group;
use crate::model::rules::tenure::Target;
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::stream_end::{Seen, Stand};
use crate::server::api::{key, reply};
use crate::server::delivery::hand_out::Ready;
use crate::server::delivery::{hand_out, leases, shell, state};
use crate::server::dispatch::block;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::{EPOCH, GROUP, PARTITION, RING, WORKER};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::line::{ANY, Line};
use crate::server::keyspace::place::Place;
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::{place, replicate, ring};
use crate::server::ops::config;
use crate::server::waiting::any_lines;
use crate::server::waiting::connections::note_owner;
use crate::server::waiting::release::move_wait;
use crate::server::waiting::waiter::{Wait, Woken};

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
    let ack = match ack {
        None => None,
        Some((text, id)) => Some((PartitionArg::parse(text)?, id)),
    };
    // With `*` the stream key of an acknowledged event names the ring too.
    let named = match &ack {
        Some((PartitionArg::Key(name, _), _)) => claim.ring.clone().or(Some(name.clone())),
        _ => claim.ring.clone(),
    };
    let (ring, partition) = partition_or_all(target, if any { named } else { claim.ring.clone() })?;
    let ack = match ack {
        None => None,
        Some((of, id)) => Some((of.resolve(Some(ring.clone()))?.1, id)),
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

fn stand(request: &Request, visit: Visit, seen: Option<Seen>) -> Stand {
    match (visit, request.block_ms) {
        (Visit::Again, _) => Stand::BeforeTheLast(seen),
        (Visit::First, Some(_)) => Stand::AtTheEnd,
        (Visit::First, None) => Stand::Anywhere,
    }
}

/// Whether this is the client's call, or its turn after it has waited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    First,
    Again,
}

fn serve(ctx: &Ctx, args: &Args<'_>, visit: Visit, woken: Woken) -> Result<(), Error> {
    let Woken { mut seen, partition: called } = woken;
    let request = parse(args.words())?;
    if ctx.is_replay() {
        return replay(ctx, &request);
    }
    let caller = Caller::of_consumer(&request.claim, ctx.connection())?;
    let user = User::of(ctx);
    let view = ring::find(ctx, &user, &request.ring)?;
    let places = places(ctx, &user, &view, &request, called)?;
    join(ctx, &user, &view, &request)?;
    let now = ctx.now();
    if let Some(place) = places.all().first() {
        place.group.activity.note(now);
    }
    if visit == Visit::First {
        acknowledge(ctx, places.all(), &request, &caller, now)?;
    }
    let mut owns = false;
    for place in in_turn(places.all(), &request) {
        if take(ctx, place, &caller, &request, now, visit)? {
            owns = true;
            if hand_out::deliver(
                ctx,
                place,
                request.count,
                now,
                stand(&request, visit, seen.take()),
            )? {
                if request.partition.is_none() {
                    any_lines::end(&any_line(place), place.line.partition);
                }
                return Ok(());
            }
        }
    }
    if called.is_some() {
        // What it was called for was deleted at that very moment.
        drop(view);
        return serve(ctx, args, visit, Woken::default());
    }
    match (request.block_ms, places.into_first()) {
        (Some(block_ms), Some(place)) if visit == Visit::First && ctx.may_block() => {
            wait(ctx, place, owns, caller, &request, block_ms)
        }
        _ => {
            reply::null_array(ctx);
            Ok(())
        }
    }
}

/// The primary has judged it: of a command that travels as it was sent, only what it acknowledged
/// is left to do. What it took or gave out came by itself.
fn replay(ctx: &Ctx, request: &Request) -> Result<(), Error> {
    if let Some((p, id)) = request.ack {
        leases::replay_acknowledgement(ctx, &request.ring, p, &request.claim.group(), id)?;
        replicate::verbatim(ctx);
    }
    reply::null_array(ctx);
    Ok(())
}

/// The partitions that are meant.
enum Places {
    /// One: most pulls are, and allocate nothing for it.
    One(Place),
    /// All of the ring.
    All(Vec<Place>),
}

impl Places {
    fn all(&self) -> &[Place] {
        match self {
            Self::One(place) => std::slice::from_ref(place),
            Self::All(places) => places,
        }
    }

    fn into_first(self) -> Option<Place> {
        match self {
            Self::One(place) => Some(place),
            Self::All(places) => places.into_iter().next(),
        }
    }
}

/// The partitions that are meant, with everything checked that can refuse the command. A worker
/// that was `called` to one has its lease: only that has to be opened.
fn places(
    ctx: &Ctx,
    user: &User,
    view: &RingView,
    request: &Request,
    called: Option<u32>,
) -> Result<Places, Error> {
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
        let place = place::of(ctx, user, Access::ReadUpdate, view, p, &name, Arc::clone(&group))?;
        user.check(&place.names.stream, Access::Read)?;
        key::open_read(ctx, &place.names.stream).stream()?;
        state::open(ctx, &place.names).check()?;
        Ok(place)
    };
    let called = called.filter(|p| ring.check_partition(*p).is_ok());
    match request.partition.or(called) {
        Some(p) => ring.check_partition(p).and_then(|()| checked(p)).map(Places::One),
        None => ring
            .nodes()
            .map(|node| checked(node.partition))
            .collect::<Result<_, _>>()
            .map(Places::All),
    }
}

/// Makes the ring and the group if this is their first use.
fn join(ctx: &Ctx, user: &User, view: &RingView, request: &Request) -> Result<(), Error> {
    let name = request.claim.group();
    if view.value()?.ring.group(&name).is_none() {
        ring::settle(ctx, user, view)?;
        ring::set_group(ctx, user, &view.names, &name, Group::default())?;
    }
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
    let Some((p, id)) = request.ack else { return Ok(()) };
    let place = places.iter().find(|place| place.line.partition == p).ok_or(Error::NoPartition)?;
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

/// The partitions in the order in which they are tried: for `*` each round begins behind the
/// partition that was served last, so that each gets its turn.
fn in_turn<'p>(places: &'p [Place], request: &Request) -> impl Iterator<Item = &'p Place> {
    let begin = match (request.partition, places.first()) {
        (None, Some(place)) => {
            let next = any_lines::begins_at(&any_line(place));
            places.iter().position(|place| place.line.partition >= next).unwrap_or(0)
        }
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
        Visit::Again if !any => leases::next_turn(ctx, place, caller, now)?,
        Visit::Again | Visit::First => leases::turn(ctx, place, caller, now)?,
    };
    match turn {
        Turn::Wait => return Ok(false),
        Turn::Grant(_) if any && hand_out::prepare(ctx, place, now, false)? != Ready::Work => {
            return Ok(false);
        }
        Turn::Grant(epoch) => leases::grant(ctx, place, caller, epoch, now, request.lease_ms)?,
        Turn::Continue => move_wait(ctx, &place.line, caller.connection),
    }
    let target = if any { Target::Any } else { Target::One };
    leases::proceed(ctx, place, caller, target, now, request.lease_ms)?;
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
    let open = shell::barriers_of(ctx, &place)?.is_none_or(|barriers| barriers.are_open());
    let state = state::open(ctx, &place.names);
    let beginning = place.beginning();
    let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
    let line = if request.partition.is_none() { any_line(&place) } else { place.line.clone() };
    let plain = open && progress.is_plain(&place.group);
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
        block::on_stream_key(ctx, wait, block_ms);
    } else if request.partition.is_none() {
        block::park(ctx, wait, block_ms, None);
    } else {
        block::park(ctx, wait, block_ms, Some(progress));
    }
    Ok(())
}

fn resume(ctx: &Ctx, args: &Args<'_>, woken: Woken) -> Result<(), Error> {
    serve(ctx, args, Visit::Again, woken)
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
            PARTITION,
            RING,
            GROUP,
            WORKER,
            EPOCH,
            Arg::number(c"count", c"COUNT"),
            Arg::one_of(
                c"wait",
                &[Arg::number(c"block-ms", c"BLOCK").required(), Arg::flag(c"noblock", c"NOBLOCK")],
            )
            .optional(),
            Arg::number(c"lease-ms", c"LEASE"),
            Arg::block(c"ack", &[PARTITION.optional(), Arg::string(c"id")])
                .after(c"ACK")
                .optional(),
        ],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        serve(ctx, args, Visit::First, Woken::default())
    }
}
