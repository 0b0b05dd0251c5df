//! Jobs: what a client waits for while other nodes are asked.
//!
//! The client is blocked without a time-out, the job runs in the thread of the client of the
//! cluster, and its outcome becomes the reply. The server is told exactly once that the client is
//! released, whatever becomes of the job, and of the client: one that is gone, or was let go by the
//! server, gets no reply, and its outcome is freed.

use std::ffi::{c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::access;
use super::outcome::Finished;
use crate::model::error::Error;
use crate::peers::Client;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{OK, raw};
use crate::server::ops::panics::reply_outcome;

/// Blocks the client until a job is done, and replies its outcome. `make` is called at once: what
/// it asks for takes its place now in the order of each slot.
///
/// # Errors
/// [`Error::Usage`] where nothing may block, which is said in `denied`, or without credentials; as
/// [`access::client`]. Nothing was asked for then.
pub(crate) fn pass<J>(
    ctx: &Ctx,
    denied: &'static str,
    make: impl FnOnce(Client) -> J,
) -> Result<(), Error>
where
    J: Future<Output = Finished> + Send + 'static,
{
    if !ctx.may_block() {
        return Err(Error::Usage(denied));
    }
    let client = access::client(ctx)?;
    let job = make(client.clone());
    // SAFETY: the callbacks have the signatures that the server wants.
    let blocked =
        unsafe { api!(RedisModule_BlockClient)(ctx.raw(), Some(on_done), None, Some(on_free), 0) };
    if blocked.is_null() {
        // The server has replied an error by itself.
        return Ok(());
    }
    let waiting = Waiting(Some(Blocked(blocked)));
    client.spawn(async move {
        let finished = job.await;
        waiting.end(finished);
    });
    Ok(())
}

/// The server's handle of a blocked client.
struct Blocked(*mut raw::RedisModuleBlockedClient);

// SAFETY: the handle is only given back to the server, which takes it from any thread.
unsafe impl Send for Blocked {}

/// A client that waits. Released in any case: by the outcome of its job, or when the job is
/// dropped.
struct Waiting(Option<Blocked>);

impl Waiting {
    fn end(mut self, finished: Finished) {
        self.release(finished);
    }

    fn release(&mut self, finished: Finished) {
        let Some(Blocked(blocked)) = self.0.take() else { return };
        let finished: *mut Finished = Box::into_raw(Box::new(finished));
        // SAFETY: the handle is valid until this call, which is the only one. `on_free` frees what
        // it is given.
        unsafe { api!(RedisModule_UnblockClient)(blocked, finished.cast()) };
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.release(Err(Error::Bug("a job was lost; see the server log")));
    }
}

unsafe extern "C" fn on_done(
    ctx: *mut raw::RedisModuleCtx,
    _argv: *mut *mut raw::RedisModuleString,
    _argc: c_int,
) -> c_int {
    let ctx = Ctx::new(ctx);
    reply_outcome(&ctx, || {
        // SAFETY: what `release` gave the server, which frees it after this call.
        let finished = unsafe {
            let data = api!(RedisModule_GetBlockedClientPrivateData)(ctx.raw());
            data.cast::<Finished>().as_ref()
        };
        match finished {
            Some(Ok(outcome)) => {
                outcome.reply(&ctx);
                Ok(())
            }
            Some(Err(error)) => Err(error.clone()),
            None => Err(Error::Bug("the outcome of a job is missing")),
        }
    });
    OK
}

unsafe extern "C" fn on_free(_ctx: *mut raw::RedisModuleCtx, data: *mut c_void) {
    if !data.is_null() {
        // SAFETY: what `release` gave the server, once.
        let finished = unsafe { Box::from_raw(data.cast::<Finished>()) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(finished)));
    }
}
