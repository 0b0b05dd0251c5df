//! How far a group is from the end of a resize: the events from before it that it has not finished.

use super::ctx::Ctx;
use super::key::Key;
use super::lag::Lag;
use super::state::Place;
use super::stream::Entries;
use super::xinfo::Info;
use crate::model::delivery::Entry;
use crate::model::error::Error;
use crate::model::exceptions::State;
use crate::model::history::End;
use crate::model::progress::Progress;

/// Entries that are counted one by one.
const MAX_COUNTED: usize = 1000;

impl Ctx {
    /// How many events of a place up to `end` its group has not finished. For a group that is far
    /// behind they are not counted one by one: then it is exact only where its lag was counted, and
    /// else all that is left of before. O([`MAX_COUNTED`]).
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn unfinished_until(&self, place: &Place, end: End) -> Result<Lag, Error> {
        let Some(stream) = self.open_read(&place.names.stream).stream()? else {
            return Ok(Lag { events: 0, exact: true });
        };
        let (passed, above) = {
            let state = self.open_state(&place.names);
            let beginning = place.beginning();
            let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
            let exceptions = progress.exceptions().iter().filter(|(id, exception)| {
                let passed = *id <= end.last && *id <= progress.cursor();
                passed && exception.state != State::Finished && Entries::has(&stream, *id)
            });
            (exceptions.count() as u64, count_above(place, progress, &stream, end))
        };
        if let Some(above) = above {
            return Ok(Lag { events: passed + above, exact: true });
        }
        drop(stream);
        let info = Info::of(self, &place.names.stream)?;
        // What is left of before: EVQ.RING is asked often, and must not count it.
        let before = info.length.saturating_sub(info.added.saturating_sub(end.added));
        let state = self.open_state(&place.names);
        let progress = state.progress(&place.line.group)?;
        let counted = progress.and_then(|progress| {
            progress.counted().filter(|c| c.stamp == info.stamp() && c.cursor == progress.cursor())
        });
        let below = counted.map_or(0, |counted| counted.below);
        let exact = counted.is_some() && place.group.types.is_empty();
        Ok(Lag { events: before.saturating_sub(below) + passed, exact })
    }
}

/// Entries above the cursor and up to `end` that are not finished, if there are few enough to look.
fn count_above(place: &Place, progress: &Progress, stream: &Key, end: End) -> Option<u64> {
    let typed = !place.group.types.is_empty();
    let mut entries = Entries::after(stream, progress.cursor());
    // The fields are only read where the type matters.
    let mut next = || match typed {
        true => entries.next_event().map(|event| (event.id, place.group.takes(event.kind()))),
        false => entries.next_entry().map(|(id, _)| (id, true)),
    };
    let mut above = 0;
    for _ in 0..MAX_COUNTED {
        let Some((id, taken)) = next().filter(|(id, _)| *id <= end.last) else {
            return Some(above);
        };
        let exception = progress.exceptions().get(id);
        let finished = exception.is_some_and(|exception| exception.state == State::Finished);
        above += u64::from(taken && !finished);
    }
    None
}
