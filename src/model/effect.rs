//! Effects: the only way saved state changes. The primary decides one, applies it and replicates
//! it; replicas and an AOF replay apply the same. Variants are only ever appended, and each
//! travels behind a format version (see [`super::snapshot`]), so that a log outlives an upgrade.

use serde::{Deserialize, Serialize};

use super::ids::EventId;
use super::name::Name;
use super::progress::Partition;
use super::ring::Ring;

/// A change to one key's value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// The ring's value is this: it was made, or an AOF rewrite wrote it out whole.
    Ring(Ring),
    /// The partition's delivery state is this: an AOF rewrite wrote it out whole.
    Partition(Partition),
    /// On a ring: the group exists.
    GroupMade(Name),
    /// On a partition: this epoch of the group was issued, to a worker or to nobody.
    EpochIssued(Name, u64),
}

impl Ring {
    /// Applies an effect on a ring that exists. Total: an effect that is meant for another kind
    /// of value changes nothing and answers false.
    pub fn apply(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Ring(ring) => *self = ring,
            Effect::GroupMade(group) => self.add_group(group),
            Effect::Partition(_) | Effect::EpochIssued(..) => return false,
        }
        true
    }
}

impl Partition {
    /// Applies an effect on a partition's delivery state. Total, as [`Ring::apply`].
    pub fn apply(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Partition(partition) => *self = partition,
            Effect::EpochIssued(group, epoch) => {
                self.update(&group, |progress| progress.issue(epoch));
            }
            Effect::Ring(_) | Effect::GroupMade(_) => return false,
        }
        true
    }

    /// The effect of an acknowledgement. It travels as the EVQ.ACK itself, which needs nothing
    /// that is not saved: events up to `id` are finished for `group`.
    pub fn acknowledge(&mut self, group: &Name, id: EventId) {
        self.update(group, |progress| progress.finish(id));
    }
}
