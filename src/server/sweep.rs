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
use super::datatype::RingValue;
use super::ffi::raw;
use super::names::{PartitionNames, RingNames};
use super::partitions::Place;
use super::stream::Entries;
use super::waiting::{self, Line, Outcome, Wait};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::progress::Progress;

/// How soon an append that did not come through EVQ.TRIGGER reaches a parked owner.
const PARKED_OWNER_MS: u64 = 10;
/// How soon a line is looked at again whatever its lease says: its key may have been deleted,
/// renamed or restored by hand, which tells us nothing.
const RECHECK_MS: u64 = 1000;
/// How soon to try again while the server wants no writes: it is paused, fails over or stops.
const PAUSED_MS: u64 = 20;

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
    let end_ms = waiting::next_end().unwrap_or(u64::MAX);
    arm(ctx, deadline_ms.min(end_ms).clamp(now_ms + 1, now_ms + RECHECK_MS));
}

unsafe extern "C" fn on_timer(ctx: *mut raw::RedisModuleCtx, _data: *mut c_void) {
    ARMED.set(None);
    let ctx = Ctx::new(ctx);
    // A panic ends here; the hook has logged it, and the next use of a line checks everything.
    let _ = catch_unwind(AssertUnwindSafe(|| sweep(&ctx)));
}

fn sweep(ctx: &Ctx) {
    let now_ms = ctx.now().ms();
    for client in waiting::time_is_up(now_ms) {
        release(client, Outcome::Nothing);
    }
    if ctx.may_act() {
        for (client, lines) in waiting::take_gone() {
            for line in lines {
                end_lease_of(ctx, client, &line);
            }
        }
        if ctx.may_replicate() {
            look_after_lines(ctx, now_ms);
        } else {
            arm(ctx, now_ms + PAUSED_MS);
        }
    }
    if let Some(end_ms) = waiting::next_end() {
        arm(ctx, end_ms.clamp(now_ms + 1, now_ms + RECHECK_MS));
    }
}

fn look_after_lines(ctx: &Ctx, now_ms: u64) {
    for line in waiting::lines_with_standbys() {
        if ctx.select_db(line.db) {
            // A key of a wrong type has no lease to hand on; the standbys' time-outs end the wait.
            let lease_ends_ms = hand_over(ctx, &line).ok().flatten().unwrap_or(u64::MAX);
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

/// Gives a free lease to the first in line. Answers when the lease that stands then lapses, if it
/// does.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn hand_over(ctx: &Ctx, line: &Line) -> Result<Option<u64>, Error> {
    let Some(client) = waiting::first_standby(line) else { return Ok(None) };
    let Some(wait) = waiting::wait_of(client) else { return Ok(None) };
    let now = ctx.now();
    let ring = RingNames::of(&line.ring);
    let names = ring.partition(line.partition);
    let epoch = {
        let state = ctx.open_state(&names);
        match state.progress(&line.group)? {
            None => now.unix_us,
            Some(progress) => {
                let scene = waiting::scene(line, Some(progress));
                if !progress.is_free(now, scene) {
                    return Ok(progress.lease().map(|lease| lease.deadline_ms));
                }
                progress.next_epoch(now)
            }
        }
    };
    let known = {
        let key = ctx.open_read(&ring.ring);
        key.value::<RingValue>()?.map(|value| value.ring.has_group(&line.group))
    };
    if known != Some(true) {
        // The keys were deleted by hand, and perhaps made again. Whoever waited since before then
        // makes the group again, as every CONSUME would, when there is something to give.
        if known.is_some() && has_entry_after(ctx, &names, EventId::ZERO) {
            release(client, Outcome::Serve);
        }
        return Ok(None);
    }
    let place = Place { names, line: line.clone() };
    ctx.grant(&place, &wait.caller, epoch, now, wait.lease_ms)?;
    waiting::promote(client);
    serve_parked_owner(ctx, client, &wait);
    arm(ctx, now.ms() + PARKED_OWNER_MS);
    Ok(Some(now.ms().saturating_add(wait.lease_ms)))
}

/// Unblocks a parked owner if there is something to give to it.
fn serve_parked_owner(ctx: &Ctx, client: u64, wait: &Wait) {
    let cursor = {
        let state = ctx.open_state(&wait.names);
        let progress = state.progress(&wait.line.group).ok().flatten();
        progress.map_or(EventId::ZERO, Progress::cursor)
    };
    if has_entry_after(ctx, &wait.names, cursor) {
        release(client, Outcome::Serve);
    }
}

fn has_entry_after(ctx: &Ctx, names: &PartitionNames, after: EventId) -> bool {
    match ctx.open_read(&names.stream).stream() {
        Ok(Some(stream)) => Entries::after(&stream, after).next_entry().is_some(),
        Ok(None) | Err(_) => false,
    }
}
