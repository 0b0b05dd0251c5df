//! What the exceptions of a group add to its lag, and take off it: the cursor has passed some that
//! are not finished, and some above it are finished.

use super::backlog::Budget;
use super::opened::Opened;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::ring::group::Group;
use crate::model::rules::source::Entry;
use crate::server::api::key::Key;
use crate::server::api::stream::{Entries, Event};

/// Exceptions that count, by where they lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Excepted {
    /// Unfinished ones that the cursor has passed.
    pub(super) passed: u64,
    /// Finished ones above the cursor.
    pub(super) finished_above: u64,
    /// Each exception has an entry of a type that the group takes.
    pub(super) whole: bool,
    /// This is so; otherwise the entries of more exceptions would have to be looked for.
    pub(super) known: bool,
}

impl Excepted {
    /// `whole` if each exception is known to have its entry. O(exceptions above the cursor); where
    /// it is not known O(exceptions).
    pub(super) fn of(
        progress: &Progress,
        group: &Group,
        (opened, stream): (&Opened, &Key),
        whole: bool,
        budget: &mut Budget,
    ) -> Self {
        let exceptions = progress.exceptions();
        let by_state = exceptions.by_state();
        let known = whole || exceptions.is_empty();
        // One search may go beyond what is left: it cannot be taken in steps.
        if known || budget.is_spent() {
            let above = exceptions.unfinished_after(progress.cursor()).count() as u64;
            let passed = by_state.unfinished().saturating_sub(above);
            // Retention may have removed the entries of some.
            let finished_above = match by_state.finished {
                0 => 0,
                _ => exceptions.finished_from(opened.first()).count() as u64,
            };
            return Self { passed, finished_above, whole: known, known };
        }
        let mut found = Self { passed: 0, finished_above: 0, whole: true, known: true };
        for (id, exception) in exceptions.iter() {
            budget.spend_for_search();
            let Some(taken) = is_taken(group, stream, id) else {
                found.whole = false;
                continue;
            };
            found.whole &= taken;
            if exception.is_finished() {
                found.finished_above += u64::from(taken);
            } else {
                found.passed += u64::from(id <= progress.cursor());
            }
        }
        found
    }
}

/// Whether the group takes the type of an entry; none if there is no such entry.
fn is_taken(group: &Group, stream: &Key, id: EventId) -> Option<bool> {
    if group.types.is_empty() {
        return Entries::has(stream, id).then_some(true);
    }
    Event::read(stream, id).map(|event| group.takes(event.kind()))
}
