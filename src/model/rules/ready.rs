//! Whether a partition has anything for a worker, found out before one is called or granted a
//! lease, so that neither happens for nothing; and whether a barrier in front of another partition
//! may open.

use super::delivery::{Read, Step, step};
use super::gate::{Drained, Gate, drained};
use super::shell::Shell;
use super::source::Source;
use super::steps;
use super::steps::{Stepped, change_or_begin, or_beginning};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::progress::lease::Lease;
use crate::model::saved::effect::Change;

/// What a partition has for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// Something to hand out.
    Work,
    /// Nothing now.
    Nothing,
    /// Nothing so far: the bound of one command was reached, and more may lie after it.
    Later,
    /// Nothing before a barrier opens, see [`super::gate`].
    Closed,
}

impl Ready {
    /// Why there is nothing, when the stream was `read` in vain.
    pub(super) fn in_vain(gate: &Gate<'_>, read: Read) -> Self {
        match gate.is_open() {
            _ if read.is_cut_short() => Self::Later,
            false => Self::Closed,
            true => Self::Nothing,
        }
    }
}

/// The worker that something is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    /// The owner of the lease. Where nobody has one of this era, the next owner.
    Owner,
    /// Whoever gets the lease next.
    Next,
}

impl Taker {
    /// Its lease.
    fn lease<'p>(self, shell: &impl Shell, progress: &'p Progress) -> Option<&'p Lease> {
        match self {
            Self::Owner => progress.lease().filter(|lease| lease.era == shell.era()),
            Self::Next => None,
        }
    }
}

/// Finds out whether there is anything to hand out. Applies what has to be applied before, so that
/// the same entries are not looked at over and over.
///
/// # Errors
/// [`Error::WrongType`].
pub fn prepare<S: Shell>(shell: &mut S, taker: Taker) -> Result<Ready, Error> {
    if shell.stream()?.is_none() {
        return Ok(Ready::Nothing);
    }
    let ready = steps::run(shell, |shell| {
        let unread = shell.with(|shell, progress| look_for_any(shell, progress, taker))??;
        if unread == Unread::Nothing {
            return Ok(Stepped::Done(Ready::Nothing));
        }
        // Only who has something to hand out has to know what stands in front of it.
        shell.find_gate()?;
        if unread == Unread::Some && shell.is_open() {
            return Ok(Stepped::Done(Ready::Work));
        }
        shell.with(|shell, progress| look_for(shell, progress, taker))?
    })?;
    Ok(ready.unwrap_or(Ready::Later))
}

/// What a partition has as far as the ids of its entries tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    /// Nothing.
    Nothing,
    /// Entries, and delivery is plain.
    Some,
    /// Delivery is not plain, so entries have to be read.
    Unknown,
}

fn look_for_any<S: Shell>(
    shell: &S,
    progress: Option<&mut Progress>,
    taker: Taker,
) -> Result<Unread, Error> {
    let Some(stream) = shell.stream()? else { return Ok(Unread::Nothing) };
    Ok(or_beginning(shell, progress, |progress| {
        if !progress.is_plain(shell.group()) {
            return Unread::Unknown;
        }
        let cursor = progress.cursor();
        let lease = taker.lease(shell, progress);
        let after = lease.map_or(cursor, |lease| lease.position.max(cursor));
        if stream.has_after(after) { Unread::Some } else { Unread::Nothing }
    }))
}

fn look_for<S: Shell>(
    shell: &S,
    progress: Option<&mut Progress>,
    taker: Taker,
) -> Result<Stepped<Ready>, Error> {
    let Some(stream) = shell.stream()? else { return Ok(Stepped::Done(Ready::Nothing)) };
    let (gate, now) = (shell.gate()?, shell.now());
    Ok(or_beginning(shell, progress, |progress| {
        shell.look(progress, &gate);
        let lease = taker.lease(shell, progress);
        let is_owned = lease.is_some();
        // The lease that ends if another worker comes.
        let ending = Taker::Owner.lease(shell, progress).filter(|_| taker == Taker::Next);
        match step(progress, lease, shell.group(), &gate, &stream, now, 1) {
            // Held only once that lease has ended: until then its worker may acknowledge it, and it
            // is in flight when the rules decide who is to blame for the end.
            Step::Change(change) if ending.is_some_and(|lease| holds_any(&change, lease)) => {
                Stepped::Done(Ready::Work)
            }
            Step::Change(change) => Stepped::Change(change),
            Step::Redeliver { .. } | Step::Give { .. } => Stepped::Done(Ready::Work),
            Step::Nothing { read } => {
                if is_owned {
                    progress.hand_out(read.handing_out(None, 0), now);
                }
                Stepped::Done(Ready::in_vain(&gate, read))
            }
        }
    }))
}

/// Whether a change holds what was handed out under this lease in the order of the stream.
fn holds_any(change: &Change, lease: &Lease) -> bool {
    let (Change::Held(held) | Change::HeldElsewhere(held)) = change else { return false };
    held.iter().any(|(id, _)| lease.repeats(*id))
}

/// How often one command may still move cursors of other partitions over what its group does not
/// take, each time after up to [`crate::model::limits::MAX_SCAN`] entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passes(usize);

impl Passes {
    /// What one command may do.
    pub const OF_A_COMMAND: Self = Self(if cfg!(any(test, fuzzing)) { 1 } else { 4 });
    /// Nothing may be changed: what would have to be is taken for unfinished.
    pub const NONE: Self = Self(0);
}

/// Finds out whether the group has finished everything of the partition up to `until`, apart from
/// exceptions. A key that holds something else holds no events.
///
/// # Errors
/// [`Error::WrongType`] for the delivery state.
pub fn drain<S: Shell>(shell: &mut S, until: EventId, passes: &mut Passes) -> Result<bool, Error> {
    loop {
        let drained = shell.with(|shell, progress| {
            let Ok(Some(stream)) = shell.stream() else { return Drained::Yes };
            or_beginning(shell, progress, |progress| {
                drained(progress, shell.group(), &stream, until)
            })
        })?;
        let (passed, done) = match drained {
            Drained::Yes => return Ok(true),
            Drained::No(_) => return Ok(false),
            Drained::YesUpTo(id) => (id, true),
            Drained::SoFar(id) => (id, false),
        };
        let Some(left) = passes.0.checked_sub(1) else { return Ok(done) };
        *passes = Passes(left);
        // What the group does not take need not be looked at again.
        change_or_begin(shell, Change::Passed(passed))?;
        if done {
            return Ok(true);
        }
    }
}
