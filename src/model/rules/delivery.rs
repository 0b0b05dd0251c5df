//! What a group is handed next in a partition: the rules of giving out, over any source of
//! entries.
//!
//! [`step`] decides one thing at a time: a change that has to be applied first (then it is asked
//! again), a redelivery, fresh events, or nothing. Nothing here changes anything.

use std::collections::HashSet;

use super::gate::Gate;
use super::offer::Offer;
use super::rights::Ack;
use super::source::{Entry, Source};
use crate::model::error::Error;
use crate::model::hash::digest;
use crate::model::ids::EventId;
use crate::model::limits::MAX_SCAN;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::{Caller, Lease, Scene};
use crate::model::ring::group::Group;
use crate::model::saved::effect::{Change, Failure};

/// What comes next under a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<E> {
    /// This has to be applied first.
    Change(Change),
    /// This exception is handed out again, alone, for the so-many-th time.
    Redeliver(E, u32),
    /// These fresh events are handed out; the stream was read up to the id, over so many entries.
    Give(Vec<E>, EventId, u64),
    /// There is nothing now; the stream was read up to the id, over so many entries.
    Nothing(EventId, u64),
}

/// Decides what the owner of the lease is handed next, at most `count` fresh events. None without
/// a lease. O(log(nodes of the stream) + entries looked at, at most [`MAX_SCAN`] or `count`).
pub fn step<S: Source>(
    progress: &Progress,
    group: &Group,
    gate: &Gate<'_>,
    stream: &S,
    now: Now,
    count: u64,
) -> Option<Step<S::Entry>> {
    progress.lease().map(|lease| decide(progress, Some(lease), group, gate, stream, now, count))
}

/// The same where nobody has the lease: what the next owner would be handed first, so that it need
/// not be granted for nothing.
pub fn step_unowned<S: Source>(
    progress: &Progress,
    group: &Group,
    gate: &Gate<'_>,
    stream: &S,
    now: Now,
) -> Step<S::Entry> {
    decide(progress, None, group, gate, stream, now, 1)
}

fn decide<S: Source>(
    progress: &Progress,
    lease: Option<&Lease>,
    group: &Group,
    gate: &Gate<'_>,
    stream: &S,
    now: Now,
    count: u64,
) -> Step<S::Entry> {
    let cursor = progress.cursor();
    if let Some(reached) = reach(progress, group, stream) {
        return Step::Change(Change::Passed(reached));
    }
    let position = lease.map_or(cursor, |lease| lease.position.max(cursor));
    if let Some(id) = progress.due(lease, gate, now) {
        if progress.comes_alone(id) && lease.is_some_and(|lease| !lease.is_idle(cursor)) {
            return Step::Nothing(position, 0);
        }
        return again(group, stream, id).map_or(Step::Change(Change::Dropped(id)), |entry| {
            Step::Redeliver(entry, progress.attempts(id).saturating_add(1))
        });
    }
    let count = count.min(progress.fresh_allowed(lease));
    if count == 0 {
        return Step::Nothing(position, 0);
    }
    let choice = choose(progress, group, gate, stream, position, count);
    if !choice.hold_elsewhere.is_empty() {
        Step::Change(Change::HeldElsewhere(choice.hold_elsewhere))
    } else if !choice.hold.is_empty() {
        Step::Change(Change::Held(choice.hold))
    } else if choice.give.is_empty() {
        Step::Nothing(choice.last, choice.scanned)
    } else {
        Step::Give(choice.give, choice.last, choice.scanned)
    }
}

/// The entry of an exception, if it is to be handed out again. One that was deleted by hand is
/// finished by that, and one of a type that the group takes no longer by that.
fn again<S: Source>(group: &Group, stream: &S, id: EventId) -> Option<S::Entry> {
    stream.get(id).filter(|entry| group.takes(entry.kind()))
}

/// How far the cursor may pass from where it stands, if at all: over exceptions and over what the
/// group does not take. Bounded, so it may have to be asked again.
pub fn reach<S: Source>(progress: &Progress, group: &Group, stream: &S) -> Option<EventId> {
    let cursor = progress.cursor();
    if group.types.is_empty() && progress.exceptions().above(cursor).next().is_none() {
        return None;
    }
    let passable = |entry: &S::Entry| {
        progress.exceptions().get(entry.id()).is_some() || !group.takes(entry.kind())
    };
    let (mut reached, mut end, mut scanned) = (None, None, 0);
    for entry in stream.after(cursor) {
        if !passable(&entry) {
            end = Some(entry.id());
            break;
        }
        reached = Some(entry.id());
        scanned += 1;
        if scanned == MAX_SCAN {
            return reached;
        }
    }
    // Also over what was deleted by hand.
    let position = progress.lease().map(|lease| lease.position);
    let position = position.filter(|id| end.is_none_or(|end| *id < end));
    reached.max(progress.exceptions().last_before(end).max(position).filter(|id| *id > cursor))
}

/// Fresh events that were chosen, and what the choice means for the rest.
struct Choice<E> {
    give: Vec<E>,
    hold: Vec<(EventId, u128)>,
    hold_elsewhere: Vec<(EventId, u128)>,
    /// The last entry that was looked at, and how many were.
    last: EventId,
    scanned: u64,
}

/// Reads on from `after` until `count` events are chosen.
fn choose<S: Source>(
    progress: &Progress,
    group: &Group,
    gate: &Gate<'_>,
    stream: &S,
    after: EventId,
    count: u64,
) -> Choice<S::Entry> {
    let mut choice = Choice {
        give: Vec::new(),
        hold: Vec::new(),
        hold_elsewhere: Vec::new(),
        last: after,
        scanned: 0,
    };
    let mut held = HashSet::new();
    for entry in stream.after(after) {
        let (id, key) = (entry.id(), digest(entry.key()));
        let chosen = choice.hold.len() + choice.hold_elsewhere.len() + choice.give.len();
        let event = (id, key, entry.kind());
        match progress.offer(group, gate, event, chosen, held.contains(&key)) {
            Offer::Give => choice.give.push(entry),
            Offer::Skip => {}
            Offer::Hold => {
                choice.hold.push((id, key));
                held.insert(key);
            }
            Offer::HoldElsewhere => {
                choice.hold_elsewhere.push((id, key));
                held.insert(key);
            }
            Offer::Wait => break,
        }
        choice.last = id;
        choice.scanned += 1;
        if choice.give.len() as u64 == count || choice.scanned >= MAX_SCAN.max(count) {
            break;
        }
    }
    choice
}

/// The one event in flight under the lease, if there is exactly one.
fn alone<S: Source>(progress: &Progress, group: &Group, stream: &S) -> Option<S::Entry> {
    let lease = progress.lease()?;
    let again = lease.redelivering.iter().filter_map(|id| again(group, stream, *id));
    // Two are enough to know; they are read to the end before the stream is read on.
    let mut in_flight: Vec<_> = again.take(2).collect();
    let fresh = |entry: &S::Entry| {
        group.takes(entry.kind()) && progress.exceptions().get(entry.id()).is_none()
    };
    let first = stream.after(progress.cursor()).take_while(|entry| entry.id() <= lease.position);
    in_flight.extend(first.filter(fresh).take(2));
    in_flight.pop().filter(|_| in_flight.is_empty())
}

/// Who is to blame that the lease is lost, and what that does: the event that was alone in flight.
/// Of several, none is blamed.
pub fn loss<S: Source>(
    progress: &Progress,
    group: &Group,
    stream: &S,
    now: Now,
) -> Option<(S::Entry, Change)> {
    let only = alone(progress, group, stream)?;
    let change = progress.blame(group, now, only.id(), digest(only.key()));
    Some((only, change))
}

/// Decides an EVQ.ACK of `id`: also whether there is anything up to `id` that it finishes, for what
/// failed or is held is not finished by passing it.
///
/// # Errors
/// As [`Progress::ack`].
pub fn ack<S: Source>(
    progress: &Progress,
    group: &Group,
    stream: &S,
    caller: &Caller,
    scene: Scene,
    id: EventId,
) -> Result<Ack, Error> {
    let ack = progress.ack(caller, scene, id)?;
    let cursor = progress.cursor();
    let deleted = || stream.get(id).is_none();
    if ack == Ack::Nothing || id <= cursor || progress.is_plain(group) || deleted() {
        return Ok(ack);
    }
    let mut passed = stream.after(cursor).take_while(|entry| entry.id() <= id);
    let fresh = passed
        .any(|entry| group.takes(entry.kind()) && progress.exceptions().get(entry.id()).is_none());
    Ok(if fresh { Ack::Finishes } else { Ack::Nothing })
}

/// Decides an EVQ.NACK of `id` by who may. None if the entry was deleted by hand while it was in
/// flight, which finishes it.
///
/// # Errors
/// [`Error::BadId`] if it is not in flight; [`Error::Limit`] if the exceptions would not fit.
pub fn nack<S: Source>(
    progress: &Progress,
    group: &Group,
    stream: &S,
    now: Now,
    id: EventId,
    delay_ms: Option<u64>,
) -> Result<Option<(S::Entry, Failure)>, Error> {
    let lease = progress.lease().ok_or(Error::Fenced)?;
    progress.check_in_flight(lease, id)?;
    let Some(entry) = stream.get(id) else { return Ok(None) };
    if !group.takes(entry.kind()) {
        return Err(Error::BadId("the event is not in flight under this lease"));
    }
    let later = later_of_key(progress, group, stream, &entry, lease.position);
    let failure = progress.fail(group, now, id, digest(entry.key()), &later, delay_ms)?;
    Ok(Some((entry, failure)))
}

/// Later events of the key of `entry` that were handed out, up to `position`.
fn later_of_key<S: Source>(
    progress: &Progress,
    group: &Group,
    stream: &S,
    entry: &S::Entry,
    position: EventId,
) -> Vec<EventId> {
    let handed_out = stream.after(entry.id()).take_while(|other| other.id() <= position);
    let of_key = |other: &S::Entry| {
        other.key() == entry.key()
            && group.takes(other.kind())
            && progress.exceptions().get(other.id()).is_none()
            && other.id() > progress.cursor()
    };
    handed_out.filter(of_key).map(|other| other.id()).collect()
}
