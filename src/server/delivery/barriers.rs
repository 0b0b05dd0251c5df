//! Barriers in front of a partition's events after a resize: reads from the other partitions what
//! [`crate::model::rules::gate`] decides by.
//!
//! Here the other partitions are keys of the same server, read each time. Nothing is kept, so
//! nothing goes stale. The user's permissions for them do not matter: what is read decides when an
//! event is handed out, and all that is shown of it is the id of an event that others wait for.

use std::sync::Arc;

use super::state;
use super::state::DeliveryState;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::ring::history::{History, Upstream};
use crate::model::rules::gate::{Drained, Gate, drained};
use crate::model::saved::effect::Change;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::api::stream::Open;
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::line::Line;
use crate::server::keyspace::place::Place;

/// How often one command moves cursors of other partitions over what its group does not take, each
/// time after up to [`crate::model::limits::MAX_SCAN`] entries. There is more time later.
const MAX_PASSES: usize = 4;

/// The barriers in front of a place, as they are during one command.
#[derive(Debug)]
pub(crate) struct Barriers {
    history: Arc<History>,
    partition: u32,
    closed_after: Option<EventId>,
    /// The other partitions upstream whose exceptions count, open for reading.
    elsewhere: Vec<(u32, DeliveryState)>,
    /// Whether any of them has one.
    any_elsewhere: bool,
}

impl Barriers {
    /// These barriers as the rules take them.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn gate<'a>(&'a self, place: &Place) -> Result<Gate<'a>, Error> {
        let mut elsewhere = Vec::with_capacity(self.elsewhere.len());
        for (partition, state) in &self.elsewhere {
            if let Some(progress) = state.progress(&place.line.group)? {
                elsewhere.push((*partition, progress.exceptions()));
            }
        }
        Ok(Gate::new(&self.history, self.partition, self.closed_after, elsewhere))
    }

    /// Whether they let everything pass.
    pub(crate) fn are_open(&self) -> bool {
        self.closed_after.is_none() && !self.any_elsewhere
    }
}

impl Place {
    /// The place of this group in another partition of the ring.
    fn at(&self, partition: u32) -> Self {
        Self {
            names: RingNames::of(&self.line.ring).partition(partition),
            line: Line { partition, ..self.line.clone() },
            ..self.clone()
        }
    }

    /// Whether an acknowledgement, before which its group had this cursor and so many exceptions
    /// here, may let events go on that wait in other partitions.
    pub(crate) fn may_open(&self, cursor: EventId, exceptions: usize, after: &Progress) -> bool {
        let Some(history) = &self.history else { return false };
        // A group that takes some types only has finished with an end before its cursor is there.
        let typed = !self.group.types.is_empty() && cursor < history.last_end(self.line.partition);
        let finished = after.exceptions().len() != exceptions;
        typed || finished || history.is_crossed(self.line.partition, cursor, after.cursor())
    }
}

/// The barriers in front of a place; none if its partition never gained keys by a resize that
/// is still of concern. O(partitions upstream), and more while one is closed.
///
/// # Errors
/// [`Error::WrongType`] if the delivery state of another partition is none.
pub(crate) fn of(ctx: &Ctx, place: &Place) -> Result<Option<Barriers>, Error> {
    find(ctx, place, MAX_PASSES)
}

/// The barriers as commands see them that only read: what would have to be saved on the way counts
/// as unfinished.
///
/// # Errors
/// As [`of`].
pub(crate) fn as_seen(ctx: &Ctx, place: &Place) -> Result<Option<Barriers>, Error> {
    find(ctx, place, 0)
}

fn find(ctx: &Ctx, place: &Place, passes: usize) -> Result<Option<Barriers>, Error> {
    let partition = place.line.partition;
    let Some(history) = &place.history else { return Ok(None) };
    let upstream = history.all_upstream(partition);
    if upstream.is_empty() {
        return Ok(None);
    }
    let ring = RingNames::of(&place.line.ring);
    let (mut failed, mut passes) = (None, passes);
    let closed_after = history.closed_after(partition, |upstream| {
        is_drained(ctx, place, &ring, upstream, &mut passes).unwrap_or_else(|error| {
            failed = Some(error);
            false
        })
    });
    if let Some(error) = failed {
        return Err(error);
    }
    let (mut elsewhere, mut any_elsewhere) = (Vec::new(), false);
    for other in upstream.iter().copied().filter(|other| *other != partition) {
        let names = ring.partition(other);
        let mut state = state::open(ctx, &names);
        let saved = state.partition()?;
        let Some(progress) = saved.and_then(|p| p.get_mut(&place.line.group)) else {
            continue;
        };
        // Where there are none now, they are remembered all the same: nothing is to be asked
        // anew because the last one is gone, or the next one comes.
        if !progress.exceptions().is_empty() {
            // What failed and was deleted with its whole stream holds nobody.
            let stream = key::open_read(ctx, &names.stream).stream().ok().flatten();
            if stream.is_none_or(|stream| stream.length() == 0) {
                continue;
            }
            any_elsewhere = true;
        }
        progress.keep_ends();
        elsewhere.push((other, state));
    }
    let history = Arc::clone(history);
    Ok(Some(Barriers { history, partition, closed_after, elsewhere, any_elsewhere }))
}

/// Whether the group of `place` has finished what comes first in another partition. A key of
/// another type holds no events.
fn is_drained(
    ctx: &Ctx,
    place: &Place,
    ring: &RingNames,
    upstream: Upstream,
    passes: &mut usize,
) -> Result<bool, Error> {
    let Upstream { partition, until } = upstream;
    let names = ring.partition(partition);
    loop {
        let (passed, done) = {
            let state = state::open(ctx, &names);
            let progress = state.progress(&place.line.group)?;
            if progress.is_some_and(|progress| progress.cursor() >= until) {
                return Ok(true);
            }
            let beginning = Progress::new(place.group.start(partition));
            let Ok(Some(stream)) = key::open_read(ctx, &names.stream).stream() else {
                return Ok(true);
            };
            let progress = progress.unwrap_or(&beginning);
            match drained(progress, &place.group, &Open(&stream), until) {
                Drained::Yes => return Ok(true),
                Drained::No(_) => return Ok(false),
                Drained::YesUpTo(id) => (id, true),
                Drained::SoFar(id) => (id, false),
            }
        };
        let Some(left) = passes.checked_sub(1) else { return Ok(done) };
        *passes = left;
        // What the group does not take need not be looked at again.
        let other = place.at(partition);
        begin(ctx, &other)?;
        state::change(ctx, &other, Change::Passed(passed))?;
        if done {
            return Ok(true);
        }
    }
}

/// A group that has no progress in a place yet gets some, which can change. Epoch 0 is nobody's.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn begin(ctx: &Ctx, place: &Place) -> Result<(), Error> {
    if state::open(ctx, &place.names).progress(&place.line.group)?.is_some() {
        return Ok(());
    }
    let start = place.group.start(place.line.partition);
    state::change(ctx, place, Change::Epoch { epoch: 0, start })
}
