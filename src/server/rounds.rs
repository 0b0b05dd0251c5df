//! The lines of workers that pull from any partition (`EVQ.CONSUME *`), one per ring and group:
//! how many stand in each, who is on the way to which partition, where the next round begins.
//!
//! Plain bookkeeping beside [`super::waiting`], as volatile as that.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::waiting::Line;
use crate::model::name::Name;

/// A line of [`super::waiting::ANY`].
#[derive(Debug, Default)]
struct Round {
    /// How many stand in it.
    waiters: usize,
    /// Partitions that were found busy since the last sweep.
    busy: HashSet<u32>,
    /// Partitions that a worker is on its way to, and which.
    called: HashMap<u32, u64>,
    /// The partition at which the next round of a worker begins.
    next: u32,
}

impl Round {
    fn is_covered(&self, partition: u32) -> bool {
        self.busy.contains(&partition) || self.called.contains_key(&partition)
    }
}

thread_local! {
    static ROUNDS: RefCell<HashMap<Line, Round>> = RefCell::default();
    /// Whether anybody stands in any of them: the one thing EVQ.TRIGGER asks.
    static ANY_WAITED_IN: Cell<bool> = const { Cell::new(false) };
}

/// A worker joins a line.
pub(super) fn join(line: &Line) {
    ROUNDS.with_borrow_mut(|rounds| rounds.entry(line.clone()).or_default().waiters += 1);
    ANY_WAITED_IN.set(true);
}

/// A worker leaves a line. The line itself stays: where its next round begins is for the workers
/// that come back.
pub(super) fn leave(line: &Line, client: u64) {
    ROUNDS.with_borrow_mut(|rounds| {
        if let Some(round) = rounds.get_mut(line) {
            round.waiters = round.waiters.saturating_sub(1);
            round.called.retain(|_, other| *other != client);
        }
        ANY_WAITED_IN.set(rounds.values().any(|round| round.waiters > 0));
    });
}

/// Whether anybody stands in this line.
pub(super) fn is_waited_in(line: &Line) -> bool {
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

/// The lines of [`super::waiting::ANY`] in front of a ring from which a worker may be called to
/// `partition`: somebody stands there, nobody is on the way, and it was not found busy since the
/// last sweep. Copies nothing where there is none, because EVQ.TRIGGER asks for every event.
pub(crate) fn to_call_from(db: i32, ring: &Name, partition: u32) -> Vec<Line> {
    ROUNDS.with_borrow(|rounds| {
        let here = rounds.iter().filter(|(line, _)| line.db == db && line.ring == *ring);
        let open = here.filter(|(_, round)| round.waiters > 0 && !round.is_covered(partition));
        open.map(|(line, _)| line.clone()).collect()
    })
}

/// Whether a worker of `line` is on its way to `partition`, or the partition was found busy.
pub(crate) fn is_taken_care_of(line: &Line, partition: u32) -> bool {
    ROUNDS.with_borrow(|rounds| rounds.get(line).is_some_and(|round| round.is_covered(partition)))
}

/// `partition` is busy: it need not be looked at again before the next sweep.
pub(crate) fn note_busy(line: &Line, partition: u32) {
    ROUNDS.with_borrow_mut(|rounds| {
        if let Some(round) = rounds.get_mut(line) {
            round.busy.insert(partition);
        }
    });
}

/// A sweep looks at every partition again.
pub(crate) fn forget_busy(line: &Line) {
    ROUNDS.with_borrow_mut(|rounds| {
        if let Some(round) = rounds.get_mut(line) {
            round.busy.clear();
        }
    });
}

/// The worker `client` of a line of [`super::waiting::ANY`] is called to `partition`.
pub(crate) fn call_to(line: &Line, client: u64, partition: u32) {
    ROUNDS.with_borrow_mut(|rounds| {
        if let Some(round) = rounds.get_mut(line) {
            round.called.insert(partition, client);
        }
    });
}

/// The partition at which the next round of a line of [`super::waiting::ANY`] begins.
pub(crate) fn begins_at(line: &Line) -> u32 {
    ROUNDS.with_borrow(|rounds| rounds.get(line).map_or(0, |round| round.next))
}

/// The next round begins behind `partition`, so that each gets its turn.
pub(crate) fn end(line: &Line, partition: u32) {
    ROUNDS.with_borrow_mut(|rounds| {
        rounds.entry(line.clone()).or_default().next = partition.wrapping_add(1);
    });
}
