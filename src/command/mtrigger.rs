//! `EVQ.MTRIGGER count key payload [key payload ...] [RING ring] [TYPE type]`
//!
//! Appends `count` events atomically, in the order of the arguments. Replies an array of
//! `[partition, id]`. All or nothing.

use crate::model::error::Error;
use crate::model::limits::{MAX_BATCH, MAX_EVENT_BYTES};
use crate::model::name::Name;
use crate::model::parse::{Words, count, is, once};
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::RING;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::{replicate, ring};
use crate::server::producing::append::{Draft, Parts, check_payload};
use crate::server::producing::batch::Batch;
use crate::server::producing::{batch, replay};
use crate::server::retention::depth;

pub(super) struct MultiTrigger;

/// Key and payload of each event stand at the words 1 and 2, 3 and 4, and so on.
struct Request<'a> {
    events: &'a [&'a [u8]],
    ring: Name,
    kind: Option<usize>,
}

impl<'a> Request<'a> {
    fn events(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.events.chunks_exact(2).map(|pair| match *pair {
            [key, payload] => (key, payload),
            _ => (&[][..], &[][..]),
        })
    }
}

fn parse<'a>(all: &'a [&'a [u8]]) -> Result<Request<'a>, Error> {
    let mut words = Words::new("evq.mtrigger", all);
    let events = count(words.positional()?, "events of one EVQ.MTRIGGER", MAX_BATCH)?;
    let end = usize::try_from(events).unwrap_or(usize::MAX).saturating_mul(2).saturating_add(1);
    let events = all.get(1..end).ok_or(Error::Arity("evq.mtrigger"))?;
    let mut words = Words::new("evq.mtrigger", all.get(end..).unwrap_or_default());
    let (mut ring, mut kind) = (None, None);
    while let Some(word) = words.next() {
        if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else if is(word, "TYPE") {
            words.value(word)?;
            once(&mut kind, word, all.len() - words.left() - 1)?;
        } else {
            return Err(Error::syntax(word));
        }
    }
    let ring = ring.unwrap_or_else(Name::default_name);
    Ok(Request { events, ring, kind })
}

fn check_limits(request: &Request<'_>) -> Result<(), Error> {
    let longest = request.events().map(|(key, payload)| key.len() + payload.len()).max();
    if longest.unwrap_or(0) > MAX_EVENT_BYTES {
        return Err(Error::Limit("bytes of an event", MAX_EVENT_BYTES as u64));
    }
    Ok(())
}

/// The primary has judged them, and their ids follow from their streams and the ring's clock. They
/// travel on as they were sent.
fn replay(ctx: &Ctx, args: &Args<'_>, ring: &RingView, request: &Request<'_>) -> Result<(), Error> {
    if !ring.is_made() {
        return Err(Error::NoRing);
    }
    let continuum = &ring.value()?.continuum;
    for (n, (key, _)) in request.events().enumerate() {
        let (key_at, payload) = (2 * n + 1, 2 * n + 2);
        let parts = Parts { key: key_at, payload, kind: request.kind, headers: &[] };
        let mut draft = Draft::new(args, parts)?;
        replay::event(ctx, ring, continuum.route(key), &mut draft)?;
    }
    replicate::verbatim(ctx);
    reply::ok(ctx);
    Ok(())
}

impl Command for MultiTrigger {
    const SPEC: Spec = Spec {
        name: c"EVQ.MTRIGGER",
        flags: c"write deny-oom",
        acl: c"write slow",
        arity: -4,
        summary:
            c"Appends several events atomically, each to the partition that its key belongs to.",
        complexity: c"O(N), where N is the number of events.",
        routing: Routing::Word(2),
        args: &[
            Arg::integer(c"count"),
            Arg::block(c"event", &[Arg::string(c"key"), Arg::string(c"payload")]).repeated(),
            RING,
            Arg::option(c"type", c"TYPE"),
        ],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let user = User::of(ctx);
        let mut ring = ring::find(ctx, &user, &request.ring)?;
        if user.is_replay() {
            return replay(ctx, args, &ring, &request);
        }
        check_limits(&request)?;
        let value = ring.value()?;
        let mut batch = Batch::new(args, request.kind, request.events().len(), value.ring.len());
        for (key, payload) in request.events() {
            check_payload(value.ring.payload(), payload)?;
            batch.push(ctx, &user, &ring, value.continuum.route(key))?;
        }
        let clock_ms = value.ring.clock_ms();
        let room = depth::find_room(ctx, &ring, value, batch.partitions())?;
        ring::settle(ctx, &user, &ring)?;
        let done = batch::produce(ctx, &mut ring, clock_ms, batch)?;
        depth::make_room(ctx, &ring, &room);
        reply::array(ctx, done.len());
        for event in done {
            reply::array(ctx, 2);
            reply::integer(ctx, event.partition.into());
            reply::id(ctx, event.id);
        }
        Ok(())
    }
}
