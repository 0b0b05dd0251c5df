//! The lines of workers that take any partition (`EVQ.CONSUME *`), one per ring and group: how
//! many stand in each, which partitions need no check now, where the next round begins.

use super::fast_map::{QuickMap, QuickSet};
use super::line::Line;
use crate::model::name::Name;

/// A line of [`super::line::ANY`].
#[derive(Debug, Default)]
struct Round {
    /// How many stand in it.
    waiters: usize,
    /// The partitions that were checked since the last sweep.
    noted: QuickSet<u32>,
    /// Those of them that were free and had work, in the order in which that was found.
    offered: Vec<u32>,
    /// The partition at which the next round of a worker begins.
    next: u32,
}

/// All lines of [`super::line::ANY`].
#[derive(Debug, Default)]
pub(super) struct AnyLines {
    rounds: QuickMap<Line, Round>,
    /// How many stand in any of them.
    waiters: usize,
}

impl AnyLines {
    /// A worker joins a line.
    pub(super) fn join(&mut self, line: &Line) {
        self.rounds.entry(line.clone()).or_default().waiters += 1;
        self.waiters += 1;
    }

    /// A worker leaves a line. The line itself stays: where its next round begins is for the
    /// workers that come back.
    pub(super) fn leave(&mut self, line: &Line) {
        if let Some(round) = self.rounds.get_mut(line) {
            round.waiters = round.waiters.saturating_sub(1);
            self.waiters = self.waiters.saturating_sub(1);
            if round.waiters == 0 {
                round.noted.clear();
                round.offered.clear();
            }
        }
    }

    /// Whether nobody stands in any line.
    pub(super) fn is_idle(&self) -> bool {
        self.waiters == 0
    }

    /// Whether anybody stands in this line.
    pub(super) fn is_waited_in(&self, line: &Line) -> bool {
        self.rounds.get(line).is_some_and(|round| round.waiters > 0)
    }

    /// A ring, or one group of it, is gone, and with it where its rounds would begin.
    pub(super) fn forget(&mut self, db: i32, ring: &Name, group: Option<&Name>) {
        self.rounds.retain(|line, round| !line.is_of(db, ring, group) || round.waiters > 0);
    }

    /// The lines in front of a ring for which `partition` is to be checked: somebody stands there,
    /// and it was not checked since the last sweep. Copies nothing where there is none.
    pub(super) fn to_check(&self, db: i32, ring: &Name, partition: u32) -> Vec<Line> {
        let here = self.rounds.iter().filter(|(line, _)| line.db == db && line.ring == *ring);
        let open = here.filter(|(_, round)| round.waiters > 0 && !round.noted.contains(&partition));
        open.map(|(line, _)| line.clone()).collect()
    }

    /// `partition` was checked: that need not be done again before the next sweep.
    pub(super) fn note(&mut self, line: &Line, partition: u32) {
        if let Some(round) = self.rounds.get_mut(line) {
            round.noted.insert(partition);
        }
    }

    /// `partition` was free and had work.
    pub(super) fn offer(&mut self, line: &Line, partition: u32) {
        if let Some(round) = self.rounds.get_mut(line) {
            round.offered.push(partition);
        }
    }

    /// The partitions that were offered, for a sweep, which checks every partition again.
    pub(super) fn take_offers(&mut self, line: &Line) -> Vec<u32> {
        let Some(round) = self.rounds.get_mut(line) else { return Vec::new() };
        round.noted.clear();
        std::mem::take(&mut round.offered)
    }

    /// The partition at which the next round of a line begins.
    pub(super) fn begins_at(&self, line: &Line) -> u32 {
        self.rounds.get(line).map_or(0, |round| round.next)
    }

    /// The next round begins after `partition`, so that each gets its turn.
    pub(super) fn end_round(&mut self, line: &Line, partition: u32) {
        self.rounds.entry(line.clone()).or_default().next = partition.wrapping_add(1);
    }

    /// Whether nothing is kept, not even where a round begins.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.rounds.is_empty() && self.waiters == 0
    }
}
