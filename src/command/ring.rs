//! `EVQ.RING [ring] [JSON]`
//!
//! Describes a ring: its mapping, and each partition with what is in its stream. With JSON the
//! same as one document. For the default ring before its first use: what would be made.

use serde_json::{Value, json};

use crate::model::error::Error;
use crate::model::words::ring_and_format;
use crate::server::acl::{Access, User};
use crate::server::args::Args;
use crate::server::ctx::Ctx;
use crate::server::entry::Command;
use crate::server::registry::{Arg, Routing, Spec};
use crate::server::rings::RingView;
use crate::server::stream::Extent;

pub(super) struct DescribeRing;

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
        let (ring, json) = ring_and_format("evq.ring", args.words())?;
        let user = User::of(ctx);
        let tree = describe(ctx, &user, &ctx.ring(&user, &ring)?)?;
        ctx.reply_described(&tree, json);
        Ok(())
    }
}
