//! What is done for those who wait when a moment has come: leases of closed connections end, free
//! ones go to the next in line, workers that take any partition are called, owners are served what
//! an append does not bring them.
//!
//! Each part covers all that its reasons may be about and asks for the next moment itself.

use super::calls;
use super::hand_over::{end_lease, hand_over};
use super::line::{ANY, Line};
use super::lines::Lines;
use super::owners;
use super::owners::PARKED_MS;
use super::partitions::{Found, Partitions};
use super::waiter::Outcome;
use crate::model::deadlines::Reason::{
    AnyPartition, Barrier, Departure, Lease, Parked, Recheck, Retry, WaitEnd, Watch,
};
use crate::model::deadlines::{Due, Reason};
use crate::model::error::Error;
use crate::model::now::Now;

/// Why leases of closed connections end.
const FOR_CONNECTIONS: [Reason; 2] = [Departure, Recheck];
/// Why free leases are handed over.
const FOR_STANDBYS: [Reason; 3] = [Lease, Departure, Recheck];
/// Why workers that take any partition are called.
const FOR_ANY_PARTITION: [Reason; 6] = [AnyPartition, Watch, Retry, Barrier, Departure, Recheck];
/// Why parked owners are checked.
const FOR_PARKED: [Reason; 6] = [Parked, Watch, Retry, Barrier, Departure, Recheck];
/// Why owners are checked to whom an append alone brings nothing.
const FOR_WATCHFUL: [Reason; 5] = [Watch, Retry, Barrier, Departure, Recheck];

/// Ends the waits of parked clients whose time is up. Changes nothing but the lines.
pub fn end_waits<P: Partitions>(partitions: &mut P, due: Due, now: Now) {
    if due.any(&[WaitEnd, Recheck]) {
        partitions.lines(|lines| lines.expire(now.ms()));
        if let Some(end_ms) = partitions.lines(|lines| lines.next_end()) {
            partitions.wake_at(WaitEnd, end_ms);
        }
    }
}

/// Does what is due for those who wait. Only on a primary that may write.
///
/// A key that holds something else has no lease to end and nothing to hand out, so errors leave a
/// line as it is.
pub fn sweep<P: Partitions>(partitions: &mut P, due: Due, now: Now) {
    if due.any(&FOR_CONNECTIONS) {
        for gone in partitions.lines(Lines::take_gone) {
            for line in gone.lines {
                let _ = end_lease(partitions, gone.client, &line, now);
            }
        }
        for off in partitions.lines(Lines::take_called_off) {
            partitions.call_off(off.client, &off.line);
        }
    }
    if due.any(&[Recheck]) {
        check_rings(partitions);
    }
    // Those that wait for one partition come before those that take any.
    if due.any(&FOR_STANDBYS) {
        for line in standing(partitions, |line| line.partition != ANY) {
            let _ = hand_over(partitions, &line, now);
        }
    }
    if due.any(&FOR_ANY_PARTITION) {
        for line in standing(partitions, |line| line.partition == ANY) {
            calls::call_all(partitions, &line, now);
        }
    }
    check_owners(partitions, due, now);
}

/// A ring may have been replaced by hand, and in a cluster the slot of a partition may move. Those
/// that wait in front of a partition that is not here are refused, those that take any when the
/// last one has left, and of a group that it does not have the owner is served, which makes it.
fn check_rings<P: Partitions>(partitions: &mut P) {
    for line in standing(partitions, |line| line.partition == ANY) {
        if partitions.is_away(&line) {
            refuse(partitions, &line, &Error::TryAgain);
        }
    }
    for line in partitions.lines(|lines| lines.lines_of_partitions()) {
        if partitions.is_away(&line) {
            refuse(partitions, &line, &Error::TryAgain);
            continue;
        }
        match partitions.find(&line) {
            Ok(Found::Outside) => refuse(partitions, &line, &Error::NoPartition),
            Ok(Found::Orphaned) => {
                if let Some(owner) = partitions.lines(|lines| lines.waiting_owner(&line)) {
                    owners::release(partitions, owner, Outcome::Serve);
                }
            }
            Ok(Found::Place(_) | Found::Missing) | Err(_) => {}
        }
    }
}

/// Refuses whoever waits for the partition of a line.
fn refuse<P: Partitions>(partitions: &mut P, line: &Line, error: &Error) {
    let at = (line.db, &line.ring, line.partition);
    if partitions.lines(|lines| lines.dismiss_partition(at, None, error)) {
        partitions.wake_soon(Reason::Release);
    }
}

/// The lines that have standbys, of those that are `meant`.
fn standing<P: Partitions>(partitions: &mut P, meant: impl Fn(&Line) -> bool) -> Vec<Line> {
    let mut all = partitions.lines(|lines| lines.lines_with_standbys());
    all.retain(meant);
    all
}

fn check_owners<P: Partitions>(partitions: &mut P, due: Due, now: Now) {
    if due.any(&FOR_PARKED) {
        for owner in partitions.lines(|lines| lines.parked_owners()) {
            let _ = owners::check(partitions, &owner, now);
        }
    }
    if due.any(&FOR_WATCHFUL) {
        for owner in partitions.lines(|lines| lines.watchful_owners()) {
            let _ = owners::check(partitions, &owner, now);
        }
    }
    if due.any(&FOR_PARKED) && partitions.lines(|lines| lines.has_parked_owners()) {
        partitions.wake_at(Parked, now.ms() + PARKED_MS);
    }
}

#[cfg(test)]
#[path = "sweep_tests.rs"]
mod tests;
