//! `EVQ.POINTS [RING ring]`
//!
//! Lists the continuum, `[point, partition]` ascending, so that a client can compute the mapping
//! itself.

use serde_json::Value;

use crate::model::error::Error;
use crate::model::parse::{Words, only_ring};
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::tree::Tree;
use crate::server::cluster::passing::of_shape;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::RING;
use crate::server::entry::spec::{Routing, Spec};
use crate::server::keyspace::ring;

pub(super) struct Points;

impl Command for Points {
    const SPEC: Spec = Spec {
        name: c"EVQ.POINTS",
        flags: c"readonly",
        acl: c"read slow",
        arity: -1,
        summary: c"Lists the points of a ring with the partitions that own them.",
        complexity: c"O(P), where P is the number of points on the ring.",
        routing: Routing::None,
        args: &[RING],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let name = only_ring(&mut Words::new("evq.points", args.words()))?;
        of_shape(ctx, name, |shape| {
            let points = shape.continuum.points();
            let row =
                |(point, p): (i32, u32)| Tree::from_iter([Value::from(point).into(), p.into()]);
            points.into_iter().map(row).collect()
        })
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let name = only_ring(&mut Words::new("evq.points", args.words()))?;
        let ring = ring::find(ctx, &User::of(ctx), &name)?;
        let points = ring.value()?.continuum.points();
        reply::array(ctx, points.len());
        for (point, partition) in points {
            reply::array(ctx, 2);
            reply::signed(ctx, point.into());
            reply::integer(ctx, partition.into());
        }
        Ok(())
    }
}
