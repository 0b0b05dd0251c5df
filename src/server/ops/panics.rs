//! Panics: caught at every entry point, logged in one line, and reported as EVQBUG.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::alarm;
use crate::model::error::Error;
use crate::server::api::ctx::Ctx;
use crate::server::api::log::{Level, line};
use crate::server::api::reply;

/// Runs `body`; its error, or a panic in it, becomes the reply.
pub(crate) fn reply_outcome(ctx: &Ctx, body: impl FnOnce() -> Result<(), Error>) {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            alarm::refused(ctx, &error);
            reply::error(ctx, &error);
        }
        Err(_) => reply::error(ctx, &Error::Bug("a panic was caught; see the server log")),
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
