//! `EVQ.CONSUME partition [ANY]|* [RING ring] [GROUP group] [WORKER name] [EPOCH epoch] [COUNT n]
//! [AHEAD] [BLOCK ms | NOBLOCK] [LEASE ms] [ACK id]` (with `*` and ANY: `ACK partition id`)
//!
//! The ordered pull loop of one worker on one partition, or, with `*`, on any partition that has
//! work and no other owner; with ANY, on those that are stored where this one is. Replies
//! `[partition, epoch, events]`, or null after the time-out. The run is in
//! [`crate::server::dispatch::pull`].

use crate::model::claim::Claim;
use crate::model::error::Error;
use crate::model::limits::MAX_COUNT;
use crate::model::parse::{PartitionArg, Words, event_id, is, once, partition_or_all};
use crate::model::progress::lease::Pace;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::dispatch::pull;
use crate::server::dispatch::request::{Acknowledged, Request};
use crate::server::entry::command::{Command, Reach};
use crate::server::entry::shared_args::{EPOCH, GROUP, PARTITION, RING, WORKER};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::ops::config;
use crate::server::waiting::waiter::Woken;

pub(super) struct Consume;

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.consume", all);
    let target = words.positional()?;
    let beside = match PartitionArg::parse(target) {
        Ok(PartitionArg::Key(ring, p)) if words.take_keyword("ANY") => Some((ring, p)),
        _ => None,
    };
    let any = target == b"*" || beside.is_some();
    let mut claim = Claim::default();
    let (mut count, mut ahead, mut block, mut lease, mut ack) = (None, None, None, None, None);
    while let Some(word) = words.next() {
        if is(word, "COUNT") {
            once(&mut count, word, words.count_after(word, "COUNT", MAX_COUNT)?)?;
        } else if is(word, "AHEAD") {
            once(&mut ahead, word, Pace::Ahead)?;
        } else if is(word, "BLOCK") {
            let ms = words.duration_ms(word, "BLOCK", 0)?.unsigned_abs();
            once(&mut block, word, Some(ms))?;
        } else if is(word, "NOBLOCK") {
            once(&mut block, word, None)?;
        } else if is(word, "LEASE") {
            once(&mut lease, word, words.duration_ms(word, "LEASE", 1)?.unsigned_abs())?;
        } else if is(word, "ACK") {
            let partition = if any { words.value(word)? } else { target };
            once(&mut ack, word, (partition, event_id(words.value(word)?)?))?;
        } else if !claim.take(word, &mut words)? {
            return Err(Error::syntax(word));
        }
    }
    let ack = match ack {
        None => None,
        Some((text, id)) => Some((PartitionArg::parse(text)?, id)),
    };
    // With `*` the stream key of an acknowledged event names the ring too.
    let named = match &ack {
        Some((PartitionArg::Key(name, _), _)) => claim.ring.clone().or(Some(name.clone())),
        _ => claim.ring.clone(),
    };
    let (ring, partition) = match &beside {
        Some((ring, p)) => {
            PartitionArg::Key(ring.clone(), *p).resolve(named)?;
            (ring.clone(), None)
        }
        None => partition_or_all(target, if any { named } else { claim.ring.clone() })?,
    };
    let ack = match ack {
        None => None,
        Some((of, id)) => {
            let (_, partition) = of.resolve(Some(ring.clone()))?;
            Some(Acknowledged { partition, id })
        }
    };
    Ok(Request {
        ring,
        partition,
        beside: beside.map(|(_, p)| p),
        claim,
        count: count.unwrap_or(1),
        pace: ahead.unwrap_or(Pace::Steady),
        block_ms: block.unwrap_or_else(|| Some(config::BLOCK_MS.get())),
        lease_ms: lease.unwrap_or_else(|| config::LEASE_MS.get()),
        ack,
    })
}

/// The client's turn has come after it waited.
fn resume(ctx: &Ctx, args: &Args<'_>, woken: Woken) -> Result<(), Error> {
    pull::resume(ctx, &parse(args.words())?, woken)
}

impl Command for Consume {
    const SPEC: Spec = Spec {
        name: c"EVQ.CONSUME",
        flags: c"write blocking",
        acl: c"write slow blocking",
        arity: -2,
        summary: c"Returns the next events of a partition to a worker of a group, in order, under a lease.",
        complexity: c"O(log(S)+N), where S is the number of nodes of the stream and N the number of events returned; with * also O(P), where P is the number of partitions.",
        routing: Routing::Word(1),
        args: &[
            PARTITION,
            Arg::flag(c"any", c"ANY"),
            RING,
            GROUP,
            WORKER,
            EPOCH,
            Arg::number(c"count", c"COUNT"),
            Arg::flag(c"ahead", c"AHEAD"),
            Arg::one_of(
                c"wait",
                &[Arg::number(c"block-ms", c"BLOCK").required(), Arg::flag(c"noblock", c"NOBLOCK")],
            )
            .optional(),
            Arg::number(c"lease-ms", c"LEASE"),
            Arg::block(c"ack", &[PARTITION.optional(), Arg::string(c"id")])
                .after(c"ACK")
                .optional(),
        ],
    };
    const REACH: Reach = Reach::Partition;

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        pull::pull(ctx, &parse(args.words())?, resume)
    }
}
