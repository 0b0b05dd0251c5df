//! The loop around the rules: a step decides, what it wants changed is applied, and the next one
//! decides anew. Each command takes a bounded number of steps.

use super::shell::Shell;
use crate::model::error::Error;
use crate::model::progress::Progress;
use crate::model::saved::effect::Change;

/// Steps that one command takes at most. Each may look at [`crate::model::limits::MAX_SCAN`]
/// entries, so a group that takes almost none of them is not drained by one command but goes on in
/// the background.
const MAX_STEPS: usize = 8;

/// What a step comes to.
pub(super) enum Stepped<T> {
    /// This has to be applied before the next.
    Change(Change),
    /// It was the last.
    Done(T),
}

/// Takes steps up to the last; none if the bound was reached before.
pub(super) fn run<S: Shell, T>(
    shell: &mut S,
    mut step: impl FnMut(&mut S) -> Result<Stepped<T>, Error>,
) -> Result<Option<T>, Error> {
    for _ in 0..MAX_STEPS {
        match step(shell)? {
            Stepped::Change(change) => change_or_begin(shell, change)?,
            Stepped::Done(result) => return Ok(Some(result)),
        }
    }
    Ok(None)
}

/// Changes the progress of a group that may have none yet: it gets some, which can change. Epoch 0
/// is nobody's.
pub(super) fn change_or_begin<S: Shell>(shell: &mut S, change: Change) -> Result<(), Error> {
    if shell.with(|_, progress| progress.is_none())? {
        let start = shell.start();
        shell.change(Change::Epoch { epoch: 0, start })?;
    }
    shell.change(change)
}

/// Looks at the progress of a group; one that has none yet stands at its start.
pub(super) fn or_beginning<S: Shell, R>(
    shell: &S,
    progress: Option<&mut Progress>,
    look: impl FnOnce(&mut Progress) -> R,
) -> R {
    match progress {
        Some(progress) => look(progress),
        None => look(&mut Progress::new(shell.start())),
    }
}
