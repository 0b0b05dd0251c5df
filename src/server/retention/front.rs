//! The front of a partition's stream as retention reads it, and what the groups still need of it,
//! see [`crate::model::rules::needs`].

use std::cell::Cell;

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::rules::needs::{Front, Needs};
use crate::server::api::key::Key;
use crate::server::api::stream::{Entries, Field};
use crate::server::delivery::state::DeliveryState;
use crate::server::keyspace::ring_value::RingValue;

/// Entries of failed events that one look searches for; beyond it they are taken to be there.
const MAX_SEARCHES: usize = 100;

/// A stream's entries from the first one on.
#[derive(Debug)]
pub(crate) struct FromFront<'k> {
    entries: Entries<'k>,
    id: EventId,
}

impl<'k> FromFront<'k> {
    /// No other iterator over `stream` may be open.
    pub(crate) fn of(stream: &'k Key) -> Self {
        Self { entries: Entries::first(stream), id: EventId::ZERO }
    }
}

impl Front for FromFront<'_> {
    fn next_id(&mut self) -> Option<EventId> {
        (self.id, _) = self.entries.next_entry()?;
        Some(self.id)
    }

    fn kind(&mut self) -> impl AsRef<[u8]> {
        Kind(self.entries.kind(self.id))
    }
}

/// A type that was read, if the entry has one.
struct Kind(Option<Field>);

impl AsRef<[u8]> for Kind {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], Field::bytes)
    }
}

/// What the groups of a ring need of the partition `p`, whose delivery state is `state` and whose
/// stream is `stream`. No iterator over that may be open.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn needs<'a>(
    value: &'a RingValue,
    p: u32,
    state: &'a DeliveryState,
    stream: &Key,
) -> Result<Needs<'a>, Error> {
    let first = Entries::first(stream).next_entry().map_or(EventId::MAX, |(id, _)| id);
    let searches = Cell::new(0);
    let exists = |id: EventId| {
        searches.set(searches.get() + 1);
        id >= first && (searches.get() > MAX_SEARCHES || Entries::has(stream, id))
    };
    Ok(value.ring.needs(p, state.saved()?, exists))
}
