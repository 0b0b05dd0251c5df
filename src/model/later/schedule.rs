//! The scheduled events of one partition, saved under its `:later` key.
//!
//! They lie in the order in which they become due: by time, then by ticket. Beside them lie the
//! tokens of UNIQUE: of an event that waits by its ticket, and of one that was appended for the
//! window after that, in the same kind of queue as those of EVQ.TRIGGER. All times come from the
//! primary, so whoever applies a change reads neither clock nor setting.
//!
//! The last ticket stays when nothing waits any more, so that none is issued twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::parts::Parts;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::{MAX_PARTITIONS, MAX_SCHEDULED, MAX_SCHEDULED_BYTES, MAX_TICKET};
use crate::model::memory::{Filled, block, tree};
use crate::model::unique::keyed_hash::Secret;
use crate::model::unique::tokens;
use crate::model::unique::tokens::{Clock, Tokens};

/// An event's place in the order in which events become due.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Place {
    /// When it is due, in unix ms.
    pub due_ms: u64,
    /// Its ticket.
    pub ticket: u64,
}

/// An event that waits for its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduled {
    /// Its place.
    pub place: Place,
    /// The partition that was replied with its ticket.
    pub home: u32,
    /// Its words.
    pub parts: Parts,
}

/// A change to the scheduled events of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// They begin anew: the last ticket, and the secret of their tokens.
    Begun(u64, Secret),
    /// This event waits from now on. The first one with a token brings the secret for it.
    Added(Scheduled, Option<Secret>),
    /// These events wait: an AOF rewrite wrote them out.
    Kept(Vec<Scheduled>),
    /// This ticket's event does not wait here any more, and its token is free.
    Removed(u64),
    /// This ticket's event was appended at this moment.
    Appended(Clock, u64),
    /// On the tokens of those that were appended.
    Tokens(tokens::Change),
}

impl Change {
    /// Refuses what EVQ could not have written.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Begun(last, _) => check_ticket(*last),
            Self::Added(event, _) => event.check(),
            Self::Kept(events) => events.iter().try_for_each(Scheduled::check),
            Self::Removed(_) | Self::Appended(..) => Ok(()),
            Self::Tokens(change) => change.check(),
        }
    }
}

/// Refuses a ticket that no clock has come to.
///
/// # Errors
/// [`Error::Limit`].
pub fn check_ticket(ticket: u64) -> Result<(), Error> {
    if ticket > MAX_TICKET {
        return Err(Error::Limit("tickets", MAX_TICKET));
    }
    Ok(())
}

impl Scheduled {
    /// Refuses what EVQ could not have written.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check(&self) -> Result<(), Error> {
        if self.home >= MAX_PARTITIONS {
            return Err(Error::Limit("partitions of a ring", MAX_PARTITIONS.into()));
        }
        check_ticket(self.place.ticket)
    }
}

/// What is kept of an event at its place.
#[derive(Clone, Debug)]
struct Kept {
    home: u32,
    parts: Parts,
}

/// The scheduled events of one partition.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    last: u64,
    events: BTreeMap<Place, Kept>,
    /// When the event of each ticket is due.
    due: BTreeMap<u64, u64>,
    /// The tickets of those that have tokens, by what stands for key and token.
    waiting: BTreeMap<[u64; 2], u64>,
    /// The tokens of those that were appended; the event of each is its home and ticket.
    appended: Tokens,
    /// Bytes of all words.
    bytes: u64,
    /// Bytes of the blocks that hold them.
    held: usize,
}

fn halves(hash: u128) -> [u64; 2] {
    [hash as u64, (hash >> 64) as u64]
}

impl Schedule {
    /// The last ticket that was issued here or came here.
    #[must_use]
    pub fn last_ticket(&self) -> u64 {
        self.last
    }

    /// The number of events that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The place of the one that is due first.
    #[must_use]
    pub fn first(&self) -> Option<Place> {
        self.events.first_key_value().map(|(place, _)| *place)
    }

    /// The place of the one that is due last.
    #[must_use]
    pub fn last(&self) -> Option<Place> {
        self.events.last_key_value().map(|(place, _)| *place)
    }

    /// The place of a ticket's event, if it waits here.
    #[must_use]
    pub fn find(&self, ticket: u64) -> Option<Place> {
        self.due.get(&ticket).map(|due_ms| Place { due_ms: *due_ms, ticket })
    }

    /// The words of the event at a place.
    #[must_use]
    pub fn parts(&self, place: Place) -> Option<&Parts> {
        self.events.get(&place).map(|kept| &kept.parts)
    }

    /// The event at a place.
    #[must_use]
    pub fn get(&self, place: Place) -> Option<Scheduled> {
        let Kept { home, parts } = self.events.get(&place)?.clone();
        Some(Scheduled { place, home, parts })
    }

    /// The places after `after` with the words there, in order; all of them for none.
    pub fn after(&self, after: Option<Place>) -> impl Iterator<Item = (Place, &Parts)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.events.range((from, Unbounded)).map(|(place, kept)| (*place, &kept.parts))
    }

    /// All events, in order.
    pub fn iter(&self) -> impl Iterator<Item = Scheduled> + '_ {
        self.events.iter().map(|(place, kept)| {
            let Kept { home, parts } = kept.clone();
            Scheduled { place: *place, home, parts }
        })
    }

    /// The tokens of those that were appended.
    #[must_use]
    pub fn appended(&self) -> &Tokens {
        &self.appended
    }

    /// Puts tokens that were read in place of those of the appended; none waits yet.
    pub fn put_appended(&mut self, tokens: Tokens) {
        self.appended = tokens;
    }

    /// Whether there is no token at all, so that a secret may still be chosen.
    #[must_use]
    pub fn has_no_tokens(&self) -> bool {
        self.waiting.is_empty() && self.appended.is_empty()
    }

    /// The event with this key and token, if it waits or was appended within the window: the
    /// partition that was replied, and its ticket. O(log events).
    #[must_use]
    pub fn repeated(&self, key: &[u8], token: &[u8], clock: Clock) -> Option<(u32, u64)> {
        if self.has_no_tokens() {
            return None;
        }
        let hash = self.appended.hash(key, token);
        if let Some(ticket) = self.waiting.get(&halves(hash)) {
            let home = self.find(*ticket).and_then(|place| self.events.get(&place));
            return home.map(|kept| (kept.home, *ticket));
        }
        let id = self.appended.find(hash, clock)?;
        Some((u32::try_from(id.ms).unwrap_or_default(), id.seq))
    }

    /// Refuses one event more than a partition may have.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check_room(&self, parts: &Parts, clock: Clock) -> Result<(), Error> {
        if self.events.len() >= MAX_SCHEDULED {
            let what = "scheduled events of a partition";
            return Err(Error::Limit(what, MAX_SCHEDULED as u64));
        }
        if self.bytes + parts.len() as u64 > MAX_SCHEDULED_BYTES {
            let what = "bytes of the scheduled events of a partition";
            return Err(Error::Limit(what, MAX_SCHEDULED_BYTES));
        }
        match parts.token() {
            // Each that waits is one that was appended in the end.
            Some(_) => self.appended.check_room(self.waiting.len() + 1, clock),
            None => Ok(()),
        }
    }

    /// Whether everything is within the bounds: what was read may be anything.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.appended.is_sound()
            && self.events.len() <= MAX_SCHEDULED
            && self.bytes <= MAX_SCHEDULED_BYTES
            && self.due.last_key_value().is_none_or(|(ticket, _)| *ticket <= self.last)
    }

    /// Applies a change. Total, and nothing but what the change says decides what happens.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Begun(last, secret) => {
                *self = Self { last, appended: Tokens::new(secret), ..Self::default() };
            }
            Change::Added(event, secret) => {
                if let Some(secret) = secret.filter(|_| self.has_no_tokens()) {
                    self.appended = Tokens::new(secret);
                }
                self.add(event);
            }
            Change::Kept(events) => events.into_iter().for_each(|event| self.add(event)),
            Change::Removed(ticket) => drop(self.take(ticket)),
            Change::Appended(clock, ticket) => {
                let Some((kept, hash)) = self.take(ticket) else { return };
                if let Some(hash) = hash {
                    let id = EventId { ms: kept.home.into(), seq: ticket };
                    self.appended.apply(tokens::Change::Remembered(clock, vec![(hash, id)]));
                }
            }
            Change::Tokens(change) => self.appended.apply(change),
        }
    }

    fn add(&mut self, event: Scheduled) {
        let Scheduled { place, home, parts } = event;
        // A ticket is issued once, so this is what no primary sends.
        if self.due.contains_key(&place.ticket) {
            return;
        }
        if let Some(token) = parts.token() {
            let hash = halves(self.appended.hash(parts.key(), token));
            self.waiting.entry(hash).or_insert(place.ticket);
        }
        self.bytes += parts.len() as u64;
        self.held += block(parts.len());
        self.last = self.last.max(place.ticket);
        self.due.insert(place.ticket, place.due_ms);
        self.events.insert(place, Kept { home, parts });
    }

    /// Takes an event out, and what stood for its key and token if it has one.
    fn take(&mut self, ticket: u64) -> Option<(Kept, Option<u128>)> {
        let due_ms = self.due.remove(&ticket)?;
        let kept = self.events.remove(&Place { due_ms, ticket })?;
        self.bytes -= kept.parts.len() as u64;
        self.held -= block(kept.parts.len());
        let hash = kept.parts.token().map(|token| self.appended.hash(kept.parts.key(), token));
        if let Some(hash) = hash
            && self.waiting.get(&halves(hash)) == Some(&ticket)
        {
            self.waiting.remove(&halves(hash));
        }
        Some((kept, hash))
    }

    /// Pieces of memory, as a measure of what it costs to give them back.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.events.len() + self.appended.pieces()
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.held
            + tree::<Place, Kept>(self.events.len(), Filled::InOrder)
            + tree::<u64, u64>(self.due.len(), Filled::InOrder)
            + tree::<[u64; 2], u64>(self.waiting.len(), Filled::Anywhere)
            + self.appended.heap_bytes()
    }
}
