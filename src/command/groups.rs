//! `EVQ.GROUPS [RING ring]`
//!
//! Lists the ring's groups with their lag over all partitions.

use serde_json::{Value, json};

use crate::model::error::Error;
use crate::model::parse::{Words, only_ring};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::delivery::backlog::Budget;
use crate::server::delivery::lag;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::RING;
use crate::server::entry::spec::{Routing, Spec};
use crate::server::keyspace::{place, ring};

pub(super) struct ListGroups;

impl Command for ListGroups {
    const SPEC: Spec = Spec {
        name: c"EVQ.GROUPS",
        flags: c"readonly",
        acl: c"read slow",
        arity: -1,
        summary: c"Lists the groups of a ring with their lag.",
        complexity: c"O(N*G), where N is the number of partitions and G the number of groups; to count a lag it looks at a bounded number of entries.",
        routing: Routing::None,
        args: &[RING],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let name = only_ring(&mut Words::new("evq.groups", args.words()))?;
        let user = User::of(ctx);
        let ring = ring::find(ctx, &user, &name)?;
        let value = ring.value()?;
        let (mut list, mut budget) = (Vec::new(), Budget::new());
        for (group, _) in value.ring.groups() {
            let (mut lag, mut exact) = (0, true);
            for node in value.ring.nodes() {
                let place = place::in_ring(ctx, &user, Access::Read, &ring, node.partition, group)?;
                user.check(&place.names.stream, Access::Read)?;
                let of_partition = lag::of(ctx, &place, &mut budget)?;
                lag += of_partition.events;
                exact &= of_partition.exact;
            }
            list.push(json!({
                "group": group.as_str(), "lag": lag, "lag-exact": u8::from(exact),
            }));
        }
        reply::tree(ctx, &Value::Array(list));
        Ok(())
    }
}
