//! `EVQ.SCHEDULED partition|* [COUNT n] [RING ring] [JSON]`
//!
//! Lists the scheduled events that are not appended yet, in the order in which they become due, by
//! default 100 at most. With JSON, replies one document.

use std::collections::BTreeMap;

use crate::model::error::Error;
use crate::model::later::parts::Parts;
use crate::model::later::schedule::{Place, Schedule};
use crate::model::limits::MAX_COUNT;
use crate::model::name::Name;
use crate::model::parse::{Format, Words, is, once, partition_or_all};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Key;
use crate::server::api::tree::Tree;
use crate::server::api::{key, reply};
use crate::server::cluster::outcome::Outcome;
use crate::server::cluster::passing::{Passing, Piece};
use crate::server::cluster::rights::{Of, Scope};
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::{JSON, PARTITION, RING};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::copies;
use crate::server::keyspace::ring;
use crate::server::keyspace::ring::RingView;

pub(super) struct ListScheduled;

const DEFAULT_COUNT: u64 = 100;

struct Request {
    ring: Name,
    partition: Option<u32>,
    count: usize,
    format: Format,
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.scheduled", all);
    let partition = words.positional()?;
    let (mut ring, mut count, mut format) = (None, None, None);
    while let Some(word) = words.next() {
        if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else if is(word, "COUNT") {
            once(&mut count, word, words.count_after(word, "COUNT", MAX_COUNT)?)?;
        } else if !Format::take(&mut format, word)? {
            return Err(Error::syntax(word));
        }
    }
    let (ring, partition) = partition_or_all(partition, ring)?;
    let count = usize::try_from(count.unwrap_or(DEFAULT_COUNT)).unwrap_or(usize::MAX);
    Ok(Request { ring, partition, count, format: format.unwrap_or_default() })
}

fn row(p: u32, place: Place, parts: &Parts) -> Tree {
    Tree::map([
        ("partition", p.into()),
        ("ticket", place.ticket.into()),
        ("due-ms", place.due_ms.into()),
        ("key", Tree::bytes(parts.key())),
        ("type", parts.kind().map_or(Tree::Null, Tree::bytes)),
    ])
}

/// The first `count` events of these partitions in their order. O(count * log partitions).
fn list(ctx: &Ctx, user: &User, view: &RingView, only: Option<u32>, count: usize) -> Listed {
    let mut open: Vec<(u32, Key)> = Vec::new();
    for p in view.partitions(only)? {
        let names = view.names.partition(p);
        let key = key::open_read(ctx, &names.later);
        // Of partitions that have none nobody needs the key.
        if matches!(key.value::<Schedule>(), Ok(None)) {
            copies::check_owned(ctx, &names)?;
        } else {
            user.check(&names.later, Access::Read)?;
            key.value::<Schedule>()?;
            open.push((p, key));
        }
    }
    let mut heads = BTreeMap::new();
    for (p, key) in &open {
        let Some(schedule) = key.value::<Schedule>()? else { continue };
        let mut events = schedule.after(None);
        if let Some((place, parts)) = events.next() {
            heads.insert((place, *p), (parts, events));
        }
    }
    let mut rows = Vec::new();
    while rows.len() < count
        && let Some(((place, p), (parts, mut events))) = heads.pop_first()
    {
        rows.push(row(p, place, parts));
        if let Some((place, parts)) = events.next() {
            heads.insert((place, p), (parts, events));
        }
    }
    Ok(Tree::List(rows))
}

type Listed = Result<Tree, Error>;

impl Command for ListScheduled {
    const SPEC: Spec = Spec {
        name: c"EVQ.SCHEDULED",
        flags: c"readonly",
        acl: c"read slow",
        arity: -2,
        summary: c"Lists the scheduled events that are not appended yet.",
        complexity:
            c"O(P+N*log(P)), where P is the number of partitions and N the number of events shown.",
        routing: Routing::Word(1),
        args: &[PARTITION, Arg::number(c"count", c"COUNT"), RING, JSON],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Request { ring, partition, count, format } = parse(args.words())?;
        let most = count.to_string();
        let words = ["EVQ.SCHEDULED", "*", "COUNT", &most, "RING", ring.as_str()];
        let words = words.into_iter().map(Piece::from).collect();
        let passing = Passing::of(ring, words, vec![(Of::Later, Access::Read)]).beside_data();
        passing.repeatable(true).over(ctx, Scope::of(partition), move |_, gathered| {
            let mut rows: Vec<Tree> = gathered.all()?.flat_map(Tree::into_items).collect();
            let number = |row: &Tree, name| row.get(name).map_or(0, Tree::whole);
            rows.sort_by_key(|row| (number(row, "due-ms"), number(row, "ticket")));
            rows.truncate(count);
            Ok(Outcome::Described(Tree::List(rows), format))
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let user = User::of(ctx);
        let view = ring::find(ctx, &user, &request.ring)?;
        let listed = list(ctx, &user, &view, request.partition, request.count)?;
        reply::described(ctx, listed, request.format);
        Ok(())
    }
}
