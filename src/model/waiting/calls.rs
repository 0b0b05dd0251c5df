//! Calling a worker that takes any partition (`EVQ.CONSUME *`) to one that has work.
//!
//! An unblocked client cannot be blocked again, and a worker that finds nothing then would reply
//! null before its time is up. So no worker is called before it is certain to be served. An append
//! only makes the sweep check: by then another worker may have taken the event, in the same MULTI
//! or right after. The sweep grants the lease to the worker that it calls, and nobody else may take
//! that lease until the worker has come: between the sweep and its reply a server that reads with
//! threads runs other commands.

use super::line::Line;
use super::owners;
use super::owners::PARKED_MS;
use super::partitions::{Found, Grant, Partitions, Tenure};
use super::view::Worker;
use crate::model::deadlines::{RECHECK_MS, Reason};
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::progress::lease::Turn;
use crate::model::rules::ready::{Ready, Taker};

/// A ring with more partitions than this is searched less often for workers that take any.
const FEW_PARTITIONS: usize = 64;
/// How often such a ring is searched.
const MANY_PARTITIONS_MS: u64 = 100;
/// A called worker's lease does not lapse before this, however short the one it asks for.
const ON_THE_WAY_MS: u64 = 1000;

/// Something was appended to a partition: serves its parked owners, and has workers that take any
/// partition called to it, if it is free and has work. Reads nothing where nobody is parked.
pub fn appended<P: Partitions>(partitions: &mut P, db: i32, ring: &Name, partition: u32, now: Now) {
    let appended = partitions.lines(|lines| lines.appended(db, ring, partition));
    if appended.releases {
        partitions.wake_soon(Reason::Release);
    }
    if appended.watched {
        partitions.wake_soon(Reason::Watch);
    }
    if appended.claimed {
        partitions.wake_soon(Reason::Lease);
    }
    for any in appended.any_lines {
        partitions.lines(|lines| lines.note_check(&any, partition));
        if matches!(has_work_for(partitions, &any, partition, now), Ok(true)) {
            partitions.lines(|lines| lines.offer(&any, partition));
            partitions.wake_soon(Reason::AnyPartition);
        }
    }
}

fn has_work_for<P: Partitions>(
    partitions: &mut P,
    any: &Line,
    partition: u32,
    now: Now,
) -> Result<bool, Error> {
    let line = any.at(partition);
    Ok(match partitions.find(&line)? {
        // The workers that wait for this partition come first, here and below.
        Found::Orphaned => !has_standbys(partitions, &line),
        Found::Outside | Found::Missing => false,
        Found::Place(place) => match partitions.tenure(&place, now)? {
            Tenure::Free { .. } | Tenure::Claimable { .. } if has_standbys(partitions, &line) => {
                false
            }
            Tenure::Free { .. } | Tenure::Claimable { .. } => has_work(partitions, &place, now)?,
            Tenure::Held { by, .. } => {
                holder_with_work(partitions, any, &place, by, now)?.is_some()
            }
        },
    })
}

fn has_standbys<P: Partitions>(partitions: &mut P, line: &Line) -> bool {
    partitions.lines(|lines| lines.has_standbys(line))
}

/// Whether a partition that is free has work for the worker that gets its lease next; if it has
/// none now, it is checked again when it may have.
fn has_work<P: Partitions>(partitions: &mut P, place: &P::Place, now: Now) -> Result<bool, Error> {
    let ready = partitions.search(place, Taker::Next, now)?;
    if ready != Ready::Work {
        owners::check_later(partitions, place, ready, now)?;
    }
    Ok(ready == Ready::Work)
}

/// The worker of the line `any` that has the lease of `place` already, as the connection `by`, if
/// there is more work for it there. The lease is not free because something is in flight.
fn holder_with_work<P: Partitions>(
    partitions: &mut P,
    any: &Line,
    place: &P::Place,
    by: Option<u64>,
    now: Now,
) -> Result<Option<Worker>, Error> {
    let waiting = |client| {
        partitions.lines(|lines| {
            let wait = lines.wait_of(client).filter(|_| lines.stands_in(client, any))?;
            Some(Worker { client, wait: wait.clone() })
        })
    };
    let Some(holder) = by.and_then(waiting) else { return Ok(None) };
    let ready = partitions.search(place, Taker::Owner, now)?;
    Ok((ready == Ready::Work).then_some(holder))
}

/// Calls the worker `client`, which waits for any partition, to that of `line`, if it holds its
/// lease and there is more work for it there. False if not.
///
/// # Errors
/// As [`Partitions`].
pub fn call_back<P: Partitions>(
    partitions: &mut P,
    line: &Line,
    client: u64,
    now: Now,
) -> Result<bool, Error> {
    let Found::Place(place) = partitions.find(line)? else { return Ok(false) };
    let wait = partitions.lines(|lines| lines.wait_of(client).cloned());
    let Some(wait) = wait else { return Ok(false) };
    let worker = Worker { client, wait };
    let continues = partitions.turn(&place, &worker.wait.caller, now)? == Turn::Continue;
    if !continues || partitions.search(&place, Taker::Owner, now)? != Ready::Work {
        return Ok(false);
    }
    call_owner(partitions, line, &place, &worker, now)?;
    Ok(true)
}

/// Calls workers of the line `any` to every partition that is free and has work, and does so again
/// soon if some remain. Only from the sweep.
pub fn call_all<P: Partitions>(partitions: &mut P, any: &Line, now: Now) {
    let offered = partitions.lines(|lines| lines.take_offers(any));
    call_to_each(partitions, any, offered, now);
    if !has_standbys(partitions, any) {
        return;
    }
    let Some(mut all) = partitions.of_ring(any) else {
        return partitions.wake_at(Reason::AnyPartition, now.ms() + RECHECK_MS);
    };
    let begin = partitions.lines(|lines| lines.round_begins_at(any));
    let first = all.iter().position(|partition| *partition >= begin).unwrap_or(0);
    all.rotate_left(first);
    let again_ms = if all.len() <= FEW_PARTITIONS { PARKED_MS } else { MANY_PARTITIONS_MS };
    call_to_each(partitions, any, all, now);
    partitions.wake_at(Reason::AnyPartition, now.ms() + again_ms);
}

fn call_to_each<P: Partitions>(partitions: &mut P, any: &Line, all: Vec<u32>, now: Now) {
    for partition in all {
        if !has_standbys(partitions, any) {
            break;
        }
        // An error leaves the partition to the next sweep.
        let _ = call_to(partitions, any, partition, now);
    }
}

/// Calls the first worker of the line `any` that a partition has work for.
fn call_to<P: Partitions>(
    partitions: &mut P,
    any: &Line,
    partition: u32,
    now: Now,
) -> Result<(), Error> {
    let line = any.at(partition);
    match partitions.find(&line)? {
        Found::Outside | Found::Missing => Ok(()),
        Found::Orphaned => {
            // Without a group there is no lease to grant to the one that is called.
            if !has_standbys(partitions, &line)
                && !partitions.lines(|lines| lines.is_on_its_way(&line))
                && let Some(first) = partitions.lines(|lines| lines.nth_standby(any, 0))
            {
                call(partitions, first.client, partition);
            }
            Ok(())
        }
        Found::Place(place) => match partitions.tenure(&place, now)? {
            Tenure::Free { .. } | Tenure::Claimable { .. } if has_standbys(partitions, &line) => {
                Ok(())
            }
            Tenure::Free { .. } | Tenure::Claimable { .. } => {
                call_first(partitions, any, &line, &place, now)
            }
            Tenure::Held { by, .. } => call_holder(partitions, any, &line, &place, by, now),
        },
    }
}

/// Calls the worker that has the lease of `place` already and waits for any partition, if there is
/// more work for it there.
fn call_holder<P: Partitions>(
    partitions: &mut P,
    any: &Line,
    line: &Line,
    place: &P::Place,
    by: Option<u64>,
    now: Now,
) -> Result<(), Error> {
    if let Some(holder) = holder_with_work(partitions, any, place, by, now)?
        && partitions.turn(place, &holder.wait.caller, now)? == Turn::Continue
    {
        call_owner(partitions, line, place, &holder, now)?;
    }
    Ok(())
}

/// Calls the first worker of the line `any` to `place`, which is free.
fn call_first<P: Partitions>(
    partitions: &mut P,
    any: &Line,
    line: &Line,
    place: &P::Place,
    now: Now,
) -> Result<(), Error> {
    for n in 0.. {
        let Some(worker) = partitions.lines(|lines| lines.nth_standby(any, n)) else { break };
        match partitions.turn(place, &worker.wait.caller, now)? {
            Turn::Continue => match partitions.search(place, Taker::Owner, now)? {
                Ready::Work => {}
                // It has lapsed with all there is in flight, which its owner is not given again.
                _ if partitions.has_in_flight(place)? => continue,
                ready => return owners::check_later(partitions, place, ready, now),
            },
            Turn::Grant(epoch) | Turn::Claim(epoch)
                if grant(partitions, place, &worker, epoch, now)? => {}
            Turn::Grant(_) | Turn::Claim(_) | Turn::Wait => break,
        }
        return call_owner(partitions, line, place, &worker, now);
    }
    Ok(())
}

/// Grants a free partition, if it has work. It may have none once the lease that lapsed there is
/// lost: the event that was in flight may have died with it.
fn grant<P: Partitions>(
    partitions: &mut P,
    place: &P::Place,
    worker: &Worker,
    epoch: u64,
    now: Now,
) -> Result<bool, Error> {
    if !has_work(partitions, place, now)? {
        return Ok(false);
    }
    if partitions.has_in_flight(place)? {
        partitions.lose(place, now)?;
        if !has_work(partitions, place, now)? {
            return Ok(false);
        }
    }
    let Worker { wait, .. } = worker;
    let grant = Grant { caller: &wait.caller, epoch, lease_ms: lease_ms(worker) };
    partitions.grant(place, grant, now)?;
    Ok(true)
}

/// How long the lease of a called worker is.
fn lease_ms(worker: &Worker) -> u64 {
    worker.wait.lease_ms.max(ON_THE_WAY_MS)
}

/// Calls a worker that has the lease of `place`, which is in front of `line`.
fn call_owner<P: Partitions>(
    partitions: &mut P,
    line: &Line,
    place: &P::Place,
    worker: &Worker,
    now: Now,
) -> Result<(), Error> {
    let caller = &worker.wait.caller;
    partitions.keep(place, caller, lease_ms(worker), now)?;
    partitions.lines(|lines| lines.note_owner(line, caller));
    call(partitions, worker.client, line.partition);
    Ok(())
}

fn call<P: Partitions>(partitions: &mut P, client: u64, partition: u32) {
    if partitions.lines(|lines| lines.call(client, partition)) {
        partitions.wake_soon(Reason::Release);
    }
}
