//! The commands. Reading this table is reading the manual: one file each, with the same four
//! parts in the same order: what it does, the spec, the request it parses, the run.

mod ack;
mod append;
mod apply;
mod cancel;
mod consume;
mod create;
mod dead;
mod delgroup;
mod drop;
mod extend;
mod group;
mod groups;
mod mtrigger;
mod nack;
mod pending;
mod points;
mod release;
mod replay;
mod resize;
mod ring;
mod rings;
mod route;
mod schedule;
mod scheduled;
mod seek;
mod shard;
mod stats;
mod trigger;

use crate::server::api::ctx::Ctx;
use crate::server::entry::registry::register as one;

/// Registers every command; false if the server refuses one.
pub(crate) fn register(ctx: &Ctx) -> bool {
    // Producing.
    one::<trigger::Trigger>(ctx)
        && one::<append::Append>(ctx)
        && one::<mtrigger::MultiTrigger>(ctx)
        && one::<schedule::Schedule>(ctx)
        && one::<scheduled::ListScheduled>(ctx)
        && one::<cancel::Cancel>(ctx)
        // The ring.
        && one::<create::Create>(ctx)
        && one::<ring::DescribeRing>(ctx)
        && one::<rings::ListRings>(ctx)
        && one::<route::Route>(ctx)
        && one::<points::Points>(ctx)
        && one::<resize::Resize>(ctx)
        && one::<drop::DropRing>(ctx)
        // Consuming.
        && one::<consume::Consume>(ctx)
        && one::<ack::Ack>(ctx)
        && one::<nack::Nack>(ctx)
        && one::<extend::Extend>(ctx)
        && one::<release::Release>(ctx)
        // Groups and operations.
        && one::<group::SetGroup>(ctx)
        && one::<groups::ListGroups>(ctx)
        && one::<delgroup::DeleteGroup>(ctx)
        && one::<seek::Seek>(ctx)
        && one::<replay::Replay>(ctx)
        && one::<pending::Pending>(ctx)
        && one::<dead::Dead>(ctx)
        && one::<stats::Stats>(ctx)
        // Internal: effects on their way to a replica or out of the append-only file.
        && one::<apply::Apply>(ctx)
        // Internal: among the nodes of a cluster.
        && one::<shard::Shard>(ctx)
}
