//! Changes of a ring in a cluster, decided from what everybody holds of it.
//!
//! Whoever changes a ring reads the authority and the copies first, because an authority that
//! failed over may have lost its last change: of all that is held, the definition with the
//! highest version counts. The authority takes what is decided here only if nobody has changed it
//! since, and then every copy gets it. A change that did not reach everybody is completed by the
//! same command.

use std::collections::BTreeMap;

use super::definition::{Definition, Made, Membership, Stage};
use super::group::Group;
use super::{Ring, Shape};
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::parse::Start;

/// What the nodes hold of a ring.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The authority.
    pub authority: Option<Definition>,
    /// The copies that are there, by partition.
    pub copies: BTreeMap<u32, Definition>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The authority takes this, and then every copy.
    Decide(Box<Definition>),
    /// Every copy takes what the authority holds: an earlier change did not reach all of them.
    Push(Box<Definition>),
    /// Everybody holds it already.
    Done,
}

impl Held {
    /// The authority's id and version, 0 and 0 if there is none.
    #[must_use]
    pub fn known(&self) -> (u64, u64) {
        self.authority.as_ref().map_or((0, 0), |held| (held.membership.id, held.membership.version))
    }

    /// How many partitions the largest ring has that anybody holds.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.all().map(|held| held.ring.len()).max().unwrap_or(0)
    }

    fn all(&self) -> impl Iterator<Item = &Definition> {
        self.authority.iter().chain(self.copies.values())
    }

    /// The definition that counts; of one version that of the authority, which alone knows where a
    /// group starts that has not reached everybody.
    fn newest(&self) -> Option<&Definition> {
        // The last of several is taken.
        let all = self.copies.values().chain(&self.authority);
        all.max_by_key(|held| held.membership.version)
    }

    /// The ring that counts, with the starts that its copies tell; the authority may have been
    /// away when they did.
    fn live(&self) -> Result<Definition, Error> {
        let newest = self.newest().filter(|held| held.membership.is_live());
        let mut live = newest.ok_or(Error::NoRing)?.clone();
        let id = live.membership.id;
        for name in live.membership.made.keys().cloned().collect::<Vec<_>>() {
            let version = live.membership.made.get(&name).map(|made| made.version);
            for held in self.all().filter(|held| held.membership.id == id) {
                let same = held.membership.made.get(&name).map(|made| made.version) == version;
                let group = held.ring.group(&name).filter(|_| same);
                for (p, start) in group.into_iter().flat_map(|group| &group.starts) {
                    live.resolve(&name, *p, *start);
                }
            }
        }
        Ok(live)
    }

    /// Whether everybody holds exactly the version of `live`.
    fn is_everywhere(&self, live: &Definition) -> bool {
        let is_it = |held: &Definition| {
            let (one, other) = (&held.membership, &live.membership);
            (one.id, one.version, one.stage) == (other.id, other.version, other.stage)
        };
        self.authority.as_ref().is_some_and(is_it)
            && (0..live.ring.len()).all(|p| self.copies.get(&p).is_some_and(is_it))
    }

    /// How to bring `live` to those who do not hold it.
    fn complete(&self, live: Definition) -> Plan {
        if self.is_everywhere(&live) {
            return Plan::Done;
        }
        let has_it = self.authority.as_ref().is_some_and(|held| {
            (held.membership.id, held.membership.version)
                == (live.membership.id, live.membership.version)
        });
        // An authority that lost its last version must not issue it again for something else, and
        // a ring that comes from a single server has no version yet.
        if has_it && live.membership.version > 0 {
            Plan::Push(Box::new(live))
        } else {
            Plan::Decide(Box::new(live))
        }
    }

    /// What counts reaches whoever lost it: a node that failed over may have gone back to an older
    /// state. Changes nothing else.
    #[must_use]
    pub fn heal(&self) -> Plan {
        if let Ok(live) = self.live() {
            return self.complete(live);
        }
        match self.newest().filter(|held| held.membership.stage == Stage::Dropped) {
            Some(stone) if self.copies.values().any(|held| held.membership.is_live()) => {
                Plan::Push(Box::new(stone.clone()))
            }
            _ => Plan::Done,
        }
    }

    /// EVQ.CREATE.
    ///
    /// # Errors
    /// [`Error::RingExists`].
    pub fn create(&self, shape: Shape) -> Result<Plan, Error> {
        let Some(newest) = self.newest() else {
            return Ok(Plan::Decide(Box::new(fresh(shape, 0))));
        };
        // As long as the authority is there, not every copy is known to be gone.
        if self.authority.as_ref().is_some_and(|held| held.membership.stage == Stage::Dropping) {
            return Err(Error::RingExists);
        }
        match newest.membership.stage {
            Stage::Dropped => Ok(Plan::Decide(Box::new(fresh(shape, newest.membership.version)))),
            Stage::Live if *newest.ring.shape() == shape => Ok(self.complete(self.live()?)),
            Stage::Live | Stage::Dropping => Err(Error::RingExists),
        }
    }

    /// EVQ.GROUP with settings: `set` changes those that the group has, or those of a new one.
    ///
    /// # Errors
    /// [`Error::NoRing`], [`Error::Usage`] for FROM on a group that exists, [`Error::Limit`], and
    /// those of `set`.
    pub fn set_group(
        &self,
        name: &Name,
        from: Option<Start>,
        set: impl FnOnce(Group) -> Result<Group, Error>,
    ) -> Result<Plan, Error> {
        let mut live = self.live()?;
        let known = live.ring.group(name).map(|group| (**group).clone());
        match live.membership.made.get(name) {
            // The same call again, which did not reach everybody.
            Some(made) if from.is_some() && made.from != from => {
                return Err(Error::Usage(
                    "FROM is for a new group; EVQ.SEEK moves an existing one",
                ));
            }
            Some(_) => {}
            None => {
                live.ring.check_room_for_group()?;
                live.membership.made.insert(name.clone(), Made { version: 0, from });
            }
        }
        let group = set(known.clone().unwrap_or_default())?;
        group.check()?;
        if known.as_ref() == Some(&group) {
            return Ok(self.complete(live));
        }
        live.ring.set_group(name.clone(), group);
        Ok(Plan::Decide(Box::new(live)))
    }

    /// EVQ.DELGROUP.
    ///
    /// # Errors
    /// [`Error::NoRing`]; [`Error::NoGroup`] if nobody has it.
    pub fn delete_group(&self, name: &Name) -> Result<Plan, Error> {
        let mut live = self.live()?;
        if live.membership.made.remove(name).is_some() {
            live.ring.remove_group(name);
            return Ok(Plan::Decide(Box::new(live)));
        }
        match self.complete(live) {
            Plan::Done => Err(Error::NoGroup),
            plan => Ok(plan),
        }
    }

    /// EVQ.DROP: what the authority has to say first. What every copy gets then is [`tombstone`].
    ///
    /// # Errors
    /// [`Error::NoRing`].
    pub fn drop_ring(&self) -> Result<Plan, Error> {
        let newest = self.newest().ok_or(Error::NoRing)?;
        if self.authority.is_none() && newest.membership.stage == Stage::Dropped {
            return Err(Error::NoRing);
        }
        let mut dropping = newest.clone();
        dropping.membership.stage = Stage::Dropping;
        match &self.authority {
            Some(held) if held.membership.stage == Stage::Dropping => {
                Ok(Plan::Push(Box::new(held.clone())))
            }
            _ => Ok(Plan::Decide(Box::new(dropping))),
        }
    }
}

/// A ring that does not exist yet, where `seen` is the highest version that anybody holds.
fn fresh(shape: Shape, seen: u64) -> Definition {
    let membership = Membership { version: seen, ..Membership::default() };
    Definition { ring: Ring::new(shape), membership }
}

/// What the copies of a ring become that is being dropped.
#[must_use]
pub fn tombstone(mut dropping: Definition) -> Definition {
    dropping.membership.stage = Stage::Dropped;
    dropping.forget_groups();
    dropping
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
