//! The rings of a cluster: each node lists those of which it holds something, and the lists are put
//! together.

use std::collections::BTreeSet;
use std::time::Instant;

use super::control::NO_TRANSACTION;
use super::jobs;
use super::main_thread::on_main;
use super::outcome::{Outcome, told};
use super::passing::TIME;
use super::rights::Caller;
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::parse::Format;
use crate::peers::Answer;
use crate::server::api::acl::{Access, User};
use crate::server::api::ctx::Ctx;
use crate::server::api::tree::Tree;
use crate::server::api::{key, reply};
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::keyspace::{copies, known_rings};
use crate::server::ops::credentials;

/// Replies the names of all rings that the user may read. Another node gets those of which this one
/// holds the authority or a copy.
///
/// # Errors
/// As [`jobs::pass`].
pub(crate) fn pass_on(ctx: &Ctx, format: Format) -> Result<(), Error> {
    if credentials::is_peer(ctx) {
        let here = known_rings::in_db(ctx.db()).into_iter().filter(|ring| is_here(ctx, ring));
        let names = here.map(|ring| Tree::from(ring.as_str()));
        reply::described(ctx, names.collect::<Tree>(), format);
        return Ok(());
    }
    let caller = Caller::of(ctx);
    jobs::pass(ctx, NO_TRANSACTION, move |client| async move {
        let lists = client.ask_each_master(vec!["EVQ.RINGS".into()], Instant::now() + TIME).await;
        let (mut names, mut silent) = (BTreeSet::new(), Vec::new());
        for (node, list) in lists {
            match told(list) {
                Ok(Answer::Array(list)) => names.extend(list.iter().filter_map(name_of)),
                Err(Error::Unreachable(_, why)) => silent.push((node.to_string(), why)),
                _ => silent.push((node.to_string(), "does not answer".to_owned())),
            }
        }
        let names = on_main(move |_| readable(&caller, names)).await?;
        Ok(listed(names, silent, format))
    })
}

fn name_of(answer: &Answer) -> Option<Name> {
    match answer {
        Answer::Bulk(name) => Name::ring(name).ok(),
        _ => None,
    }
}

/// Whether this node holds a ring's authority or one of its copies. Asked by a command without
/// keys, which may open those of any slot.
fn is_here(ctx: &Ctx, ring: &Name) -> bool {
    let names = RingNames::of(ring);
    let is_live =
        |key: &key::Key| key.value::<RingValue>().ok().flatten().is_some_and(copies::is_live);
    is_live(&key::open_read(ctx, &names.ring))
        || known_rings::copies(ctx.db(), ring)
            .into_iter()
            .any(|p| is_live(&copies::open_at(ctx, &names, p)))
}

/// A ring that the user may not read is none of their business.
fn readable(caller: &Caller, names: BTreeSet<Name>) -> Vec<Name> {
    let user: User = caller.user();
    let may = |ring: &Name| user.check(&RingNames::of(ring).ring, Access::Read).is_ok();
    names.into_iter().filter(may).collect()
}

/// The names, and last the nodes that did not answer, if there are any.
fn listed(names: Vec<Name>, silent: Vec<(String, String)>, format: Format) -> Outcome {
    if format == Format::Json {
        let mut rows: Vec<Tree> = names.iter().map(|name| name.as_str().into()).collect();
        if !silent.is_empty() {
            let silent = silent.into_iter().map(|(node, _)| Tree::from(node)).collect();
            rows.push(Tree::map([("unreachable", silent)]));
        }
        return Outcome::Described(Tree::List(rows), format);
    }
    let names = names.iter().map(|name| Answer::Bulk(name.as_str().into()));
    let silent = silent
        .into_iter()
        .map(|(node, why)| Answer::Error(Error::Unreachable(node, why).to_string()));
    Outcome::Answer(Answer::Array(names.chain(silent).collect()))
}
