//! `EVQ.ACK partition id [RING ring] [GROUP group] [WORKER name] [EPOCH epoch]`
//!
//! Finishes the events that were handed out under this epoch, up to and including `id`. Replies 1
//! if an event was finished, 0 if all of them were finished before.

use crate::model::claim::Claim;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::parse::{PartitionArg, Words, event_id};
use crate::model::progress::lease::Caller;
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::delivery::{hand_out, leases};
use crate::server::entry::command::{Command, Reach};
use crate::server::entry::shared_args::{EPOCH, GROUP, PARTITION, RING, WORKER};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::{place, replicate};

pub(super) struct Ack;

struct Request {
    partition: PartitionArg,
    id: EventId,
    claim: Claim,
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.ack", all);
    let partition = PartitionArg::parse(words.positional()?)?;
    let id = event_id(words.positional()?)?;
    let mut claim = Claim::default();
    while let Some(word) = words.next() {
        if !claim.take(word, &mut words)? {
            return Err(Error::syntax(word));
        }
    }
    Ok(Request { partition, id, claim })
}

impl Command for Ack {
    const SPEC: Spec = Spec {
        name: c"EVQ.ACK",
        flags: c"write fast",
        acl: c"write fast",
        arity: -3,
        summary: c"Acknowledges the events of the lease up to an id; of a retry, that event only.",
        complexity: c"O(1)",
        routing: Routing::Word(1),
        args: &[PARTITION, Arg::string(c"id"), RING, GROUP, WORKER, EPOCH],
    };
    const REACH: Reach = Reach::Partition;

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Request { partition, id, claim } = parse(args.words())?;
        let (ring, p) = partition.resolve(claim.ring.clone())?;
        let user = User::of(ctx);
        if ctx.is_replay() {
            // The primary has judged it; it travels as it was sent.
            leases::replay_acknowledgement(ctx, &ring, p, &claim.group(), id)?;
            replicate::verbatim(ctx);
            reply::integer(ctx, 1);
            return Ok(());
        }
        let caller = Caller::of(&claim, ctx.connection())?;
        let place = place::find(ctx, &user, &ring, p, &claim.group())?;
        let now = ctx.now();
        let answered = leases::acknowledge(ctx, &place, &caller, id, now)?;
        if answered.finishes {
            replicate::verbatim(ctx);
        }
        if answered.shared {
            hand_out::share(ctx, &place, now)?;
        }
        reply::integer(ctx, answered.finishes.into());
        Ok(())
    }
}
