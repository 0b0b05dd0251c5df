//! `EVQ.RINGS [JSON]`
//!
//! Lists the rings of the database that the user may read, sorted by name.

use crate::model::error::Error;
use crate::model::parse::{Format, Words};
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::tree::Tree;
use crate::server::cluster::listing;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::JSON;
use crate::server::entry::spec::{Routing, Spec};
use crate::server::keyspace::{known_rings, ring};

pub(super) struct ListRings;

fn parse(all: &[&[u8]]) -> Result<Format, Error> {
    let mut format = None;
    for word in Words::new("evq.rings", all) {
        if !Format::take(&mut format, word)? {
            return Err(Error::syntax(word));
        }
    }
    Ok(format.unwrap_or_default())
}

impl Command for ListRings {
    const SPEC: Spec = Spec {
        name: c"EVQ.RINGS",
        flags: c"readonly",
        acl: c"read slow",
        arity: -1,
        summary: c"Lists the rings of the database.",
        complexity: c"O(N), where N is the number of rings.",
        routing: Routing::None,
        args: &[JSON],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let format = parse(args.words())?;
        listing::pass_on(ctx, format)
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let format = parse(args.words())?;
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
        let names = found.iter().map(|name| Tree::from(name.as_str()));
        reply::described(ctx, names.collect::<Tree>(), format);
        Ok(())
    }
}
