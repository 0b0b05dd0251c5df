//! Owners that wait: whether there is anything for them by now, and if not, when to check again.

use super::partitions::{Found, Partitions};
use super::view::Worker;
use super::waiter::Outcome;
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::now::Now;
use crate::model::rules::ready::{Ready, Taker};

/// How soon an append that did not come through EVQ.TRIGGER reaches a parked worker.
pub const PARKED_MS: u64 = 10;
/// How soon to check again whether a barrier is open.
pub const CLOSED_MS: u64 = 100;

/// Decides how a client's wait ends.
pub fn release<P: Partitions>(partitions: &mut P, client: u64, outcome: Outcome) {
    if partitions.lines(|lines| lines.release(client, outcome)) {
        partitions.wake_soon(Reason::Release);
    }
}

/// Serves an owner if there is something for it; if not, checks again when a retry is due.
///
/// # Errors
/// As [`Partitions`].
pub fn check<P: Partitions>(partitions: &mut P, owner: &Worker, now: Now) -> Result<(), Error> {
    let Found::Place(place) = partitions.find(&owner.wait.line)? else { return Ok(()) };
    if !partitions.is_plain(&place)? {
        // Whatever it was when it began to wait: from now on an append alone does not serve it.
        partitions.lines(|lines| lines.watch(&owner.wait.line));
    }
    match partitions.search(&place, Taker::Owner, now)? {
        Ready::Work => release(partitions, owner.client, Outcome::Serve),
        ready => check_later(partitions, &place, ready, now)?,
    }
    Ok(())
}

/// Checks a place again when its next retry is due, and soon if a search found no end.
///
/// # Errors
/// As [`Partitions`].
pub fn check_later<P: Partitions>(
    partitions: &mut P,
    place: &P::Place,
    ready: Ready,
    now: Now,
) -> Result<(), Error> {
    match ready {
        Ready::Later => partitions.wake_at(Reason::Retry, now.ms() + 1),
        // Whatever opens it calls a sweep; this is for hands in the keys of other partitions.
        Ready::Closed => partitions.wake_at(Reason::Barrier, now.ms() + CLOSED_MS),
        Ready::Work | Ready::Nothing => {}
    }
    if let Some(due_ms) = partitions.next_retry_ms(place, now)? {
        partitions.wake_at(Reason::Retry, due_ms);
    }
    Ok(())
}
