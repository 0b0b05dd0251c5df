//! What time does: leases that lapse or whose connection closed go to the next in line, retries
//! become due, who waits where appends do not call is called, and what is too old is trimmed.
//!
//! One timer for the whole module, armed to the earliest moment that matters and not at all while
//! nobody waits and there is no ring. It runs on primaries only; what it changes is replicated like any command's.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::time::Instant;

use super::blocking::{release, tell_released};
use super::calls;
use super::connections;
use super::ctx::Ctx;
use super::datatype::RingValue;
use super::deliver::Ready;
use super::ffi::raw;
use super::lag::Budget;
use super::names::RingNames;
use super::retention;
use super::state::Place;
use super::waiter::Outcome;
use super::waiting::{self, ANY, Line};
use super::{generations, latency};
use crate::model::error::Error;
use crate::model::progress::Progress;

/// How soon an append that did not come through EVQ.TRIGGER reaches a parked worker.
pub(super) const PARKED_MS: u64 = 10;
/// How soon a line is looked at again whatever its lease says: its key may have been deleted,
/// renamed or restored by hand, which tells us nothing.
const RECHECK_MS: u64 = 1000;
/// How soon to look again whether a barrier has opened.
const CLOSED_MS: u64 = 100;
/// How soon to try again while the server wants no writes: it is paused, fails over or stops.
const PAUSED_MS: u64 = 20;

#[derive(Clone, Copy)]
struct Armed {
    timer: raw::RedisModuleTimerID,
    at_ms: u64,
}

/// How long to rest between two steps of counting a lag.
const COUNT_STEP_MS: u64 = 2;
/// Places whose lag is counted in the background at a time.
const MAX_COUNTING: usize = 4096;

thread_local! {
    static SWEEPING: Cell<bool> = const { Cell::new(false) };
    /// Places whose lag is being counted in steps.
    static COUNTING: RefCell<HashMap<Line, Place>> = RefCell::new(HashMap::new());
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

/// A client was released: the server is told at the end of this sweep, or of the next.
pub(super) fn tell_soon(ctx: &Ctx) {
    if !SWEEPING.get() {
        soon(ctx);
    }
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
    SWEEPING.set(true);
    let began = Instant::now();
    let _ = catch_unwind(AssertUnwindSafe(|| sweep(&ctx)));
    SWEEPING.set(false);
    latency::sweep_done(began);
    tell_released();
}

fn sweep(ctx: &Ctx) {
    let now_ms = ctx.now().ms();
    for client in waiting::time_is_up(now_ms) {
        release(ctx, client, Outcome::Nothing);
    }
    if ctx.may_act() {
        if ctx.may_replicate() {
            look_after_lines(ctx, now_ms);
            if let Some(next_ms) = retention::sweep(ctx) {
                arm(ctx, next_ms);
            }
        } else {
            arm(ctx, now_ms + PAUSED_MS);
        }
    }
    if let Some(end_ms) = waiting::next_end() {
        arm(ctx, end_ms.clamp(now_ms + 1, now_ms + RECHECK_MS));
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
    calls::call_off_all(ctx);
    if let Some(at_ms) = generations::tidy(ctx, now_ms) {
        arm(ctx, at_ms);
    }
    for line in waiting::lines_with_standbys() {
        if line.partition == ANY {
            let again_ms = calls::call_all(ctx, &line).unwrap_or(RECHECK_MS);
            arm(ctx, now_ms + again_ms);
        } else {
            let lease_ends_ms = hand_over(ctx, &line).ok().flatten().unwrap_or(u64::MAX);
            arm(ctx, lease_ends_ms.clamp(now_ms + 1, now_ms + RECHECK_MS));
        }
    }
    for client in waiting::all_parked_owners() {
        if let Some(wait) = waiting::wait_of(client) {
            let _ = look_for(ctx, client, &wait.line);
        }
    }
    for (client, line) in waiting::watchful_owners() {
        let _ = look_for(ctx, client, &line);
    }
    if waiting::any_parked_owner() {
        arm(ctx, now_ms + PARKED_MS);
    }
    // Each step asks for the next one itself until it is done.
    let mut budget = Budget::new();
    for place in COUNTING.take().into_values() {
        if budget.is_spent() {
            count_on(ctx, &place);
        } else if ctx.select_db(place.line.db) {
            let _ = ctx.lag(&place, &mut budget);
        }
    }
}

/// Goes on counting the lag of a place in the background.
pub(crate) fn count_on(ctx: &Ctx, place: &Place) {
    COUNTING.with_borrow_mut(|counting| {
        // Those for which there is no room are counted when somebody asks for them again.
        if counting.len() < MAX_COUNTING {
            counting.entry(place.line.clone()).or_insert_with(|| place.clone());
        }
    });
    arm(ctx, ctx.now().ms() + COUNT_STEP_MS);
}

/// The connection of an owner closed: its lease is over, unless it has a name.
fn end_lease_of(ctx: &Ctx, client: u64, line: &Line) -> Result<(), Error> {
    let Some(place) = ctx.place_in(line) else { return Ok(()) };
    let mut state = ctx.open_state(&place.names);
    let lease = state.progress(&line.group)?.and_then(Progress::lease);
    match lease.filter(|lease| lease.connection == Some(client)).map(|lease| &lease.worker) {
        None => Ok(()),
        Some(Some(_)) => state.volatile(&line.group, Progress::abandon_lease),
        Some(None) => {
            drop(state);
            ctx.lose_lease(&place, ctx.now())
        }
    }
}

/// Gives a free lease to the first in line. Answers when the lease that stands then lapses, if it
/// does.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn hand_over(ctx: &Ctx, line: &Line) -> Result<Option<u64>, Error> {
    let now = ctx.now();
    let Some(client) = waiting::first_standby(line) else { return Ok(None) };
    let Some(wait) = waiting::wait_of(client) else { return Ok(None) };
    let Some(place) = ctx.place_in(line) else {
        if is_orphaned(ctx, line)? {
            release(ctx, client, Outcome::Serve);
        }
        return Ok(None);
    };
    let epoch = {
        let state = ctx.open_state(&place.names);
        let beginning = place.beginning();
        let progress = state.progress(&line.group)?.unwrap_or(&beginning);
        let scene = waiting::scene(line, Some(progress));
        if !progress.is_free(now, scene) {
            return Ok(progress.lease().map(|lease| lease.deadline_ms));
        }
        progress.next_epoch(now)
    };
    ctx.grant(&place, &wait.caller, epoch, now, wait.lease_ms)?;
    connections::note_owner(line, &wait.caller);
    waiting::promote(client);
    // It has the lease, whatever the stream is like.
    let _ = look_for(ctx, client, line);
    arm(ctx, now.ms() + PARKED_MS);
    Ok(Some(now.ms().saturating_add(wait.lease_ms)))
}

/// Whether the ring of a line exists without its group though there are events: the keys were
/// deleted by hand, and perhaps made again. Whoever waited since before then makes the group
/// again, as every CONSUME would, now that there is something to give.
pub(super) fn is_orphaned(ctx: &Ctx, line: &Line) -> Result<bool, Error> {
    let names = RingNames::of(&line.ring);
    let key = ctx.open_read(&names.ring);
    let Some(value) = key.value::<RingValue>()? else { return Ok(false) };
    let in_ring = value.ring.check_partition(line.partition).is_ok();
    if !in_ring || value.ring.group(&line.group).is_some() {
        return Ok(false);
    }
    let stream = ctx.open_read(&names.partition(line.partition).stream).stream()?;
    Ok(stream.is_some_and(|stream| stream.length() > 0))
}

/// Unblocks the owner `client` of a line if there is something to give to it; if not, looks again
/// when a retry is due.
fn look_for(ctx: &Ctx, client: u64, line: &Line) -> Result<(), Error> {
    let Some(place) = ctx.place_in(line) else { return Ok(()) };
    let now = ctx.now();
    let plain = {
        let state = ctx.open_state(&place.names);
        state.progress(&line.group)?.is_none_or(|progress| progress.is_plain(&place.group))
    };
    if !plain {
        // Whatever it was when it began to wait: from now on an append alone does not serve it.
        waiting::be_watchful(line);
    }
    let ready = ctx.prepare(&place, now, true)?;
    if ready == Ready::Work {
        release(ctx, client, Outcome::Serve);
        return Ok(());
    }
    rearm(ctx, &place, ready)
}

/// Looks at a place again when its next retry is due, or at once if the last look was cut short.
pub(super) fn rearm(ctx: &Ctx, place: &Place, ready: Ready) -> Result<(), Error> {
    let now = ctx.now();
    let due_ms = {
        let state = ctx.open_state(&place.names);
        state.progress(&place.line.group)?.and_then(|progress| progress.next_due_ms(now))
    };
    match ready {
        Ready::Later => arm(ctx, now.ms() + 1),
        // Whatever opens it calls a sweep; this is for hands in the keys of other partitions.
        Ready::Closed => arm(ctx, now.ms() + CLOSED_MS),
        Ready::Work | Ready::Nothing => {}
    }
    if let Some(due_ms) = due_ms {
        arm(ctx, due_ms);
    }
    Ok(())
}
