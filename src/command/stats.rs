//! `EVQ.STATS [ring] [PARTITION partition] [GROUP group] [JSON]`
//!
//! Replies lag, age of the oldest unfinished event, owner, failures and totals for each partition
//! and group; of one partition, of one group, or of all. With JSON, replies one document.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::parse::{Format, PartitionArg, Words, is, once};
use crate::model::ring::group::Group;
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Kind;
use crate::server::api::tree::Tree;
use crate::server::api::{key, reply};
use crate::server::cluster::outcome::Outcome;
use crate::server::cluster::passing::{Passing, Piece};
use crate::server::cluster::rights::{Of, Scope};
use crate::server::delivery::backlog::Budget;
use crate::server::delivery::in_hand::InHand;
use crate::server::delivery::lag::Reader;
use crate::server::delivery::leases::worker_of;
use crate::server::delivery::opened::Opened;
use crate::server::delivery::{backlog, lag, letters, recount, shell};
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::{GROUP, JSON};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::place::Place;
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::{place, ring};
use crate::server::later::judge as later;
use crate::server::retention::{background, idle_groups};
use crate::server::waiting::lines::scene;

pub(super) struct Stats;

#[derive(Debug, Default)]
struct Request {
    ring: Option<Name>,
    partition: Option<PartitionArg>,
    group: Option<Name>,
    format: Option<Format>,
}

impl Request {
    /// Reads the options that are left.
    fn options(mut self, words: &mut Words<'_>) -> Result<Self, Error> {
        while let Some(word) = words.next() {
            if is(word, "PARTITION") {
                once(&mut self.partition, word, PartitionArg::parse(words.value(word)?)?)?;
            } else if is(word, "GROUP") {
                once(&mut self.group, word, Name::group(words.value(word)?)?)?;
            } else if !Format::take(&mut self.format, word)? {
                return Err(Error::syntax(word));
            }
        }
        Ok(self)
    }
}

/// A first word that can be read as an option is one: a ring named `json` is `json JSON`.
fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.stats", all);
    let Some((first, rest)) = all.split_first() else { return Ok(Request::default()) };
    let named = || -> Result<Request, Error> {
        let request = Request { ring: Some(Name::ring(first)?), ..Request::default() };
        request.options(&mut Words::new("evq.stats", rest))
    };
    if ["PARTITION", "GROUP", "JSON"].iter().any(|word| is(first, word)) {
        let options = Request::default().options(&mut words);
        return options.or_else(|error| named().map_err(|_| error));
    }
    named()
}

fn of_group(
    ctx: &Ctx,
    opened: &mut Opened,
    place: &Place,
    idle_ms: Option<u64>,
    budget: &mut Budget,
) -> Result<Value, Error> {
    let (group, now) = (&place.group, ctx.now());
    let lag = lag::of(ctx, opened, Reader::of(&place.line.group, group), budget)?;
    if !lag.exact {
        recount::request(ctx, &place.line.ring, place.line.partition);
    }
    let barriers = shell::barriers_as_seen(ctx, place)?;
    let gate = barriers.as_ref().map(|barriers| barriers.gate(place)).transpose()?;
    let gate = gate.unwrap_or_default();
    let beginning = place.beginning();
    let progress = opened.progress(&place.line.group)?.unwrap_or(&beginning);
    let oldest = backlog::oldest(opened, group, progress, EventId::MAX, budget);
    let lease = progress.standing(scene(&place.line, Some(progress)));
    let mut in_hand = InHand::of(opened, group, progress, lease, budget);
    in_hand.hold_elsewhere(progress, lease, &gate);
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
        "in-flight": in_hand.in_flight,
        "retrying": in_hand.retrying,
        "held": in_hand.held,
        "dead-held": in_hand.dead,
        "dead-letters": letters::count(ctx, &place.letters())?,
        "waits-after": gate.closed_after().map(|id| id.to_string()),
        "deliveries": totals.deliveries,
        "repeats": totals.repeats,
        "retries": totals.retries,
        "dead": totals.dead,
        "deliveries-per-second": totals.deliveries_per_second(now),
        "idle-ms": idle_ms,
    }))
}

/// A group of the ring with how long it has been without workers.
type Row<'a> = (&'a Name, &'a Arc<Group>, Option<u64>);

fn of_partition(
    ctx: &Ctx,
    user: &User,
    view: &RingView,
    p: u32,
    rows: &[Row<'_>],
    budget: &mut Budget,
) -> Result<Value, Error> {
    let names = view.names.partition(p);
    user.check(&names.stream, Access::Read)?;
    let (mut opened, mut groups) = (Opened::of(ctx, &view.names, p)?, Vec::new());
    for (name, group, idle_ms) in rows {
        let place = place::of(ctx, user, Access::Read, view, p, name, Arc::clone(group))?;
        user.check(&place.letters(), Access::Read)?;
        groups.push(of_group(ctx, &mut opened, &place, *idle_ms, budget)?);
    }
    let length = opened.length();
    drop(opened);
    if key::open_read(ctx, &names.later).kind() != Kind::Empty {
        user.check(&names.later, Access::Read)?;
    }
    let (scheduled, next_ms) = later::waiting(ctx, &names)?;
    let held_up = background::held_up(ctx, view.value()?, &names, p, ctx.now())?;
    Ok(json!({
        "partition": p,
        "key": String::from_utf8_lossy(names.stream.bytes()),
        "length": length,
        "trim-held-up-by": held_up.as_ref().map(|held_up| held_up.group.as_str()),
        "trim-held-up-at": held_up.as_ref().map(|held_up| held_up.event.to_string()),
        "scheduled": scheduled,
        "scheduled-next-ms": next_ms,
        "groups": groups,
    }))
}

fn describe(
    ctx: &Ctx,
    user: &User,
    view: &RingView,
    partition: Option<u32>,
    group: Option<&Name>,
) -> Result<Value, Error> {
    let ring = &view.value()?.ring;
    if group.is_some_and(|name| ring.group(name).is_none()) {
        return Err(Error::NoGroup);
    }
    let asked = ring.groups().filter(|(name, _)| group.is_none_or(|group| group == *name));
    let rows: Vec<Row<'_>> = asked
        .map(|(name, group)| {
            (name, group, idle_groups::idle_ms(ctx, &view.names.name, name, group))
        })
        .collect();
    let mut budget = Budget::of_rows();
    let partitions = view.partitions(partition)?.into_iter();
    let partitions = partitions.map(|p| of_partition(ctx, user, view, p, &rows, &mut budget));
    let partitions: Vec<Value> = partitions.collect::<Result<_, _>>()?;
    Ok(json!({ "name": view.names.name.as_str(), "partitions": partitions }))
}

/// The ring and the partition that are meant.
fn whose(
    ring: Option<Name>,
    partition: Option<PartitionArg>,
) -> Result<(Name, Option<u32>), Error> {
    match partition {
        Some(partition) => partition.resolve(ring).map(|(ring, p)| (ring, Some(p))),
        None => Ok((ring.unwrap_or_else(Name::default_name), None)),
    }
}

impl Command for Stats {
    const SPEC: Spec = Spec {
        name: c"EVQ.STATS",
        flags: c"readonly",
        acl: c"read slow",
        arity: -1,
        summary: c"Returns lag, age, owner, failures and totals for each partition and group.",
        complexity: c"O(N*G), where N is the number of partitions shown and G the number of groups; a bounded number of entries is read to count the lags.",
        routing: Routing::Word(1),
        args: &[
            Arg::string(c"ring").optional(),
            Arg::option(c"partition", c"PARTITION"),
            GROUP,
            JSON,
        ],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let (ring, partition) = whose(request.ring, request.partition)?;
        let mut words = vec![Piece::from("EVQ.STATS"), Piece::from("PARTITION"), Piece::Stream];
        if let Some(group) = &request.group {
            words.extend([Piece::from("GROUP"), Piece::from(group.as_str())]);
        }
        let letters = request.group.map_or(Of::AllLetters, Of::Letters);
        let keys = [Of::Stream, Of::Groups, Of::Later, letters];
        let rights = keys.into_iter().map(|of| (of, Access::Read)).collect();
        let (format, scope) = (request.format.unwrap_or_default(), Scope::of(partition));
        let passing = Passing::of(ring, words, rights).beside_data().repeatable(true).fresh();
        passing.over(ctx, scope, move |shape, gathered| {
            let (replies, silent) = gathered.some()?;
            let rows = replies.flat_map(|mut reply| {
                let rows =
                    reply.get_mut("partitions").map(|rows| std::mem::replace(rows, Tree::Null));
                rows.map(Tree::into_items).unwrap_or_default()
            });
            let stats = Tree::map([
                ("name", shape.ring.as_str().into()),
                ("partitions", rows.collect()),
                ("unreachable", silent),
            ]);
            Ok(Outcome::Described(stats, format))
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let (ring, partition) = whose(request.ring, request.partition)?;
        let user = User::of(ctx);
        let view = ring::find(ctx, &user, &ring)?;
        let tree = describe(ctx, &user, &view, partition, request.group.as_ref())?;
        reply::described(ctx, tree, request.format.unwrap_or_default());
        Ok(())
    }
}
