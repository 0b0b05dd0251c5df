//! The tokens of one partition, saved under its `:unique` key.
//!
//! Each counts from the moment at which it came, by the primary's clock, and lies in the queue in
//! the order of these moments. The value has a clock of its own, which changes only by effects: so
//! whoever applies them needs neither a clock nor a setting, and replicas hold the same. Where that
//! clock goes back, as it does with a primary whose clock is behind, what came later counts from
//! then.
//!
//! A new token makes the queue forget a few old ones; the rest go by [`Change::Forgot`].

use serde::{Deserialize, Serialize};

use super::chunks::Chunks;
use super::keyed_hash::{Secret, keyed_hash};
use super::table::Table;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::{MAX_BATCH, MAX_TOKENS, MAX_TOKENS_A_PIECE};

/// Old tokens that a new one makes the queue forget at most.
const FORGOTTEN_BY_ONE: usize = 16;

/// A token as it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The keyed hash of the event's key and the token.
    pub hash: u128,
    /// The event.
    pub id: EventId,
    /// When it came, in unix ms.
    pub at_ms: u64,
}

/// The moment of a change, and up to which moment tokens are too old by then. Both in unix ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// The moment.
    pub now_ms: u64,
    /// What came then or before counts for nothing.
    pub cut_ms: u64,
}

impl Clock {
    /// The clock of a primary for a window.
    #[must_use]
    pub fn new(now_ms: u64, window_ms: u64) -> Self {
        Self { now_ms, cut_ms: now_ms.saturating_sub(window_ms) }
    }
}

/// A change to the tokens of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// They begin anew, under this secret.
    Begun(Secret),
    /// These tokens follow: an AOF rewrite wrote them out.
    Kept(Clock, Vec<Token>),
    /// These came, each with its event.
    Remembered(Clock, Vec<(u128, EventId)>),
    /// At most so many that are too old are forgotten.
    Forgot(Clock, u32),
}

/// Refuses more tokens than one piece has, or none.
///
/// # Errors
/// [`Error::Limit`].
pub fn check_piece(tokens: usize) -> Result<(), Error> {
    if tokens == 0 || tokens > MAX_TOKENS_A_PIECE {
        return Err(Error::Limit("tokens of a piece", MAX_TOKENS_A_PIECE as u64));
    }
    Ok(())
}

impl Change {
    /// Refuses what EVQ could not have written.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check(&self) -> Result<(), Error> {
        match self {
            Self::Kept(_, tokens) => check_piece(tokens.len()),
            Self::Remembered(_, tokens) if tokens.len() as u64 > MAX_BATCH => {
                Err(Error::Limit("tokens of a command", MAX_BATCH))
            }
            Self::Begun(_) | Self::Remembered(..) | Self::Forgot(..) => Ok(()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Item {
    hash: [u64; 2],
    id: EventId,
    at_ms: u64,
}

impl Item {
    fn hash(&self) -> u128 {
        let [low, high] = self.hash;
        u128::from(low) | u128::from(high) << 64
    }
}

/// Items with their numbers: they count on from one to the next and begin again after [`MASK`].
#[derive(Clone, Debug, Default)]
struct Queue {
    items: Chunks<Item, 64>,
    /// The number of the first item.
    base: u32,
}

/// Far more than there are items at a time, and without [`super::table::NOTHING`].
const MASK: u32 = u32::MAX >> 1;

impl Queue {
    fn place(&self, number: u32) -> usize {
        (number.wrapping_sub(self.base) & MASK) as usize
    }

    fn number(&self, place: usize) -> u32 {
        self.base.wrapping_add(place as u32) & MASK
    }
}

/// The tokens of one partition.
#[derive(Clone, Debug)]
pub struct Tokens {
    secret: Secret,
    clock: Clock,
    queue: Queue,
    table: Table,
    /// Every token is in the table.
    is_sound: bool,
}

impl Default for Tokens {
    fn default() -> Self {
        Self::new(Secret::default())
    }
}

impl Tokens {
    /// None yet, under a random secret.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        let (clock, queue, table) = (Clock::default(), Queue::default(), Table::default());
        Self { secret, clock, queue, table, is_sound: true }
    }

    /// The secret.
    #[must_use]
    pub fn secret(&self) -> Secret {
        self.secret
    }

    /// What stands for a token of a key.
    #[must_use]
    pub fn hash(&self, key: &[u8], token: &[u8]) -> u128 {
        hash(self.secret, key, token)
    }

    /// The event that came with a token of this hash, if that is not too old. O(1).
    #[must_use]
    pub fn find(&self, hash: u128, clock: Clock) -> Option<EventId> {
        let item = |number| self.queue.items.get(self.queue.place(number));
        let same = self.table.find(hash, |number| item(number).is_some_and(|i| i.hash() == hash));
        // The last one, if one that is too old is still there.
        let found = item(same.max_by_key(|number| self.queue.place(*number))?)?;
        (found.at_ms > clock.cut_ms).then_some(found.id)
    }

    /// The number of tokens, old ones among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.items.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.items.is_empty()
    }

    /// The moment of the last change.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Refuses so many more than a partition may have.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check_room(&self, more: usize, clock: Clock) -> Result<(), Error> {
        let excess = (self.len() + more).saturating_sub(MAX_TOKENS);
        // Each new one makes room for itself if there is an old one.
        let old = |place: usize| {
            self.queue.items.get(place).is_some_and(|item| item.at_ms <= clock.cut_ms)
        };
        if more > MAX_TOKENS || excess > 0 && !old(excess - 1) {
            return Err(Error::Limit("tokens of a partition", MAX_TOKENS as u64));
        }
        Ok(())
    }

    /// Whether one that came at `until_ms` or before is not too old. O(log tokens).
    #[must_use]
    pub fn lives_since(&self, until_ms: u64, clock: Clock) -> bool {
        let old = self.queue.items.partition_point(|item| item.at_ms <= clock.cut_ms);
        self.queue.items.get(old).is_some_and(|item| item.at_ms <= until_ms)
    }

    /// How many of the oldest the next step forgets, at most `most`; none without anything to do.
    /// It may forget 0, and only tell the tokens of a clock that went back.
    #[must_use]
    pub fn forgettable(&self, most: u32, clock: Clock) -> Option<u32> {
        let old = self.queue.items.partition_point(|item| item.at_ms <= clock.cut_ms);
        let old = u32::try_from(old).map_or(most, |old| old.min(most));
        (old > 0 || self.is_ahead(clock)).then_some(old)
    }

    /// Whether the clock went back since the last one came.
    fn is_ahead(&self, clock: Clock) -> bool {
        self.queue.items.back().is_some_and(|item| item.at_ms > clock.now_ms)
    }

    /// What has to be applied before a generation of the ring ends at this moment, if anything: by
    /// [`Tokens::lives_since`] all that came before must not have come later.
    #[must_use]
    pub fn before_an_end(&self, clock: Clock) -> Option<Change> {
        self.is_ahead(clock).then_some(Change::Forgot(clock, 0))
    }

    /// The moment at which the oldest came.
    #[must_use]
    pub fn oldest_ms(&self) -> Option<u64> {
        self.queue.items.front().map(|item| item.at_ms)
    }

    /// Applies a change. Total, and nothing but what the change says decides what happens.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Begun(secret) => *self = Self::new(secret),
            Change::Kept(clock, tokens) => {
                tokens.into_iter().for_each(|token| self.push(token));
                self.clock = clock;
            }
            Change::Remembered(clock, tokens) => {
                self.tick(clock);
                tokens.into_iter().for_each(|(hash, id)| self.remember(hash, id));
            }
            Change::Forgot(clock, most) => {
                self.tick(clock);
                self.forget(most as usize);
            }
        }
    }

    /// The clock shows this.
    pub fn tick(&mut self, clock: Clock) {
        self.clock = clock;
        let items = &mut self.queue.items;
        // From the last one back: before the first that is not in the future none is.
        for place in (0..items.len()).rev() {
            match items.get_mut(place) {
                Some(item) if item.at_ms > clock.now_ms => item.at_ms = clock.now_ms,
                Some(_) | None => break,
            }
        }
    }

    /// A token came with its event, at the moment that the clock shows.
    pub fn remember(&mut self, hash: u128, id: EventId) {
        self.forget(FORGOTTEN_BY_ONE);
        self.push(Token { hash, id, at_ms: self.clock.now_ms });
    }

    fn forget(&mut self, most: usize) {
        for _ in 0..most {
            let Some(first) = self.queue.items.front().copied() else { break };
            if first.at_ms > self.clock.cut_ms {
                break;
            }
            let number = self.queue.number(0);
            self.table.remove(first.hash(), number);
            self.queue.items.pop_front();
            self.queue.base = self.queue.number(1);
        }
    }

    fn push(&mut self, token: Token) {
        let Token { hash, id, at_ms } = token;
        let number = self.queue.number(self.len());
        let hash_parts = [hash as u64, (hash >> 64) as u64];
        self.queue.items.push_back(Item { hash: hash_parts, id, at_ms });
        self.is_sound &= self.table.add(hash, number);
    }

    /// Whether all hashes are such as a secret gives: what was read may be anything.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.is_sound
    }

    /// All tokens, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = Token> + '_ {
        let items = self.queue.items.iter();
        items.map(|item| Token { hash: item.hash(), id: item.id, at_ms: item.at_ms })
    }

    /// Pieces of memory, as a measure of what it costs to give them back.
    #[must_use]
    pub fn pieces(&self) -> usize {
        2 * self.queue.items.chunks()
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.queue.items.heap_bytes() + self.table.heap_bytes()
    }
}

/// What stands for a token of a key under a secret.
#[must_use]
pub fn hash(secret: Secret, key: &[u8], token: &[u8]) -> u128 {
    // The length says where the key ends, so that no key and token are another key and token.
    keyed_hash(secret, &[&(key.len() as u64).to_le_bytes(), key, token])
}
