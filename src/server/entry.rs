//! Where the server enters the module for a command: no panic leaves, every error becomes one
//! reply.

use std::any::Any;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::alarm;
use super::args::Args;
use super::ctx::Ctx;
use super::ffi::{OK, raw};
use super::log::{Level, line};
use super::registry::Spec;
use crate::model::error::Error;

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

/// Runs `body`; its error, or a panic in it, becomes the reply.
pub(crate) fn reply_outcome(ctx: &Ctx, body: impl FnOnce() -> Result<(), Error>) {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            alarm::refused(ctx, &error);
            ctx.reply_error(&error);
        }
        Err(_) => ctx.reply_error(&Error::Bug("a panic was caught; the server's log has it")),
    }
}

/// Makes panics write one line to the server's log, with the place but through the safe logger.
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let what = message(info.payload());
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let text = format!("EVQBUG panic at {place}: {what}; please report");
        line(std::ptr::null_mut(), Level::Warning, &text);
    }));
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
