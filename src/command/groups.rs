//! `EVQ.GROUPS [RING ring] [JSON]`
//!
//! Lists the ring's groups with their totals over all partitions. Cheap enough to be polled.

use serde_json::{Value, json};

use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::parse::{Format, Words, is, once};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::tree::Tree;
use crate::server::cluster::outcome::Outcome;
use crate::server::cluster::passing::{Gathered, Passing, Piece};
use crate::server::cluster::rights::{Of, Scope};
use crate::server::delivery::survey;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::{JSON, RING};
use crate::server::entry::spec::{Routing, Spec};
use crate::server::keyspace::ring;
use crate::server::keyspace::ring::RingView;
use crate::server::retention::idle_groups;

pub(super) struct ListGroups;

fn parse(all: &[&[u8]]) -> Result<(Name, Format), Error> {
    let mut words = Words::new("evq.groups", all);
    let (mut ring, mut format) = (None, None);
    while let Some(word) = words.next() {
        if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else if !Format::take(&mut format, word)? {
            return Err(Error::syntax(word));
        }
    }
    Ok((ring.unwrap_or_else(Name::default_name), format.unwrap_or_default()))
}

fn list(ctx: &Ctx, user: &User, view: &RingView) -> Result<Value, Error> {
    let (all, now) = (survey::of_ring(ctx, user, view)?, ctx.now());
    let groups = view.value()?.ring.groups();
    let rows = groups.zip(all).map(|((name, group), found)| {
        let age_ms = found.oldest.map(|id| now.ms().saturating_sub(id.ms));
        json!({
            "group": name.as_str(),
            "lag": found.lag,
            "lag-exact": u8::from(found.lag_exact),
            "oldest-unfinished-ms": age_ms,
            "in-flight": found.in_hand.in_flight,
            "retrying": found.in_hand.retrying,
            "held": found.in_hand.held,
            "dead-held": found.in_hand.dead,
            "dead-letters": found.dead_letters,
            "owners": found.owners,
            "deliveries-per-second": found.deliveries_per_second,
            "idle-ms": idle_groups::idle_ms(ctx, &view.names.name, name, group),
        })
    });
    Ok(rows.collect())
}

/// Adds the row of a group in one partition to its totals.
fn add(total: &mut Tree, row: &Tree) {
    let Tree::Map(fields) = total else { return };
    for (name, field) in fields {
        let other = row.get(name).cloned().unwrap_or(Tree::Null);
        *field = match (&*field, &other, name.as_str()) {
            (_, _, "group") | (_, Tree::Null, _) => continue,
            (Tree::Null, _, _) => other,
            (one, other, "oldest-unfinished-ms") => one.whole().max(other.whole()).into(),
            (one, other, "lag-exact" | "idle-ms") => one.whole().min(other.whole()).into(),
            (one, other, _) => one.whole().saturating_add(other.whole()).into(),
        };
    }
}

/// The totals of each group over all partitions that answered, each with the nodes of the others.
fn put_together(gathered: Gathered) -> Result<Tree, Error> {
    let (replies, silent) = gathered.some()?;
    let mut totals: Vec<Tree> = Vec::new();
    for row in replies.flat_map(Tree::into_items) {
        match totals.iter_mut().find(|total| total.get("group") == row.get("group")) {
            Some(total) => add(total, &row),
            None => totals.push(row),
        }
    }
    totals.iter_mut().for_each(|total| total.push("unreachable", silent.clone()));
    Ok(Tree::List(totals))
}

impl Command for ListGroups {
    const SPEC: Spec = Spec {
        name: c"EVQ.GROUPS",
        flags: c"readonly",
        acl: c"read slow",
        arity: -1,
        summary: c"Lists the groups of a ring with their totals over all partitions.",
        complexity: c"O(N*G), where N is the number of partitions and G the number of groups: half a microsecond for each pair. A bounded number of entries is read to count the lags.",
        routing: Routing::None,
        args: &[RING, JSON],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (ring, format) = parse(args.words())?;
        let words = ["EVQ.GROUPS", "RING", ring.as_str()].map(Piece::from).into();
        let keys = [Of::Stream, Of::Groups, Of::AllLetters];
        let rights = keys.into_iter().map(|of| (of, Access::Read)).collect();
        let passing = Passing::of(ring, words, rights).beside_data().repeatable(true).fresh();
        passing.over(ctx, Scope::All, move |_, gathered| {
            Ok(Outcome::Described(put_together(gathered)?, format))
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (ring, format) = parse(args.words())?;
        let user = User::of(ctx);
        let list = list(ctx, &user, &ring::find(ctx, &user, &ring)?)?;
        reply::described(ctx, list, format);
        Ok(())
    }
}
