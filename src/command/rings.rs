//! `EVQ.RINGS`
//!
//! Lists the names of the database's rings that the user may read, in their order.

use crate::model::error::Error;
use crate::model::parse::Words;
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::entry::command::Command;
use crate::server::entry::spec::{Routing, Spec};
use crate::server::keyspace::{known_rings, ring};

pub(super) struct ListRings;

impl Command for ListRings {
    const SPEC: Spec = Spec {
        name: c"EVQ.RINGS",
        flags: c"readonly",
        acl: c"read slow",
        arity: 1,
        summary: c"Lists the rings of the database.",
        complexity: c"O(N), where N is the number of rings.",
        routing: Routing::None,
        args: &[],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        Words::new("evq.rings", args.words()).end()?;
        let user = User::of(ctx);
        let db = ctx.db();
        let mut found = Vec::new();
        for name in known_rings::in_db(db) {
            match ring::exists(ctx, &user, &name) {
                Ok(true) => found.push(name),
                Ok(false) | Err(Error::WrongType) => known_rings::forget(db, &name),
                // A ring that the user may not read is none of their business.
                Err(_) => {}
            }
        }
        reply::array(ctx, found.len());
        for name in found {
            reply::bytes(ctx, name.as_str().as_bytes());
        }
        Ok(())
    }
}
