//! The generations of a ring: how it is resized, which partitions leave, what of the past is
//! remembered. What a resize means for delivery is in [`crate::model::rules::gate`].

use std::collections::BTreeMap;

use super::continuum::Continuum;
use super::history::{End, History, Past};
use super::shape::{Shape, laid_out};
use super::{Ring, check_ends};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::MAX_RESIZES;

impl Ring {
    /// The partitions that take no new events and are there until their events are gone.
    pub fn leaving(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.leaving.iter().copied()
    }

    /// The generations before this one that still matter, the oldest first.
    #[must_use]
    pub fn past(&self) -> &[Past] {
        &self.past
    }

    /// Whether an earlier resize is still of concern.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        !self.past.is_empty() || !self.leaving.is_empty()
    }

    /// The continuum after the last resize, where `before` is that before it: sooner than
    /// [`Ring::continuum`], which is the same.
    #[must_use]
    pub fn continuum_after(&self, before: &Continuum) -> Continuum {
        match self.past.last() {
            Some(past) => before.resized(&past.weights, self.shape.weights(), self.vnodes()),
            None => self.continuum(),
        }
    }

    /// The consequences of the past for the order of delivery; None without a past.
    /// O(resizes * points * log points).
    #[must_use]
    pub fn history(&self, now: &Continuum) -> Option<History> {
        let before: Vec<Continuum> =
            self.past.iter().map(|past| laid_out(&past.weights, self.vnodes())).collect();
        History::new(&self.past, &before, now)
    }

    /// Decides a resize, once the oldest so many past generations are forgotten: none if the ring
    /// has these weights already.
    ///
    /// # Errors
    /// As [`Shape::new`]; [`Error::Limit`] if too many earlier generations are remembered.
    pub fn resize(&self, weights: Vec<u32>, forgotten: u32) -> Result<Option<Shape>, Error> {
        let shape = self.shape.resized(weights)?;
        if shape == self.shape {
            return Ok(None);
        }
        if self.past.len().saturating_sub(forgotten as usize) >= MAX_RESIZES {
            let what = "resizes whose earlier events are still retained";
            return Err(Error::Limit(what, MAX_RESIZES as u64));
        }
        Ok(Some(shape))
    }

    /// The number of the oldest past generations that are of no concern any more: nothing that was
    /// triggered in them is retained, and no token of theirs is remembered. `first` tells the first
    /// event of a partition, `remembers` whether a token counts that came at this unix ms or
    /// before.
    pub fn forgettable(
        &self,
        mut first: impl FnMut(u32) -> Option<EventId>,
        mut remembers: impl FnMut(u64) -> bool,
    ) -> u32 {
        let mut over = |past: &Past| {
            past.ends.iter().all(|(p, end)| first(*p).is_none_or(|first| first > end.last))
                && !remembers(past.ended_ms)
        };
        let forgettable = self.past.iter().take_while(|past| over(past)).count();
        u32::try_from(forgettable).unwrap_or(u32::MAX)
    }

    /// Saved: a generation ended then, in each partition as `ends` says, and the next one has these
    /// weights. False, and nothing happens, where no resize could have decided that.
    pub(in crate::model) fn resized(
        &mut self,
        weights: Vec<u32>,
        ends: BTreeMap<u32, End>,
        ended_ms: u64,
    ) -> bool {
        let Ok(shape) = self.shape.resized(weights) else { return false };
        if check_ends(&ends).is_err() {
            return false;
        }
        let before = std::mem::replace(&mut self.shape, shape).weights().to_vec();
        self.leaving.extend(0..u32::try_from(before.len()).unwrap_or(u32::MAX));
        self.leaving = self.leaving.split_off(&self.len());
        self.past.push(Past { weights: before, ends, ended_ms });
        self.generation = self.generation.saturating_add(1);
        true
    }

    /// Saved: a leaving partition is gone.
    pub(in crate::model) fn retire(&mut self, partition: u32) {
        self.leaving.remove(&partition);
    }

    /// Saved: the oldest so many past generations are of no concern any more.
    pub(in crate::model) fn forget(&mut self, generations: u32) {
        self.past.drain(..(generations as usize).min(self.past.len()));
    }
}
