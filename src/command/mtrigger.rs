//! `EVQ.MTRIGGER count key payload [key payload ...] [RING ring]
//! [TYPE type | TYPES n type ...] [HEADERS name n value ...] [UNIQUES n token ...]`
//!
//! Appends `count` events atomically, in the order of the arguments. Replies an array of
//! `[partition, id]`. Appends all or none. TYPES, HEADERS and UNIQUES take one value per event.

use crate::model::error::Error;
use crate::model::limits::{MAX_BATCH, MAX_EVENT_BYTES, MAX_HEADERS};
use crate::model::name::Name;
use crate::model::parse::{Words, count, is, once, token};
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::text::Text;
use crate::server::cluster::events::{Column, Events};
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::RING;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::{replicate, ring};
use crate::server::producing::append::check_payload;
use crate::server::producing::batch::Batch;
use crate::server::producing::columns::Columns;
use crate::server::producing::repeats::{Fate, Repeats};
use crate::server::producing::{batch, repeats, replay};
use crate::server::retention::depth;
use crate::server::unique::judge;

pub(super) struct MultiTrigger;

/// What of the command's words is what.
struct Request<'a> {
    events: &'a [&'a [u8]],
    ring: Name,
    columns: Columns,
}

impl<'a> Request<'a> {
    fn events(&self) -> impl ExactSizeIterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.events.chunks_exact(2).map(|pair| match *pair {
            [key, payload] => (key, payload),
            _ => (&[][..], &[][..]),
        })
    }
}

fn parse<'a>(all: &'a [&'a [u8]]) -> Result<Request<'a>, Error> {
    let mut words = Words::new("evq.mtrigger", all);
    let count = count(words.positional()?, "events of one EVQ.MTRIGGER", MAX_BATCH)?;
    let end = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(2).saturating_add(1);
    let events = all.get(1..end).ok_or(Error::Arity("evq.mtrigger"))?;
    let mut words = Words::new("evq.mtrigger", all.get(end..).unwrap_or_default());
    let (mut ring, mut columns) = (None, Columns::default());
    while let Some(word) = words.next() {
        if is(word, "RING") {
            let name = Name::ring(words.value(word)?)?;
            once(&mut ring, word, name)?;
            columns.ring = Some(all.len() - words.left() - 1);
        } else if is(word, "TYPE") {
            words.value(word)?;
            once(&mut columns.kind, word, all.len() - words.left() - 1)?;
        } else if is(word, "TYPES") {
            words.column(word, count)?;
            once(&mut columns.types, word, all.len() - words.left() - count as usize)?;
        } else if is(word, "HEADERS") {
            let name = Text::new(&[b"h:", words.value(word)?].concat());
            words.column(word, count)?;
            columns.headers.push((name, all.len() - words.left() - count as usize));
        } else if is(word, "UNIQUES") {
            let tokens = words.column(word, count)?.iter().filter(|text| !text.is_empty());
            tokens.map(|text| token(text)).try_for_each(|token| token.map(drop))?;
            once(&mut columns.tokens, word, all.len() - words.left() - count as usize)?;
        } else {
            return Err(Error::syntax(word));
        }
        if columns.kind.is_some() && columns.types.is_some() {
            return Err(Error::syntax(word));
        }
    }
    Ok(Request { events, ring: ring.unwrap_or_else(Name::default_name), columns })
}

fn check_limits(request: &Request<'_>, args: &Args<'_>) -> Result<(), Error> {
    let columns = &request.columns;
    if columns.headers.len() > MAX_HEADERS {
        return Err(Error::Limit("headers of an event", MAX_HEADERS as u64));
    }
    let length = |word: usize| args.words().get(word).map_or(0, |text| text.len());
    for (n, (key, payload)) in request.events().enumerate() {
        let kind = columns.kind(args, n).map_or(0, length);
        let headers: usize = columns.headers(args, n).map(|(_, value)| length(value)).sum();
        if key.len() + payload.len() + kind + headers > MAX_EVENT_BYTES {
            return Err(Error::Limit("bytes of an event", MAX_EVENT_BYTES as u64));
        }
    }
    Ok(())
}

/// The primary has judged them, and their ids follow from their streams and the ring's clock. They
/// travel on as they were sent. What is remembered of their tokens follows by itself.
fn replay(ctx: &Ctx, args: &Args<'_>, ring: &RingView, request: &Request<'_>) -> Result<(), Error> {
    if !ring.is_made() {
        return Err(Error::NoRing);
    }
    let continuum = &ring.value()?.continuum;
    let mut room = Vec::new();
    for (n, (key, _)) in request.events().enumerate() {
        let mut draft = batch::draft(args, &request.columns, n, &mut room)?;
        replay::event(ctx, ring, continuum.route(key), &mut draft)?;
        room = draft.left();
    }
    replicate::verbatim(ctx);
    reply::ok(ctx);
    Ok(())
}

/// The events of the command, to be taken to their partitions.
fn events(request: Request<'_>, all: &[&[u8]]) -> Events {
    let count = request.events().len();
    let word = |at: usize| all.get(at).map(|word| word.to_vec()).unwrap_or_default();
    // A column is its keyword, the name of a header, the number of its values, and these.
    let column = |before: usize, first: usize| Column {
        head: (first - before - 1..first - 1).map(word).collect(),
        values: (first..first + count).map(word).collect(),
    };
    let columns = &request.columns;
    let types = columns.types.map(|first| column(1, first));
    let headers = columns.headers.iter().map(|(_, first)| column(2, *first));
    Events {
        pairs: request.events().map(|(key, payload)| [key.to_vec(), payload.to_vec()]).collect(),
        of_all: columns.kind.map(|kind| vec![word(kind - 1), word(kind)]).unwrap_or_default(),
        columns: types.into_iter().chain(headers).collect(),
        tokens: columns.tokens.map(|first| column(1, first)),
        ring: request.ring,
    }
}

impl Command for MultiTrigger {
    const SPEC: Spec = Spec {
        name: c"EVQ.MTRIGGER",
        flags: c"write deny-oom",
        acl: c"write slow",
        arity: -4,
        summary:
            c"Appends several events atomically, each to the partition that its key belongs to.",
        complexity: c"O(N), where N is the number of events.",
        routing: Routing::Word(2),
        args: &[
            Arg::integer(c"count"),
            Arg::block(c"event", &[Arg::string(c"key"), Arg::string(c"payload")]).repeated(),
            RING,
            Arg::one_of(
                c"types",
                &[
                    Arg::option(c"type", c"TYPE"),
                    Arg::block(c"each", &[Arg::integer(c"n"), Arg::string(c"type").repeated()])
                        .after(c"TYPES"),
                ],
            )
            .optional(),
            Arg::block(
                c"header",
                &[Arg::string(c"name"), Arg::integer(c"n"), Arg::string(c"value").repeated()],
            )
            .after(c"HEADERS")
            .optional()
            .repeated(),
            Arg::block(c"unique", &[Arg::integer(c"n"), Arg::string(c"token").repeated()])
                .after(c"UNIQUES")
                .optional(),
        ],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        check_limits(&request, args)?;
        events(request, args.words()).pass_on(ctx)
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let user = User::of(ctx);
        let mut ring = ring::find(ctx, &user, &request.ring)?;
        if user.is_replay() {
            return replay(ctx, args, &ring, &request);
        }
        check_limits(&request, args)?;
        let value = ring.value()?;
        let (count, partitions) = (request.events().len(), value.ring.len());
        let mut batch = Batch::new(args, &request.columns, count, partitions);
        let has_tokens = request.columns.tokens.is_some();
        let mut repeats =
            has_tokens.then(|| Repeats::new(judge::clock(ctx, value), count, partitions));
        let mut fates = Vec::with_capacity(if has_tokens { count } else { 0 });
        for (n, (key, payload)) in request.events().enumerate() {
            check_payload(value.ring.payload(), payload)?;
            let p = value.continuum.route(key);
            ring.check_beside(p)?;
            if let Some(repeats) = &mut repeats {
                let new = batch.len();
                let fate = match request.columns.token(args, n) {
                    None => Fate::New(new),
                    Some(token) => {
                        let request = judge::Request { key, token };
                        repeats.judge(ctx, &user, &ring, p, request, new)?
                    }
                };
                fates.push(fate);
                if !matches!(fate, Fate::New(number) if number == new) {
                    continue;
                }
            }
            batch.push(ctx, &user, &ring, p, n)?;
        }
        if let Some(repeats) = &repeats {
            repeats.check_room(ctx, &ring)?;
        }
        let (clock_ms, new) = (value.ring.clock_ms(), batch.len());
        let mut done = Vec::new();
        if new > 0 {
            let room = depth::find_room(ctx, &ring, value, batch.partitions())?;
            ring::settle(ctx, &user, &ring)?;
            done = batch::produce(ctx, &mut ring, clock_ms, batch)?;
            if let Some(repeats) = &repeats {
                repeats.remember(ctx, &ring, &done)?;
            }
            depth::make_room(ctx, &ring, &room);
        }
        repeats::count(count, new);
        if has_tokens {
            done = fates.iter().filter_map(|fate| fate.of(&done)).collect();
        }
        reply::array(ctx, done.len());
        for event in done {
            reply::array(ctx, 2);
            reply::integer(ctx, event.partition.into());
            reply::id(ctx, event.id);
        }
        Ok(())
    }
}
