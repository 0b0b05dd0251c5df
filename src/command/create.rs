//! `EVQ.CREATE ring partitions [VNODES n] [WEIGHTS w ...] [PAYLOAD any|json]
//! [MAXDEPTH n] [MAXLEN n] [MAXAGE ms] [TRIM finished|any] [UNIQUEFOR ms]`
//!
//! Creates a ring: its partitions and the mapping of keys to them. Replies `OK`, also if the ring
//! exists in this shape, and `EVQRINGEXISTS` if it exists in another.

use crate::model::error::Error;
use crate::model::limits::{MAX_KEPT_EVENTS, MAX_PARTITIONS, MAX_VNODES};
use crate::model::name::Name;
use crate::model::parse::{Words, count, is, once, weights_after};
use crate::model::ring::retention::{Retention, Trim};
use crate::model::ring::{Payload, Ring, Shape};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::cluster::control::{Change, NO_TRANSACTION};
use crate::server::cluster::jobs;
use crate::server::cluster::outcome::Outcome;
use crate::server::entry::command::Command;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::ring;
use crate::server::ops::config;

pub(super) struct Create;

struct Request {
    name: Name,
    weights: Vec<u32>,
    vnodes: Option<u32>,
    payload: Payload,
    kept: Retention,
    unique_for_ms: Option<u64>,
}

impl Request {
    /// The shape that is asked for, with so many virtual nodes if that was left open.
    fn shape(self, vnodes: u32) -> Result<Shape, Error> {
        let vnodes = self.vnodes.unwrap_or(vnodes);
        let shape = Shape::new(self.weights, vnodes, self.payload)?.with_retention(self.kept)?;
        shape.with_unique_for(self.unique_for_ms)
    }
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.create", all);
    let name = Name::ring(words.positional()?)?;
    let partitions = count(words.positional()?, "partitions of a ring", MAX_PARTITIONS.into())?;
    let (mut vnodes, mut weights, mut payload) = (None, None, None);
    let (mut kept, mut trim, mut unique_for_ms) = (Retention::default(), None, None);
    while let Some(word) = words.next() {
        if is(word, "VNODES") {
            once(&mut vnodes, word, words.count_after(word, "VNODES", MAX_VNODES.into())?)?;
        } else if is(word, "WEIGHTS") {
            once(&mut weights, word, weights_after(word, &mut words, small(partitions))?)?;
        } else if is(word, "PAYLOAD") {
            let value = words.value(word)?;
            let kind = match value {
                value if is(value, "ANY") => Payload::Any,
                value if is(value, "JSON") => Payload::Json,
                value => return Err(Error::syntax(value)),
            };
            once(&mut payload, word, kind)?;
        } else if is(word, "MAXDEPTH") {
            let most = words.count_after(word, "MAXDEPTH", MAX_KEPT_EVENTS)?;
            once(&mut kept.max_depth, word, most)?;
        } else if is(word, "MAXLEN") {
            once(&mut kept.max_len, word, words.count_after(word, "MAXLEN", MAX_KEPT_EVENTS)?)?;
        } else if is(word, "MAXAGE") {
            let age_ms = words.duration_ms(word, "MAXAGE", 0)?.unsigned_abs();
            once(&mut kept.max_age_ms, word, age_ms)?;
        } else if is(word, "TRIM") {
            let what = match words.value(word)? {
                value if is(value, "FINISHED") => Trim::Finished,
                value if is(value, "ANY") => Trim::Any,
                value => return Err(Error::syntax(value)),
            };
            once(&mut trim, word, what)?;
        } else if is(word, "UNIQUEFOR") {
            let window_ms = words.duration_ms(word, "UNIQUEFOR", 1)?.unsigned_abs();
            once(&mut unique_for_ms, word, window_ms)?;
        } else {
            return Err(Error::syntax(word));
        }
    }
    let weights = weights.unwrap_or_else(|| vec![1; small(partitions) as usize]);
    let kept = Retention { trim: trim.unwrap_or_default(), ..kept };
    let (vnodes, payload) = (vnodes.map(small), payload.unwrap_or_default());
    Ok(Request { name, weights, vnodes, payload, kept, unique_for_ms })
}

/// A count that its limit keeps within 32 bits.
fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Command for Create {
    const SPEC: Spec = Spec {
        name: c"EVQ.CREATE",
        flags: c"write deny-oom",
        acl: c"write slow",
        arity: -3,
        summary: c"Creates a ring: its partitions and the mapping of keys to them.",
        complexity: c"O(P*log(P)), where P is the number of points on the ring.",
        routing: Routing::Word(1),
        args: &[
            Arg::string(c"ring"),
            Arg::integer(c"partitions"),
            Arg::number(c"vnodes", c"VNODES"),
            Arg::number(c"weight", c"WEIGHTS").repeated(),
            Arg::one_of(c"payload", &[Arg::flag(c"any", c"ANY"), Arg::flag(c"json", c"JSON")])
                .after(c"PAYLOAD")
                .optional(),
            Arg::number(c"max-depth", c"MAXDEPTH"),
            Arg::number(c"max-length", c"MAXLEN"),
            Arg::number(c"max-age-ms", c"MAXAGE"),
            Arg::one_of(c"trim", &[Arg::flag(c"finished", c"FINISHED"), Arg::flag(c"any", c"ANY")])
                .after(c"TRIM")
                .optional(),
            Arg::number(c"unique-for-ms", c"UNIQUEFOR"),
        ],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let name = request.name.clone();
        let shape = request.shape(config::VNODES.get_u32())?;
        User::of(ctx).check(&RingNames::of(&name).ring, Access::Insert)?;
        jobs::pass(ctx, NO_TRANSACTION, |client| async move {
            Change::of(client, name).create(shape).await.map(|()| Outcome::Ok)
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let (user, name) = (User::of(ctx), request.name.clone());
        if ring::exists(ctx, &user, &name)? {
            let view = ring::find(ctx, &user, &name)?;
            let ring = &view.value()?.ring;
            // The setting may have changed since the same call made it.
            if *ring.shape() != request.shape(ring.vnodes())? {
                return Err(Error::RingExists);
            }
        } else {
            let shape = request.shape(config::VNODES.get_u32())?;
            ring::make(ctx, &user, &name, Ring::new(shape))?;
        }
        reply::ok(ctx);
        Ok(())
    }
}
