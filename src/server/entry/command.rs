//! The entry point of every command: no panic leaves it, and every error becomes one reply.

use std::ffi::c_int;

use super::spec::Spec;
use crate::model::error::Error;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{OK, raw};
use crate::server::ops::panics::reply_outcome;

/// A command: what the server and its clients are told about it, and what it does.
pub(crate) trait Command {
    /// Name, arity, flags, key specs, documentation.
    const SPEC: Spec;

    /// Runs the command and replies, or answers an error before anything was changed or replied.
    ///
    /// # Errors
    /// What the client is told.
    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error>;
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
    reply_outcome(&ctx, || C::run(&ctx, &args()));
    OK
}
