//! What the owner of a lease answers about events that it was handed: an acknowledgement, or that
//! the handling failed; and what follows for a lease that others may take.

use super::delivery;
use super::failure::Refusal;
use super::rights::Ack;
use super::shell::{Acknowledged, Letter, Occurrence, Shell, Standing};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::progress::lease::Caller;
use crate::model::saved::effect::{Change, Failure};

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// It finished something, and has to be replicated.
    pub finishes: bool,
    /// [`share`] has to follow that.
    pub shared: bool,
}

/// Decides an EVQ.ACK of `id` and applies it. Renews the lease.
///
/// # Errors
/// [`Error::Fenced`], [`Error::BadId`], [`Error::WrongType`]; nothing has changed then.
pub fn acknowledge<S: Shell>(
    shell: &mut S,
    caller: &Caller,
    id: EventId,
) -> Result<Answered, Error> {
    // All of it under one look: on the server the progress is looked for by the group's name.
    let (shared, acknowledged) = shell.with(|shell, progress| {
        let progress = progress.ok_or(Error::Fenced)?;
        let (group, now) = (shell.group(), shell.now());
        group.activity.note(now);
        let (shared, was_plain) = (may_pass_on(progress), progress.is_plain(group));
        let finishes = decide(shell, progress, caller, id, was_plain)? == Ack::Finishes;
        let before = Standing::of(progress);
        if finishes {
            progress.finish(id);
        }
        progress.renew(now);
        let after = Standing::of(progress);
        Ok((shared, finishes.then_some(Acknowledged { id, was_plain, before, after })))
    })??;
    if let Some(acknowledged) = &acknowledged {
        shell.acknowledged(acknowledged);
    }
    let finishes = acknowledged.is_some();
    Ok(Answered { finishes, shared: finishes && shared })
}

/// Where delivery is plain the ids alone decide, and the stream is not read.
fn decide<S: Shell>(
    shell: &S,
    progress: &Progress,
    caller: &Caller,
    id: EventId,
    is_plain: bool,
) -> Result<Ack, Error> {
    let scene = shell.scene(Some(progress));
    if is_plain {
        return progress.ack(caller, scene, id);
    }
    match shell.stream() {
        Ok(Some(stream)) => delivery::ack(progress, shell.group(), &stream, caller, scene, id),
        // A key that is gone or holds something else: what was in flight is finished.
        Ok(None) | Err(_) => progress.ack(caller, scene, id),
    }
}

/// What became of an event whose handling failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The failure was recorded.
    Recorded(Failure),
    /// It was recorded before, with what is held behind the event, which was not handed out since.
    Repeated(Vec<EventId>),
    /// Its entry was deleted by hand while it was in flight, which finishes it.
    Gone,
}

/// Decides an EVQ.NACK and applies it. Renews the lease. [`share`] has to follow.
///
/// # Errors
/// [`Error::Fenced`], [`Error::BadId`], [`Error::Limit`] if the exceptions would not fit,
/// [`Error::NoPermission`] for the dead letter, [`Error::WrongType`]; nothing has changed then.
pub fn fail<S: Shell>(
    shell: &mut S,
    caller: &Caller,
    refusal: &Refusal<'_>,
) -> Result<Failed, Error> {
    let id = refusal.id;
    let repeated = shell.with(|shell, progress| repeated(shell, progress?, caller, id))?;
    if let Some(held) = repeated {
        return Ok(Failed::Repeated(held));
    }
    let (worker, was_exception, decided) = shell.with(|shell, progress| {
        let progress = progress.ok_or(Error::Fenced)?;
        let lease = progress.authorize(caller, shell.scene(Some(progress)))?;
        // Before the stream is looked at, which may be gone.
        progress.check_in_flight(lease, id)?;
        let worker = lease.owner();
        let (group, now) = (shell.group(), shell.now());
        group.activity.note(now);
        let stream = shell.stream()?;
        if let Some(stream) = &stream {
            delivery::index_keys(progress, stream);
        }
        let decided = match stream {
            Some(stream) => delivery::nack(progress, group, &stream, now, refusal)?,
            None => None,
        };
        let was_exception = progress.exceptions().get(id).is_some();
        Ok((worker, was_exception, decided))
    })??;
    let Some((event, failure)) = decided else {
        if was_exception {
            shell.change(Change::Dropped(id))?;
            shell.note(Occurrence::Dropped);
        }
        return Ok(Failed::Gone);
    };
    record(shell, &event, failure.clone(), Report { worker: &worker, reason: refusal.reason })?;
    shell.with(|shell, progress| {
        if let Some(progress) = progress {
            progress.renew(shell.now());
            progress.refuse(id, failure.held.clone());
        }
    })?;
    Ok(Failed::Recorded(failure))
}

/// What the event `id` holds, if `caller` has refused it before, and it was not handed out since. A
/// reply may have got lost. Renews the lease.
fn repeated<S: Shell>(
    shell: &S,
    progress: &mut Progress,
    caller: &Caller,
    id: EventId,
) -> Option<Vec<EventId>> {
    let lease = progress.authorize(caller, shell.scene(Some(progress))).ok()?;
    let held = lease.refused.get(&id)?.clone();
    progress.renew(shell.now());
    Some(held)
}

/// What a dead letter says of a failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report<'a> {
    /// The worker that had the event.
    pub(super) worker: &'a str,
    /// What the worker said.
    pub(super) reason: &'a [u8],
}

/// Applies a failure, after the dead letter if it was the last attempt.
pub(super) fn record<S: Shell>(
    shell: &mut S,
    event: &S::Entry,
    failure: Failure,
    report: Report<'_>,
) -> Result<(), Error> {
    if failure.fate.is_last() {
        let Report { worker, reason } = report;
        shell.write_letter(&Letter { event, failure: &failure, worker, reason })?;
    }
    shell.note(Occurrence::Failed(&failure));
    shell.change(Change::Failed(failure))
}

/// Something was answered. If EVQ.CONSUME * took the lease, it is anybody's once nothing is in
/// flight; if its owner was told that there is nothing, it is anybody's who stands in line, once
/// there is something to hand out. So the cursor passes now what holds it up no longer, and a
/// worker that stands in line for this partition gets it.
///
/// # Errors
/// [`Error::WrongType`].
pub fn share<S: Shell>(shell: &mut S) -> Result<(), Error> {
    let reached = shell.with(|shell, progress| {
        let progress = progress.filter(|progress| {
            is_shared(progress) || may_pass_on(progress) && shell.scene(Some(progress)).queue
        })?;
        // A key that holds something else has nothing to pass.
        let stream = shell.stream().ok().flatten();
        Some(stream.and_then(|stream| delivery::reach(progress, shell.group(), &stream)))
    })?;
    let Some(reached) = reached else { return Ok(()) };
    if let Some(reached) = reached {
        shell.change(Change::Passed(reached))?;
    }
    let is_awaited = shell.with(|shell, progress| {
        let scene = shell.scene(progress.as_deref());
        let passes_on = |progress: &mut Progress| {
            progress.is_free(shell.now(), scene) || progress.is_claimable(scene)
        };
        scene.queue && progress.is_some_and(passes_on)
    })?;
    if is_awaited {
        shell.note(Occurrence::Freed);
    }
    Ok(())
}

fn is_shared(progress: &Progress) -> bool {
    progress.lease().is_some_and(|lease| lease.shared)
}

/// Whether an answer may leave the lease to another before its deadline.
fn may_pass_on(progress: &Progress) -> bool {
    progress.lease().is_some_and(|lease| lease.shared || lease.told_nothing)
}
