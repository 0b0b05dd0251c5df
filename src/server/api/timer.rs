//! The one timer of the module, armed to the earliest moment that matters to anybody.
//!
//! Each moment has its reason, see [`crate::model::deadlines`]; a firing passes on what is due.
//! What there is to do then is not known here: [`install`] names the sweep once, when the module
//! is loaded, so that every room may ask for one.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use super::ctx::Ctx;
use super::ffi::raw;
use crate::model::deadlines::{Deadlines, Due, Reason};

/// What runs when the timer fires, with what is due.
type Sweep = fn(&Ctx, Due);

#[derive(Clone, Copy)]
struct Armed {
    timer: raw::RedisModuleTimerID,
    at_ms: u64,
}

thread_local! {
    static SWEEP: OnceCell<Sweep> = const { OnceCell::new() };
    static DEADLINES: RefCell<Deadlines> = RefCell::default();
    static FIRING: Cell<bool> = const { Cell::new(false) };
    static ARMED: Cell<Option<Armed>> = const { Cell::new(None) };
}

/// Names what runs whenever the timer fires.
pub(crate) fn install(sweep: Sweep) {
    SWEEP.with(|known| {
        let _ = known.set(sweep);
    });
}

/// Sweeps for `reason` at `at_ms`, or before if it is due earlier.
pub(crate) fn arm(ctx: &Ctx, reason: Reason, at_ms: u64) {
    DEADLINES.with_borrow_mut(|deadlines| deadlines.put(reason, at_ms));
    // A sweep that is under way ends with arming the timer.
    if !FIRING.get() && ARMED.get().is_none_or(|armed| armed.at_ms > at_ms) {
        arm_to_the_next(ctx);
    }
}

fn arm_to_the_next(ctx: &Ctx) {
    let now_ms = ctx.now().ms();
    let Some(at_ms) = DEADLINES.with_borrow_mut(|deadlines| deadlines.next(now_ms)) else { return };
    if let Some(armed) = ARMED.take() {
        // SAFETY: the timer has not fired: firing clears ARMED first.
        unsafe { api!(RedisModule_StopTimer)(ctx.raw(), armed.timer, null_mut()) };
    }
    // SAFETY: the callback has the signature that the server wants and takes no data.
    let timer = unsafe {
        api!(RedisModule_CreateTimer)(
            ctx.raw(),
            at_ms.saturating_sub(now_ms).cast_signed(),
            Some(on_timer),
            null_mut(),
        )
    };
    ARMED.set(Some(Armed { timer, at_ms }));
}

/// Sweeps for `reason` in the next round of the event loop.
pub(crate) fn soon(ctx: &Ctx, reason: Reason) {
    arm(ctx, reason, 0);
    // A timer that is made just before the server sleeps may be seen 70 ms late; this ends the
    // sleep.
    // SAFETY: the callback has the signature that the server wants and takes no data.
    unsafe { api!(RedisModule_EventLoopAddOneShot)(Some(wake_up), null_mut()) };
}

/// Has the server told of a client that was released: in the next round of the event loop, or by
/// the sweep that is under way.
pub(crate) fn tell_soon(ctx: &Ctx) {
    if !FIRING.get() {
        soon(ctx, Reason::Release);
    }
}

unsafe extern "C" fn wake_up(_data: *mut c_void) {}

unsafe extern "C" fn on_timer(ctx: *mut raw::RedisModuleCtx, _data: *mut c_void) {
    let Some(armed) = ARMED.take() else { return };
    let ctx = Ctx::new(ctx);
    FIRING.set(true);
    // A panic ends here; the hook has logged it, and the next use of a line checks everything.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // The clock may have been set back since.
        let now_ms = ctx.now().ms().max(armed.at_ms);
        let due = DEADLINES.with_borrow_mut(|deadlines| deadlines.take_due(now_ms));
        if let Some(sweep) = SWEEP.with(|known| known.get().copied()) {
            sweep(&ctx, due);
        }
    }));
    FIRING.set(false);
    let _ = catch_unwind(AssertUnwindSafe(|| arm_to_the_next(&ctx)));
}
