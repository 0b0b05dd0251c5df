//! `EVQ.ROUTE key [RING ring]`
//!
//! Replies the partition of a key: `[partition, stream key]`. Changes nothing.

use crate::model::error::Error;
use crate::model::keys::stream_key;
use crate::model::name::Name;
use crate::model::parse::{Words, only_ring};
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::tree::Tree;
use crate::server::cluster::passing::of_shape;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::RING;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::ring;

pub(super) struct Route;

fn parse<'a>(all: &'a [&'a [u8]]) -> Result<(&'a [u8], Name), Error> {
    let mut words = Words::new("evq.route", all);
    Ok((words.positional()?, only_ring(&mut words)?))
}

impl Command for Route {
    const SPEC: Spec = Spec {
        name: c"EVQ.ROUTE",
        flags: c"readonly fast",
        acl: c"read fast",
        arity: -2,
        summary: c"Returns the partition that a key belongs to.",
        complexity: c"O(1) on average.",
        routing: Routing::Word(1),
        args: &[Arg::string(c"key"), RING],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (key, ring) = parse(args.words())?;
        let key = key.to_vec();
        of_shape(ctx, ring, move |shape| {
            let p = shape.continuum.route(&key);
            Tree::from_iter([p.into(), stream_key(&shape.ring, p).into()])
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (key, ring) = parse(args.words())?;
        let ring = ring::find(ctx, &User::of(ctx), &ring)?;
        let partition = ring.value()?.continuum.route(key);
        reply::array(ctx, 2);
        reply::integer(ctx, partition.into());
        reply::bytes(ctx, ring.names.partition(partition).stream.bytes());
        Ok(())
    }
}
