//! The order of what is asked of one slot.
//!
//! Asks of a slot travel together while all go over the same link, which keeps their order. One
//! that comes back to be repeated goes alone: before it, all others of the slot that are on the
//! way have been answered, and after it, the next ones wait until it is.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::model::slots::Slot;
use crate::peers::lane::{Lane, lock};

type Key = (Slot, Lane);

/// The slots of which something is asked.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<HashMap<Key, Line>>);

/// The asks of one slot that have no answer.
#[derive(Debug, Default)]
struct Line {
    /// The number of the next ask.
    next: u64,
    /// Those that are not on the way, each with what wakes it.
    waiting: BTreeMap<u64, Arc<Notify>>,
    /// How many are on the way.
    flying: usize,
    /// The link that they take.
    link: u64,
    /// Whether the one that is on the way has been there before.
    is_alone: bool,
    /// Whether the last answer was that the slot is moving: then all wait for that.
    is_moving: bool,
}

impl Line {
    /// Wakes the first that waits: only that one may go.
    fn ring(&self) {
        if let Some((_, bell)) = self.waiting.first_key_value() {
            bell.notify_one();
        }
    }

    fn is_first(&self, number: u64) -> bool {
        self.waiting.first_key_value().is_some_and(|(first, _)| *first == number)
    }
}

/// An ask's place in the line of its slot, which it leaves when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    lines: Arc<Lines>,
    key: Key,
    number: u64,
    bell: Arc<Notify>,
    is_flying: bool,
    has_returned: bool,
}

impl Place {
    /// Joins the line of `key`, after all that are there.
    pub(crate) fn join(lines: &Arc<Lines>, key: Key) -> Self {
        let bell = Arc::new(Notify::new());
        let mut all = lock(&lines.0);
        let line = all.entry(key).or_default();
        let number = line.next;
        line.next += 1;
        line.waiting.insert(number, Arc::clone(&bell));
        drop(all);
        let lines = Arc::clone(lines);
        Self { lines, key, number, bell, is_flying: false, has_returned: false }
    }

    /// Whether no earlier one waits.
    pub(crate) fn is_first(&self) -> bool {
        lock(&self.lines.0).get(&self.key).is_some_and(|line| line.is_first(self.number))
    }

    /// Waits until it may have become its turn.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Sets out over `link`, if those that are on the way allow it.
    pub(crate) fn depart(&mut self, link: u64) -> bool {
        let mut all = lock(&self.lines.0);
        let Some(line) = all.get_mut(&self.key).filter(|line| line.is_first(self.number)) else {
            return false;
        };
        let joins = line.link == link && !line.is_alone && !self.has_returned;
        if line.flying > 0 && !joins {
            return false;
        }
        line.waiting.remove(&self.number);
        line.flying += 1;
        line.link = link;
        line.is_alone = self.has_returned;
        line.ring();
        self.is_flying = true;
        true
    }

    /// Whether what the line waits for is the slot, of which the last answer was that it is moving.
    pub(crate) fn is_moving(&self) -> bool {
        lock(&self.lines.0).get(&self.key).is_some_and(|line| line.is_moving)
    }

    /// Comes back to where it was, to be repeated; because the slot is moving, or for another
    /// reason.
    pub(crate) fn come_back(&mut self, is_moving: bool) {
        if let Some(line) = lock(&self.lines.0).get_mut(&self.key) {
            line.is_moving = is_moving;
            line.flying = line.flying.saturating_sub(usize::from(self.is_flying));
            line.waiting.insert(self.number, Arc::clone(&self.bell));
            line.ring();
        }
        self.is_flying = false;
        self.has_returned = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = lock(&self.lines.0);
        let Some(line) = all.get_mut(&self.key) else { return };
        line.flying = line.flying.saturating_sub(usize::from(self.is_flying));
        line.is_moving &= !self.is_flying;
        line.waiting.remove(&self.number);
        if line.flying == 0 && line.waiting.is_empty() {
            all.remove(&self.key);
        } else {
            line.ring();
        }
    }
}

impl Lines {
    /// How many slots have asks without an answer.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        lock(&self.0).len()
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
