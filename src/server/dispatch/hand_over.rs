//! Handing a lease over to the next in line.

use super::sweep::{CLOSED_MS, PARKED_MS};
use crate::model::error::Error;
use crate::model::progress::Progress;
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
use crate::server::waiting::waiter::Outcome;
use crate::server::waiting::{connections, lines};

/// The connection of an owner closed: its lease is over, unless it has a name.
pub(crate) fn end_lease_of(ctx: &Ctx, client: u64, line: &Line) -> Result<(), Error> {
    let Some(place) = place::of_line(ctx, line) else { return Ok(()) };
    let mut state = state::open(ctx, &place.names);
    let lease = state.progress(&line.group)?.and_then(Progress::lease);
    match lease.filter(|lease| lease.connection == Some(client)).map(|lease| &lease.worker) {
        None => Ok(()),
        Some(Some(_)) => state.volatile(&line.group, Progress::abandon_lease),
        Some(None) => {
            drop(state);
            leases::lose(ctx, &place, ctx.now())
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
    let Some(client) = lines::first_standby(line) else { return Ok(None) };
    let Some(wait) = lines::wait_of(client) else { return Ok(None) };
    let Some(place) = place::of_line(ctx, line) else {
        if is_orphaned(ctx, line)? {
            release(ctx, client, Outcome::Serve);
        }
        return Ok(None);
    };
    let epoch = {
        let state = state::open(ctx, &place.names);
        let beginning = place.beginning();
        let progress = state.progress(&line.group)?.unwrap_or(&beginning);
        let scene = lines::scene(line, Some(progress));
        if !progress.is_free(now, scene) {
            return Ok(progress.lease().map(|lease| lease.deadline_ms));
        }
        progress.next_epoch(now)
    };
    leases::grant(ctx, &place, &wait.caller, epoch, now, wait.lease_ms)?;
    connections::note_owner(line, &wait.caller);
    lines::promote(client);
    // It has the lease, whatever the stream is like.
    let _ = look_for(ctx, client, line);
    timer::arm(ctx, now.ms() + PARKED_MS);
    Ok(Some(now.ms().saturating_add(wait.lease_ms)))
}

/// Whether the ring of a line exists without its group though there are events: the keys were
/// deleted by hand, and perhaps made again. Whoever waited since before then makes the group
/// again, as every CONSUME would, now that there is something to give.
pub(crate) fn is_orphaned(ctx: &Ctx, line: &Line) -> Result<bool, Error> {
    let names = RingNames::of(&line.ring);
    let key = key::open_read(ctx, &names.ring);
    let Some(value) = key.value::<RingValue>()? else { return Ok(false) };
    let in_ring = value.ring.check_partition(line.partition).is_ok();
    if !in_ring || value.ring.group(&line.group).is_some() {
        return Ok(false);
    }
    let stream = key::open_read(ctx, &names.partition(line.partition).stream).stream()?;
    Ok(stream.is_some_and(|stream| stream.length() > 0))
}

/// Unblocks the owner `client` of a line if there is something to give to it; if not, looks again
/// when a retry is due.
pub(crate) fn look_for(ctx: &Ctx, client: u64, line: &Line) -> Result<(), Error> {
    let Some(place) = place::of_line(ctx, line) else { return Ok(()) };
    let now = ctx.now();
    let plain = {
        let state = state::open(ctx, &place.names);
        state.progress(&line.group)?.is_none_or(|progress| progress.is_plain(&place.group))
    };
    if !plain {
        // Whatever it was when it began to wait: from now on an append alone does not serve it.
        lines::be_watchful(line);
    }
    let ready = hand_out::prepare(ctx, &place, now, true)?;
    if ready == Ready::Work {
        release(ctx, client, Outcome::Serve);
        return Ok(());
    }
    rearm(ctx, &place, ready)
}

/// Looks at a place again when its next retry is due, or at once if the last look was cut short.
pub(crate) fn rearm(ctx: &Ctx, place: &Place, ready: Ready) -> Result<(), Error> {
    let now = ctx.now();
    let due_ms = {
        let state = state::open(ctx, &place.names);
        state.progress(&place.line.group)?.and_then(|progress| progress.next_due_ms(now))
    };
    match ready {
        Ready::Later => timer::arm(ctx, now.ms() + 1),
        // Whatever opens it calls a sweep; this is for hands in the keys of other partitions.
        Ready::Closed => timer::arm(ctx, now.ms() + CLOSED_MS),
        Ready::Work | Ready::Nothing => {}
    }
    if let Some(due_ms) = due_ms {
        timer::arm(ctx, due_ms);
    }
    Ok(())
}
