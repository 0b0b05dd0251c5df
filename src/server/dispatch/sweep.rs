//! What time does: leases that lapse or whose connection closed go to the next in line, retries
//! become due, who waits where appends do not call is called, and what is too old is trimmed.
//!
//! One timer for the whole module, armed to the earliest moment that matters and not at all while
//! nobody waits and there is no ring. It runs on primaries only; what it changes is replicated like any command's.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::hand_over::{end_lease_of, hand_over, look_for};
use super::{call, tidy};
use crate::server::api::ctx::Ctx;
use crate::server::api::timer;
use crate::server::api::timer::RECHECK_MS;
use crate::server::delivery::lag;
use crate::server::keyspace::line::ANY;
use crate::server::retention::background;
use crate::server::waiting::release::{release, tell_released};
use crate::server::waiting::waiter::Outcome;
use crate::server::waiting::{connections, lines};

/// How soon an append that did not come through EVQ.TRIGGER reaches a parked worker.
pub(crate) const PARKED_MS: u64 = 10;
/// How soon to look again whether a barrier has opened.
pub(crate) const CLOSED_MS: u64 = 100;
/// How soon to try again while the server wants no writes: it is paused, fails over or stops.
const PAUSED_MS: u64 = 20;

/// What the timer runs.
pub(crate) fn run(ctx: &Ctx) {
    let began = Instant::now();
    // A panic ends here; the hook has logged it, and the next use of a line checks everything.
    let _ = catch_unwind(AssertUnwindSafe(|| sweep(ctx)));
    sweep_done(began);
    tell_released();
}

fn sweep(ctx: &Ctx) {
    let now_ms = ctx.now().ms();
    for client in lines::time_is_up(now_ms) {
        release(ctx, client, Outcome::Nothing);
    }
    if ctx.may_act() {
        if ctx.may_replicate() {
            look_after_lines(ctx, now_ms);
            if let Some(next_ms) = background::sweep(ctx) {
                timer::arm(ctx, next_ms);
            }
        } else {
            timer::arm(ctx, now_ms + PAUSED_MS);
        }
    }
    if let Some(end_ms) = lines::next_end() {
        timer::arm(ctx, end_ms.clamp(now_ms + 1, now_ms + RECHECK_MS));
    }
}

fn look_after_lines(ctx: &Ctx, now_ms: u64) {
    // A key that holds something else has no lease to end and nothing to hand out, so errors
    // leave a line as it is; its clients' time-outs end the wait.
    for (client, lines) in connections::take_gone() {
        for line in lines {
            let _ = end_lease_of(ctx, client, &line);
        }
    }
    call::call_off_all(ctx);
    if let Some(at_ms) = tidy::tidy(ctx, now_ms) {
        timer::arm(ctx, at_ms);
    }
    for line in lines::lines_with_standbys() {
        if line.partition == ANY {
            let again_ms = call::call_all(ctx, &line).unwrap_or(RECHECK_MS);
            timer::arm(ctx, now_ms + again_ms);
        } else {
            let lease_ends_ms = hand_over(ctx, &line).ok().flatten().unwrap_or(u64::MAX);
            timer::arm(ctx, lease_ends_ms.clamp(now_ms + 1, now_ms + RECHECK_MS));
        }
    }
    for client in lines::all_parked_owners() {
        if let Some(wait) = lines::wait_of(client) {
            let _ = look_for(ctx, client, &wait.line);
        }
    }
    for (client, line) in lines::watchful_owners() {
        let _ = look_for(ctx, client, &line);
    }
    if lines::any_parked_owner() {
        timer::arm(ctx, now_ms + PARKED_MS);
    }
    lag::count_all(ctx);
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
