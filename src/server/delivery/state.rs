//! A partition's delivery state under its `:groups` key: open it, change it by effects, replicate
//! exactly those.

use std::sync::Arc;

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::keys::parse_ring_key;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::model::progress::lease::Scene;
use crate::model::progress::partition::Partition;
use crate::model::ring::group::Group;
use crate::model::saved::effect::{Change, Effect};
use crate::model::saved::snapshot::encode;
use crate::server::api::acl::{Access, User};
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Key;
use crate::server::api::text::Text;
use crate::server::api::timer;
use crate::server::keyspace::datatype::RingValue;
use crate::server::keyspace::key_names::{PartitionNames, RingNames};
use crate::server::keyspace::known_rings;
use crate::server::keyspace::line::Line;
use crate::server::keyspace::place::Place;
use crate::server::keyspace::ring::RingView;
use crate::server::waiting::lines;
use crate::server::waiting::release::watch_all;

impl Ctx {
    /// The partition `p` of a ring, which has it, for a group; the user may touch the delivery
    /// state like this.
    ///
    /// # Errors
    /// [`Error::NoPermission`]; as [`RingView::value`].
    #[inline]
    pub(crate) fn place(
        &self,
        user: &User,
        access: Access,
        ring: &RingView,
        p: u32,
        name: &Name,
        group: Arc<Group>,
    ) -> Result<Place, Error> {
        let names = ring.names.partition(p);
        user.check(&names.groups, access)?;
        let history = ring.value()?.history.clone();
        let ring = ring.names.name.clone();
        let line = Line { db: self.db(), ring, partition: p, group: name.clone() };
        Ok(Place { names, line, group, history })
    }

    /// The same in a ring that was found, for commands that need an existing group.
    ///
    /// # Errors
    /// [`Error::NoPartition`], [`Error::NoGroup`], [`Error::NoPermission`], [`Error::WrongType`].
    #[inline]
    pub(crate) fn place_of(
        &self,
        user: &User,
        access: Access,
        ring: &RingView,
        p: u32,
        group: &Name,
    ) -> Result<Place, Error> {
        let value = ring.value()?;
        value.ring.check_partition(p)?;
        let settings = value.ring.group(group).ok_or(Error::NoGroup)?;
        self.place(user, access, ring, p, group, Arc::clone(settings))
    }

    /// The same, with the ring looked up by name, for commands that change the group's progress.
    ///
    /// # Errors
    /// As [`Ctx::place_of`], and [`Error::NoRing`].
    #[inline]
    pub(crate) fn group_place(
        &self,
        user: &User,
        ring: &Name,
        p: u32,
        group: &Name,
    ) -> Result<Place, Error> {
        self.place_of(user, Access::ReadUpdate, &self.ring(user, ring)?, p, group)
    }

    /// The place of a line that a worker waits in, if its ring, partition and group still exist.
    pub(crate) fn place_in(&self, line: &Line) -> Option<Place> {
        if !self.select_db(line.db) {
            return None;
        }
        let names = RingNames::of(&line.ring);
        let key = self.open_read(&names.ring);
        let value = key.value::<RingValue>().ok()??;
        value.ring.check_partition(line.partition).ok()?;
        let group = Arc::clone(value.ring.group(&line.group)?);
        let (names, history) = (names.partition(line.partition), value.history.clone());
        Some(Place { names, line: line.clone(), group, history })
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
    pub(crate) fn floor(&self, ring: &RingView, p: u32) -> Result<EventId, Error> {
        let key = self.open_read(&ring.names.partition(p).groups);
        let known = key.value::<Partition>()?.map(Partition::floor).unwrap_or_default();
        Ok(known.max(ring.value()?.ring.floor(p)))
    }

    /// Applies a change to the progress of `place` and replicates it. Where keys have moved, events
    /// of other partitions may have waited for it.
    ///
    /// # Errors
    /// [`Error::WrongType`]; nothing has changed then.
    pub(crate) fn change(&self, place: &Place, change: Change) -> Result<(), Error> {
        let concerns_others = self.concerns_others(place, &change)?;
        let goes_back = matches!(change, Change::Sought { .. } | Change::Revived(..));
        let effect = Effect::Group(place.line.group.clone(), change);
        self.change_partition(&place.names, effect)?;
        if concerns_others {
            timer::soon(self);
            if goes_back {
                watch_all(self, &place.line.ring, Some(&place.line.group));
            }
        }
        Ok(())
    }

    /// Whether events of other partitions may have waited for a change to the progress of `place`:
    /// it is about what lies before the last resize.
    fn concerns_others(&self, place: &Place, change: &Change) -> Result<bool, Error> {
        let Some(history) = &place.history else { return Ok(false) };
        let end = history.last_end(place.line.partition);
        let any = |events: &[(EventId, u128)]| events.iter().any(|(id, _)| *id <= end);
        Ok(match change {
            // A grant moves no cursor and ends no exception, and a suspect is none.
            Change::Epoch { .. } | Change::Suspected(..) => false,
            Change::Held(events) | Change::HeldElsewhere(events) => any(events),
            Change::Failed(failure) => failure.id <= end,
            Change::Dropped(id) => *id <= end,
            Change::Passed(_) => {
                let state = self.open_state(&place.names);
                state.progress(&place.line.group)?.is_none_or(|progress| progress.cursor() < end)
            }
            Change::Sought { .. } | Change::Revived(..) => true,
        })
    }

    /// Applies an effect to a partition's delivery state and replicates it.
    ///
    /// # Errors
    /// [`Error::WrongType`]; nothing has changed then.
    pub(crate) fn change_partition(
        &self,
        names: &PartitionNames,
        effect: Effect,
    ) -> Result<(), Error> {
        let bytes = encode(&effect)?;
        self.apply_to_partition(&names.groups, effect)?;
        self.replicate_effect(&names.groups, &bytes);
        Ok(())
    }

    fn apply_to_partition(&self, name: &Text, effect: Effect) -> Result<(), Error> {
        let mut key = self.open_read(name);
        if let Some(partition) = key.value_mut::<Partition>()? {
            partition.apply(effect);
            self.signal_modified(name);
            return Ok(());
        }
        drop(key);
        let mut partition = Partition::default();
        partition.apply(effect);
        self.create_value(name, partition)
    }

    /// Applies a replicated effect to the value under `key`, and passes it on.
    ///
    /// # Errors
    /// [`Error::WrongType`]; [`Error::NoRing`] for a group of a ring that is not there.
    pub(crate) fn apply(&self, key: &Text, effect: Effect, bytes: &[u8]) -> Result<(), Error> {
        match effect {
            Effect::Partition(_) | Effect::Group(..) => self.apply_to_partition(key, effect)?,
            // A group goes from its ring first, then from each partition that has progress of it.
            Effect::GroupGone(_) if parse_ring_key(key.bytes()).is_none() => {
                self.apply_to_partition(key, effect)?;
            }
            Effect::Ring(_)
            | Effect::GroupSet(..)
            | Effect::GroupGone(_)
            | Effect::Resized(..)
            | Effect::Retired(_)
            | Effect::Forgotten(_)
            | Effect::Tick(_) => self.apply_to_ring(key, effect)?,
        }
        self.replicate_effect(key, bytes);
        Ok(())
    }

    fn apply_to_ring(&self, name: &Text, effect: Effect) -> Result<(), Error> {
        let mut key = self.open_read(name);
        match (key.value_mut::<RingValue>()?, effect) {
            (None, Effect::Ring(ring)) => {
                drop(key);
                if let Some(ring) = parse_ring_key(name.bytes()) {
                    known_rings::note(self.db(), &ring);
                }
                self.create_value(name, RingValue::new(ring))?;
            }
            (None, _) => return Err(Error::NoRing),
            (Some(value), Effect::Ring(ring)) => *value = RingValue::new(ring),
            (Some(value), effect) => value.apply(effect),
        }
        self.signal_modified(name);
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
        decide(progress, lines::scene(&place.line, Some(progress)))
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

    /// The whole value; none if nothing was saved yet.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn partition(&mut self) -> Result<Option<&mut Partition>, Error> {
        self.0.value_mut::<Partition>()
    }

    /// The same, to read.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn saved(&self) -> Result<Option<&Partition>, Error> {
        self.0.value::<Partition>()
    }

    /// The progress of `group`; none if it has finished nothing and never had a lease.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn progress(&self, group: &Name) -> Result<Option<&Progress>, Error> {
        Ok(self.0.value::<Partition>()?.and_then(|partition| partition.get(group)))
    }

    /// The same, for what is volatile about it, and for what is being replicated.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn progress_mut(&mut self, group: &Name) -> Result<Option<&mut Progress>, Error> {
        Ok(self.partition()?.and_then(|partition| partition.get_mut(group)))
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
        if let Some(progress) = self.progress_mut(group)? {
            change(progress);
        }
        Ok(())
    }
}
