//! `EVQ.NACK partition id [DELAY ms] [REASON text] [RING ring] [GROUP group] [WORKER name]
//! [EPOCH epoch]`
//!
//! Reports a failed event. The event is handed out again after the delay, or becomes a dead letter
//! after its last attempt; until then only its key waits. Replies the ids of the same key that were
//! handed out already and are now held.

use crate::model::claim::Claim;
use crate::model::error::Error;
use crate::model::limits::MAX_REASON_BYTES;
use crate::model::parse::{PartitionArg, Words, event_id, is, once};
use crate::model::progress::lease::Caller;
use crate::model::rules::answers::Failed;
use crate::model::rules::failure::Refusal;
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::delivery::{hand_out, leases};
use crate::server::entry::command::{Command, Reach};
use crate::server::entry::shared_args::{EPOCH, GROUP, PARTITION, RING, WORKER};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::place;

pub(super) struct Nack;

struct Request<'a> {
    partition: PartitionArg,
    refusal: Refusal<'a>,
    claim: Claim,
}

fn parse<'a>(all: &'a [&'a [u8]]) -> Result<Request<'a>, Error> {
    let mut words = Words::new("evq.nack", all);
    let partition = PartitionArg::parse(words.positional()?)?;
    let id = event_id(words.positional()?)?;
    let (mut claim, mut delay_ms, mut reason) = (Claim::default(), None, None);
    while let Some(word) = words.next() {
        if is(word, "DELAY") {
            once(&mut delay_ms, word, words.duration_ms(word, "DELAY", 0)?.unsigned_abs())?;
        } else if is(word, "REASON") {
            once(&mut reason, word, words.value(word)?)?;
        } else if !claim.take(word, &mut words)? {
            return Err(Error::syntax(word));
        }
    }
    let reason = reason.unwrap_or_default();
    let reason = reason.get(..MAX_REASON_BYTES).unwrap_or(reason);
    Ok(Request { partition, refusal: Refusal { id, delay_ms, reason }, claim })
}

impl Command for Nack {
    const SPEC: Spec = Spec {
        name: c"EVQ.NACK",
        flags: c"write",
        acl: c"write slow",
        arity: -3,
        summary:
            c"Reports a failed event: it is retried later, and only its key waits.",
        complexity: c"O(log(N)+M), where N is the number of events in flight and M the number of events held; O(N) for the first of a batch.",
        routing: Routing::Word(1),
        args: &[
            PARTITION,
            Arg::string(c"id"),
            Arg::number(c"delay-ms", c"DELAY"),
            Arg::option(c"reason", c"REASON"),
            RING,
            GROUP,
            WORKER,
            EPOCH,
        ],
    };
    const REACH: Reach = Reach::Partition;

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let (ring, p) = request.partition.resolve(request.claim.ring.clone())?;
        let caller = Caller::of(&request.claim, ctx.connection())?;
        let user = User::of(ctx);
        let place = place::find(ctx, &user, &ring, p, &request.claim.group())?;
        user.check(&place.names.stream, Access::Read)?;
        let now = ctx.now();
        let held = match leases::fail(ctx, &place, &user, &caller, &request.refusal, now)? {
            Failed::Recorded(failure) => {
                hand_out::share(ctx, &place, now)?;
                failure.held
            }
            Failed::Repeated(held) => held,
            Failed::Gone => Vec::new(),
        };
        reply::array(ctx, held.len());
        for id in held {
            reply::id(ctx, id);
        }
        Ok(())
    }
}
