//! `EVQ.MTRIGGER count key payload [key payload ...] [RING ring] [TYPE type]`
//!
//! Appends `count` events atomically, in the order of the arguments. Replies an array of
//! `[partition, id]`. All or nothing.

use crate::model::error::Error;
use crate::model::limits::{MAX_BATCH, MAX_EVENT_BYTES};
use crate::model::name::Name;
use crate::model::words::{Words, count, is, once};
use crate::server::acl::User;
use crate::server::args::Args;
use crate::server::ctx::Ctx;
use crate::server::entry::Command;
use crate::server::produce::{Draft, check_payload};
use crate::server::registry::{Arg, Routing, Spec};

pub(super) struct MultiTrigger;

struct Request<'a> {
    /// Key and payload of each event; they stand at the words 1 and 2, 3 and 4, and so on.
    events: Vec<(&'a [u8], &'a [u8])>,
    ring: Name,
    kind: Option<usize>,
}

fn parse<'a>(all: &'a [&'a [u8]]) -> Result<Request<'a>, Error> {
    let mut words = Words::new("evq.mtrigger", all);
    let events = count(words.positional()?, "events of one EVQ.MTRIGGER", MAX_BATCH)?;
    let events = (0..events)
        .map(|_| Ok((words.positional()?, words.positional()?)))
        .collect::<Result<Vec<_>, Error>>()?;
    let (mut ring, mut kind) = (None, None);
    while let Some(word) = words.next() {
        if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else if is(word, "TYPE") {
            words.value(word)?;
            once(&mut kind, word, all.len() - words.left() - 1)?;
        } else {
            return Err(Error::syntax(word));
        }
    }
    let longest = events.iter().map(|(key, payload)| key.len() + payload.len()).max();
    if longest.unwrap_or(0) > MAX_EVENT_BYTES {
        return Err(Error::Limit("bytes of an event", MAX_EVENT_BYTES as u64));
    }
    let ring = ring.unwrap_or_else(Name::default_name);
    Ok(Request { events, ring, kind })
}

impl Command for MultiTrigger {
    const SPEC: Spec = Spec {
        name: c"EVQ.MTRIGGER",
        flags: c"write deny-oom",
        acl: c"write slow",
        arity: -4,
        summary:
            c"Appends several events atomically, each to the partition that its key belongs to.",
        complexity:
            c"O(N*log(P)), where N is the number of events and P the number of points on the ring.",
        routing: Routing::Word(2),
        args: &[
            Arg::integer(c"count"),
            Arg::block(c"event", &[Arg::string(c"key"), Arg::string(c"payload")]).repeated(),
            super::RING,
            Arg::option(c"type", c"TYPE"),
        ],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let user = User::of(ctx);
        let ring = ctx.ring(&user, &request.ring)?;
        let value = ring.value()?;
        let mut drafts = Vec::with_capacity(request.events.len());
        let (mut checked, mut made) = (Vec::new(), Vec::new());
        for (n, (key, payload)) in request.events.iter().enumerate() {
            check_payload(value.ring.payload(), payload)?;
            let partition = value.continuum.route(key);
            if !checked.contains(&partition) {
                if !ctx.check_append(&user, &ring, partition)? {
                    made.push(partition);
                }
                checked.push(partition);
            }
            let draft = Draft::new(args, 2 * n + 1, 2 * n + 2, request.kind, &[])?;
            drafts.push((partition, draft));
        }
        ctx.settle(&user, &ring)?;
        let mut done = Vec::with_capacity(drafts.len());
        for (partition, draft) in &mut drafts {
            match ctx.produce(&ring, *partition, draft) {
                Ok(id) => done.push((*partition, id)),
                Err(error) => {
                    // Only a stream that has used its last id still refuses here.
                    ctx.take_back(&ring.names, &done, &made)?;
                    return Err(error);
                }
            }
        }
        ctx.reply_array(done.len());
        for (partition, id) in done {
            ctx.reply_array(2);
            ctx.reply_integer(partition.into());
            ctx.reply_id(id);
        }
        Ok(())
    }
}
