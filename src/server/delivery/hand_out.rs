//! Handing events out: from the stream straight into the reply.
//!
//! Where delivery is plain (no exceptions, no types) entries are passed on unread. Otherwise the
//! rules of [`crate::model::rules::delivery`] decide step by step.

use super::barriers::Barriers;
use super::plain::{Head, Wanted};
use super::xrange::Given;
use super::{barriers, plain, state};
use crate::model::error::Error;
use crate::model::limits::MAX_SCAN;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::rules::delivery;
use crate::model::rules::delivery::{Step, step, step_unowned};
use crate::model::rules::gate::Gate;
use crate::model::rules::source::Source;
use crate::model::saved::effect::Change;
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Key;
use crate::server::api::stream::{Entries, Event, Open};
use crate::server::api::stream_end::{Last, Stand};
use crate::server::api::{key, reply, timer};
use crate::server::keyspace::place::Place;
use crate::server::ops::{alarm, counters};
use crate::server::waiting::lines;

/// Steps that one command takes at most. Each may look at [`MAX_SCAN`] entries, so a group that
/// takes almost none of them is not drained by one command but goes on in the background.
const MAX_STEPS: usize = 8;

/// What a partition has for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Something to hand out.
    Work,
    /// Nothing now.
    Nothing,
    /// Nothing so far: a bounded step was taken, and more may lie behind it.
    Later,
    /// Nothing before a barrier opens, see [`crate::server::delivery::barriers`].
    Closed,
}

/// What the rules are told of the barriers in front of a place.
fn gate_of<'a>(barriers: Option<&'a Barriers>, place: &Place) -> Result<Gate<'a>, Error> {
    barriers.map_or_else(|| Ok(Gate::open()), |barriers| barriers.gate(place))
}

/// Replies `[partition, epoch, events]` with what comes next under the lease of `place`: a
/// redelivery alone, or up to `count` events. False, without a reply, if there is nothing to
/// give now or no lease. O(log(nodes of the stream) + entries read).
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn deliver(
    ctx: &Ctx,
    place: &Place,
    count: u64,
    now: Now,
    stand: Stand,
) -> Result<bool, Error> {
    let group = &place.line.group;
    let Some(stream) = key::open_read(ctx, &place.names.stream).stream()? else { return Ok(false) };
    let barriers = barriers::of(ctx, place)?;
    let mut state = state::open(ctx, &place.names);
    let Some(progress) = state.progress_mut(group)? else { return Ok(false) };
    let open = barriers.as_ref().is_none_or(Barriers::are_open);
    if open && progress.is_plain(&place.group) {
        return deliver_plain(ctx, place, &stream, progress, count, now, stand);
    }
    drop(state);
    let gate = gate_of(barriers.as_ref(), place)?;
    deliver_by_steps(ctx, place, &stream, &gate, count, now)
}

fn deliver_plain(
    ctx: &Ctx,
    place: &Place,
    stream: &Key,
    progress: &mut Progress,
    count: u64,
    now: Now,
    stand: Stand,
) -> Result<bool, Error> {
    let Some(lease) = progress.lease() else { return Ok(false) };
    let after = lease.position.max(progress.cursor());
    // Who was told that there is more finds it sooner from where it stands.
    let stand = if lease.behind { stand.with_a_backlog() } else { stand };
    let ready_to_wait = stand.is_ready_to_wait();
    let head = Head { partition: place.line.partition, epoch: progress.epoch() };
    let given = match stand.look(stream, after) {
        Last::Passed => return Ok(false),
        Last::Alone(event) => {
            plain::reply_head(ctx, head);
            reply::array(ctx, 1);
            reply_event(ctx, &event, None);
            Some(Given { first: event.id, last: event.id, count: 1, bytes: 0, more: false })
        }
        Last::OfMany => {
            let wanted = Wanted { after, count, event_bytes: progress.event_bytes() };
            plain::give(ctx, &place.names.stream, stream, head, wanted, ready_to_wait)
        }
    };
    let event_bytes = given.and_then(|given| given.event_bytes());
    progress.note_reply(given.is_some_and(|given| given.more), event_bytes);
    let Some(Given { first, last, count, .. }) = given else { return Ok(false) };
    counters::DELIVERED.add(count);
    progress.hand_out(Some(first), last, count, count, now);
    Ok(true)
}

fn deliver_by_steps(
    ctx: &Ctx,
    place: &Place,
    stream: &Key,
    gate: &Gate<'_>,
    count: u64,
    now: Now,
) -> Result<bool, Error> {
    let group = &place.line.group;
    for _ in 0..MAX_STEPS {
        let mut state = state::open(ctx, &place.names);
        state.volatile(group, |progress| progress.look(gate, now))?;
        let Some(progress) = state.progress(group)? else { return Ok(false) };
        let epoch = progress.epoch();
        let Some(step) = step(progress, &place.group, gate, &Open(stream), now, count) else {
            return Ok(false);
        };
        match step {
            Step::Change(change) => {
                drop(state);
                state::change(ctx, place, change)?;
            }
            Step::Redeliver(event, attempt) => {
                reply_events(ctx, place, epoch, &[(&event, Some(attempt))]);
                counters::REDELIVERED.add(1);
                state.volatile(group, |progress| progress.redeliver(event.id, now))?;
                return Ok(true);
            }
            Step::Give(events, last, scanned) => {
                let attempt = |event: &Event| {
                    let attempts = progress.attempts(event.id);
                    progress.is_suspect(event.id).then(|| attempts.saturating_add(1))
                };
                let shown: Vec<_> = events.iter().map(|event| (event, attempt(event))).collect();
                reply_events(ctx, place, epoch, &shown);
                let first = events.first().map(|event| event.id);
                let given = events.len() as u64;
                state.volatile(group, |p| p.hand_out(first, last, scanned, given, now))?;
                return Ok(true);
            }
            Step::Nothing(last, scanned) => {
                alarm::nothing_given(ctx, place, progress.exceptions().len(), now);
                state.volatile(group, |p| p.hand_out(None, last, scanned, 0, now))?;
                return Ok(false);
            }
        }
    }
    Ok(false)
}

/// Finds out whether there is anything to hand out in `place`, to its owner if `owned`, else to
/// whoever gets the lease next. Applies what has to be applied before, so that the same entries
/// are not looked at over and over.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn prepare(ctx: &Ctx, place: &Place, now: Now, owned: bool) -> Result<Ready, Error> {
    let group = &place.line.group;
    let Some(stream) = key::open_read(ctx, &place.names.stream).stream()? else {
        return Ok(Ready::Nothing);
    };
    // Only who has something to hand out has to know what stands in front of it.
    let mut barriers = None;
    for _ in 0..MAX_STEPS {
        let found = find_any(ctx, place, &stream, owned)?;
        if found == Some(false) {
            return Ok(Ready::Nothing);
        }
        if barriers.is_none() {
            barriers = Some(barriers::of(ctx, place)?);
        }
        let barriers = barriers.as_ref().and_then(Option::as_ref);
        if found == Some(true) && barriers.is_none_or(Barriers::are_open) {
            return Ok(Ready::Work);
        }
        let gate = gate_of(barriers, place)?;
        let mut state = state::open(ctx, &place.names);
        state.volatile(group, |progress| progress.look(&gate, now))?;
        let beginning = place.beginning();
        let progress = state.progress(group)?.unwrap_or(&beginning);
        let era = lines::era();
        let lease = progress.lease().filter(|lease| owned && lease.era == era);
        let step = match lease {
            Some(_) => step(progress, &place.group, &gate, &Open(&stream), now, 1),
            None => Some(step_unowned(progress, &place.group, &gate, &Open(&stream), now)),
        };
        match step {
            None => return Ok(Ready::Nothing),
            Some(Step::Redeliver(..) | Step::Give(..)) => return Ok(Ready::Work),
            Some(Step::Nothing(last, scanned)) => {
                if lease.is_some() {
                    state.volatile(group, |p| p.hand_out(None, last, scanned, 0, now))?;
                }
                return Ok(match gate.is_open() {
                    _ if scanned >= MAX_SCAN => Ready::Later,
                    false => Ready::Closed,
                    true => Ready::Nothing,
                });
            }
            Some(Step::Change(change)) => {
                drop(state);
                barriers::begin(ctx, place)?;
                state::change(ctx, place, change)?;
            }
        }
    }
    Ok(Ready::Later)
}

/// Where delivery is plain: whether there is any entry to hand out. None where it is not.
fn find_any(ctx: &Ctx, place: &Place, stream: &Key, owned: bool) -> Result<Option<bool>, Error> {
    let state = state::open(ctx, &place.names);
    let beginning = place.beginning();
    let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
    if !progress.is_plain(&place.group) {
        return Ok(None);
    }
    let (cursor, era) = (progress.cursor(), lines::era());
    let lease = progress.lease().filter(|lease| owned && lease.era == era);
    let after = lease.map_or(cursor, |lease| lease.position.max(cursor));
    Ok(Some(Entries::after(stream, after).next_entry().is_some()))
}

/// Something was answered under the lease of `place`. If EVQ.CONSUME * took it, it is anybody's
/// once nothing is in flight, so the cursor passes now what holds it up no longer, and a
/// worker that stands in line for this partition gets it.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn share(ctx: &Ctx, place: &Place, now: Now) -> Result<(), Error> {
    let group = &place.line.group;
    let shared = |progress: &Progress| progress.lease().is_some_and(|lease| lease.shared);
    let reached = {
        let state = state::open(ctx, &place.names);
        let Some(progress) = state.progress(group)?.filter(|p| shared(p)) else {
            return Ok(());
        };
        // A key that holds something else has nothing to pass.
        let stream = key::open_read(ctx, &place.names.stream).stream().ok().flatten();
        stream.and_then(|stream| delivery::reach(progress, &place.group, &Open(&stream)))
    };
    if let Some(reached) = reached {
        state::change(ctx, place, Change::Passed(reached))?;
    }
    let state = state::open(ctx, &place.names);
    let progress = state.progress(group)?;
    let scene = lines::scene(&place.line, progress);
    if scene.queue && progress.is_some_and(|progress| progress.is_free(now, scene)) {
        timer::soon(ctx);
    }
    Ok(())
}

fn reply_events(ctx: &Ctx, place: &Place, epoch: u64, events: &[(&Event, Option<u32>)]) {
    plain::reply_head(ctx, Head { partition: place.line.partition, epoch });
    reply::array(ctx, events.len());
    for (event, attempt) in events {
        reply_event(ctx, event, *attempt);
    }
    counters::DELIVERED.add(events.len() as u64);
}

fn reply_event(ctx: &Ctx, event: &Event, attempt: Option<u32>) {
    let fields = event.fields.len() + usize::from(attempt.is_some());
    plain::reply_event_start(ctx, event.id, fields);
    for (name, value) in &event.fields {
        reply::bytes(ctx, name.bytes());
        reply::bytes(ctx, value.bytes());
    }
    if let Some(attempt) = attempt {
        reply::bytes(ctx, b"attempt");
        reply::bytes(ctx, attempt.to_string().as_bytes());
    }
}
