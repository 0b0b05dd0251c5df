//! `EVQ.RING [ring] [JSON]`
//!
//! Describes a ring: its mapping, and each partition with what is in its stream. With JSON the
//! same as one document. For the default ring before its first use: what would be made.

use serde_json::{Value, json};

use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::words::{Words, is};
use crate::server::acl::{Access, User};
use crate::server::args::Args;
use crate::server::ctx::Ctx;
use crate::server::entry::Command;
use crate::server::registry::{Arg, Routing, Spec};
use crate::server::rings::RingView;
use crate::server::stream::Extent;

pub(super) struct DescribeRing;

struct Request {
    ring: Name,
    json: bool,
}

/// A single word JSON is the format; a ring of that name is described by `EVQ.RING json JSON`.
fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.ring", all);
    let mut request = Request { ring: Name::default_name(), json: false };
    match (words.next(), words.next()) {
        (Some(word), None) if is(word, "JSON") => request.json = true,
        (Some(name), None) => request.ring = Name::ring(name)?,
        (Some(name), Some(word)) if is(word, "JSON") => {
            request = Request { ring: Name::ring(name)?, json: true };
        }
        (Some(_), Some(word)) => return Err(Error::syntax(word)),
        (None, _) => {}
    }
    words.end()?;
    Ok(request)
}

fn describe(ctx: &Ctx, user: &User, view: &RingView) -> Result<Value, Error> {
    let value = view.value()?;
    let shares = value.continuum.shares();
    let mut partitions = Vec::new();
    for node in value.ring.nodes() {
        let names = view.names.partition(node.partition);
        user.check(&names.stream, Access::Read)?;
        let extent = Extent::of(ctx, &names)?;
        let share = shares.get(&node.partition).copied().unwrap_or(0);
        partitions.push(json!({
            "partition": node.partition,
            "key": String::from_utf8_lossy(names.stream.bytes()),
            "weight": node.weight,
            "length": extent.length,
            "first-id": extent.first.map(|id| id.to_string()),
            "last-id": extent.last.map(|id| id.to_string()),
            // Hash values out of 2^32; exact in a double.
            "share": share as f64 / 4_294_967_296.0,
        }));
    }
    Ok(json!({
        "name": view.names.name.as_str(),
        "generation": value.ring.generation(),
        "hash": "murmur3_x86_32",
        "seed": 0,
        "vnodes": value.ring.vnodes(),
        "payload": value.ring.payload().as_str(),
        "partitions": partitions,
    }))
}

impl Command for DescribeRing {
    const SPEC: Spec = Spec {
        name: c"EVQ.RING",
        flags: c"readonly",
        acl: c"read slow",
        arity: -1,
        summary: c"Describes a ring and its partitions.",
        complexity:
            c"O(N+P), where N is the number of partitions and P the number of points on the ring.",
        routing: Routing::Word(1),
        args: &[Arg::string(c"ring").optional(), Arg::flag(c"json", c"JSON")],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let user = User::of(ctx);
        let tree = describe(ctx, &user, &ctx.ring(&user, &request.ring)?)?;
        if request.json {
            ctx.reply_json(&tree);
        } else {
            ctx.reply_tree(&tree);
        }
        Ok(())
    }
}
