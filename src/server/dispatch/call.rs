//! Calling a worker that waits for any partition (`EVQ.CONSUME *`) to one that has work.
//!
//! Who was told to unblock cannot be blocked again, and a worker that finds nothing then would
//! reply null before its time is up. So nobody is told before it is certain to be served. An append
//! only makes the sweep look: by then another worker may have taken the event, in the same MULTI or
//! right after. The sweep grants the lease to the worker that it calls, and that lease is not
//! anybody's until the worker has come: between the sweep and its reply a server that reads with
//! threads runs other commands.

use std::cell::RefCell;

use super::hand_over::{is_orphaned, rearm};
use super::sweep::PARKED_MS;
use crate::model::error::Error;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::Turn;
use crate::server::api::ctx::Ctx;
use crate::server::api::{key, timer};
use crate::server::delivery::hand_out::Ready;
use crate::server::delivery::{hand_out, leases, state};
use crate::server::keyspace::datatype::RingValue;
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::line::Line;
use crate::server::keyspace::place;
use crate::server::keyspace::place::Place;
use crate::server::waiting::release::release;
use crate::server::waiting::waiter::{Outcome, Wait};
use crate::server::waiting::{any_lines, connections, lines};

/// A ring with more partitions than this is looked through less often for workers that take any.
const FEW_PARTITIONS: usize = 64;
/// How much less often.
const MANY_PARTITIONS_MS: u64 = 100;
/// A called worker's lease does not lapse before this, however short the one it asks for.
const ON_THE_WAY_MS: u64 = 1000;

thread_local! {
    static CALLED_OFF: RefCell<Vec<(u64, Line)>> = const { RefCell::new(Vec::new()) };
}

/// Something was appended to `partition`: if it is free and has work, the sweep calls a worker of
/// the line `any` to it.
pub(crate) fn look_at(ctx: &Ctx, any: &Line, partition: u32) {
    any_lines::note(any, partition);
    // A key that holds something else has nothing to hand out.
    if matches!(has_work_for_any(ctx, any, partition), Ok(true)) {
        any_lines::offer(any, partition);
        timer::soon(ctx);
    }
}

fn has_work_for_any(ctx: &Ctx, any: &Line, partition: u32) -> Result<bool, Error> {
    let line = Line { partition, ..any.clone() };
    match place::of_line(ctx, &line) {
        Some(place) => {
            let now = ctx.now();
            if is_free(ctx, &place, now)? {
                has_work(ctx, &place, now)
            } else {
                Ok(holder_with_work(ctx, any, &place, now)?.is_some())
            }
        }
        None => is_orphaned(ctx, &line),
    }
}

fn is_free(ctx: &Ctx, place: &Place, now: Now) -> Result<bool, Error> {
    let state = state::open(ctx, &place.names);
    let progress = state.progress(&place.line.group)?;
    let scene = lines::scene(&place.line, progress);
    Ok(!scene.queue && progress.is_none_or(|progress| progress.is_free(now, scene)))
}

/// The worker of the line `any` that has the lease of `place` already, which is not free because
/// something is in flight, if there is more work for it there.
fn holder_with_work(ctx: &Ctx, any: &Line, place: &Place, now: Now) -> Result<Option<u64>, Error> {
    let holder = {
        let state = state::open(ctx, &place.names);
        let progress = state.progress(&place.line.group)?;
        let scene = lines::scene(&place.line, progress);
        let lease = progress.and_then(|progress| progress.standing(scene));
        lease.filter(|lease| !lease.called).and_then(|lease| lease.connection)
    };
    let Some(client) = holder.filter(|client| lines::stands_in(*client, any)) else {
        return Ok(None);
    };
    Ok((hand_out::prepare(ctx, place, now, true)? == Ready::Work).then_some(client))
}

/// Whether a partition that is free has work for who gets its lease next; if it has none now, the
/// sweep knows when to look again.
fn has_work(ctx: &Ctx, place: &Place, now: Now) -> Result<bool, Error> {
    let ready = hand_out::prepare(ctx, place, now, false)?;
    if ready != Ready::Work {
        rearm(ctx, place, ready)?;
    }
    Ok(ready == Ready::Work)
}

/// Calls workers of the line `any` to every partition that is free and has work. Answers after how
/// many ms to do so again. Only from the sweep.
pub(crate) fn call_all(ctx: &Ctx, any: &Line) -> Option<u64> {
    if !ctx.select_db(any.db) {
        return None;
    }
    call_to_each(ctx, any, any_lines::take_offers(any));
    lines::first_standby(any)?;
    let mut partitions: Vec<u32> = {
        let key = key::open_read(ctx, &RingNames::of(&any.ring).ring);
        key.value::<RingValue>().ok()??.ring.nodes().map(|node| node.partition).collect()
    };
    let begin = any_lines::begins_at(any);
    let first = partitions.iter().position(|partition| *partition >= begin).unwrap_or(0);
    partitions.rotate_left(first);
    let few = partitions.len() <= FEW_PARTITIONS;
    call_to_each(ctx, any, partitions);
    Some(if few { PARKED_MS } else { MANY_PARTITIONS_MS })
}

fn call_to_each(ctx: &Ctx, any: &Line, partitions: Vec<u32>) {
    for partition in partitions {
        if lines::first_standby(any).is_none() {
            break;
        }
        // An error leaves the partition to the next sweep.
        let _ = call_to(ctx, any, partition);
    }
}

/// Calls the first worker of the line `any` whom a partition has work for.
fn call_to(ctx: &Ctx, any: &Line, partition: u32) -> Result<(), Error> {
    let line = Line { partition, ..any.clone() };
    let Some(place) = place::of_line(ctx, &line) else {
        if is_orphaned(ctx, &line)?
            && let Some(client) = lines::first_standby(any)
        {
            call(ctx, any, client, partition);
        }
        return Ok(());
    };
    let now = ctx.now();
    if !is_free(ctx, &place, now)? {
        if let Some(client) = holder_with_work(ctx, any, &place, now)?
            && let Some(wait) = lines::wait_of(client)
            && leases::turn(ctx, &place, &wait.caller, now)? == Turn::Continue
        {
            call_owner(ctx, any, &place, client, &wait, now)?;
        }
        return Ok(());
    }
    for client in (0..).map_while(|n| lines::nth_standby(any, n)) {
        let Some(wait) = lines::wait_of(client) else { continue };
        match leases::turn(ctx, &place, &wait.caller, now)? {
            Turn::Continue => match hand_out::prepare(ctx, &place, now, true)? {
                Ready::Work => {}
                // It has lapsed with all there is in flight, which who has it is not given again.
                _ if is_in_flight(ctx, &place)? => continue,
                ready => return rearm(ctx, &place, ready),
            },
            Turn::Grant(epoch) if grant(ctx, &place, &wait, epoch, now)? => {}
            Turn::Grant(_) | Turn::Wait => return Ok(()),
        }
        return call_owner(ctx, any, &place, client, &wait, now);
    }
    Ok(())
}

/// Calls `client`, which waits as `wait` tells and has the lease of `place`.
fn call_owner(
    ctx: &Ctx,
    any: &Line,
    place: &Place,
    client: u64,
    wait: &Wait,
    now: Now,
) -> Result<(), Error> {
    let line = &place.line;
    state::open(ctx, &place.names).volatile(&line.group, |progress| {
        progress.continue_lease(wait.caller.connection, now, lease_ms(wait));
        progress.call_owner();
    })?;
    connections::note_owner(line, &wait.caller);
    call(ctx, any, client, line.partition);
    Ok(())
}

/// How long the lease of a worker is that is called.
fn lease_ms(wait: &Wait) -> u64 {
    wait.lease_ms.max(ON_THE_WAY_MS)
}

/// Whether anything was handed out under the lease of `place` that is not finished.
fn is_in_flight(ctx: &Ctx, place: &Place) -> Result<bool, Error> {
    let state = state::open(ctx, &place.names);
    let progress = state.progress(&place.line.group)?;
    let busy = |progress: &Progress| {
        progress.lease().is_some_and(|lease| !lease.is_idle(progress.cursor()))
    };
    Ok(progress.is_some_and(busy))
}

/// Grants a free partition, if it has work. It may have none once the lease that lapsed there is
/// lost: the event that was in flight may have died with it.
fn grant(ctx: &Ctx, place: &Place, wait: &Wait, epoch: u64, now: Now) -> Result<bool, Error> {
    if !has_work(ctx, place, now)? {
        return Ok(false);
    }
    if is_in_flight(ctx, place)? {
        leases::lose(ctx, place, now)?;
        if !has_work(ctx, place, now)? {
            return Ok(false);
        }
    }
    leases::grant(ctx, place, &wait.caller, epoch, now, lease_ms(wait))?;
    Ok(true)
}

fn call(ctx: &Ctx, any: &Line, client: u64, partition: u32) {
    lines::note_call(client, partition);
    any_lines::end(any, partition);
    release(ctx, client, Outcome::Serve);
}

/// `client` was called to the partition of `line`, and has not come: what it was to be given is
/// anybody's.
pub(crate) fn call_off(ctx: &Ctx, client: u64, line: &Line) {
    let names = RingNames::of(&line.ring).partition(line.partition);
    // A key that holds something else by now has no lease.
    let _ = state::open(ctx, &names).volatile(&line.group, |progress| progress.call_off(client));
    timer::soon(ctx);
}

/// The same where no key may be opened: the sweep does it.
pub(crate) fn call_off_soon(ctx: &Ctx, client: u64, line: Line) {
    CALLED_OFF.with_borrow_mut(|all| all.push((client, line)));
    timer::soon(ctx);
}

/// Does what [`call_off_soon`] left to do.
pub(crate) fn call_off_all(ctx: &Ctx) {
    for (client, line) in CALLED_OFF.take() {
        if ctx.select_db(line.db) {
            call_off(ctx, client, &line);
        }
    }
}
