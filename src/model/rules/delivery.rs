//! What a group is handed next in a partition: the rules of handing out, over any source of
//! entries.
//!
//! [`step`] decides one thing at a time: a change that has to be applied first (then it is called
//! again), a redelivery, fresh events, or nothing. Nothing here changes anything: the loop around
//! it is [`super::drive`], and who applies what it decides is a [`super::shell::Shell`].

use super::failure::Refusal;
use super::gate::Gate;
use super::offer::{Offer, SoFar};
use super::rights::Ack;
use super::source::{Entry, Source};
use crate::model::error::Error;
use crate::model::hash::digest;
use crate::model::ids::EventId;
use crate::model::limits::MAX_SCAN;
use crate::model::now::Now;
use crate::model::progress::lease::{Caller, Lease, Scene};
use crate::model::progress::volatile::HandedOut;
use crate::model::progress::{Progress, Source as Turn};
use crate::model::ring::group::{Group, OnDead};
use crate::model::saved::effect::{Change, Failure};

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<E> {
    /// This has to be applied first.
    Change(Change),
    /// An exception is handed out again, alone.
    Redeliver {
        /// The exception.
        event: E,
        /// For the how-many-th time it is handed out.
        attempt: u32,
        /// What of the stream was read in vain.
        read: Read,
    },
    /// Fresh events are handed out.
    Give {
        /// The events, in the order of the stream.
        events: Vec<E>,
        /// What of the stream was read to find them.
        read: Read,
    },
    /// There is nothing now.
    Nothing {
        /// What of the stream was read in vain.
        read: Read,
    },
}

/// What of a stream was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The last entry; where reading began if there was none.
    pub last: EventId,
    /// How many entries.
    pub entries: u64,
}

impl Read {
    /// Nothing was read.
    fn nothing(after: EventId) -> Self {
        Self { last: after, entries: 0 }
    }

    /// What is noted of it when it handed out so many events, from `first` on.
    pub(in crate::model) fn handing_out(self, first: Option<EventId>, given: u64) -> HandedOut {
        HandedOut { first, last: self.last, entries: self.entries, given }
    }

    /// Whether it ended at the bound of one step, so that more may lie after it.
    #[must_use]
    pub fn is_cut_short(&self) -> bool {
        self.entries >= MAX_SCAN
    }
}

/// Decides what the owner of `lease` is handed next, at most `count` fresh events; without a lease,
/// what the next owner would be handed, so that it need not be granted for nothing.
/// O(log(nodes of the stream) + entries looked at, at most [`MAX_SCAN`] or `count`).
pub fn step<S: Source>(
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
    if let Some(id) = lease.and_then(Lease::again) {
        return redeliver(progress, group, stream, id, Read::nothing(cursor));
    }
    let due = progress.due(lease, gate, now);
    let range = Range {
        after: lease.map_or(cursor, |lease| lease.position.max(cursor)),
        // On the turn of what is due, only what is in flight comes before it.
        until: match (due, progress.turn_of()) {
            (Some(_), Turn::Redeliveries) => lease.map_or(cursor, Lease::repeats_until),
            _ => EventId::MAX,
        },
        count: count.min(progress.fresh_allowed(lease)),
    };
    let choice = choose(progress, lease, group, gate, stream, range);
    if !choice.hold_elsewhere.is_empty() {
        Step::Change(Change::HeldElsewhere(choice.hold_elsewhere))
    } else if !choice.hold.is_empty() {
        Step::Change(Change::Held(choice.hold))
    } else if !choice.give.is_empty() {
        Step::Give { events: choice.give, read: choice.read }
    } else if let Some(id) = due
        && !(progress.comes_alone(id) && lease.is_some_and(|lease| !lease.is_idle(cursor)))
    {
        redeliver(progress, group, stream, id, choice.read)
    } else {
        Step::Nothing { read: choice.read }
    }
}

/// What of the stream fresh events are taken from.
#[derive(Clone, Copy, Debug)]
struct Range {
    after: EventId,
    until: EventId,
    /// At most so many.
    count: u64,
}

/// Hands out the exception `id`, if it still has to be finished.
fn redeliver<S: Source>(
    progress: &Progress,
    group: &Group,
    stream: &S,
    id: EventId,
    read: Read,
) -> Step<S::Entry> {
    match again(group, stream, id) {
        Some(event) => {
            let attempt = progress.attempts(id).saturating_add(1);
            Step::Redeliver { event, attempt, read }
        }
        None => Step::Change(Change::Dropped(id)),
    }
}

/// The entry of an exception, if it is to be handed out again. One that was deleted by hand is
/// finished by that, and one of a type that the group takes no longer by that.
fn again<S: Source>(group: &Group, stream: &S, id: EventId) -> Option<S::Entry> {
    stream.get(id).filter(|entry| group.takes(entry.kind()))
}

/// How far the cursor may pass from where it stands, if at all: over exceptions and over what the
/// group does not take. Bounded, so it may have to be called again.
pub fn reach<S: Source>(progress: &Progress, group: &Group, stream: &S) -> Option<EventId> {
    let cursor = progress.cursor();
    let given = progress.lease().map(|lease| lease.given).filter(|id| *id > cursor);
    let any_above = given.is_some() || progress.exceptions().above(cursor).next().is_some();
    if group.types.is_empty() && !any_above {
        return None;
    }
    let (mut reached, mut end, mut scanned) = (None, None, 0);
    for entry in stream.after(cursor) {
        if progress.is_fresh(group, &entry) {
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
    let given = given.filter(|id| end.is_none_or(|end| *id < end));
    reached.max(progress.exceptions().last_before(end).max(given).filter(|id| *id > cursor))
}

/// Fresh events that were chosen, and what the choice means for the rest.
struct Choice<E> {
    give: Vec<E>,
    hold: Vec<(EventId, u128)>,
    hold_elsewhere: Vec<(EventId, u128)>,
    read: Read,
}

/// Reads on until so many events are chosen.
fn choose<S: Source>(
    progress: &Progress,
    lease: Option<&Lease>,
    group: &Group,
    gate: &Gate<'_>,
    stream: &S,
    range: Range,
) -> Choice<S::Entry> {
    let Range { after, until, count } = range;
    let mut choice = Choice {
        give: Vec::new(),
        hold: Vec::new(),
        hold_elsewhere: Vec::new(),
        read: Read::nothing(after),
    };
    if count == 0 || until <= after {
        return choice;
    }
    let mut so_far = SoFar::default();
    for entry in stream.after(after) {
        if entry.id() > until {
            break;
        }
        let (id, key) = (entry.id(), digest(entry.key()));
        match progress.offer(lease, group, gate, &entry, key, &so_far) {
            Offer::Give => {
                choice.give.push(entry);
                so_far.chosen += 1;
            }
            Offer::Skip => {}
            Offer::Hold => {
                choice.hold.push((id, key));
                so_far.hold(key);
            }
            Offer::HoldElsewhere => {
                choice.hold_elsewhere.push((id, key));
                so_far.hold(key);
            }
            Offer::Wait => break,
        }
        choice.read = Read { last: id, entries: choice.read.entries + 1 };
        let full = choice.give.len() as u64 == count;
        if full || choice.read.entries >= MAX_SCAN.max(count) {
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
    let first = stream.after(progress.cursor()).take_while(|entry| entry.id() <= lease.given);
    in_flight.extend(first.filter(|entry| progress.is_fresh(group, entry)).take(2));
    in_flight.pop().filter(|_| in_flight.is_empty())
}

/// Decides which event is to blame that the lease is lost, and what that does: the event that was
/// alone in flight. Of several, none is blamed.
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

/// Decides an EVQ.ACK of `id` where delivery is not plain: also whether there is anything up to
/// `id` that it finishes, for what failed or is held is not finished by passing it.
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
    if ack == Ack::Nothing || id <= cursor || deleted() {
        return Ok(ack);
    }
    let mut passed = stream.after(cursor).take_while(|entry| entry.id() <= id);
    let fresh = passed.any(|entry| progress.is_fresh(group, &entry));
    Ok(if fresh { Ack::Finishes } else { Ack::Nothing })
}

/// Decides an EVQ.NACK by the owner of the lease. None if the entry was deleted by hand
/// while it was in flight, which finishes it.
///
/// # Errors
/// [`Error::BadId`] if it is not in flight; [`Error::Limit`] if the exceptions would not fit.
pub fn nack<S: Source>(
    progress: &Progress,
    group: &Group,
    stream: &S,
    now: Now,
    refusal: &Refusal<'_>,
) -> Result<Option<(S::Entry, Failure)>, Error> {
    let id = refusal.id;
    let lease = progress.lease().ok_or(Error::Fenced)?;
    progress.check_in_flight(lease, id)?;
    let Some(entry) = stream.get(id) else { return Ok(None) };
    if !group.takes(entry.kind()) {
        return Err(Error::BadId("the event is not in flight under this lease"));
    }
    let later = later_of_key(progress, group, stream, &entry, lease);
    let failure = progress.fail(group, now, refusal, digest(entry.key()), &later)?;
    Ok(Some((entry, failure)))
}

/// Later events of the key of `entry` that were handed out: see [`index_keys`]. Behind an event
/// that is skipped nothing waits.
fn later_of_key<S: Source>(
    progress: &Progress,
    group: &Group,
    stream: &S,
    entry: &S::Entry,
    lease: &Lease,
) -> Vec<EventId> {
    let is_last = progress.attempts(entry.id()).saturating_add(1) >= group.max_attempts;
    let Some(keys) = lease.keys.as_ref().filter(|_| !is_last || group.on_dead == OnDead::Hold)
    else {
        return Vec::new();
    };
    let of_key = |other: &S::Entry| other.key() == entry.key() && progress.is_fresh(group, other);
    let later = keys.later(digest(entry.key()), entry.id()).filter_map(|id| stream.get(id));
    later.filter(of_key).map(|other| other.id()).collect()
}

/// Volatile: brings what is known of the keys in flight up to date, for an EVQ.NACK. O(events that
/// were handed out since the last one).
pub fn index_keys<S: Source>(progress: &mut Progress, stream: &S) {
    let cursor = progress.cursor();
    let Some(lease) = &mut progress.lease else { return };
    let keys = lease.keys.get_or_insert_default();
    keys.pass(cursor);
    let after = stream.after(keys.until().max(cursor));
    for entry in after.take_while(|entry| entry.id() <= lease.given) {
        keys.add(entry.id(), digest(entry.key()));
    }
}
