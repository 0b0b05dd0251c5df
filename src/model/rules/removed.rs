//! Exceptions whose entries others removed from the stream: by XDEL, XTRIM or DEL, by hand.
//!
//! A removed event is finished. Nobody may ever ask for its key again, so what waits behind it
//! would wait for ever; it is found by looking. Bounded steps, each of which goes on where the last
//! one ended. What is in flight is left to its worker: an answer finishes it.

use super::shell::{Occurrence, Shell};
use super::source::Source;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::saved::effect::Change;

/// What a step found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Searched {
    /// The step reached this exception, and more come after it; None if all were searched.
    pub until: Option<EventId>,
    /// How many exceptions were read.
    pub read: usize,
    /// How many of them were finished.
    pub finished: usize,
}

/// Finishes the exceptions above `after` whose entries are gone; reads at most `most`.
/// O(exceptions read * log(nodes of the stream)).
///
/// # Errors
/// [`Error::WrongType`].
pub fn finish_removed<S: Shell>(
    shell: &mut S,
    after: EventId,
    most: usize,
) -> Result<Searched, Error> {
    let (removed, searched) =
        shell.with(|shell, progress| search(shell, progress, after, most))??;
    for id in &removed {
        shell.change(Change::Dropped(*id))?;
    }
    if !removed.is_empty() {
        shell.note(Occurrence::Dropped);
    }
    Ok(searched)
}

fn search<S: Shell>(
    shell: &S,
    progress: Option<&mut Progress>,
    after: EventId,
    most: usize,
) -> Result<(Vec<EventId>, Searched), Error> {
    let (mut removed, mut searched) = (Vec::new(), Searched { until: None, read: 0, finished: 0 });
    let Some(progress) = progress else { return Ok((removed, searched)) };
    let stream = shell.stream()?;
    let in_flight = |id| progress.lease().is_some_and(|lease| lease.redelivering.contains(&id));
    for id in progress.exceptions().unfinished_after(after) {
        if searched.read == most {
            return Ok((removed, searched));
        }
        (searched.until, searched.read) = (Some(id), searched.read + 1);
        let is_there = stream.as_ref().is_some_and(|stream| stream.has(id));
        if !is_there && !in_flight(id) {
            removed.push(id);
            searched.finished += 1;
        }
    }
    searched.until = None;
    Ok((removed, searched))
}
