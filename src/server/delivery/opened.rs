//! A partition that was opened once, to look at all of its groups: its stream, where that begins
//! and ends, what tells whether entries were removed from it, and its delivery state.

use std::cell::OnceCell;
use std::rc::Rc;

use super::state;
use super::state::DeliveryState;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::model::progress::counts::{Counted, Seen, Stamp};
use crate::model::progress::partition::Partition;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::api::key::Key;
use crate::server::api::stream::Entries;
use crate::server::api::xinfo::Info;
use crate::server::keyspace::key_names::{PartitionNames, RingNames};

/// Entries that are counted one by one to know that none was removed; beyond it the server is
/// asked, which costs as much as reading some dozens.
const MAX_ADDED: u64 = 32;

/// What a count of a stream's entries is good for.
pub(crate) fn stamp_of(info: &Info) -> Stamp {
    Stamp { removed: info.removed(), first: info.first }
}

/// A partition that is open for looking.
#[derive(Debug)]
pub(crate) struct Opened {
    ring: Rc<RingNames>,
    names: Rc<PartitionNames>,
    partition: u32,
    stream: Option<Key>,
    state: DeliveryState,
    first: OnceCell<EventId>,
    last: EventId,
    stamp: OnceCell<Stamp>,
}

impl Opened {
    /// Opens a partition. A stream that does not exist is an empty one. O(1).
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn of(ctx: &Ctx, ring: &Rc<RingNames>, partition: u32) -> Result<Self, Error> {
        let names = ring.partition(partition);
        let stream = key::open_read(ctx, &names.stream).stream()?;
        let last = stream.as_ref().and_then(|stream| Entries::last(stream).next_entry());
        let last = last.map(|(id, _)| id).unwrap_or_default();
        let state = state::open(ctx, &names);
        state.check()?;
        let (ring, first, stamp) = (Rc::clone(ring), OnceCell::new(), OnceCell::new());
        Ok(Self { ring, names, partition, stream, state, first, last, stamp })
    }

    /// The ring's name.
    pub(crate) fn ring(&self) -> &Name {
        &self.ring.name
    }

    /// The partition's number.
    pub(crate) fn partition(&self) -> u32 {
        self.partition
    }

    /// The stream, if it exists and has entries.
    pub(crate) fn stream(&self) -> Option<&Key> {
        self.stream.as_ref().filter(|_| self.last > EventId::ZERO)
    }

    /// The number of entries.
    pub(crate) fn length(&self) -> u64 {
        self.stream().map_or(0, Key::length)
    }

    /// The first entry; zero if there is none.
    pub(crate) fn first(&self) -> EventId {
        let find = || {
            let first = self.stream().and_then(|stream| Entries::first(stream).next_entry());
            first.map(|(id, _)| id).unwrap_or_default()
        };
        *self.first.get_or_init(find)
    }

    /// The last entry; zero if there is none.
    pub(crate) fn last(&self) -> EventId {
        self.last
    }

    /// The groups that have progress here, in the order of their names.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn groups(&self) -> Result<impl Iterator<Item = (&Name, &Progress)>, Error> {
        Ok(self.state.saved()?.into_iter().flat_map(Partition::iter))
    }

    /// The progress of `group`, if it has any here.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn progress(&self, group: &Name) -> Result<Option<&Progress>, Error> {
        self.state.progress(group)
    }

    /// What tells whether entries were removed. O(1): few entries are read or the server is asked,
    /// once.
    ///
    /// # Errors
    /// [`Error::WrongType`]; [`Error::Bug`] if the server refuses.
    pub(crate) fn stamp(&self, ctx: &Ctx) -> Result<Stamp, Error> {
        if let Some(stamp) = self.stamp.get() {
            return Ok(*stamp);
        }
        let seen = self.state.saved()?.and_then(Partition::seen);
        let stamp = match seen.filter(|seen| self.has_only_grown(*seen)) {
            Some(seen) if seen.length > 0 => seen.stamp,
            Some(seen) => Stamp { first: self.first(), ..seen.stamp },
            None if self.stream.is_some() => stamp_of(&Info::of(ctx, &self.names.stream)?),
            None => Stamp::default(),
        };
        Ok(*self.stamp.get_or_init(|| stamp))
    }

    /// Whether [`Opened::stamp`] was asked for, and is this.
    pub(super) fn has_stamp(&self, stamp: Stamp) -> bool {
        self.stamp.get() == Some(&stamp)
    }

    /// Whether the stream has all entries that it had, as its length tells together with those
    /// that came after the last of them. False if too many came to be counted.
    fn has_only_grown(&self, seen: Seen) -> bool {
        let Some(added) = self.length().checked_sub(seen.length) else { return false };
        let Some(stream) = self.stream() else { return added == 0 };
        if self.last == seen.last {
            return added == 0;
        }
        if added == 0 || added > MAX_ADDED {
            return false;
        }
        let mut entries = Entries::after(stream, seen.last);
        (0..added).all(|_| entries.next_entry().is_some()) && entries.next_entry().is_none()
    }

    /// Keeps what was found out, for the next look: the stamp, if it was asked for, and what was
    /// counted of the entries of groups. Returns those that have no progress here to keep it with.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(super) fn keep<'n>(
        &mut self,
        counted: Vec<(&'n Name, Counted)>,
    ) -> Result<Vec<(&'n Name, Counted)>, Error> {
        let (length, last) = (self.length(), self.last);
        let seen = self.stamp.get().map(|stamp| Seen { length, last, stamp: *stamp });
        let Some(partition) = self.state.partition()? else { return Ok(counted) };
        if let Some(seen) = seen {
            partition.see(seen);
        }
        let mut left = Vec::new();
        for (group, counted) in counted {
            match partition.get_mut(group) {
                Some(progress) => progress.set_counted(counted),
                None => left.push((group, counted)),
            }
        }
        Ok(left)
    }
}
