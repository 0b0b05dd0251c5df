//! Trimming: how many events at the front of a stream go now, and when to scan it again.
//!
//! Trimming is from the front only, so one event that has to stay keeps all after it. Nothing here
//! changes anything; what goes is removed by an XTRIM, which replicas repeat.

use super::needs::{Front, Needs};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::MAX_SCAN;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::ring::retention::{Retention, Trim};

/// The pause before a partition is scanned again after something was removed: what becomes too old
/// or too much meanwhile goes together.
pub const BUSY_MS: u64 = 100;

/// The pause where nothing could be removed, though there is a limit that tells no time.
pub const IDLE_MS: u64 = 1000;

/// Entries that go early beyond what is needed, at most, so that a producer at MAXDEPTH does not
/// trim with every event. The hundredth part of MAXDEPTH is enough for that.
const MAX_EARLY: u64 = 100;

/// Entries whose type one step of the background reads: about as much work as to remove a thousand.
/// A step that has read so many removes what it found, and the next one goes on from there.
const MAX_READS: u64 = if cfg!(any(test, fuzzing)) { 8 } else { 100 };

/// The demands of retention on a partition at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    max_len: u64,
    max_depth: u64,
    /// Entries below are too old.
    young_from: EventId,
    trim: Trim,
}

impl Rules {
    /// Whether the entry `id` should go, when it is the first of `length`.
    fn wants(&self, id: EventId, length: u64) -> bool {
        id < self.young_from || length > self.max_len || length > self.max_depth
    }

    /// Whether it matters which group needs the first of `length` entries, `id`: it should go, or
    /// has to before the next one comes.
    #[must_use]
    pub fn concern(&self, id: EventId, length: u64) -> bool {
        self.wants(id, length) || length >= self.max_depth
    }

    /// Whether it goes though some group has not finished it. MAXDEPTH pushes back on producers,
    /// whatever TRIM says.
    fn insist(&self, id: EventId, length: u64) -> bool {
        self.trim == Trim::Any && (id < self.young_from || length > self.max_len)
    }

    /// Finds how far a stream of `length` entries is to be trimmed, at most by `step`, and what is
    /// in the way. O(entries that go), of which at most [`MAX_READS`] are read.
    pub fn scan<'a>(
        &self,
        front: &mut impl Front,
        length: u64,
        needs: &Needs<'a>,
        step: u64,
    ) -> Scan<'a> {
        let (mut cut, mut reads, mut unasked) = (Cut::nothing(), 0, false);
        while let Some(id) = front.next_id() {
            let left = length.saturating_sub(cut.entries);
            let at = |stop| Cut { stop, ..cut };
            if !self.concern(id, left) {
                return Scan { cut: at(Stop::Keeps(id)), held_up: None };
            }
            let insists = self.insist(id, left);
            if !insists && reads == MAX_READS {
                // An entry that need not go yet is told of by the next scan, which reads anew.
                let stop = if self.wants(id, left) { Stop::Step } else { Stop::Keeps(id) };
                return Scan { cut: at(stop), held_up: None };
            }
            let by = if insists { None } else { needs.of(id, front, &mut reads) };
            let held_up = by.map(|group| HeldUp { group, event: id });
            if !self.wants(id, left) {
                let held_up = held_up.filter(|_| !unasked);
                return Scan { cut: at(Stop::Keeps(id)), held_up };
            }
            // What is removed unfinished is needed no longer, so the needs have to be found anew.
            if cut.entries == step && by.is_none() || unasked && by.is_some() {
                return Scan { cut: at(Stop::Step), held_up: None };
            }
            if by.is_some() {
                return Scan { cut: at(Stop::Held(id)), held_up };
            }
            unasked |= insists && id >= needs.least();
            cut.take(id);
        }
        Scan { cut, held_up: None }
    }
}

/// The result of scanning the front of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// The entries that go.
    pub cut: Cut,
    /// The event that keeps others from going, or producers from going on.
    pub held_up: Option<HeldUp<'a>>,
}

/// An event that a group has not finished and that holds others up.
#[derive(Clone, Copy, Debug)]
pub struct HeldUp<'a> {
    /// The group.
    pub group: &'a Name,
    /// The event.
    pub event: EventId,
}

/// The entries to be removed from the front of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The number of entries.
    pub entries: u64,
    /// The last of them.
    pub last: EventId,
    /// Why no more.
    pub stop: Stop,
}

/// Why a trim ends where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// There are no more entries.
    Empty,
    /// The step was used up, or something unfinished was removed: look again at once.
    Step,
    /// This entry is to be kept.
    Keeps(EventId),
    /// This entry should go, but some group has not finished it.
    Held(EventId),
}

impl Cut {
    /// Nothing goes.
    #[must_use]
    pub fn nothing() -> Self {
        Self { entries: 0, last: EventId::ZERO, stop: Stop::Empty }
    }

    /// The first id that stays.
    #[must_use]
    pub fn below(&self) -> EventId {
        self.last.next().unwrap_or(EventId::MAX)
    }

    fn take(&mut self, id: EventId) {
        self.entries += 1;
        self.last = id;
    }
}

impl Retention {
    /// The demands at this moment.
    #[must_use]
    pub fn rules(&self, default_age_ms: u64, now: Now) -> Rules {
        let oldest = self.age_ms(default_age_ms).and_then(|age_ms| now.ms().checked_sub(age_ms));
        Rules {
            max_len: self.max_len.unwrap_or(u64::MAX),
            max_depth: self.max_depth.unwrap_or(u64::MAX),
            young_from: EventId { ms: oldest.unwrap_or_default(), seq: 0 },
            trim: self.trim,
        }
    }

    /// When a partition has to be looked at again, in unix ms, after the scan that came to `cut`;
    /// none while nothing about the settings changes.
    #[must_use]
    pub fn next_scan_ms(&self, default_age_ms: u64, now: Now, cut: &Cut) -> Option<u64> {
        let age_ms = self.age_ms(default_age_ms);
        if age_ms.is_none() && self.max_len.is_none() && self.max_depth.is_none() {
            return None;
        }
        let now_ms = now.ms();
        let pause_ms = if cut.entries > 0 { BUSY_MS } else { IDLE_MS };
        // An entry that comes later is not due earlier; one that is written by hand with an old id
        // waits as long as one that is new.
        let due_ms = age_ms.map(|age_ms| match cut.stop {
            Stop::Keeps(first) => first.ms.saturating_add(age_ms).saturating_add(1),
            Stop::Empty => now_ms.saturating_add(age_ms).saturating_add(1),
            Stop::Step | Stop::Held(_) => now_ms,
        });
        Some(match (cut.stop, due_ms) {
            (Stop::Step, _) => now_ms,
            (Stop::Held(_), _) => now_ms.saturating_add(IDLE_MS),
            (_, Some(due_ms)) if self.max_len.is_none() && self.max_depth.is_none() => {
                let longest_ms = now_ms.saturating_add(age_ms.unwrap_or_default()) + 1;
                due_ms.min(longest_ms).max(now_ms.saturating_add(BUSY_MS))
            }
            (_, due_ms) => {
                let poll_ms = now_ms.saturating_add(pause_ms);
                due_ms.map_or(poll_ms, |due_ms| due_ms.clamp(now_ms + BUSY_MS, poll_ms))
            }
        })
    }

    /// The number of entries that have to go so that `more` fit into a stream of `length`.
    ///
    /// # Errors
    /// [`Error::Full`] if they do not fit into an empty one.
    pub fn excess(&self, length: u64, more: u64) -> Result<u64, Error> {
        let Some(max_depth) = self.max_depth else { return Ok(0) };
        if more > max_depth {
            Err(Error::Full)
        } else {
            Ok((length + more).saturating_sub(max_depth))
        }
    }

    /// Makes room for a producer: `excess` entries go, and some more along with them. `front` is
    /// the stream. O(entries that go), of which the types are read where there are groups that do
    /// not take all of them.
    ///
    /// # Errors
    /// [`Error::Full`] if not enough are finished, or more would have to go than one command may
    /// remove: then the background does it.
    pub fn room(
        &self,
        front: &mut impl Front,
        excess: u64,
        needs: &Needs<'_>,
    ) -> Result<Cut, Error> {
        let early = self.max_depth.unwrap_or_default() / 100;
        let most = excess.max(early.min(MAX_EARLY));
        let (mut cut, mut reads) = (Cut::nothing(), 0);
        if excess == 0 || excess > MAX_SCAN {
            return if excess == 0 { Ok(cut) } else { Err(Error::Full) };
        }
        while let Some(id) = front.next_id() {
            if needs.of(id, front, &mut reads).is_some() {
                break;
            }
            cut.take(id);
            if cut.entries == most {
                break;
            }
        }
        if cut.entries < excess { Err(Error::Full) } else { Ok(cut) }
    }
}

#[cfg(test)]
#[path = "trim_tests.rs"]
mod tests;
