//! A partition's delivery state: the progress of every group in it, saved under its `:groups` key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Progress;
use super::counts::Seen;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::{MAX_EXCEPTIONS, MAX_GROUPS};
use crate::model::memory::{Filled, tree};
use crate::model::name::Name;

/// The progress of each group. A group that is missing stands at its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    groups: BTreeMap<Name, Progress>,
    #[serde(skip)]
    seen: Option<Seen>,
}

impl Partition {
    /// The progress of `group`, if it has any.
    #[must_use]
    pub fn get(&self, group: &Name) -> Option<&Progress> {
        self.groups.get(group)
    }

    /// The progress of `group`, mutable; for the volatile functions of [`Progress`].
    pub fn get_mut(&mut self, group: &Name) -> Option<&mut Progress> {
        self.groups.get_mut(group)
    }

    /// The progress of `group`, which begins after `start` if it is missing.
    pub(in crate::model) fn entry(&mut self, group: Name, start: EventId) -> &mut Progress {
        self.groups.entry(group).or_insert_with(|| Progress::new(start))
    }

    /// Changes the progress of `group`; nothing if it has none.
    pub(in crate::model) fn update(&mut self, group: &Name, change: impl FnOnce(&mut Progress)) {
        if let Some(progress) = self.groups.get_mut(group) {
            change(progress);
        }
    }

    /// Forgets a group.
    pub(in crate::model) fn remove(&mut self, group: &Name) {
        self.groups.remove(group);
    }

    /// All groups with their progress, in the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Name, &Progress)> {
        self.groups.iter()
    }

    /// Changes what is volatile about every group's progress.
    pub fn each_volatile(&mut self, change: impl FnMut(&mut Progress)) {
        self.groups.values_mut().for_each(change);
    }

    /// The partition's stream as it was when it was last looked at.
    #[must_use]
    pub fn seen(&self) -> Option<Seen> {
        self.seen
    }

    /// Volatile: the partition's stream was looked at.
    pub fn see(&mut self, seen: Seen) {
        self.seen = Some(seen);
    }

    /// A stream that is made anew must begin above this: every cursor, every exception, and every
    /// event in flight, or the acknowledgement of one would finish new events that nobody was
    /// given.
    #[must_use]
    pub fn floor(&self) -> EventId {
        self.groups.values().map(Progress::highest_id).max().unwrap_or_default()
    }

    /// Refuses more than a ring can have: a snapshot is hostile bytes.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check(&self) -> Result<(), Error> {
        if self.groups.len() > MAX_GROUPS {
            return Err(Error::Limit("groups of a ring", MAX_GROUPS as u64));
        }
        // EPOCH takes a signed number, and an epoch at the end of the range could not grow.
        if self.groups.values().any(|progress| i64::try_from(progress.epoch()).is_err()) {
            return Err(Error::Usage("an epoch must be a time in microseconds"));
        }
        // Poison that dies at the bound goes over it, see Progress::blame.
        if self.groups.values().any(|progress| progress.exceptions().len() > 3 * MAX_EXCEPTIONS) {
            return Err(Error::Limit("exceptions of a group", MAX_EXCEPTIONS as u64));
        }
        Ok(())
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of_group =
            |(name, progress): (&Name, &Progress)| name.heap_bytes() + progress.heap_bytes();
        tree::<Name, Progress>(self.groups.len(), Filled::InOrder)
            + self.groups.iter().map(of_group).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now::Now;
    use crate::model::progress::lease::Caller;
    use crate::model::progress::volatile::HandedOut;
    use crate::model::saved::effect::{Change, Effect};

    fn first_epoch(group: &Name) -> Effect {
        Effect::Group(group.clone(), Change::Epoch { epoch: 1, start: EventId::ZERO })
    }

    #[test]
    fn a_repeated_acknowledgement_never_takes_the_cursor_back() {
        let (mut partition, group) = (Partition::default(), Name::default_name());
        partition.apply(first_epoch(&group));
        for seq in [3, 1, 3, 2, 4, 0] {
            partition.acknowledge(&group, EventId { ms: 1, seq });
        }
        assert_eq!(partition.get(&group).unwrap().cursor(), EventId { ms: 1, seq: 4 });
    }

    #[test]
    fn a_new_stream_begins_above_what_is_finished_and_what_is_in_flight() {
        let id = |ms| EventId { ms, seq: 0 };
        let (mut partition, now) = (Partition::default(), Now { unix_us: 1_000 });
        let mut floors = Vec::new();
        for (group, cursor, position) in [("a", 5, 9), ("b", 7, 7)] {
            let group = Name::group(group.as_bytes()).unwrap();
            partition.apply(first_epoch(&group));
            partition.acknowledge(&group, id(cursor));
            let caller = Caller { worker: None, epoch: None, connection: Some(1) };
            let progress = partition.get_mut(&group).unwrap();
            progress.begin_lease(&caller, now, 100, 0);
            let (first, last) = (Some(id(position)), id(position));
            progress.hand_out(HandedOut { first, last, entries: 1, given: 1 }, now);
            floors.push(partition.floor());
        }
        assert_eq!(floors, [id(9), id(9)]);
    }
}
