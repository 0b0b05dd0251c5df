//! `EVQ.TRIGGER key payload [RING ring] [TYPE type] [HEADER name value ...]
//! [UNIQUE token]`
//!
//! Appends an event to the partition of `key`. Replies `[partition, id]`. With UNIQUE, a repeated
//! token of this key appends nothing and repeats the first reply.

use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::parse::{Words, is, once};
use crate::server::api::acl::Access;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::cluster::passing::{Passing, Piece, USE_APPEND};
use crate::server::cluster::rights::Of;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::{HEADER, RING, TYPE, UNIQUE};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::producing::one::{self, Event};

pub(super) struct Trigger;

struct Request<'a> {
    event: Event<'a>,
    ring: Name,
}

fn parse<'a>(all: &'a [&'a [u8]]) -> Result<Request<'a>, Error> {
    let mut words = Words::new("evq.trigger", all);
    let mut event = Event::parse(&mut words, all)?;
    let mut ring = None;
    while let Some(word) = words.next() {
        if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else if !event.take(word, &mut words, all)? {
            return Err(Error::syntax(word));
        }
    }
    Ok(Request { event, ring: ring.unwrap_or_else(Name::default_name) })
}

impl Command for Trigger {
    const SPEC: Spec = Spec {
        name: c"EVQ.TRIGGER",
        flags: c"write deny-oom fast",
        acl: c"write fast",
        arity: -3,
        summary: c"Appends an event to the partition that its key belongs to.",
        complexity: c"O(1) on average to route, plus O(1) to append.",
        routing: Routing::Word(1),
        args: &[Arg::string(c"key"), Arg::string(c"payload"), RING, TYPE, HEADER, UNIQUE],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Request { event, ring } = parse(args.words())?;
        event.check_limits(args.words())?;
        let mut words = vec![Piece::from("EVQ.APPEND"), Piece::Stream];
        words.extend(event.words(args.words()).map(Piece::from));
        let mut rights = vec![(Of::Stream, Access::Insert)];
        if event.has_token() {
            rights.push((Of::Unique, Access::Insert));
        }
        let passing = Passing::of(ring, words, rights).repeatable(event.has_token());
        passing.by_key(ctx, USE_APPEND, event.key(args.words()))
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Request { event, ring } = parse(args.words())?;
        one::produce(ctx, args, &ring, None, &event)
    }
}
