//! The commands. Reading this table is reading the manual: one file each, with the same four
//! parts in the same order: what it does, the spec, the request it parses, the run.

mod ack;
mod apply;
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
mod resize;
mod ring;
mod rings;
mod route;
mod seek;
mod stats;
mod trigger;

use crate::server::api::ctx::Ctx;
use crate::server::entry::registry::register as one;
use crate::server::entry::spec::Arg;

/// Registers every command; false if the server refuses one.
pub(crate) fn register(ctx: &Ctx) -> bool {
    // Producing.
    one::<trigger::Trigger>(ctx)
        && one::<mtrigger::MultiTrigger>(ctx)
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
        && one::<pending::Pending>(ctx)
        && one::<dead::Dead>(ctx)
        && one::<stats::Stats>(ctx)
        // Internal: effects on their way to a replica or out of the append-only file.
        && one::<apply::Apply>(ctx)
}

/// The option `RING ring` for COMMAND DOCS.
const RING: Arg = Arg::option(c"ring", c"RING");
/// The option `GROUP group` for COMMAND DOCS.
const GROUP: Arg = Arg::option(c"group", c"GROUP");
/// The option `WORKER name` for COMMAND DOCS.
const WORKER: Arg = Arg::option(c"worker", c"WORKER");
/// The option `EPOCH epoch` for COMMAND DOCS.
const EPOCH: Arg = Arg::number(c"epoch", c"EPOCH");
/// The argument `partition`, a number or a stream key, for COMMAND DOCS.
const PARTITION: Arg = Arg::string(c"partition");
