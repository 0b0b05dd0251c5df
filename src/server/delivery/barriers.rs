//! What stands between a group and a partition's events because keys moved to it: finds out what
//! [`crate::model::rules::gate`] needs to know of the other partitions.
//!
//! Here the other partitions are keys of the same server, looked at each time. Nothing is kept, so
//! nothing goes stale. No user's permission is needed: what is read decides when an event is handed
//! out, and all that is shown of it is the id of an event that others wait for.

use std::sync::Arc;

use super::state;
use super::state::DeliveryState;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::ring::history::{History, Upstream};
use crate::model::rules::gate::Gate;
use crate::model::rules::shell::Acknowledged;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::line::Line;
use crate::server::keyspace::place::Place;

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
    /// The gate that they are for the rules.
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

/// Whether an acknowledgement at a place may let events go on that wait in other partitions.
pub(crate) fn may_open(place: &Place, acknowledged: &Acknowledged) -> bool {
    let Some(history) = &place.history else { return false };
    let (partition, Acknowledged { before, after, .. }) = (place.line.partition, acknowledged);
    // A group that takes some types only has finished with an end before its cursor is there.
    let typed = !place.group.types.is_empty() && before.cursor < history.last_end(partition);
    let finished = after.exceptions != before.exceptions;
    typed || finished || history.is_crossed(partition, before.cursor, after.cursor)
}

/// The barriers in front of a place; none if its partition never gained keys by a resize that is
/// still of concern. `drain` finds out whether the group has finished the events of another place
/// up to an id. O(partitions upstream), and more while one is closed.
///
/// # Errors
/// [`Error::WrongType`] if the delivery state of another partition is none.
pub(super) fn find(
    ctx: &Ctx,
    place: &Place,
    mut drain: impl FnMut(&Place, EventId) -> Result<bool, Error>,
) -> Result<Option<Barriers>, Error> {
    let partition = place.line.partition;
    let Some(history) = &place.history else { return Ok(None) };
    let upstream = history.all_upstream(partition);
    if upstream.is_empty() {
        return Ok(None);
    }
    let ring = RingNames::of(&place.line.ring);
    let mut failed = None;
    let closed_after = history.closed_after(partition, |upstream| {
        is_drained(ctx, place, &ring, upstream, &mut drain).unwrap_or_else(|error| {
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

/// Whether the group of `place` has finished what comes first in another partition.
fn is_drained(
    ctx: &Ctx,
    place: &Place,
    ring: &RingNames,
    upstream: Upstream,
    drain: impl FnOnce(&Place, EventId) -> Result<bool, Error>,
) -> Result<bool, Error> {
    let Upstream { partition, until } = upstream;
    let names = ring.partition(partition);
    // As a rule it has come past it, and nothing else has to be found there.
    if state::open(ctx, &names).progress(&place.line.group)?.is_some_and(|p| p.cursor() >= until) {
        return Ok(true);
    }
    let line = Line { partition, ..place.line.clone() };
    drain(&Place { names, line, ..place.clone() }, until)
}
