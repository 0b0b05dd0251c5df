//! `EVQ.EXTEND partition [LEASE ms] [RING ring] [GROUP group] [WORKER name] [EPOCH epoch]`
//!
//! Renews the lease of a partition, as a heartbeat during long work. Saved data does not change, so
//! a WATCH on the partition's `:groups` key stays valid. Replies `OK`.

use crate::model::claim::Claim;
use crate::model::error::Error;
use crate::model::parse::{PartitionArg, Words, is, once};
use crate::model::progress::lease::Caller;
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::delivery::state;
use crate::server::entry::command::{Command, Reach};
use crate::server::entry::shared_args::{EPOCH, GROUP, PARTITION, RING, WORKER};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::place;

pub(super) struct Extend;

struct Request {
    partition: PartitionArg,
    /// None: as long as before.
    lease_ms: Option<u64>,
    claim: Claim,
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.extend", all);
    let partition = PartitionArg::parse(words.positional()?)?;
    let (mut claim, mut lease_ms) = (Claim::default(), None);
    while let Some(word) = words.next() {
        if is(word, "LEASE") {
            let value = words.duration_ms(word, "LEASE", 1)?.unsigned_abs();
            once(&mut lease_ms, word, value)?;
        } else if !claim.take(word, &mut words)? {
            return Err(Error::syntax(word));
        }
    }
    Ok(Request { partition, lease_ms, claim })
}

impl Command for Extend {
    const SPEC: Spec = Spec {
        name: c"EVQ.EXTEND",
        flags: c"write fast",
        acl: c"write fast",
        arity: -2,
        summary: c"Renews the lease of a partition: a heartbeat during long work.",
        complexity: c"O(1)",
        routing: Routing::Word(1),
        args: &[PARTITION, Arg::number(c"lease-ms", c"LEASE"), RING, GROUP, WORKER, EPOCH],
    };
    const REACH: Reach = Reach::Partition;

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Request { partition, lease_ms, claim } = parse(args.words())?;
        let (ring, p) = partition.resolve(claim.ring.clone())?;
        let caller = Caller::of(&claim, ctx.connection())?;
        let place = place::find(ctx, &User::of(ctx), &ring, p, &claim.group())?;
        state::judge(ctx, &place, |progress, scene| progress.authorize(&caller, scene).map(drop))?;
        let now = ctx.now();
        place.group.activity.note(now);
        state::open(ctx, &place.names).volatile(&place.line.group, |progress| match lease_ms {
            Some(lease_ms) => progress.extend(now, lease_ms),
            None => progress.renew(now),
        })?;
        reply::ok(ctx);
        Ok(())
    }
}
