//! `EVQ.CREATE ring partitions [VNODES n] [WEIGHTS w ...] [PAYLOAD any|json]`
//!
//! Makes a ring: a number of partitions and the mapping of keys to them. The same call again is OK; another shape is `EVQRINGEXISTS`. Replies `OK`.

use crate::model::error::Error;
use crate::model::limits::{MAX_PARTITIONS, MAX_VNODES, MAX_WEIGHT};
use crate::model::name::Name;
use crate::model::ring::{Payload, Ring, Shape};
use crate::model::words::{Words, count, is, once};
use crate::server::acl::User;
use crate::server::args::Args;
use crate::server::config;
use crate::server::ctx::Ctx;
use crate::server::entry::Command;
use crate::server::registry::{Arg, Routing, Spec};

pub(super) struct Create;

fn parse(all: &[&[u8]]) -> Result<(Name, Shape), Error> {
    let mut words = Words::new("evq.create", all);
    let name = Name::ring(words.positional()?)?;
    let partitions = count(words.positional()?, "partitions of a ring", MAX_PARTITIONS.into())?;
    let (mut vnodes, mut weights, mut payload) = (None, None, None);
    while let Some(word) = words.next() {
        if is(word, "VNODES") {
            once(&mut vnodes, word, words.count_after(word, "virtual nodes", MAX_VNODES.into())?)?;
        } else if is(word, "WEIGHTS") {
            let list = (0..partitions)
                .map(|_| words.count_after(word, "weight of a partition", MAX_WEIGHT.into()))
                .map(|weight| weight.map(small))
                .collect::<Result<Vec<_>, Error>>()?;
            once(&mut weights, word, list)?;
        } else if is(word, "PAYLOAD") {
            let value = words.value(word)?;
            let kind = match value {
                value if is(value, "ANY") => Payload::Any,
                value if is(value, "JSON") => Payload::Json,
                value => return Err(Error::syntax(value)),
            };
            once(&mut payload, word, kind)?;
        } else {
            return Err(Error::syntax(word));
        }
    }
    let weights = weights.unwrap_or_else(|| vec![1; small(partitions) as usize]);
    let vnodes = vnodes.map_or_else(|| config::VNODES.get_u32(), small);
    Ok((name, Shape::new(weights, vnodes, payload.unwrap_or_default())?))
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
        summary: c"Makes a ring: a number of partitions and the mapping of keys to them.",
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
        ],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (name, shape) = parse(args.words())?;
        let user = User::of(ctx);
        if ctx.ring_exists(&user, &name)? {
            if *ctx.ring(&user, &name)?.value()?.ring.shape() != shape {
                return Err(Error::RingExists);
            }
        } else {
            ctx.make_ring(&user, &name, Ring::new(shape))?;
        }
        ctx.reply_ok();
        Ok(())
    }
}
