//! `EVQ.DEAD group LIST partition|* [COUNT n] [RING ring] [JSON]`
//! `EVQ.DEAD group RETRY partition|* id|* [RING ring]`
//! `EVQ.DEAD group SKIP partition|* id|* [RING ring]`
//!
//! Lists, retries or skips dead letters. LIST replies `[partition, letter id, [field, value, ...]]`
//! for each letter, or a JSON document. RETRY delivers the events again, from attempt 1. SKIP
//! finishes them. Both reply the number of events.

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::MAX_COUNT;
use crate::model::name::Name;
use crate::model::parse::{Format, Words, event_id, is, once, partition_or_all};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::stream::Event;
use crate::server::api::tree::Tree;
use crate::server::cluster::outcome::Outcome;
use crate::server::cluster::passing::{Passing, Piece};
use crate::server::cluster::rights::{Of, Scope};
use crate::server::delivery::letters;
use crate::server::delivery::letters::Verdict;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::{JSON, PARTITION, RING};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::place::Place;
use crate::server::keyspace::{place, ring};

pub(super) struct Dead;

const DEFAULT_COUNT: u64 = 100;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Shows so many letters.
    List(usize, Format),
    /// Decides about one event, or all.
    Resolve(Verdict, Option<EventId>),
}

struct Request {
    group: Name,
    ring: Name,
    partition: Option<u32>,
    action: Action,
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.dead", all);
    let group = Name::group(words.positional()?)?;
    let verb = words.positional()?;
    let lists = is(verb, "LIST");
    if !lists && !is(verb, "RETRY") && !is(verb, "SKIP") {
        return Err(Error::syntax(verb));
    }
    let partition = words.positional()?;
    let id = match lists {
        true => None,
        false => match words.positional()? {
            b"*" => None,
            id => Some(event_id(id)?),
        },
    };
    let (mut ring, mut count, mut format) = (None, None, None);
    while let Some(word) = words.next() {
        if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else if lists && is(word, "COUNT") {
            once(&mut count, word, words.count_after(word, "COUNT", MAX_COUNT)?)?;
        } else if !lists || !Format::take(&mut format, word)? {
            return Err(Error::syntax(word));
        }
    }
    let (ring, partition) = partition_or_all(partition, ring)?;
    let count = usize::try_from(count.unwrap_or(DEFAULT_COUNT)).unwrap_or(usize::MAX);
    let action = if lists {
        Action::List(count, format.unwrap_or_default())
    } else if is(verb, "RETRY") {
        Action::Resolve(Verdict::Retry, id)
    } else {
        Action::Resolve(Verdict::Skip, id)
    };
    Ok(Request { group, ring, partition, action })
}

/// A field of a letter as JSON: any field may be there several times, and be called anything.
fn field(name: &[u8], value: &[u8]) -> Tree {
    Tree::map([("name", Tree::bytes(name)), ("value", Tree::bytes(value))])
}

fn as_json(partition: u32, letter: &Event) -> Tree {
    let fields = letter.fields.iter();
    Tree::map([
        ("partition", partition.into()),
        ("letter", letter.id.to_string().into()),
        ("fields", fields.map(|(name, value)| field(name.bytes(), value.bytes())).collect()),
    ])
}

fn list(ctx: &Ctx, places: &[Place], count: usize, format: Format) -> Result<(), Error> {
    let mut letters = Vec::new();
    for place in places {
        let room = count - letters.len();
        let of_place = letters::read(ctx, place, room, |_| true)?;
        letters.extend(of_place.into_iter().map(|letter| (place.line.partition, letter)));
    }
    if format == Format::Json {
        let rows = letters.iter().map(|(partition, letter)| as_json(*partition, letter));
        reply::described(ctx, rows.collect::<Tree>(), format);
        return Ok(());
    }
    reply::array(ctx, letters.len());
    for (partition, letter) in letters {
        reply::array(ctx, 3);
        reply::integer(ctx, partition.into());
        reply::id(ctx, letter.id);
        reply::array(ctx, letter.fields.len() * 2);
        for (name, value) in &letter.fields {
            reply::string(ctx, name.raw());
            reply::string(ctx, value.raw());
        }
    }
    Ok(())
}

/// A letter of another node, `[partition, letter id, [field, value, ...]]`, as [`as_json`].
fn described(letter: Tree) -> Tree {
    let mut parts = letter.into_items().into_iter();
    let mut part = || parts.next().unwrap_or(Tree::Null);
    let (partition, letter, fields) = (part(), part(), part().into_items());
    let (pairs, _) = fields.as_chunks::<2>();
    let field =
        |[name, value]: &[Tree; 2]| Tree::map([("name", name.clone()), ("value", value.clone())]);
    let fields = pairs.iter().map(field).collect();
    Tree::map([("partition", partition), ("letter", letter), ("fields", fields)])
}

/// Lists the letters of partitions wherever these are.
fn pass_list_on(ctx: &Ctx, request: Request, count: usize, format: Format) -> Result<(), Error> {
    let Request { group, ring, partition, .. } = request;
    let most = count.to_string();
    let words = ["EVQ.DEAD", group.as_str(), "LIST", "*", "COUNT", &most, "RING", ring.as_str()];
    let words = words.into_iter().map(Piece::from).collect();
    let rights = vec![(Of::Groups, Access::Read), (Of::Letters(group), Access::Read)];
    let passing = Passing::of(ring, words, rights).beside_data().repeatable(true).most(count);
    passing.over(ctx, Scope::of(partition), move |_, gathered| {
        let letters = gathered.all()?.flat_map(Tree::into_items).take(count);
        let rows = match format {
            Format::Native => letters.collect(),
            Format::Json => letters.map(described).collect(),
        };
        Ok(Outcome::Described(rows, format))
    })
}

impl Command for Dead {
    const SPEC: Spec = Spec {
        name: c"EVQ.DEAD",
        flags: c"write",
        acl: c"write slow",
        arity: -4,
        summary: c"Lists, retries or skips the dead letters of a group.",
        complexity: c"O(N), where N is the number of dead letters of the partitions.",
        routing: Routing::Word(3),
        args: &[
            Arg::string(c"group"),
            Arg::one_of(
                c"action",
                &[
                    Arg::flag(c"list", c"LIST"),
                    Arg::flag(c"retry", c"RETRY"),
                    Arg::flag(c"skip", c"SKIP"),
                ],
            ),
            PARTITION,
            Arg::string(c"id").optional(),
            Arg::number(c"count", c"COUNT"),
            RING,
            JSON,
        ],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        if let Action::List(count, format) = request.action {
            return pass_list_on(ctx, request, count, format);
        }
        let Request { group, ring, partition, .. } = request;
        let rights = vec![(Of::Groups, Access::ReadUpdate), (Of::Letters(group), Access::Delete)];
        let passing = Passing::verbatim(ring, args, rights).beside_data();
        passing.over(ctx, Scope::of(partition), |_, gathered| {
            Ok(Outcome::Integer(gathered.all()?.map(|resolved| resolved.whole()).sum()))
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let user = User::of(ctx);
        let view = ring::find(ctx, &user, &request.ring)?;
        let (of_state, of_letters) = match request.action {
            Action::List(..) => (Access::Read, Access::Read),
            Action::Resolve(..) => (Access::ReadUpdate, Access::Delete),
        };
        let mut places = Vec::new();
        for p in view.partitions(request.partition)? {
            let place = place::in_ring(ctx, &user, of_state, &view, p, &request.group)?;
            user.check(&place.letters(), of_letters)?;
            places.push(place);
        }
        match request.action {
            Action::List(count, format) => list(ctx, &places, count, format),
            Action::Resolve(verdict, only) => {
                reply::integer(ctx, letters::resolve(ctx, &places, only, verdict)?);
                Ok(())
            }
        }
    }
}
