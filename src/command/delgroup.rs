//! `EVQ.DELGROUP group [RING ring]`
//!
//! Removes a group with its progress and its dead letters; the events stay. Waiting
//! workers get `EVQNOGROUP`. Replies `OK`.

use crate::model::error::Error;
use crate::model::limits::MAX_PARTITIONS;
use crate::model::name::Name;
use crate::model::parse::{Words, only_ring};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::cluster::control::{Change, NO_TRANSACTION};
use crate::server::cluster::jobs;
use crate::server::cluster::outcome::Outcome;
use crate::server::delivery::letters::letters_name;
use crate::server::delivery::remove_group;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::RING;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::ring;

pub(super) struct DeleteGroup;

/// The group and its ring.
fn parse(all: &[&[u8]]) -> Result<(Name, Name), Error> {
    let mut words = Words::new("evq.delgroup", all);
    Ok((Name::group(words.positional()?)?, only_ring(&mut words)?))
}

impl Command for DeleteGroup {
    const SPEC: Spec = Spec {
        name: c"EVQ.DELGROUP",
        flags: c"write",
        acl: c"write slow",
        arity: -2,
        summary: c"Removes a group with its progress and its dead letters.",
        complexity: c"O(N), where N is the number of partitions.",
        routing: Routing::Word(1),
        args: &[Arg::string(c"group"), RING],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (group, ring) = parse(args.words())?;
        let (user, names) = (User::of(ctx), RingNames::of(&ring));
        user.check(&names.ring, Access::Update)?;
        for p in 0..MAX_PARTITIONS {
            user.check(&names.partition(p).groups, Access::Update)?;
        }
        jobs::pass(ctx, NO_TRANSACTION, |client| async move {
            Change::of(client, ring).delete_group(group).await.map(|()| Outcome::Ok)
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (group, ring_name) = parse(args.words())?;
        let user = User::of(ctx);
        let ring = ring::find(ctx, &user, &ring_name)?;
        if ring.value()?.ring.group(&group).is_none() {
            return Err(Error::NoGroup);
        }
        user.check(&ring.names.ring, Access::Update)?;
        let mut partitions = Vec::new();
        for node in ring.value()?.ring.nodes() {
            let names = ring.names.partition(node.partition);
            let dead = letters_name(&ring_name, node.partition, &group);
            user.check(&names.groups, Access::Update)?;
            user.check(&dead, Access::Delete)?;
            partitions.push(node.partition);
        }
        remove_group::remove_group(ctx, &ring.names, partitions, &group)?;
        reply::ok(ctx);
        Ok(())
    }
}
