//! `EVQ.RELEASE partition [RING ring] [GROUP group] [WORKER name] [EPOCH epoch]`
//!
//! Ends the lease, so that the next worker in line gets the partition at once. Unacknowledged
//! events are handed out again, in order. Replies `OK`.

use crate::model::claim::Claim;
use crate::model::error::Error;
use crate::model::parse::{PartitionArg, Words};
use crate::model::progress::lease::Caller;
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::delivery::leases;
use crate::server::dispatch::hand_over::hand_over;
use crate::server::entry::command::{Command, Reach};
use crate::server::entry::shared_args::{EPOCH, GROUP, PARTITION, RING, WORKER};
use crate::server::entry::spec::{Routing, Spec};
use crate::server::keyspace::place;
use crate::server::waiting::release::look_again;

pub(super) struct Release;

struct Request {
    partition: PartitionArg,
    claim: Claim,
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.release", all);
    let partition = PartitionArg::parse(words.positional()?)?;
    let mut claim = Claim::default();
    while let Some(word) = words.next() {
        if !claim.take(word, &mut words)? {
            return Err(Error::syntax(word));
        }
    }
    Ok(Request { partition, claim })
}

impl Command for Release {
    const SPEC: Spec = Spec {
        name: c"EVQ.RELEASE",
        flags: c"write fast",
        acl: c"write fast",
        arity: -2,
        summary: c"Ends the lease of a partition; the next worker gets it at once.",
        complexity: c"O(1)",
        routing: Routing::Word(1),
        args: &[PARTITION, RING, GROUP, WORKER, EPOCH],
    };
    const REACH: Reach = Reach::Partition;

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Request { partition, claim } = parse(args.words())?;
        let (ring, p) = partition.resolve(claim.ring.clone())?;
        let caller = Caller::of(&claim, ctx.connection())?;
        let place = place::find(ctx, &User::of(ctx), &ring, p, &claim.group())?;
        leases::release(ctx, &place, &caller, ctx.now())?;
        // The lease is given up, whoever gets it next and whatever the stream is like.
        let _ = hand_over(ctx, &place.line);
        look_again(ctx, &place.line);
        reply::ok(ctx);
        Ok(())
    }
}
