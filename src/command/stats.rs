//! `EVQ.STATS [ring] [JSON]`
//!
//! Per partition and group: lag, what is unfinished and how old it is, who owns it, and what was
//! delivered. With JSON the same as one document.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::error::Error;
use crate::model::parse::ring_and_format;
use crate::model::rules::unfinished::Unfinished;
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::stream::Extent;
use crate::server::delivery::backlog::Budget;
use crate::server::delivery::leases::worker_of;
use crate::server::delivery::{backlog, lag, letters, shell, state};
use crate::server::entry::command::Command;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::place::Place;
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::{place, ring};
use crate::server::retention::{background, idle_groups};
use crate::server::waiting::lines::scene;

pub(super) struct Stats;

fn of_group(
    ctx: &Ctx,
    place: &Place,
    idle_ms: Option<u64>,
    budget: &mut Budget,
) -> Result<Value, Error> {
    let lag = lag::of(ctx, place, budget)?;
    let oldest = backlog::oldest(ctx, place, budget)?;
    let now = ctx.now();
    let barriers = shell::barriers_as_seen(ctx, place)?;
    let gate = barriers.as_ref().map(|barriers| barriers.gate(place)).transpose()?;
    let gate = gate.unwrap_or_default();
    let state = state::open(ctx, &place.names);
    let beginning = place.beginning();
    let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
    let lease = progress.standing(scene(&place.line, Some(progress)));
    let (mut retrying, mut held, mut dead_held) = (0, 0, 0);
    for (_, _, waits_for) in progress.unfinished(None, &gate) {
        match waits_for {
            Unfinished::InFlight | Unfinished::Retry(_) => retrying += 1,
            Unfinished::Held | Unfinished::HeldElsewhere { .. } => held += 1,
            Unfinished::Dead => dead_held += 1,
        }
    }
    let totals = progress.totals();
    Ok(json!({
        "group": place.line.group.as_str(),
        "lag": lag.events,
        "lag-exact": u8::from(lag.exact),
        "cursor": progress.cursor().to_string(),
        "oldest-unfinished-id": oldest.map(|id| id.to_string()),
        "oldest-unfinished-ms": oldest.map(|id| now.ms().saturating_sub(id.ms)),
        "owner": lease.map(worker_of),
        "epoch": progress.epoch(),
        "lease-ends-ms": lease.map(|lease| lease.deadline_ms),
        "retrying": retrying,
        "held": held,
        "dead-held": dead_held,
        "dead-letters": letters::count(ctx, place)?,
        "waits-after": gate.closed_after().map(|id| id.to_string()),
        "deliveries": totals.deliveries,
        "repeats": totals.repeats,
        "retries": totals.retries,
        "dead": totals.dead,
        "deliveries-per-second": totals.deliveries_per_second(now),
        "idle-ms": idle_ms,
    }))
}

fn describe(ctx: &Ctx, user: &User, view: &RingView) -> Result<Value, Error> {
    let value = view.value()?;
    let idle = value.ring.groups().map(|(group, settings)| {
        (group, idle_groups::idle_ms(ctx, &view.names.name, group, settings))
    });
    let idle: BTreeMap<_, _> = idle.collect();
    let (mut partitions, mut budget) = (Vec::new(), Budget::new());
    for node in value.ring.nodes() {
        let names = view.names.partition(node.partition);
        user.check(&names.stream, Access::Read)?;
        let mut groups = Vec::new();
        for (group, _) in value.ring.groups() {
            let place = place::in_ring(ctx, user, Access::Read, view, node.partition, group)?;
            user.check(&place.letters(), Access::Read)?;
            let idle_ms = idle.get(group).copied().flatten();
            groups.push(of_group(ctx, &place, idle_ms, &mut budget)?);
        }
        let held_up = background::held_up(ctx, value, &names, node.partition, ctx.now())?;
        partitions.push(json!({
            "partition": node.partition,
            "key": String::from_utf8_lossy(names.stream.bytes()),
            "length": Extent::of(ctx, &names.stream)?.length,
            "trim-held-up-by": held_up.as_ref().map(|held_up| held_up.group.as_str()),
            "trim-held-up-at": held_up.as_ref().map(|held_up| held_up.event.to_string()),
            "groups": groups,
        }));
    }
    Ok(json!({ "name": view.names.name.as_str(), "partitions": partitions }))
}

impl Command for Stats {
    const SPEC: Spec = Spec {
        name: c"EVQ.STATS",
        flags: c"readonly",
        acl: c"read slow",
        arity: -1,
        summary: c"Shows lag, age, owner, failures and totals per partition and group.",
        complexity: c"O(N*G), where N is the number of partitions and G the number of groups; to count the lags it looks at a bounded number of entries.",
        routing: Routing::Word(1),
        args: &[Arg::string(c"ring").optional(), Arg::flag(c"json", c"JSON")],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (ring, format) = ring_and_format("evq.stats", args.words())?;
        let user = User::of(ctx);
        let tree = describe(ctx, &user, &ring::find(ctx, &user, &ring)?)?;
        reply::described(ctx, &tree, format);
        Ok(())
    }
}
