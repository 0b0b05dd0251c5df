//! The one timer of the module, armed to the earliest moment that matters to anybody.
//!
//! What there is to do when it fires is not known here: [`install`] names the sweep once, when the
//! module is loaded, so that every room may ask for one.

use std::cell::{Cell, OnceCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use super::ctx::Ctx;
use super::ffi::raw;

/// How soon everything is looked at again whatever is armed: a key may have been deleted, renamed
/// or restored by hand, of which the module hears nothing.
pub(crate) const RECHECK_MS: u64 = 1000;

#[derive(Clone, Copy)]
struct Armed {
    timer: raw::RedisModuleTimerID,
    at_ms: u64,
}

thread_local! {
    static SWEEP: OnceCell<fn(&Ctx)> = const { OnceCell::new() };
    static FIRING: Cell<bool> = const { Cell::new(false) };
    static ARMED: Cell<Option<Armed>> = const { Cell::new(None) };
}

/// Names what runs whenever the timer fires.
pub(crate) fn install(sweep: fn(&Ctx)) {
    SWEEP.with(|known| {
        let _ = known.set(sweep);
    });
}

/// Sweeps at `at_ms`, or before if something else is due.
pub(crate) fn arm(ctx: &Ctx, at_ms: u64) {
    if let Some(armed) = ARMED.get() {
        if armed.at_ms <= at_ms {
            return;
        }
        // SAFETY: the timer has not fired: firing clears ARMED first.
        unsafe { api!(RedisModule_StopTimer)(ctx.raw(), armed.timer, null_mut()) };
    }
    let now_ms = ctx.now().ms();
    let period_ms = at_ms.saturating_sub(now_ms).min(RECHECK_MS);
    // SAFETY: the callback has the signature that the server wants and takes no data.
    let timer = unsafe {
        api!(RedisModule_CreateTimer)(
            ctx.raw(),
            period_ms.cast_signed(),
            Some(on_timer),
            null_mut(),
        )
    };
    ARMED.set(Some(Armed { timer, at_ms: at_ms.min(now_ms + period_ms) }));
}

/// Sweeps in the next round of the event loop.
pub(crate) fn soon(ctx: &Ctx) {
    arm(ctx, 0);
    // A timer that is made just before the server sleeps may be seen 70 ms late; this ends the
    // sleep.
    // SAFETY: the callback has the signature that the server wants and takes no data.
    unsafe { api!(RedisModule_EventLoopAddOneShot)(Some(wake_up), null_mut()) };
}

/// Sweeps in the next round of the event loop, unless a sweep is under way.
pub(crate) fn soon_unless_firing(ctx: &Ctx) {
    if !FIRING.get() {
        soon(ctx);
    }
}

unsafe extern "C" fn wake_up(_data: *mut c_void) {}

unsafe extern "C" fn on_timer(ctx: *mut raw::RedisModuleCtx, _data: *mut c_void) {
    ARMED.set(None);
    let ctx = Ctx::new(ctx);
    FIRING.set(true);
    // A panic ends here; the hook has logged it, and the next use of a line checks everything.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if let Some(sweep) = SWEEP.with(|known| known.get().copied()) {
            sweep(&ctx);
        }
    }));
    FIRING.set(false);
}
