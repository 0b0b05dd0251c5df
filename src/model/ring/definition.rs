//! A ring's definition as it lies in a cluster: once as the authority, in the ring's own slot, and
//! once as a copy beside each partition, which is all that the partition's node reads.
//!
//! A definition carries the ring's id, new with each EVQ.CREATE, and a version that only grows. Of
//! two definitions the one with the higher version holds. A group carries the version that made it:
//! progress beside a copy always belongs to the group of this copy, and goes when the group is
//! replaced by another of its name. A copy knows where each group starts in its own partition; the
//! authority keeps the starts of all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Ring;
use super::group::Group;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::memory::{Filled, tree};
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::parse::Start;

/// How far a ring has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// It is there.
    #[default]
    Live,
    /// EVQ.DROP has begun: only an authority says so.
    Dropping,
    /// It was dropped. What is left of a copy keeps a late definition from coming back.
    Dropped,
}

/// How a group came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// The version that made it.
    pub version: u64,
    /// Where it was asked to start. An authority forgets it when every partition has told its own
    /// start.
    pub from: Option<Start>,
}

/// What makes a ring's value part of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The ring's id.
    pub id: u64,
    /// Grows with each change of the ring: unix microseconds, or one more than the last.
    pub version: u64,
    /// How each group came to be.
    pub made: BTreeMap<Name, Made>,
    /// How far the ring has come.
    pub stage: Stage,
}

/// A ring and its place in a cluster, as both are saved and sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The ring. Its groups have the starts that are known here.
    pub ring: Ring,
    /// Its place in the cluster.
    pub membership: Membership,
}

/// What becomes of a copy when a definition arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The copy from now on.
    pub copy: Definition,
    /// Whether everything beside it goes: it belongs to another ring, or the ring was dropped.
    pub clears: bool,
    /// Groups whose progress and dead letters go.
    pub gone: Vec<Name>,
    /// Groups that start at this moment in this partition, and where they were asked to.
    pub unresolved: Vec<(Name, Start)>,
}

impl Membership {
    /// Whether the ring may be used.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.stage == Stage::Live
    }

    /// The version of a change at this moment, where `seen` is the highest that anybody holds.
    #[must_use]
    pub fn next_version(seen: u64, now: Now) -> u64 {
        seen.saturating_add(1).max(now.unix_us)
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        tree::<Name, Made>(self.made.len(), Filled::InOrder)
            + self.made.keys().map(Name::heap_bytes).sum::<usize>()
    }
}

impl Definition {
    /// A ring that was made by a server without a cluster. The authority has yet to give it its id
    /// and versions, which are 0 until then.
    #[must_use]
    pub fn without_cluster(ring: Ring) -> Self {
        let made = ring.groups().map(|(name, _)| (name.clone(), Made { version: 0, from: None }));
        let membership = Membership { made: made.collect(), ..Membership::default() };
        Self { ring, membership }
    }

    /// Refuses what EVQ could not have written.
    ///
    /// # Errors
    /// As [`Ring::check`]; [`Error::Usage`].
    pub fn check(&self) -> Result<(), Error> {
        self.ring.check()?;
        if self.ring.is_changing() {
            return Err(Error::Usage("a ring that is being resized cannot be one of a cluster"));
        }
        let Membership { id, version, made, .. } = &self.membership;
        // One at the end of the range could not grow. The authority decides what is still 0.
        let in_range = |n: u64| i64::try_from(n).is_ok();
        if !in_range(*id) || !in_range(*version) {
            return Err(Error::Usage("a ring's id and version are signed numbers"));
        }
        if !made.keys().eq(self.ring.groups().map(|(name, _)| name)) {
            return Err(Error::Usage("each group must have the version that created it"));
        }
        Ok(())
    }

    /// What becomes of the copy of partition `p` that is `held` when this definition arrives. None
    /// if nothing does: it is no newer.
    #[must_use]
    pub fn renew(&self, held: Option<&Self>, p: u32) -> Option<Renewal> {
        let held = match held {
            Some(held) if held.membership.version >= self.membership.version => return None,
            held => held,
        };
        let same = held.filter(|held| held.membership.id == self.membership.id);
        let clears = self.membership.stage == Stage::Dropped || held.is_some() && same.is_none();
        let same = same.filter(|_| !clears);
        let (mut copy, mut unresolved) = (self.clone(), Vec::new());
        let incarnation = |of: &Self, name: &Name| of.membership.made.get(name).map(|m| m.version);
        for (name, made) in &self.membership.made {
            let Some(group) = self.ring.group(name) else { continue };
            let kept = same.filter(|held| incarnation(held, name) == Some(made.version));
            let own = |of: &Self| of.ring.group(name).and_then(|g| g.starts.get(&p).copied());
            let start = kept.and_then(own).or_else(|| own(self));
            let starts = start.map(|start| (p, start)).into_iter().collect();
            copy.ring.set_group(name.clone(), Group { starts, ..(**group).clone() });
            if let (None, Some(from)) = (start, made.from) {
                unresolved.push((name.clone(), from));
            }
        }
        let replaced =
            |held: &&Self, name: &&Name| incarnation(held, name) != incarnation(self, name);
        let gone = same.map_or_else(Vec::new, |held| {
            let names = held.membership.made.keys();
            names.filter(|name| replaced(&held, name)).cloned().collect()
        });
        Some(Renewal { copy, clears, gone, unresolved })
    }

    /// What the copy of each partition needs of it: of the groups' starts only its own. There is
    /// one for each group and partition, too many to send all of them to each partition.
    pub fn for_copies(&self) -> impl Fn(u32) -> Self {
        let mut bare = self.clone();
        let mut starts = Vec::new();
        for (name, group) in self.ring.groups() {
            let mut group = (**group).clone();
            starts.push((name.clone(), std::mem::take(&mut group.starts)));
            bare.ring.set_group(name.clone(), group);
        }
        move |p| {
            let mut copy = bare.clone();
            for (name, starts) in &starts {
                if let Some(start) = starts.get(&p) {
                    copy.resolve(name, p, *start);
                }
            }
            copy
        }
    }

    /// Leaves nothing of the ring but its shape.
    pub fn forget_groups(&mut self) {
        let made = std::mem::take(&mut self.membership.made);
        made.keys().for_each(|name| self.ring.remove_group(name));
    }

    /// The partition `p` starts the group at this event.
    pub fn resolve(&mut self, name: &Name, p: u32, start: EventId) {
        if let Some(group) = self.ring.group(name) {
            let mut group = (**group).clone();
            group.starts.insert(p, start);
            self.ring.set_group(name.clone(), group);
        }
    }
}

#[cfg(test)]
#[path = "definition_tests.rs"]
mod tests;
