//! `EVQ.APPEND partition key payload [RING ring] [TYPE type] [HEADER name value ...]
//! [UNIQUE token]`
//!
//! EVQ.TRIGGER for a producer that computes the partition itself, from EVQ.POINTS. Replies
//! `[partition, id]`. If the key belongs elsewhere, replies `EVQMOVED` with that partition and
//! writes nothing.

use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::parse::{PartitionArg, Words, is, once};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::entry::command::{Command, Reach};
use crate::server::entry::shared_args::{HEADER, PARTITION, RING, TYPE, UNIQUE};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::producing::one::{self, Event};

pub(super) struct Append;

struct Request<'a> {
    partition: u32,
    event: Event<'a>,
    ring: Name,
}

fn parse<'a>(all: &'a [&'a [u8]]) -> Result<Request<'a>, Error> {
    let mut words = Words::new("evq.append", all);
    let partition = PartitionArg::parse(words.positional()?)?;
    let mut event = Event::parse(&mut words, all)?;
    let mut ring = None;
    while let Some(word) = words.next() {
        if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else if !event.take(word, &mut words, all)? {
            return Err(Error::syntax(word));
        }
    }
    let (ring, partition) = partition.resolve(ring)?;
    Ok(Request { partition, event, ring })
}

impl Command for Append {
    const SPEC: Spec = Spec {
        name: c"EVQ.APPEND",
        flags: c"write deny-oom fast",
        acl: c"write fast",
        arity: -4,
        summary: c"Appends an event to a given partition, if its key belongs there.",
        complexity: c"O(1) on average to check, plus O(1) to append.",
        routing: Routing::Word(1),
        args: &[
            PARTITION,
            Arg::string(c"key"),
            Arg::string(c"payload"),
            RING,
            TYPE,
            HEADER,
            UNIQUE,
        ],
    };
    const REACH: Reach = Reach::Partition;

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Request { partition, event, ring } = parse(args.words())?;
        one::produce(ctx, args, &ring, Some(partition), &event)
    }
}
