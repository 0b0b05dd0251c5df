//! `EVQ.DROP ring`
//!
//! Removes a ring with all its keys, as UNLINK does. Waiting workers get `EVQNORING`. Replies `OK`.

use std::rc::Rc;

use crate::model::error::Error;
use crate::model::later::schedule::Schedule;
use crate::model::limits::MAX_PARTITIONS;
use crate::model::name::Name;
use crate::model::parse::Words;
use crate::model::unique::tokens::Tokens;
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Kind;
use crate::server::api::{key, reply};
use crate::server::cluster::control::{Change, NO_TRANSACTION};
use crate::server::cluster::jobs;
use crate::server::cluster::outcome::Outcome;
use crate::server::delivery::letters::letters_name;
use crate::server::delivery::state;
use crate::server::entry::command::Command;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::key_names::{PartitionNames, RingNames};
use crate::server::keyspace::{known_rings, ring};
use crate::server::later::spots;
use crate::server::waiting::release::dismiss;

pub(super) struct DropRing;

fn parse(all: &[&[u8]]) -> Result<Name, Error> {
    let mut words = Words::new("evq.drop", all);
    let name = Name::ring(words.positional()?)?;
    words.end()?;
    Ok(name)
}

impl Command for DropRing {
    const SPEC: Spec = Spec {
        name: c"EVQ.DROP",
        flags: c"write",
        acl: c"write slow dangerous",
        arity: 2,
        summary: c"Removes a ring with its events and its groups.",
        complexity:
            c"O(N*G), where N is the number of partitions and G the number of groups; memory is freed in the background.",
        routing: Routing::Word(1),
        args: &[Arg::string(c"ring")],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let name = parse(args.words())?;
        let (user, names) = (User::of(ctx), RingNames::of(&name));
        user.check(&names.ring, Access::Delete)?;
        for p in 0..MAX_PARTITIONS {
            user.check(&names.partition(p).stream, Access::Delete)?;
        }
        jobs::pass(ctx, NO_TRANSACTION, |client| async move {
            Change::of(client, name).drop_ring().await.map(|()| Outcome::Ok)
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let name = parse(args.words())?;
        let user = User::of(ctx);
        if !ring::exists(ctx, &user, &name)? {
            return Err(Error::NoRing);
        }
        let ring = ring::find(ctx, &user, &name)?;
        let names = ring.names.clone();
        let partitions: Vec<_> =
            ring.value()?.ring.nodes().map(|node| names.partition(node.partition)).collect();
        let mut letters = Vec::new();
        for (group, _) in ring.value()?.ring.groups() {
            for node in ring.value()?.ring.nodes() {
                let dead = letters_name(&name, node.partition, group);
                if key::open_read(ctx, &dead).stream()?.is_some() {
                    letters.push(dead);
                }
            }
        }
        let unique =
            |names: &&Rc<PartitionNames>| key::open_read(ctx, &names.unique).kind() != Kind::Empty;
        let tokens: Vec<_> = partitions.iter().filter(unique).collect();
        let later =
            |names: &&Rc<PartitionNames>| key::open_read(ctx, &names.later).kind() != Kind::Empty;
        let scheduled: Vec<_> = partitions.iter().filter(later).collect();
        // Closed before its key is deleted.
        drop(ring);
        let mut keys = vec![&names.ring];
        keys.extend(partitions.iter().flat_map(|names| [&names.stream, &names.groups]));
        keys.extend(&letters);
        keys.extend(tokens.iter().map(|names| &names.unique));
        keys.extend(scheduled.iter().map(|names| &names.later));
        for key in &keys {
            user.check(key, Access::Delete)?;
        }
        for partition in &partitions {
            key::open_read(ctx, &partition.stream).stream()?;
            state::open(ctx, partition).check()?;
            key::open_read(ctx, &partition.unique).value::<Tokens>()?;
            key::open_read(ctx, &partition.later).value::<Schedule>()?;
        }
        key::unlink(ctx, &keys)?;
        known_rings::forget(ctx.db(), &name);
        spots::forget_ring(ctx.db(), &name);
        dismiss(ctx, &name, None);
        reply::ok(ctx);
        Ok(())
    }
}
