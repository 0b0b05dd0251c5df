//! What a group is handed next in a partition: the rules of giving out, over any source of
//! entries.
//!
//! [`step`] decides one thing at a time: a change that has to be applied first (then it is asked
//! again), a redelivery, fresh events, or nothing. Nothing here changes anything.

use std::collections::HashSet;

use super::effect::Change;
use super::exceptions::State;
use super::giving::Offer;
use super::group::Group;
use super::hash::digest;
use super::ids::EventId;
use super::lease::{Lease, Now};
use super::limits::MAX_SCAN;
use super::progress::Progress;

/// An entry of a partition's stream.
pub trait Entry {
    /// Its id.
    fn id(&self) -> EventId;
    /// The key it was triggered by; empty if it has none.
    fn key(&self) -> &[u8];
    /// Its type; empty if it has none.
    fn kind(&self) -> &[u8];
}

/// A partition's stream. It is read in one place at a time: what `after` gives has to be dropped
/// before anything else is asked.
pub trait Source {
    /// What it holds.
    type Entry: Entry;
    /// The entries above `after`, in the order of ids.
    fn after(&self, after: EventId) -> impl Iterator<Item = Self::Entry>;
    /// The entry of this id, if it is there.
    fn get(&self, id: EventId) -> Option<Self::Entry>;
}

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
    stream: &S,
    now: Now,
    count: u64,
) -> Option<Step<S::Entry>> {
    progress.lease().map(|lease| decide(progress, Some(lease), group, stream, now, count))
}

/// The same where nobody has the lease: what the next owner would be handed first, so that it need
/// not be granted for nothing.
pub fn step_unowned<S: Source>(
    progress: &Progress,
    group: &Group,
    stream: &S,
    now: Now,
) -> Step<S::Entry> {
    decide(progress, None, group, stream, now, 1)
}

fn decide<S: Source>(
    progress: &Progress,
    lease: Option<&Lease>,
    group: &Group,
    stream: &S,
    now: Now,
    count: u64,
) -> Step<S::Entry> {
    let cursor = progress.cursor();
    if let Some(reached) = reach(progress, group, stream) {
        return Step::Change(Change::Passed(reached));
    }
    if let Some(id) = progress.due(lease, now) {
        // An entry that was deleted by hand is finished by that.
        return stream.get(id).map_or(Step::Change(Change::Dropped(id)), |entry| {
            Step::Redeliver(entry, progress.attempts(id) + 1)
        });
    }
    let position = lease.map_or(cursor, |lease| lease.position.max(cursor));
    let count = count.min(progress.fresh_allowed(lease));
    if count == 0 {
        return Step::Nothing(position, 0);
    }
    let choice = choose(progress, group, stream, position, count);
    if !choice.hold.is_empty() {
        Step::Change(Change::Held(choice.hold))
    } else if choice.give.is_empty() {
        Step::Nothing(choice.last, choice.scanned)
    } else {
        Step::Give(choice.give, choice.last, choice.scanned)
    }
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
    let bound = usize::try_from(MAX_SCAN).unwrap_or(usize::MAX);
    let passed = stream.after(cursor).take(bound).take_while(passable);
    passed.last().map(|entry| entry.id())
}

/// Fresh events that were chosen, and what the choice means for the rest.
struct Choice<E> {
    give: Vec<E>,
    hold: Vec<(EventId, u128)>,
    /// The last entry that was looked at, and how many were.
    last: EventId,
    scanned: u64,
}

/// Reads on from `after` until `count` events are chosen.
fn choose<S: Source>(
    progress: &Progress,
    group: &Group,
    stream: &S,
    after: EventId,
    count: u64,
) -> Choice<S::Entry> {
    let mut choice = Choice { give: Vec::new(), hold: Vec::new(), last: after, scanned: 0 };
    let mut held = HashSet::new();
    for entry in stream.after(after) {
        let (id, key) = (entry.id(), digest(entry.key()));
        let (holding, key_held) = (choice.hold.len(), held.contains(&key));
        match progress.offer(group, id, key, entry.kind(), holding, key_held) {
            Offer::Give => choice.give.push(entry),
            Offer::Skip => {}
            Offer::Hold => {
                choice.hold.push((id, key));
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
pub fn alone<S: Source>(progress: &Progress, group: &Group, stream: &S) -> Option<S::Entry> {
    let lease = progress.lease()?;
    let again = lease.redelivering.iter().filter_map(|id| stream.get(*id));
    // Two are enough to know; they are read to the end before the stream is read on.
    let mut in_flight: Vec<_> = again.take(2).collect();
    let fresh = |entry: &S::Entry| {
        group.takes(entry.kind()) && progress.exceptions().get(entry.id()).is_none()
    };
    let first = stream.after(progress.cursor()).take_while(|entry| entry.id() <= lease.position);
    in_flight.extend(first.filter(fresh).take(2));
    in_flight.pop().filter(|_| in_flight.is_empty())
}

/// Later events of the key of `entry` that were handed out under the same lease.
pub fn later_of_key<S: Source>(
    progress: &Progress,
    group: &Group,
    stream: &S,
    entry: &S::Entry,
) -> Vec<EventId> {
    let Some(lease) = progress.lease() else { return Vec::new() };
    let handed_out = stream.after(entry.id()).take_while(|other| other.id() <= lease.position);
    let of_key = |other: &S::Entry| {
        other.key() == entry.key()
            && group.takes(other.kind())
            && progress.exceptions().get(other.id()).is_none()
            && other.id() > progress.cursor()
    };
    handed_out.filter(of_key).map(|other| other.id()).collect()
}

/// The exceptions that are not finished and whose entries still exist, in the order of ids.
pub fn unfinished<'p, S: Source>(
    progress: &'p Progress,
    stream: &'p S,
) -> impl Iterator<Item = EventId> + 'p {
    let open = progress.exceptions().iter().filter(|(_, e)| e.state != State::Finished);
    open.map(|(id, _)| id).filter(|id| stream.get(*id).is_some())
}
