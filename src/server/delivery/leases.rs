//! Who takes a group further: grants, lost leases, acknowledgements and failures, from the
//! decision in the model to the effect on the wire.

use super::letters::Letter;
use super::{letters, state};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::{Caller, Lease, Scene, Turn};
use crate::model::rules::delivery;
use crate::model::rules::rights::Ack;
use crate::model::saved::effect::{Change, Failure, Fate};
use crate::server::api::ctx::Ctx;
use crate::server::api::stream::{Event, Open};
use crate::server::api::{key, timer};
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::place::Place;
use crate::server::ops::{alarm, counters};
use crate::server::waiting::{lines, release};

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// It finished something, and has to be replicated.
    pub(crate) finishes: bool,
    /// [`hand_out::share`] has to follow that.
    pub(crate) shared: bool,
}

/// Decides a CONSUME.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn turn(ctx: &Ctx, place: &Place, caller: &Caller, now: Now) -> Result<Turn, Error> {
    decide_turn(ctx, place, caller, now, |scene| scene)
}

/// Decides a CONSUME whose turn has come after it had waited: nobody was before it, even if
/// the lease it had is gone with its key.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn next_turn(
    ctx: &Ctx,
    place: &Place,
    caller: &Caller,
    now: Now,
) -> Result<Turn, Error> {
    decide_turn(ctx, place, caller, now, |scene| Scene { queue: false, ..scene })
}

fn decide_turn(
    ctx: &Ctx,
    place: &Place,
    caller: &Caller,
    now: Now,
    seen: impl FnOnce(Scene) -> Scene,
) -> Result<Turn, Error> {
    let state = state::open(ctx, &place.names);
    let progress = state.progress(&place.line.group)?;
    let scene = seen(lines::scene(&place.line, progress));
    Ok(progress.unwrap_or(&place.beginning()).turn(caller, now, scene))
}

/// Issues `epoch` to `caller`, which fences whoever had the lease; a client that is blocked
/// under the old lease learns so.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn grant(
    ctx: &Ctx,
    place: &Place,
    caller: &Caller,
    epoch: u64,
    now: Now,
    lease_ms: u64,
) -> Result<(), Error> {
    let lost = {
        let state = state::open(ctx, &place.names);
        let progress = state.progress(&place.line.group)?;
        let scene = lines::scene(&place.line, progress);
        progress.is_some_and(|progress| progress.is_lost(caller, now, scene))
    };
    if lost {
        lose(ctx, place, now)?;
    }
    let start = place.group.start(place.line.partition);
    state::change(ctx, place, Change::Epoch { epoch, start })?;
    state::open(ctx, &place.names).volatile(&place.line.group, |progress| {
        progress.begin_lease(caller, now, lease_ms, lines::era());
    })?;
    counters::GRANTS.add(1);
    release::fence_owner(ctx, &place.line, caller.connection);
    Ok(())
}

/// Ends a lease that was lost by a closed connection, expiry or a takeover. An event that was
/// alone in flight has failed with it; of several, none is blamed.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn lose(ctx: &Ctx, place: &Place, now: Now) -> Result<(), Error> {
    let group = &place.line.group;
    let worker = {
        let state = state::open(ctx, &place.names);
        let progress = state.progress(group)?;
        let lease = progress.and_then(Progress::lease);
        let lease = lease.filter(|lease| lease.era == lines::era());
        if let (Some(lease), Some(progress)) = (lease, progress)
            && !lease.is_idle(progress.cursor())
        {
            alarm::lease_lost(ctx, place, &worker_of(lease), now);
        }
        lease.map(worker_of)
    };
    let mut blamed = None;
    if let Some(worker) = worker
        && let Some((event, change)) = loss(ctx, place, now)?
    {
        blamed = Some(event.id);
        match change {
            Change::Failed(failure) => {
                let reason = b"the worker was lost";
                record_failure(ctx, place, &event, failure, worker, reason, now)?;
            }
            change => state::change(ctx, place, change)?,
        }
    }
    state::open(ctx, &place.names).volatile(group, |progress| progress.lose_lease(blamed))
}

/// Applies a failure, writes the dead letter if it was the last attempt, and replicates both.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn record_failure(
    ctx: &Ctx,
    place: &Place,
    event: &Event,
    failure: Failure,
    worker: String,
    reason: &[u8],
    now: Now,
) -> Result<(), Error> {
    if matches!(failure.fate, Fate::Dead | Fate::Skipped) {
        let letter = Letter { event, failure: &failure, worker, reason, last_ms: now.ms() };
        letters::write(ctx, place, &letter)?;
        counters::DEAD.add(1);
    } else {
        counters::RETRIES.add(1);
    }
    state::change(ctx, place, Change::Failed(failure))?;
    release::look_again(ctx, &place.line);
    Ok(())
}

/// Judges an acknowledgement and applies it. Renews the lease.
///
/// # Errors
/// [`Error::Fenced`], [`Error::BadId`], [`Error::WrongType`]; nothing has changed then.
pub(crate) fn acknowledge(
    ctx: &Ctx,
    place: &Place,
    caller: &Caller,
    id: EventId,
    now: Now,
) -> Result<Answered, Error> {
    let group = &place.line.group;
    let mut state = state::open(ctx, &place.names);
    // Found once: it is looked for by the group's name.
    let progress = state.progress_mut(group)?.ok_or(Error::Fenced)?;
    let shared = progress.lease().is_some_and(|lease| lease.shared);
    place.group.activity.note(now);
    let finishes = decide_ack(ctx, place, progress, caller, id)? == Ack::Finishes;
    let watchful = !progress.is_plain(&place.group);
    let mut opens = false;
    if finishes {
        let (cursor, exceptions) = (progress.cursor(), progress.exceptions().len());
        progress.finish(id);
        opens = place.may_open(cursor, exceptions, progress);
        key::signal_modified(ctx, &place.names.groups);
        counters::ACKS.add(1);
    }
    progress.renew(now);
    drop(state);
    if finishes && watchful {
        release::look_again(ctx, &place.line);
    }
    if opens {
        timer::soon(ctx);
    }
    Ok(Answered { finishes, shared: finishes && shared })
}

/// The entry of `id` was deleted by hand while it was in flight, which finishes it.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn drop_deleted(ctx: &Ctx, place: &Place, id: EventId) -> Result<(), Error> {
    let excepted = {
        let state = state::open(ctx, &place.names);
        let progress = state.progress(&place.line.group)?;
        progress.is_some_and(|progress| progress.exceptions().get(id).is_some())
    };
    if excepted {
        state::change(ctx, place, Change::Dropped(id))?;
        release::look_again(ctx, &place.line);
    }
    Ok(())
}

/// Applies an acknowledgement that the primary has judged.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn replay_acknowledgement(
    ctx: &Ctx,
    ring: &Name,
    p: u32,
    group: &Name,
    id: EventId,
) -> Result<(), Error> {
    let names = RingNames::of(ring).partition(p);
    if let Some(partition) = state::open(ctx, &names).partition()? {
        partition.acknowledge(group, id);
        key::signal_modified(ctx, &names.groups);
    }
    Ok(())
}

/// How a dead letter names the worker that had the lease.
pub(crate) fn worker_of(lease: &Lease) -> String {
    match (&lease.worker, lease.connection) {
        (Some(name), _) => name.to_string(),
        (None, Some(connection)) => format!("connection {connection}"),
        (None, None) => String::new(),
    }
}

/// Decides an EVQ.ACK, see [`delivery::ack`].
///
/// # Errors
/// As [`Progress::ack`].
pub(crate) fn decide_ack(
    ctx: &Ctx,
    place: &Place,
    progress: &Progress,
    caller: &Caller,
    id: EventId,
) -> Result<Ack, Error> {
    let scene = lines::scene(&place.line, Some(progress));
    if progress.is_plain(&place.group) {
        return progress.ack(caller, scene, id);
    }
    match key::open_read(ctx, &place.names.stream).stream() {
        Ok(Some(stream)) => {
            delivery::ack(progress, &place.group, &Open(&stream), caller, scene, id)
        }
        _ => progress.ack(caller, scene, id),
    }
}

/// Who is to blame if the lease of `place` is lost now, see [`delivery::loss`]. A key of another
/// type has nothing in flight.
///
/// # Errors
/// [`Error::WrongType`] for the delivery state.
pub(crate) fn loss(ctx: &Ctx, place: &Place, now: Now) -> Result<Option<(Event, Change)>, Error> {
    let Ok(Some(stream)) = key::open_read(ctx, &place.names.stream).stream() else {
        return Ok(None);
    };
    let state = state::open(ctx, &place.names);
    let progress = state.progress(&place.line.group)?;
    Ok(progress.and_then(|p| delivery::loss(p, &place.group, &Open(&stream), now)))
}

/// Decides an EVQ.NACK, see [`delivery::nack`].
///
/// # Errors
/// [`Error::WrongType`], and the decision's own.
pub(crate) fn failure(
    ctx: &Ctx,
    place: &Place,
    id: EventId,
    delay_ms: Option<u64>,
    now: Now,
) -> Result<Option<(Event, Failure)>, Error> {
    let Some(stream) = key::open_read(ctx, &place.names.stream).stream()? else { return Ok(None) };
    let state = state::open(ctx, &place.names);
    let progress = state.progress(&place.line.group)?.ok_or(Error::Fenced)?;
    delivery::nack(progress, &place.group, &Open(&stream), now, id, delay_ms)
}
