//! Effects: the only way saved state changes. The primary decides one, applies it and replicates
//! it; replicas and an AOF replay apply the same. Variants are only ever appended, and each
//! travels after a format version (see [`super::snapshot`]), so that a log outlives an upgrade.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::partition::Partition;
use crate::model::ring::Ring;
use crate::model::ring::definition::Definition;
use crate::model::ring::group::Group;
use crate::model::ring::history::End;
use crate::model::{later, unique};

/// A change to one key's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// The ring's value is this: it was made, or an AOF rewrite wrote it out whole.
    Ring(Ring),
    /// The partition's delivery state is this: an AOF rewrite wrote it out whole.
    Partition(Partition),
    /// On a ring: the group has these settings; it is made if it is missing.
    GroupSet(Name, Group),
    /// On a ring and on a partition: the group is gone.
    GroupGone(Name),
    /// On a partition: something about one group's progress.
    Group(Name, Change),
    /// On a ring: it goes on with these weights; where the generation before ended, per partition,
    /// and when, in unix ms.
    Resized(Vec<u32>, BTreeMap<u32, End>, u64),
    /// On a ring: this leaving partition is gone.
    Retired(u32),
    /// On a ring: its oldest so many past generations are of no concern any more.
    Forgotten(u32),
    /// On a ring: its clock shows this unix ms, see [`crate::model::ring::clock`].
    Tick(u64),
    /// On the tokens of a partition.
    Unique(unique::tokens::Change),
    /// On the scheduled events of a partition.
    Later(later::schedule::Change),
    /// On a ring: tickets up to this one were issued in partitions that are gone.
    Ticketed(u64),
    /// The value is this, an authority or a copy in a cluster.
    Defined(Box<Definition>),
}

/// A change to one group's progress in one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// This epoch was issued, to a worker or to nobody. A group without progress begins after
    /// `start`.
    Epoch {
        /// The epoch.
        epoch: u64,
        /// The start of a group without progress.
        start: EventId,
    },
    /// The cursor moved on without an acknowledgement: over exceptions and what the group does
    /// not take.
    Passed(EventId),
    /// These events are held behind an earlier one of their key (its digest).
    Held(Vec<(EventId, u128)>),
    /// The handling of an event failed.
    Failed(Failure),
    /// This event was alone in flight when a lease was lost, for the so-many-th time.
    Suspected(EventId, u32),
    /// This exception is over: an operator skipped it, or its entry is gone.
    Dropped(EventId),
    /// This dead event, whose key has this digest, starts again.
    Revived(EventId, u128),
    /// The group goes on after `cursor`, under a new epoch and without exceptions.
    Sought {
        /// The new cursor.
        cursor: EventId,
        /// The new epoch.
        epoch: u64,
    },
    /// These events (with the digests of their keys) come after an event of another partition that
    /// is an exception there.
    HeldElsewhere(Vec<(EventId, u128)>),
    /// These events of a key (its digest), in the order of ids, are handed out again, one after the
    /// other, from attempt 1.
    Replayed(u128, Vec<EventId>),
}

impl Ring {
    /// Applies an effect on a ring that exists. Total: an effect that is meant for another kind
    /// of value changes nothing and answers false.
    pub fn apply(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Ring(ring) => *self = ring,
            Effect::GroupSet(name, group) => self.set_group(name, group),
            Effect::GroupGone(name) => self.remove_group(&name),
            Effect::Resized(weights, ends, ended_ms) => {
                return self.resized(weights, ends, ended_ms);
            }
            Effect::Retired(partition) => self.retire(partition),
            Effect::Forgotten(generations) => self.forget(generations),
            Effect::Tick(ms) => self.tick(ms),
            Effect::Ticketed(ticket) => self.remember_ticket(ticket),
            Effect::Partition(_)
            | Effect::Group(..)
            | Effect::Unique(_)
            | Effect::Later(_)
            | Effect::Defined(_) => return false,
        }
        true
    }
}

impl Partition {
    /// Applies an effect on a partition's delivery state. Total, as [`Ring::apply`].
    pub fn apply(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Partition(partition) => *self = partition,
            Effect::GroupGone(name) => self.remove(&name),
            Effect::Group(name, change) => self.change(name, change),
            Effect::Ring(_)
            | Effect::GroupSet(..)
            | Effect::Resized(..)
            | Effect::Retired(_)
            | Effect::Forgotten(_)
            | Effect::Tick(_)
            | Effect::Unique(_)
            | Effect::Later(_)
            | Effect::Ticketed(_)
            | Effect::Defined(_) => return false,
        }
        true
    }

    fn change(&mut self, group: Name, change: Change) {
        match change {
            Change::Epoch { epoch, start } => self.entry(group, start).issue(epoch),
            Change::Sought { cursor, epoch } => self.entry(group, cursor).seek(cursor, epoch),
            Change::Passed(id) => self.update(&group, |progress| progress.pass(id)),
            Change::Held(events) => self.update(&group, |progress| {
                for (id, key) in events {
                    progress.hold(id, key);
                }
            }),
            Change::HeldElsewhere(events) => self.update(&group, |progress| {
                for (id, key) in events {
                    progress.hold_elsewhere(id, key);
                }
            }),
            Change::Failed(failure) => self.update(&group, |progress| progress.failed(&failure)),
            Change::Suspected(id, count) => {
                self.update(&group, |progress| progress.suspect(id, count));
            }
            Change::Dropped(id) => self.update(&group, |progress| progress.drop_exception(id)),
            Change::Revived(id, key) => {
                self.entry(group, EventId::ZERO).revive(id, key);
            }
            Change::Replayed(key, events) => {
                self.update(&group, |progress| progress.replay(key, &events));
            }
        }
    }

    /// The effect of an acknowledgement. It travels as the EVQ.ACK itself, which needs nothing that
    /// is not saved: events up to `id` are finished for `group`, or the exception `id` is. Where
    /// the group's progress is at hand, [`crate::model::progress::Progress::finish`] does the same.
    pub fn acknowledge(&mut self, group: &Name, id: EventId) {
        self.update(group, |progress| progress.finish(id));
    }
}

/// The fate of an event whose handling failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It is handed out again at this unix time in ms.
    Retry(u64),
    /// It is dead and holds its key.
    Dead,
    /// It is dead and its key goes on.
    Skipped,
}

impl Fate {
    /// Whether this was the last attempt.
    #[must_use]
    pub fn is_last(self) -> bool {
        matches!(self, Self::Dead | Self::Skipped)
    }
}

/// A failure that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The event.
    pub id: EventId,
    /// The digest of its key.
    pub key: u128,
    /// Its failures so far, this one included.
    pub attempts: u32,
    /// When it failed first, in unix ms.
    pub first_ms: u64,
    /// Its fate.
    pub fate: Fate,
    /// Later events of its key that were handed out already: they are held behind it from now on.
    pub held: Vec<EventId>,
}
