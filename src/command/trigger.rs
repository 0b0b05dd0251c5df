//! `EVQ.TRIGGER key payload [RING ring] [TYPE type] [HEADER name value ...]
//! [UNIQUE token]`
//!
//! Routes by `key` and appends one event to its partition. Replies `[partition, id]`. With UNIQUE
//! an event of this key that came with this token before is not appended again, and the reply is
//! its.

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::{MAX_EVENT_BYTES, MAX_HEADERS};
use crate::model::name::Name;
use crate::model::parse::{Words, is, once, token as a_token};
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::RING;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::{replicate, ring};
use crate::server::ops::counters;
use crate::server::producing::append::{Draft, Header, Parts, Target, check_payload};
use crate::server::producing::once as with_token;
use crate::server::producing::{append, replay};
use crate::server::retention::depth;
use crate::server::unique::judge::{Arrivals, Judged};
use crate::server::unique::{judge, remember};

pub(super) struct Trigger;

/// The parts of the event, some as their places among the command's words.
struct Request<'a> {
    key: &'a [u8],
    payload: &'a [u8],
    ring: Name,
    kind: Option<usize>,
    headers: Vec<Header<'a>>,
    token: Option<&'a [u8]>,
}

const KEY: usize = 0;
const PAYLOAD: usize = 1;

fn parse<'a>(all: &'a [&'a [u8]]) -> Result<Request<'a>, Error> {
    let mut words = Words::new("evq.trigger", all);
    let (key, payload) = (words.positional()?, words.positional()?);
    let (mut ring, mut kind, mut headers, mut token) = (None, None, Vec::new(), None);
    while let Some(word) = words.next() {
        if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else if is(word, "TYPE") {
            words.value(word)?;
            once(&mut kind, word, all.len() - words.left() - 1)?;
        } else if is(word, "HEADER") {
            let name = words.value(word)?;
            words.value(word)?;
            headers.push(Header { name, value: all.len() - words.left() - 1 });
        } else if is(word, "UNIQUE") {
            once(&mut token, word, a_token(words.value(word)?)?)?;
        } else {
            return Err(Error::syntax(word));
        }
    }
    let ring = ring.unwrap_or_else(Name::default_name);
    Ok(Request { key, payload, ring, kind, headers, token })
}

fn check_limits(request: &Request<'_>, all: &[&[u8]]) -> Result<(), Error> {
    if request.headers.len() > MAX_HEADERS {
        return Err(Error::Limit("headers of an event", MAX_HEADERS as u64));
    }
    // All words together are a bound on the event that costs nothing to compute exactly.
    let bytes: usize = all.iter().map(|word| word.len()).sum();
    if bytes > MAX_EVENT_BYTES {
        return Err(Error::Limit("bytes of an event", MAX_EVENT_BYTES as u64));
    }
    Ok(())
}

/// The primary has judged it, and its id follows from the stream and the ring's clock. It travels
/// on as it was sent.
fn replay(
    ctx: &Ctx,
    ring: &RingView,
    request: &Request<'_>,
    draft: &mut Draft,
) -> Result<(), Error> {
    if !ring.is_made() {
        return Err(Error::NoRing);
    }
    let partition = ring.value()?.continuum.route(request.key);
    let id = replay::event(ctx, ring, partition, draft)?;
    if let Some(token) = request.token {
        let names = ring.names.partition(partition);
        remember::replay(ctx, &names, request.key, token, id)?;
    }
    replicate::verbatim(ctx);
    reply::ok(ctx);
    Ok(())
}

impl Command for Trigger {
    const SPEC: Spec = Spec {
        name: c"EVQ.TRIGGER",
        flags: c"write deny-oom fast",
        acl: c"write fast",
        arity: -3,
        summary: c"Appends an event to the partition that its key belongs to.",
        complexity: c"O(1) on average to route, plus O(1) to append.",
        routing: Routing::Word(1),
        args: &[
            Arg::string(c"key"),
            Arg::string(c"payload"),
            RING,
            Arg::option(c"type", c"TYPE"),
            Arg::block(c"header", &[Arg::string(c"name"), Arg::string(c"value")])
                .after(c"HEADER")
                .optional()
                .repeated(),
            Arg::option(c"token", c"UNIQUE"),
        ],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let Request { kind, headers, .. } = &request;
        let parts = Parts { key: KEY, payload: PAYLOAD, kind: *kind, headers };
        let mut draft = Draft::new(args, parts)?;
        let user = User::of(ctx);
        let mut ring = ring::find(ctx, &user, &request.ring)?;
        if user.is_replay() {
            return replay(ctx, &ring, &request, &mut draft);
        }
        check_limits(&request, args.words())?;
        let value = ring.value()?;
        check_payload(value.ring.payload(), request.payload)?;
        let (partition, clock_ms) = (value.continuum.route(request.key), value.ring.clock_ms());
        let target = append::target(ctx, &user, &ring, partition)?;
        let mut arrival = None;
        if let Some(token) = request.token {
            match judged(ctx, &user, &ring, &target, (request.key, token))? {
                Told::Before(partition, id) => {
                    tell(ctx, partition, id);
                    return Ok(());
                }
                Told::New(arrivals, hash) => arrival = Some((arrivals, hash)),
            }
        }
        let room = depth::find_room(ctx, &ring, value, std::iter::once(partition))?;
        ring::settle(ctx, &user, &ring)?;
        let id = match &arrival {
            None => append::produce(ctx, &mut ring, clock_ms, &target, &mut draft)?,
            Some((arrivals, hash)) => {
                with_token::produce(ctx, &ring, clock_ms, &target, &mut draft, (arrivals, *hash))?
            }
        };
        // No key may be open while its stream is trimmed.
        drop(target);
        depth::make_room(ctx, &ring, &room);
        tell(ctx, partition, id);
        Ok(())
    }
}

fn tell(ctx: &Ctx, partition: u32, id: EventId) {
    reply::array(ctx, 2);
    reply::integer(ctx, partition.into());
    reply::id(ctx, id);
}

/// What the token says of an event.
enum Told {
    /// It is this event of this partition, which was appended before.
    Before(u32, EventId),
    /// It is new; this is remembered with it.
    New(Arrivals, u128),
}

/// Tokens are judged before the limits, which count new events only.
#[inline(never)]
fn judged(
    ctx: &Ctx,
    user: &User,
    ring: &RingView,
    target: &Target,
    (key, token): (&[u8], &[u8]),
) -> Result<Told, Error> {
    let mut arrivals = Arrivals::new(judge::clock(ctx, ring.value()?));
    let request = judge::Request { key, token };
    match judge::judge(ctx, user, ring, target.p, request, &mut arrivals)? {
        Judged::Repeated(partition, id) => {
            counters::REPEATED.add(1);
            Ok(Told::Before(partition, id))
        }
        Judged::New(hash) => {
            judge::check_room(ctx, &target.names, &arrivals)?;
            Ok(Told::New(arrivals, hash))
        }
    }
}
