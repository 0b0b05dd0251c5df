//! A partition's stream in memory, with what makes an event good or bad to handle.

use crate::model::ids::EventId;
use crate::model::rules::source::{Entry, Source};

/// What handling an event does to its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    Healthy,
    /// Its handling always fails.
    Fails,
    /// Its handling always kills the worker.
    Kills,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: EventId,
    pub(super) key: [u8; 1],
    pub(super) kind: [u8; 1],
    pub(super) nature: Nature,
}

impl Entry for Event {
    fn id(&self) -> EventId {
        self.id
    }

    fn key(&self) -> &[u8] {
        &self.key
    }

    fn kind(&self) -> &[u8] {
        &self.kind
    }
}

/// The entries in the order of their ids, and the last id that was ever given out.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    pub(super) events: Vec<Event>,
    pub(super) last: EventId,
    pub(super) added: u64,
}

impl Stream {
    pub(super) fn append(&mut self, event: Event) {
        assert!(event.id > self.last);
        self.last = event.id;
        self.added += 1;
        self.events.push(event);
    }

    pub(super) fn delete(&mut self, id: EventId) {
        self.events.retain(|event| event.id != id);
    }
}

impl Source for Stream {
    type Entry = Event;

    fn after(&self, after: EventId) -> impl Iterator<Item = Event> {
        let from = self.events.partition_point(|event| event.id <= after);
        self.events[from..].iter().copied()
    }

    fn get(&self, id: EventId) -> Option<Event> {
        let at = self.events.binary_search_by_key(&id, |event| event.id).ok()?;
        Some(self.events[at])
    }
}
