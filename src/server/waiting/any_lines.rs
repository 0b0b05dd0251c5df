//! The lines of workers that pull from any partition (`EVQ.CONSUME *`), one per ring and group:
//! how many stand in each, which partitions need no look now, where the next round begins.
//!
//! Plain bookkeeping beside [`crate::server::waiting::lines`], as volatile as that.

use std::cell::{Cell, RefCell};

use super::fast_map::{QuickMap, QuickSet};
use crate::model::name::Name;
use crate::server::keyspace::line::Line;

/// A line of [`crate::server::keyspace::line::ANY`].
#[derive(Debug, Default)]
struct Round {
    /// How many stand in it.
    waiters: usize,
    /// Partitions that were looked at since the last sweep.
    noted: QuickSet<u32>,
    /// Those of them that were free and had work, in the order in which that was seen.
    offered: Vec<u32>,
    /// The partition at which the next round of a worker begins.
    next: u32,
}

thread_local! {
    static ROUNDS: RefCell<QuickMap<Line, Round>> = RefCell::default();
    /// Whether anybody stands in any of them: the one thing EVQ.TRIGGER asks.
    static ANY_WAITED_IN: Cell<bool> = const { Cell::new(false) };
}

/// A worker joins a line.
pub(crate) fn join(line: &Line) {
    ROUNDS.with_borrow_mut(|rounds| rounds.entry(line.clone()).or_default().waiters += 1);
    ANY_WAITED_IN.set(true);
}

/// A worker leaves a line. The line itself stays: where its next round begins is for the workers
/// that come back.
pub(crate) fn leave(line: &Line) {
    ROUNDS.with_borrow_mut(|rounds| {
        if let Some(round) = rounds.get_mut(line) {
            round.waiters = round.waiters.saturating_sub(1);
        }
        ANY_WAITED_IN.set(rounds.values().any(|round| round.waiters > 0));
    });
}

/// Whether anybody stands in this line.
pub(crate) fn is_waited_in(line: &Line) -> bool {
    ROUNDS.with_borrow(|rounds| rounds.get(line).is_some_and(|round| round.waiters > 0))
}

/// A ring, or one group of it, is gone, and with it where its rounds would begin.
pub(crate) fn forget(db: i32, ring: &Name, group: Option<&Name>) {
    ROUNDS.with_borrow_mut(|rounds| {
        rounds.retain(|line, round| {
            let gone = line.db == db
                && line.ring == *ring
                && group.is_none_or(|group| line.group == *group);
            !gone || round.waiters > 0
        });
    });
}

/// Whether anybody waits for any partition of any ring.
pub(crate) fn any_waited_in() -> bool {
    ANY_WAITED_IN.get()
}

/// The lines of [`crate::server::keyspace::line::ANY`] in front of a ring for which `partition` is to be looked at:
/// somebody stands there, and it was not looked at since the last sweep. Copies nothing where there
/// is none, because EVQ.TRIGGER asks for every event.
pub(crate) fn to_look_for(db: i32, ring: &Name, partition: u32) -> Vec<Line> {
    ROUNDS.with_borrow(|rounds| {
        let here = rounds.iter().filter(|(line, _)| line.db == db && line.ring == *ring);
        let open = here.filter(|(_, round)| round.waiters > 0 && !round.noted.contains(&partition));
        open.map(|(line, _)| line.clone()).collect()
    })
}

/// `partition` was looked at: that need not be done again before the next sweep.
pub(crate) fn note(line: &Line, partition: u32) {
    ROUNDS.with_borrow_mut(|rounds| {
        if let Some(round) = rounds.get_mut(line) {
            round.noted.insert(partition);
        }
    });
}

/// `partition` was free and had work.
pub(crate) fn offer(line: &Line, partition: u32) {
    ROUNDS.with_borrow_mut(|rounds| {
        if let Some(round) = rounds.get_mut(line) {
            round.offered.push(partition);
        }
    });
}

/// A sweep looks at every partition again; at these first.
pub(crate) fn take_offers(line: &Line) -> Vec<u32> {
    ROUNDS.with_borrow_mut(|rounds| {
        let Some(round) = rounds.get_mut(line) else { return Vec::new() };
        round.noted.clear();
        std::mem::take(&mut round.offered)
    })
}

/// The partition at which the next round of a line of [`crate::server::keyspace::line::ANY`] begins.
pub(crate) fn begins_at(line: &Line) -> u32 {
    ROUNDS.with_borrow(|rounds| rounds.get(line).map_or(0, |round| round.next))
}

/// The next round begins behind `partition`, so that each gets its turn.
pub(crate) fn end(line: &Line, partition: u32) {
    ROUNDS.with_borrow_mut(|rounds| {
        rounds.entry(line.clone()).or_default().next = partition.wrapping_add(1);
    });
}
