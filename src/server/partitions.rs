//! A partition's delivery state as a command uses it: open, decide, change, replicate.

use std::rc::Rc;

use super::acl::{Access, User};
use super::ctx::Ctx;
use super::datatype::RingValue;
use super::key::Key;
use super::known;
use super::names::{PartitionNames, RingNames};
use super::text::Text;
use super::waiting::{self, Line};
use crate::model::effect::Effect;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::keys::parse_ring_key;
use crate::model::name::Name;
use crate::model::progress::{Caller, Now, Partition, Progress, Scene, Turn};
use crate::model::snapshot::encode;

/// A partition and a group of it: checked to exist, and that the user may change the group's
/// progress.
#[derive(Debug)]
pub(crate) struct Place {
    /// The partition's keys.
    pub(crate) names: Rc<PartitionNames>,
    /// The line of workers in front of it for the group.
    pub(crate) line: Line,
}

impl Ctx {
    /// The partition `p` of a ring, which has it, for `group`.
    ///
    /// # Errors
    /// [`Error::NoPermission`] for the delivery state.
    pub(crate) fn place(
        &self,
        user: &User,
        ring: &RingNames,
        p: u32,
        group: &Name,
    ) -> Result<Place, Error> {
        let names = ring.partition(p);
        user.check(&names.groups, Access::ReadUpdate)?;
        let line =
            Line { db: self.db(), ring: ring.name.clone(), partition: p, group: group.clone() };
        Ok(Place { names, line })
    }

    /// The same, looked up by name: for commands that need an existing group.
    ///
    /// # Errors
    /// [`Error::NoRing`], [`Error::NoPartition`], [`Error::NoGroup`], [`Error::NoPermission`],
    /// [`Error::WrongType`].
    pub(crate) fn group_place(
        &self,
        user: &User,
        ring: &Name,
        p: u32,
        group: &Name,
    ) -> Result<Place, Error> {
        let ring = self.ring(user, ring)?;
        let value = ring.value()?;
        value.ring.check_partition(p)?;
        if !value.ring.has_group(group) {
            return Err(Error::NoGroup);
        }
        self.place(user, &ring.names, p, group)
    }

    /// Opens a partition's delivery state.
    pub(crate) fn open_state(&self, names: &PartitionNames) -> State {
        State(self.open_read(&names.groups))
    }

    /// The id a new stream of this partition must begin above: cursors and acknowledgements stay
    /// valid after a DEL.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn floor(&self, names: &PartitionNames) -> Result<EventId, Error> {
        let key = self.open_read(&names.groups);
        Ok(key.value::<Partition>()?.map(Partition::floor).unwrap_or_default())
    }

    /// Applies an effect to a partition's delivery state and replicates it. `then` sets what is
    /// volatile.
    ///
    /// # Errors
    /// [`Error::WrongType`]; nothing has changed then.
    pub(crate) fn change(
        &self,
        names: &PartitionNames,
        effect: Effect,
        then: impl FnOnce(&mut Partition),
    ) -> Result<(), Error> {
        let bytes = encode(&effect)?;
        let mut key = self.open_read(&names.groups);
        match key.value_mut::<Partition>()? {
            Some(partition) => {
                partition.apply(effect);
                then(partition);
                self.signal_modified(&names.groups);
            }
            None => {
                drop(key);
                let mut partition = Partition::default();
                partition.apply(effect);
                then(&mut partition);
                self.create_value(&names.groups, partition)?;
            }
        }
        self.replicate_effect(&names.groups, &bytes);
        Ok(())
    }

    /// Issues `epoch` to `caller`, which fences whoever had the lease; a client that is blocked
    /// under the old lease learns so.
    ///
    /// # Errors
    /// [`Error::WrongType`]; nothing has changed then.
    pub(crate) fn grant(
        &self,
        place: &Place,
        caller: &Caller,
        epoch: u64,
        now: Now,
        lease_ms: u64,
    ) -> Result<(), Error> {
        let group = &place.line.group;
        self.change(&place.names, Effect::EpochIssued(group.clone(), epoch), |partition| {
            if let Some(progress) = partition.get_mut(group) {
                progress.begin_lease(caller, now, lease_ms, waiting::era());
            }
        })?;
        waiting::note_owner(&place.line, caller);
        super::blocking::fence_owner(&place.line, caller.connection);
        Ok(())
    }

    /// Asks the progress of `place` for a decision; nothing changes.
    ///
    /// # Errors
    /// [`Error::Fenced`] where there is no progress, and the decision's own.
    pub(crate) fn judge<R>(
        &self,
        place: &Place,
        decide: impl FnOnce(&Progress, Scene) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let state = self.open_state(&place.names);
        let progress = state.progress(&place.line.group)?.ok_or(Error::Fenced)?;
        decide(progress, waiting::scene(&place.line, Some(progress)))
    }

    /// Decides a CONSUME.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn turn(&self, place: &Place, caller: &Caller, now: Now) -> Result<Turn, Error> {
        self.decide_turn(place, caller, now, |scene| scene)
    }

    /// Decides a CONSUME whose turn has come after it had waited: nobody was before it, even if
    /// the lease it had is gone with its key.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn next_turn(
        &self,
        place: &Place,
        caller: &Caller,
        now: Now,
    ) -> Result<Turn, Error> {
        self.decide_turn(place, caller, now, |scene| Scene { queue: false, ..scene })
    }

    fn decide_turn(
        &self,
        place: &Place,
        caller: &Caller,
        now: Now,
        seen: impl FnOnce(Scene) -> Scene,
    ) -> Result<Turn, Error> {
        let state = self.open_state(&place.names);
        let progress = state.progress(&place.line.group)?;
        let scene = seen(waiting::scene(&place.line, progress));
        // Who has no progress yet is as who has finished nothing and never had a lease.
        let none = Progress::default();
        Ok(progress.unwrap_or(&none).turn(caller, now, scene))
    }

    /// Judges an acknowledgement and applies it: true if it finished anything, and then it is to
    /// be replicated. Renews the lease.
    ///
    /// # Errors
    /// [`Error::Fenced`], [`Error::BadId`], [`Error::WrongType`]; nothing has changed then.
    pub(crate) fn acknowledge(
        &self,
        place: &Place,
        caller: &Caller,
        id: EventId,
        now: Now,
    ) -> Result<bool, Error> {
        let group = &place.line.group;
        let mut state = self.open_state(&place.names);
        let progress = state.progress(group)?.ok_or(Error::Fenced)?;
        let scene = waiting::scene(&place.line, Some(progress));
        let finishes = progress.ack(caller, scene, id)?;
        if let Some(partition) = state.0.value_mut::<Partition>()? {
            if finishes {
                partition.acknowledge(group, id);
                self.signal_modified(&place.names.groups);
            }
            if let Some(progress) = partition.get_mut(group) {
                progress.renew(now);
            }
        }
        Ok(finishes)
    }

    /// Applies an acknowledgement that the primary has judged.
    ///
    /// # Errors
    /// [`Error::WrongType`]; nothing has changed then.
    pub(crate) fn replay_acknowledgement(
        &self,
        ring: &Name,
        p: u32,
        group: &Name,
        id: EventId,
    ) -> Result<(), Error> {
        let names = RingNames::of(ring).partition(p);
        let mut key = self.open_read(&names.groups);
        if let Some(partition) = key.value_mut::<Partition>()? {
            partition.acknowledge(group, id);
            self.signal_modified(&names.groups);
            return Ok(());
        }
        drop(key);
        let mut partition = Partition::default();
        partition.acknowledge(group, id);
        self.create_value(&names.groups, partition)
    }

    /// Applies a replicated effect to the value under `key`, and passes it on.
    ///
    /// # Errors
    /// [`Error::WrongType`]; [`Error::NoRing`] for a group of a ring that is not there.
    pub(crate) fn apply(&self, key: &Text, effect: Effect, bytes: &[u8]) -> Result<(), Error> {
        let mut open = self.open_read(key);
        match &effect {
            Effect::Ring(_) | Effect::GroupMade(_) => {
                match (open.value_mut::<RingValue>()?, effect) {
                    (None, Effect::Ring(ring)) => {
                        drop(open);
                        if let Some(name) = parse_ring_key(key.bytes()) {
                            known::note(self.db(), &name);
                        }
                        self.create_value(key, RingValue::new(ring))?;
                    }
                    (None, _) => return Err(Error::NoRing),
                    (Some(value), Effect::Ring(ring)) => *value = RingValue::new(ring),
                    (Some(value), effect) => {
                        value.ring.apply(effect);
                    }
                }
            }
            Effect::Partition(_) | Effect::EpochIssued(..) => {
                match open.value_mut::<Partition>()? {
                    Some(partition) => {
                        partition.apply(effect);
                    }
                    None => {
                        drop(open);
                        let mut partition = Partition::default();
                        partition.apply(effect);
                        self.create_value(key, partition)?;
                    }
                }
            }
        }
        self.signal_modified(key);
        self.replicate_effect(key, bytes);
        Ok(())
    }
}

/// A partition's delivery state, open for reading. What is volatile may be changed in place.
#[derive(Debug)]
pub(crate) struct State(Key);

impl State {
    /// Refuses a key that holds something else.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.0.value::<Partition>().map(drop)
    }

    /// The progress of `group`; none if it has finished nothing and never had a lease.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn progress(&self, group: &Name) -> Result<Option<&Progress>, Error> {
        Ok(self.0.value::<Partition>()?.and_then(|partition| partition.get(group)))
    }

    /// Changes what is volatile about `group`'s progress, if it has any.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn volatile(
        &mut self,
        group: &Name,
        change: impl FnOnce(&mut Progress),
    ) -> Result<(), Error> {
        if let Some(progress) = self.0.value_mut::<Partition>()?.and_then(|p| p.get_mut(group)) {
            change(progress);
        }
        Ok(())
    }
}
