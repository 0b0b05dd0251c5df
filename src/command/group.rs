//! `EVQ.GROUP group [RING ring] [FROM first|last|<id>|<unix ms>] [TYPES n type ...]
//! [MAXATTEMPTS n] [BACKOFF min-ms max-ms] [ONDEAD skip|hold] [DEADAGE ms]`
//! `EVQ.GROUP group [RING ring] [JSON]`
//!
//! Creates a group or changes its settings and replies `OK`. Without settings, describes the group.
//! `TYPES 0` removes the filter of types.

use std::collections::BTreeMap;

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::{MAX_ATTEMPTS, MAX_TYPES};
use crate::model::name::Name;
use crate::model::parse::{Format, Start, Words, is, once};
use crate::model::ring::group::{Group, OnDead};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::tree::Tree;
use crate::server::cluster::control::{Change, NO_TRANSACTION};
use crate::server::cluster::jobs;
use crate::server::cluster::outcome::Outcome;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::{JSON, RING};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::line::Line;
use crate::server::keyspace::ring;
use crate::server::keyspace::ring::RingView;
use crate::server::waiting::release::look_again;

pub(super) struct SetGroup;

#[derive(Default)]
struct Options {
    from: Option<Start>,
    types: Option<Vec<Box<[u8]>>>,
    max_attempts: Option<u32>,
    backoff: Option<Backoff>,
    on_dead: Option<OnDead>,
    dead_age_ms: Option<u64>,
}

impl Options {
    /// The group with these settings; what is left out stays.
    fn set(&self, mut group: Group) -> Group {
        group.types = self.types.clone().unwrap_or(group.types);
        group.max_attempts = self.max_attempts.unwrap_or(group.max_attempts);
        if let Some(Backoff { min_ms, max_ms }) = self.backoff {
            (group.backoff_min_ms, group.backoff_max_ms) = (min_ms, max_ms);
        }
        group.on_dead = self.on_dead.unwrap_or(group.on_dead);
        group.dead_age_ms = self.dead_age_ms.unwrap_or(group.dead_age_ms);
        group
    }
}

#[derive(Clone, Copy)]
struct Backoff {
    min_ms: u64,
    max_ms: u64,
}

struct Request {
    ring: Name,
    group: Name,
    ask: Ask,
}

enum Ask {
    Set(Options),
    Describe(Format),
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.group", all);
    let group = Name::group(words.positional()?)?;
    let (mut ring, mut options, mut sets, mut format) = (None, Options::default(), false, None);
    while let Some(word) = words.next() {
        if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
            continue;
        }
        if Format::take(&mut format, word)? {
            continue;
        }
        sets = true;
        if is(word, "FROM") {
            once(&mut options.from, word, Start::parse(words.value(word)?)?)?;
        } else if is(word, "TYPES") {
            let count = words.count_from_zero(word, "number of TYPES", MAX_TYPES as u64)?;
            let types =
                (0..count).map(|_| words.value(word).map(Into::into)).collect::<Result<_, _>>()?;
            once(&mut options.types, word, types)?;
        } else if is(word, "MAXATTEMPTS") {
            let n = words.count_after(word, "MAXATTEMPTS", MAX_ATTEMPTS.into())?;
            once(&mut options.max_attempts, word, u32::try_from(n).unwrap_or(MAX_ATTEMPTS))?;
        } else if is(word, "BACKOFF") {
            let min_ms = words.duration_ms(word, "BACKOFF", 0)?.unsigned_abs();
            let max_ms = words.duration_ms(word, "BACKOFF", 0)?.unsigned_abs();
            once(&mut options.backoff, word, Backoff { min_ms, max_ms })?;
        } else if is(word, "ONDEAD") {
            let policy = match words.value(word)? {
                value if is(value, "SKIP") => OnDead::Skip,
                value if is(value, "HOLD") => OnDead::Hold,
                value => return Err(Error::syntax(value)),
            };
            once(&mut options.on_dead, word, policy)?;
        } else if is(word, "DEADAGE") {
            let age_ms = words.duration_ms(word, "DEADAGE", 0)?.unsigned_abs();
            once(&mut options.dead_age_ms, word, age_ms)?;
        } else {
            return Err(Error::syntax(word));
        }
    }
    let ring = ring.unwrap_or_else(Name::default_name);
    let ask = match format {
        // Settings are not described.
        Some(_) if sets => return Err(Error::syntax(b"JSON")),
        format if !sets => Ask::Describe(format.unwrap_or_default()),
        _ => Ask::Set(options),
    };
    Ok(Request { ring, group, ask })
}

/// Resolves a start to one id per partition, at this moment.
fn starts(
    ctx: &Ctx,
    user: &User,
    ring: &RingView,
    from: Start,
) -> Result<BTreeMap<u32, EventId>, Error> {
    let nodes = ring.value()?.ring.nodes();
    let start = |partition| {
        let names = ring.names.partition(partition);
        user.check(&names.stream, Access::Read)?;
        Ok((partition, ring::resolve_start(ctx, &names, from)?))
    };
    nodes.map(|node| start(node.partition)).collect()
}

fn describe(name: &Name, group: &Group) -> Tree {
    Tree::map([
        ("group", name.as_str().into()),
        ("types", group.types.iter().map(|kind| Tree::bytes(kind)).collect()),
        ("max-attempts", group.max_attempts.into()),
        ("backoff-min-ms", group.backoff_min_ms.into()),
        ("backoff-max-ms", group.backoff_max_ms.into()),
        ("on-dead", group.on_dead.as_str().into()),
        ("dead-age-ms", group.dead_age_ms.into()),
    ])
}

impl Command for SetGroup {
    const SPEC: Spec = Spec {
        name: c"EVQ.GROUP",
        flags: c"write deny-oom",
        acl: c"write slow",
        arity: -2,
        summary: c"Creates a group, changes its settings, or describes it.",
        complexity: c"O(N), where N is the number of partitions.",
        routing: Routing::Word(1),
        args: &[
            Arg::string(c"group"),
            RING,
            Arg::option(c"start", c"FROM"),
            Arg::block(c"types", &[Arg::integer(c"count"), Arg::string(c"type").repeated()])
                .after(c"TYPES")
                .optional(),
            Arg::number(c"attempts", c"MAXATTEMPTS"),
            Arg::block(c"backoff", &[Arg::integer(c"min-ms"), Arg::integer(c"max-ms")])
                .after(c"BACKOFF")
                .optional(),
            Arg::one_of(c"on-dead", &[Arg::flag(c"skip", c"SKIP"), Arg::flag(c"hold", c"HOLD")])
                .after(c"ONDEAD")
                .optional(),
            Arg::number(c"dead-age-ms", c"DEADAGE"),
            JSON,
        ],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Request { ring, group, ask } = parse(args.words())?;
        let (user, names) = (User::of(ctx), RingNames::of(&ring));
        let options = match ask {
            Ask::Set(options) => options,
            Ask::Describe(format) => {
                user.check(&names.ring, Access::Read)?;
                return jobs::pass(ctx, NO_TRANSACTION, move |client| async move {
                    let known = Change::of(client, ring).group(&group).await?;
                    Ok(Outcome::Described(describe(&group, &known), format))
                });
            }
        };
        user.check(&names.ring, Access::Update)?;
        jobs::pass(ctx, NO_TRANSACTION, |client| async move {
            let set = |known| Ok(options.set(known));
            Change::of(client, ring).set_group(group, options.from, set).await?;
            Ok(Outcome::Ok)
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Request { ring: ring_name, group: name, ask } = parse(args.words())?;
        let user = User::of(ctx);
        let ring = ring::find(ctx, &user, &ring_name)?;
        let known = ring.value()?.ring.group(&name).cloned();
        let options = match ask {
            Ask::Set(options) => options,
            Ask::Describe(format) => {
                let group = known.ok_or(Error::NoGroup)?;
                reply::described(ctx, describe(&name, &group), format);
                return Ok(());
            }
        };
        if known.is_some() && options.from.is_some() {
            return Err(Error::Usage("FROM is for a new group; EVQ.SEEK moves an existing one"));
        }
        if known.is_none() {
            ring.value()?.ring.check_room_for_group()?;
        }
        let mut group = known.map_or_else(Group::default, |group| (*group).clone());
        if let Some(from) = options.from {
            group.starts = starts(ctx, &user, &ring, from)?;
        }
        let group = options.set(group);
        group.check()?;
        user.check(&ring.names.ring, Access::Update)?;
        ring::settle(ctx, &user, &ring)?;
        ring::set_group(ctx, &user, &ring.names, &name, group)?;
        // Who waits may be waiting for another type now.
        for partition in ring.partitions(None)? {
            let (db, ring, group) = (ctx.db(), ring_name.clone(), name.clone());
            look_again(ctx, &Line { db, ring, partition, group });
        }
        reply::ok(ctx);
        Ok(())
    }
}
