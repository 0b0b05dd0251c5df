//! What time does: leases that lapse or whose connection closed go to the next in line, retries
//! become due, workers are called that appends do not reach, and what is too old is trimmed.
//!
//! One timer for the whole module, armed to the earliest moment that matters and not at all while
//! nobody waits and there is no ring. It runs on primaries only; what it changes is replicated as
//! any command's changes are. Each part does what is due for its reasons and arms the timer for the
//! next moment.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use crate::model::deadlines::{Due, Reason};
use crate::model::now::Now;
use crate::model::waiting::sweep as waiting;
use crate::server::api::ctx::Ctx;
use crate::server::api::timer;
use crate::server::cluster::confirm;
use crate::server::delivery::recount;
use crate::server::dispatch::partitions::Keys;
use crate::server::dispatch::{arrivals, removed, tidy};
use crate::server::producing::due as later;
use crate::server::retention::background;
use crate::server::unique::forget;
use crate::server::waiting::release::tell_released;

/// How soon to try again while the server wants no writes: it is paused, fails over or stops.
const PAUSED_MS: u64 = 20;

/// What the timer runs, with what is due.
pub(crate) fn run(ctx: &Ctx, due: Due) {
    let began = Instant::now();
    // A panic ends here; the hook has logged it, and the next use of a line checks everything.
    let _ = catch_unwind(AssertUnwindSafe(|| sweep(ctx, due)));
    sweep_done(began);
    tell_released();
}

fn sweep(ctx: &Ctx, due: Due) {
    let now = ctx.now();
    waiting::end_waits(&mut Keys(ctx), due, now);
    if !ctx.may_act() {
        // A change of role, and the end of loading, make everything due.
        return;
    }
    if ctx.may_replicate() {
        act(ctx, due, now);
    } else {
        put_off(ctx, due, now.ms() + PAUSED_MS);
    }
}

fn act(ctx: &Ctx, due: Due, now: Now) {
    if due.any(&[Reason::Tidy]) {
        tidy::tidy(ctx, now.ms());
    }
    let at_once = arrivals::serve(ctx, now);
    waiting::sweep(&mut Keys(ctx), due, now);
    arrivals::send_away(at_once);
    if due.any(&[Reason::Removed]) {
        removed::search(ctx, now);
    }
    if due.any(&[Reason::Lag]) {
        recount::step(ctx);
    }
    if (due.any(&[Reason::Retention, Reason::Recheck]) || background::has_other_rings())
        && let Some(next_ms) = background::sweep(ctx)
    {
        timer::arm(ctx, Reason::Retention, next_ms);
    }
    if due.any(&[Reason::Retention, Reason::Recheck]) {
        confirm::sweep(ctx);
    }
    if due.any(&[Reason::Tokens, Reason::Recheck])
        && let Some(next_ms) = forget::sweep(ctx)
    {
        timer::arm(ctx, Reason::Tokens, next_ms);
    }
    if due.any(&[Reason::Later, Reason::Recheck])
        && let Some(next_ms) = later::sweep(ctx, due.any(&[Reason::Recheck]))
    {
        timer::arm(ctx, Reason::Later, next_ms);
    }
}

/// Has everything due again at `at_ms` but what is done already.
fn put_off(ctx: &Ctx, due: Due, at_ms: u64) {
    for reason in due.iter() {
        match reason {
            Reason::Release | Reason::WaitEnd => {}
            reason => timer::arm(ctx, reason, at_ms),
        }
    }
}

/// The event's name in LATENCY.
const SWEEP: &std::ffi::CStr = c"evq-sweep";

/// A sweep began at `began` and is over. The server keeps it if it took longer than
/// latency-monitor-threshold.
fn sweep_done(began: Instant) {
    let took_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    // SAFETY: the name is static.
    unsafe { api!(RedisModule_LatencyAddSample)(SWEEP.as_ptr(), took_ms) };
}
