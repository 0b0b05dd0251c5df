//! `EVQ.RELEASE partition [RING ring] [GROUP group] [WORKER name] [EPOCH epoch]`
//!
//! Gives the lease up, so that the next in line gets the partition at once. What was handed out
//! and not acknowledged is handed out again, in order. Replies `OK`.

use crate::model::effect::Change;
use crate::model::error::Error;
use crate::model::lease::Caller;
use crate::model::words::{Claim, PartitionArg, Words};
use crate::server::acl::User;
use crate::server::args::Args;
use crate::server::blocking::{fence_owner, look_again};
use crate::server::ctx::Ctx;
use crate::server::entry::Command;
use crate::server::registry::{Routing, Spec};
use crate::server::sweep::hand_over;

pub(super) struct Release;

fn parse(all: &[&[u8]]) -> Result<(PartitionArg, Claim), Error> {
    let mut words = Words::new("evq.release", all);
    let partition = PartitionArg::parse(words.positional()?)?;
    let mut claim = Claim::default();
    while let Some(word) = words.next() {
        if !claim.take(word, &mut words)? {
            return Err(Error::syntax(word));
        }
    }
    Ok((partition, claim))
}

impl Command for Release {
    const SPEC: Spec = Spec {
        name: c"EVQ.RELEASE",
        flags: c"write fast",
        acl: c"write fast",
        arity: -2,
        summary: c"Gives the lease of a partition up: the next worker has it at once.",
        complexity: c"O(1)",
        routing: Routing::Word(1),
        args: &[super::PARTITION, super::RING, super::GROUP, super::WORKER, super::EPOCH],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (partition, claim) = parse(args.words())?;
        let (ring, p) = partition.resolve(claim.ring.clone())?;
        let caller = Caller::of(&claim, ctx.connection())?;
        let place = ctx.group_place(&User::of(ctx), &ring, p, &claim.group())?;
        let now = ctx.now();
        let epoch = ctx.judge(&place, |progress, scene| {
            progress.authorize(&caller, scene).map(|_| progress.next_epoch(now))
        })?;
        place.group.activity.note(now);
        let start = place.group.start(place.line.partition);
        ctx.change(&place, Change::Epoch { epoch, start })?;
        fence_owner(ctx, &place.line, None);
        // The lease is given up, whoever gets it next and whatever the stream is like.
        let _ = hand_over(ctx, &place.line);
        look_again(ctx, &place.line);
        ctx.reply_ok();
        Ok(())
    }
}
