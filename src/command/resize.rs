//! `EVQ.RESIZE ring partitions [WEIGHTS w ...] [DRYRUN]`
//!
//! Changes the number of partitions of a ring, or their weights, while it is in use; the order of
//! each key is kept. Replies the new generation of the ring. With DRYRUN nothing changes, and the
//! reply describes what would move.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::hash::digest;
use crate::model::limits::{MAX_DRYRUN, MAX_PARTITIONS};
use crate::model::name::Name;
use crate::model::parse::{Format, Words, count, is, once, weights_after};
use crate::model::ring::Shape;
use crate::model::ring::continuum::Continuum;
use crate::model::ring::moves::moves;
use crate::model::rules::source::Entry;
use crate::model::saved::effect::Effect;
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::stream::Entries;
use crate::server::api::{key, reply, timer};
use crate::server::dispatch::tidy;
use crate::server::entry::command::Command;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::ring;
use crate::server::keyspace::ring::RingView;
use crate::server::unique::judge;
use crate::server::waiting::release::watch_all;

pub(super) struct Resize;

struct Request {
    ring: Name,
    partitions: u32,
    weights: Option<Vec<u32>>,
    dry_run: bool,
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.resize", all);
    let ring = Name::ring(words.positional()?)?;
    let partitions = count(words.positional()?, "partitions of a ring", MAX_PARTITIONS.into())?;
    let partitions = u32::try_from(partitions).unwrap_or(MAX_PARTITIONS);
    let (mut weights, mut dry_run) = (None, None);
    while let Some(word) = words.next() {
        if is(word, "WEIGHTS") {
            once(&mut weights, word, weights_after(word, &mut words, partitions)?)?;
        } else if is(word, "DRYRUN") {
            once(&mut dry_run, word, ())?;
        } else {
            return Err(Error::syntax(word));
        }
    }
    Ok(Request { ring, partitions, weights, dry_run: dry_run.is_some() })
}

/// The share of the hash space and of the retained events that would move. Reads a bounded number
/// of events, of each partition as many, the newest first.
fn foresee(ctx: &Ctx, view: &RingView, shape: Option<&Shape>) -> Result<Value, Error> {
    let value = view.value()?;
    let (old, generation) = (&value.continuum, value.ring.generation());
    let new = shape.unwrap_or(value.ring.shape());
    let partitions = view.partitions(None)?;
    let new_continuum = new.continuum();
    let mut sample =
        Sample { old, new: &new_continuum, all: Counts::default(), moving: Counts::default() };
    let mut whole = true;
    let room = MAX_DRYRUN / partitions.len().max(1);
    for p in partitions {
        let Some(stream) = key::open_read(ctx, &view.names.partition(p).stream).stream()? else {
            continue;
        };
        let mut entries = Entries::last(&stream);
        for event in std::iter::from_fn(|| entries.next_event()).take(room) {
            sample.take(event.key());
        }
        whole &= stream.length() <= room as u64;
    }
    let Sample { all, moving, .. } = sample;
    Ok(json!({
        "generation": generation + u64::from(shape.is_some()),
        "partitions": new.weights().len(),
        // Hash values out of 2^32; exact in a double.
        "share": moves(old, &new_continuum).values as f64 / 4_294_967_296.0,
        "keys": all.keys.len(),
        "keys-moving": moving.keys.len(),
        "events": all.events,
        "events-moving": moving.events,
        "all-events-seen": u8::from(whole),
    }))
}

/// Retained events, of which some move with their keys.
struct Sample<'a> {
    old: &'a Continuum,
    new: &'a Continuum,
    all: Counts,
    moving: Counts,
}

/// Events and their keys, by the digests.
#[derive(Default)]
struct Counts {
    events: u64,
    keys: HashSet<u128>,
}

impl Counts {
    fn count(&mut self, key: u128) {
        self.events += 1;
        self.keys.insert(key);
    }
}

impl Sample<'_> {
    fn take(&mut self, key: &[u8]) {
        let digest = digest(key);
        self.all.count(digest);
        if self.old.route(key) != self.new.route(key) {
            self.moving.count(digest);
        }
    }
}

impl Command for Resize {
    const SPEC: Spec = Spec {
        name: c"EVQ.RESIZE",
        flags: c"write deny-oom",
        acl: c"write slow",
        arity: -3,
        summary: c"Changes the partitions of a ring in use; the order of each key is kept.",
        complexity: c"O(P*log(P)+N), where P is the number of points on the ring before and after and N the number of partitions; DRYRUN also reads a bounded number of events.",
        routing: Routing::Word(1),
        args: &[
            Arg::string(c"ring"),
            Arg::integer(c"partitions"),
            Arg::number(c"weight", c"WEIGHTS").repeated(),
            Arg::flag(c"dryrun", c"DRYRUN").optional(),
        ],
    };

    fn pass_on(_ctx: &Ctx, _args: &Args<'_>) -> Result<(), Error> {
        Err(Error::Usage(
            "a ring in a cluster keeps its partitions: add shards and move slots instead",
        ))
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let user = User::of(ctx);
        let view = ring::find(ctx, &user, &request.ring)?;
        for p in view.partitions(None)? {
            user.check(&view.names.partition(p).stream, Access::Read)?;
        }
        let ring = &view.value()?.ring;
        let weights =
            request.weights.unwrap_or_else(|| ring.shape().weights_of(request.partitions));
        let forgotten = tidy::forgettable(ctx, &view)?;
        let decided = ring.resize(weights, forgotten)?;
        if request.dry_run {
            reply::described(ctx, foresee(ctx, &view, decided.as_ref())?, Format::Native);
            return Ok(());
        }
        user.check(&view.names.ring, Access::Update)?;
        let ends = tidy::ends(ctx, &view)?;
        ring::settle(ctx, &user, &view)?;
        if let Some(shape) = decided {
            if forgotten > 0 {
                ring::change(ctx, &view.names, Effect::Forgotten(forgotten))?;
            }
            let clock = judge::clock(ctx, view.value()?);
            tidy::before_an_end(ctx, &view, clock)?;
            let weights = shape.weights().to_vec();
            ring::change(ctx, &view.names, Effect::Resized(weights, ends, clock.now_ms))?;
            key::notify_module(ctx, c"evq.resize", &view.names.ring);
            watch_all(ctx, &request.ring, None);
            timer::soon(ctx, Reason::Tidy);
        }
        let ring = ring::find(ctx, &user, &request.ring)?;
        reply::integer(ctx, ring.value()?.ring.generation());
        Ok(())
    }
}
