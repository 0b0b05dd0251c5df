//! What time does: leases that lapse or whose connection closed go to the next in line.
//!
//! One timer for the whole module, armed to the earliest moment that matters and not at all while
//! nobody waits. It runs on primaries only; what it changes is replicated like any command's.

use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use super::blocking::release;
use super::ctx::Ctx;
use super::ffi::raw;
use super::names::RingNames;
use super::partitions::Place;
use super::stream::Entries;
use super::waiting::{self, Line, Wait};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::progress::Progress;

/// How soon an append that did not come through EVQ.TRIGGER reaches a parked owner.
const PARKED_OWNER_MS: u64 = 10;
/// How soon a line is looked at again whatever its lease says: its key may have been deleted,
/// renamed or restored by hand, which tells us nothing.
const RECHECK_MS: u64 = 1000;

#[derive(Clone, Copy)]
struct Armed {
    timer: raw::RedisModuleTimerID,
    at_ms: u64,
}

thread_local! {
    static ARMED: Cell<Option<Armed>> = const { Cell::new(None) };
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
    let period_ms = at_ms.saturating_sub(ctx.now().ms()).min(RECHECK_MS);
    // SAFETY: the callback has the signature that the server wants and takes no data.
    let timer = unsafe {
        api!(RedisModule_CreateTimer)(
            ctx.raw(),
            period_ms.cast_signed(),
            Some(on_timer),
            null_mut(),
        )
    };
    ARMED.set(Some(Armed { timer, at_ms }));
}

/// Sweeps in the next round of the event loop.
pub(crate) fn soon(ctx: &Ctx) {
    arm(ctx, 0);
    // A timer that is made just before the server sleeps may be seen 70 ms late; this ends the
    // sleep.
    // SAFETY: the callback has the signature that the server wants and takes no data.
    unsafe { api!(RedisModule_EventLoopAddOneShot)(Some(wake_up), null_mut()) };
}

unsafe extern "C" fn wake_up(_data: *mut c_void) {}

/// A line is waited in from now on: looks after it when the lease that it waits for lapses.
pub(crate) fn watch(ctx: &Ctx, progress: Option<&Progress>) {
    let now_ms = ctx.now().ms();
    let deadline_ms = progress.and_then(Progress::lease).map_or(now_ms, |lease| lease.deadline_ms);
    arm(ctx, deadline_ms.clamp(now_ms + 1, now_ms + RECHECK_MS));
}

unsafe extern "C" fn on_timer(ctx: *mut raw::RedisModuleCtx, _data: *mut c_void) {
    ARMED.set(None);
    let ctx = Ctx::new(ctx);
    // A panic ends here; the hook has logged it, and the next use of a line checks everything.
    let _ = catch_unwind(AssertUnwindSafe(|| sweep(&ctx)));
}

fn sweep(ctx: &Ctx) {
    if !ctx.may_act() {
        return;
    }
    for (client, lines) in waiting::take_gone() {
        for line in lines {
            end_lease_of(ctx, client, &line);
        }
    }
    let now_ms = ctx.now().ms();
    for line in waiting::lines_with_standbys() {
        if ctx.select_db(line.db) {
            // A key of a wrong type has no lease to hand on; the standbys' time-outs end the wait.
            let lease_ends_ms = hand_over(ctx, &line).unwrap_or_default();
            arm(ctx, lease_ends_ms.clamp(now_ms + 1, now_ms + RECHECK_MS));
        }
    }
    for client in waiting::all_parked_owners() {
        if let Some(wait) = waiting::wait_of(client)
            && ctx.select_db(wait.line.db)
        {
            serve_parked_owner(ctx, client, &wait);
        }
    }
    if waiting::any_parked_owner() {
        arm(ctx, now_ms + PARKED_OWNER_MS);
    }
}

/// The connection of an unnamed owner closed: its lease is over.
fn end_lease_of(ctx: &Ctx, client: u64, line: &Line) {
    if !ctx.select_db(line.db) {
        return;
    }
    let names = RingNames::of(&line.ring).partition(line.partition);
    let mut state = ctx.open_state(&names);
    // A key of a wrong type has no lease to end.
    let _ = state.volatile(&line.group, |progress| progress.end_lease_of(client));
}

/// Gives a free lease to the first in line. Answers when the lease that stands lapses, or 0.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn hand_over(ctx: &Ctx, line: &Line) -> Result<u64, Error> {
    let now = ctx.now();
    let names = RingNames::of(&line.ring).partition(line.partition);
    let Some(client) = waiting::first_standby(line) else { return Ok(0) };
    let Some(wait) = waiting::wait_of(client) else { return Ok(0) };
    let epoch = {
        let state = ctx.open_state(&names);
        match state.progress(&line.group)? {
            None => now.unix_us,
            Some(progress) => {
                let scene = waiting::scene(line, Some(progress));
                if !progress.is_free(now, scene) {
                    return Ok(progress.lease().map_or(0, |lease| lease.deadline_ms));
                }
                progress.next_epoch(now)
            }
        }
    };
    let place = Place { names, line: line.clone() };
    ctx.grant(&place, &wait.caller, epoch, now, wait.lease_ms)?;
    waiting::promote(client);
    serve_parked_owner(ctx, client, &wait);
    arm(ctx, now.ms() + PARKED_OWNER_MS);
    Ok(0)
}

/// Unblocks a parked owner if there is something to give to it.
fn serve_parked_owner(ctx: &Ctx, client: u64, wait: &Wait) {
    let cursor = {
        let state = ctx.open_state(&wait.names);
        let progress = state.progress(&wait.line.group).ok().flatten();
        progress.map_or(EventId::ZERO, Progress::cursor)
    };
    let has_work = match ctx.open_read(&wait.names.stream).stream() {
        Ok(Some(stream)) => Entries::after(&stream, cursor).next_entry().is_some(),
        Ok(None) | Err(_) => false,
    };
    if has_work {
        release(client, None);
    }
}
