//! `EVQ.RING [ring] [JSON]`
//!
//! Describes a ring: its mapping, and each partition with the extent of its stream. With JSON,
//! replies one document. Before the first use of the default ring, describes the ring that the
//! first use creates.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::model::error::Error;
use crate::model::parse::ring_and_format;
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::stream::Extent;
use crate::server::api::tree::Tree;
use crate::server::cluster::outcome::Outcome;
use crate::server::cluster::passing::{Gathered, Passing, Piece};
use crate::server::cluster::rights::{Of, Scope};
use crate::server::delivery::lag;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::JSON;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::{place, ring};
use crate::server::ops::config;

pub(super) struct DescribeRing;

fn describe(ctx: &Ctx, user: &User, view: &RingView) -> Result<Value, Error> {
    let value = view.value()?;
    let shares = value.continuum.shares();
    let mut partitions = Vec::new();
    let shown = |p| view.beside().is_none_or(|at| at == p);
    for node in value.ring.nodes().filter(|node| shown(node.partition)) {
        let names = view.names.partition(node.partition);
        user.check(&names.stream, Access::Read)?;
        let extent = Extent::of(ctx, &names.stream)?;
        let share = shares.get(&node.partition).copied().unwrap_or(0);
        partitions.push(json!({
            "partition": node.partition,
            "key": String::from_utf8_lossy(names.stream.bytes()),
            // A partition that takes no new events has no weight.
            "state": if node.weight == 0 { "leaving" } else { "active" },
            "weight": node.weight,
            "length": extent.length,
            "first-id": extent.first.map(|id| id.to_string()),
            "last-id": extent.last.map(|id| id.to_string()),
            // Hash values out of 2^32; exact in a double.
            "share": share as f64 / 4_294_967_296.0,
        }));
    }
    let retention = value.ring.retention();
    Ok(json!({
        "name": view.names.name.as_str(),
        "generation": value.ring.generation(),
        "hash": "murmur3_x86_32",
        "seed": 0,
        "vnodes": value.ring.vnodes(),
        "payload": value.ring.payload().as_str(),
        "max-depth": retention.max_depth,
        "max-length": retention.max_len,
        "max-age-ms": retention.max_age_ms.unwrap_or_else(|| config::MAX_AGE_MS.get()),
        "trim": retention.trim.as_str(),
        "unique-for-ms": value.ring.unique_ms(config::UNIQUE_MS.get()),
        "partitions": partitions,
        "resizing": resizing(ctx, user, view)?,
    }))
}

/// The rest of earlier resizes that is still of concern; null where there is none.
fn resizing(ctx: &Ctx, user: &User, view: &RingView) -> Result<Value, Error> {
    let ring = &view.value()?.ring;
    if !ring.is_changing() {
        return Ok(Value::Null);
    }
    let (mut groups, mut draining) = (Vec::new(), BTreeSet::new());
    for (group, _) in ring.groups() {
        let (mut unfinished, mut exact, mut shown) = (0, true, true);
        for (partition, end) in ring.past().last().iter().flat_map(|past| &past.ends) {
            // A partition that has disappeared has nothing left.
            if ring.check_partition(*partition).is_err() {
                continue;
            }
            // Who may not see how far a group is still sees the ring.
            let Ok(place) = place::in_ring(ctx, user, Access::Read, view, *partition, group) else {
                shown = false;
                break;
            };
            let left = lag::unfinished_until(ctx, &place, *end)?;
            if left.events > 0 {
                draining.insert(*partition);
            }
            unfinished += left.events;
            exact &= left.exact;
        }
        groups.push(json!({
            "group": group.as_str(),
            "unfinished": shown.then_some(unfinished),
            "exact": u8::from(exact && shown),
        }));
    }
    let generations = ring.past().len();
    Ok(json!({ "generations": generations, "draining": draining, "groups": groups }))
}

/// What the partitions say of the ring, put together: the rows of all that answered, and the nodes
/// of the others.
fn put_together(gathered: Gathered) -> Result<Tree, Error> {
    let (mut replies, silent) = gathered.some()?;
    let mut ring = replies.next().unwrap_or(Tree::Null);
    for mut other in replies {
        if let (Some(Tree::List(rows)), Some(more)) =
            (ring.get_mut("partitions"), other.get_mut("partitions"))
        {
            rows.extend(std::mem::replace(more, Tree::Null).into_items());
        }
    }
    ring.push("unreachable", silent);
    Ok(ring)
}

impl Command for DescribeRing {
    const SPEC: Spec = Spec {
        name: c"EVQ.RING",
        flags: c"readonly",
        acl: c"read slow",
        arity: -1,
        summary: c"Describes a ring and its partitions.",
        complexity:
            c"O(N+P), where N is the number of partitions and P the number of points on the ring; after a resize O(N*G+P), where G is the number of groups, and a bounded number of entries is read.",
        routing: Routing::Word(1),
        args: &[Arg::string(c"ring").optional(), JSON],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (ring, format) = ring_and_format("evq.ring", args.words())?;
        // Where a ring is named as the format, its description has one form.
        let is_document = ring.as_str().eq_ignore_ascii_case("json");
        let mut words = vec![Piece::from("EVQ.RING"), Piece::from(ring.as_str())];
        words.extend(is_document.then(|| Piece::from("JSON")));
        let passing = Passing::of(ring, words, vec![(Of::Stream, Access::Read)]).beside_data();
        passing.repeatable(true).fresh().over(ctx, Scope::All, move |_, mut gathered| {
            if is_document {
                gathered.replies.values_mut().for_each(Tree::read_json);
            }
            Ok(Outcome::Described(put_together(gathered)?, format))
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (ring, format) = ring_and_format("evq.ring", args.words())?;
        let user = User::of(ctx);
        let tree = describe(ctx, &user, &ring::find(ctx, &user, &ring)?)?;
        reply::described(ctx, tree, format);
        Ok(())
    }
}
