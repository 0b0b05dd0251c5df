//! The way back to the main thread in the middle of a job, for what belongs to it: rights, and what
//! the module keeps in memory. No command runs meanwhile, so a key of any slot may be opened.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use tokio::sync::oneshot;

use crate::model::error::Error;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{OK, raw};

/// What is done there. It reports by itself.
type Errand = Box<dyn FnOnce(&Ctx) + Send>;

/// Runs `act` on the main thread, in the next round of the event loop.
///
/// # Errors
/// [`Error::Bug`] if it panics.
pub(crate) async fn on_main<R: Send + 'static>(
    act: impl FnOnce(&Ctx) -> R + Send + 'static,
) -> Result<R, Error> {
    let (told, result) = oneshot::channel();
    let errand: Errand = Box::new(move |ctx| {
        // Nobody may wait for it any more.
        let _ = told.send(act(ctx));
    });
    if !put(Box::new(errand)) {
        return Err(Error::Bug("the event loop does not accept a job"));
    }
    result.await.map_err(|_| Error::Bug("a panic was caught; see the server log"))
}

/// Hands an errand to the event loop; false if it is refused.
fn put(errand: Box<Errand>) -> bool {
    let errand: *mut Errand = Box::into_raw(errand);
    // SAFETY: any thread may call this. The callback has the signature that the server wants, and
    // gets what it expects, once.
    let put = unsafe { api!(RedisModule_EventLoopAddOneShot)(Some(run), errand.cast()) };
    if put != OK {
        // SAFETY: the server did not take it, so it is still owned here.
        drop(unsafe { Box::from_raw(errand) });
    }
    put == OK
}

unsafe extern "C" fn run(errand: *mut c_void) {
    // SAFETY: made by `put`, and called once.
    let errand = unsafe { Box::from_raw(errand.cast::<Errand>()) };
    // A panic ends here; the hook has logged it, and who waits finds out.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let context = Context::new();
        errand(&Ctx::new(context.0));
    }));
}

/// A context of no client.
struct Context(*mut raw::RedisModuleCtx);

impl Context {
    fn new() -> Self {
        // SAFETY: without a blocked client it is one of none; freed in Drop.
        Self(unsafe { api!(RedisModule_GetThreadSafeContext)(null_mut()) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: got in `new`, and no longer in use.
        unsafe { api!(RedisModule_FreeThreadSafeContext)(self.0) };
    }
}
