//! The entry point of every command: no panic leaves it, and every error becomes one reply.

use std::ffi::c_int;

use super::spec::{Routing, Spec};
use crate::model::error::Error;
use crate::model::keys::parse_stream_key;
use crate::server::api::args::Args;
use crate::server::api::cluster;
use crate::server::api::cluster::Declared;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{OK, raw};
use crate::server::ops::panics::reply_outcome;

/// What a command is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// A ring, wherever its partitions are: in a cluster it is passed on.
    Ring,
    /// One partition, which its first word names: in a cluster the server routes it.
    Partition,
    /// A key, between servers.
    Internal,
}

/// A command: what the server and its clients are told about it, and what it does.
pub(crate) trait Command {
    /// Name, arity, flags, key specs, documentation.
    const SPEC: Spec;
    /// What it is about, which decides where it runs in a cluster.
    const REACH: Reach = Reach::Ring;

    /// Runs the command and replies, or answers an error before anything was changed or replied.
    ///
    /// # Errors
    /// What the client is told.
    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error>;

    /// In a cluster: has the nodes run the command that it concerns, and replies when they have. It
    /// opens no key.
    ///
    /// # Errors
    /// What the client is told at once.
    fn pass_on(_ctx: &Ctx, _args: &Args<'_>) -> Result<(), Error> {
        Err(Error::Usage("this command is not available in a cluster"))
    }
}

/// The C function of the command `C`.
pub(crate) unsafe extern "C" fn enter<C: Command>(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
) -> c_int {
    let ctx = Ctx::new(ctx);
    // SAFETY: the server's arguments are valid for this call.
    let args = || unsafe { Args::new(argv, argc) };
    if cluster::is_on() {
        reply_outcome(&ctx, || run_in_cluster::<C>(&ctx, &args()));
    } else {
        reply_outcome(&ctx, || C::run(&ctx, &args()));
    }
    OK
}

/// Runs a command on a node of a cluster.
fn run_in_cluster<C: Command>(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
    // What a primary or the append-only file sends has no declared key: the server routes it not.
    if ctx.is_replay() {
        return C::run(ctx, args);
    }
    let _declared = declare(C::SPEC.routing, args);
    match C::REACH {
        Reach::Ring if ctx.db() != 0 => {
            return Err(Error::Usage("in a cluster rings are in database 0"));
        }
        Reach::Ring => return C::pass_on(ctx, args),
        Reach::Partition => {
            let first = args.words().first().copied().unwrap_or_default();
            if parse_stream_key(first).is_none() {
                return Err(Error::Usage("in a cluster a partition is named by its stream key"));
            }
        }
        Reach::Internal => {}
    }
    C::run(ctx, args)
}

/// In a cluster a command keeps to the slot of the key that routed it.
fn declare(routing: Routing, args: &Args<'_>) -> Option<Declared> {
    let at = match routing {
        Routing::None => return cluster::declare(None),
        Routing::Word(at) | Routing::Key(at) => at,
    };
    let index = usize::try_from(at - 1).unwrap_or_default();
    cluster::declare(args.words().get(index).copied())
}
