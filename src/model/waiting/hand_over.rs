//! Handing a lease over to the next in line.

use super::connections::Departure;
use super::line::Line;
use super::owners;
use super::owners::PARKED_MS;
use super::partitions::{Found, Grant, Partitions, Tenure};
use super::view::Worker;
use super::waiter::Outcome;
use crate::model::deadlines::{RECHECK_MS, Reason};
use crate::model::error::Error;
use crate::model::now::Now;
use crate::model::rules::ready::{Ready, Taker};

/// Gives a free lease to the first standby of a line, and checks again when the lease that stands
/// then lapses.
///
/// # Errors
/// As [`Partitions`].
pub fn hand_over<P: Partitions>(partitions: &mut P, line: &Line, now: Now) -> Result<(), Error> {
    let Some(next) = partitions.lines(|lines| lines.nth_standby(line, 0)) else { return Ok(()) };
    let place = match partitions.find(line)? {
        Found::Place(place) => place,
        Found::Orphaned => {
            // It makes the group and takes the lease, for which the others go on waiting.
            if !partitions.lines(|lines| lines.is_on_its_way(line)) {
                owners::release(partitions, next.client, Outcome::Serve);
            }
            partitions.wake_at(Reason::Lease, now.ms().saturating_add(next.wait.lease_ms));
            return Ok(());
        }
        Found::Outside => return Ok(()),
        // Its ring or its group may come back by hands of which the module hears nothing.
        Found::Missing => {
            partitions.wake_at(Reason::Lease, now.ms().saturating_add(RECHECK_MS));
            return Ok(());
        }
    };
    let epoch = match partitions.tenure(&place, now)? {
        Tenure::Free { epoch } => epoch,
        Tenure::Claimable { epoch, lapses_ms } => {
            if partitions.search(&place, Taker::Next, now)? != Ready::Work {
                partitions.lines(|lines| lines.claim(line));
                // An append by other means than EVQ.TRIGGER tells nobody.
                partitions.wake_at(Reason::Lease, lapses_ms.min(now.ms() + PARKED_MS));
                return Ok(());
            }
            epoch
        }
        // Its owner waits with nothing in flight; when that ends, `Left::lease_check_in_ms` counts.
        Tenure::Held { lapses_ms, .. } if lapses_ms <= now.ms() => return Ok(()),
        Tenure::Held { lapses_ms, .. } => {
            partitions.wake_at(Reason::Lease, lapses_ms);
            return Ok(());
        }
    };
    let Worker { client, wait } = &next;
    let grant = Grant { caller: &wait.caller, epoch, lease_ms: wait.lease_ms };
    partitions.grant(&place, grant, now)?;
    partitions.lines(|lines| {
        lines.note_owner(line, &wait.caller);
        lines.promote(*client);
    });
    // It has the lease, whatever the stream is like.
    let _ = owners::check(partitions, &next, now);
    partitions.wake_at(Reason::Parked, now.ms() + PARKED_MS);
    partitions.wake_at(Reason::Lease, now.ms().saturating_add(wait.lease_ms));
    Ok(())
}

/// A connection closed that may have held the lease of `line`: it is over, unless it is a name's.
///
/// # Errors
/// As [`Partitions`].
pub fn end_lease<P: Partitions>(
    partitions: &mut P,
    client: u64,
    line: &Line,
    now: Now,
) -> Result<(), Error> {
    let Found::Place(place) = partitions.find(line)? else { return Ok(()) };
    match partitions.departure(&place, client)? {
        Departure::Stays => Ok(()),
        Departure::Abandoned => partitions.abandon(&place),
        Departure::Lost => partitions.lose(&place, now),
    }
}
