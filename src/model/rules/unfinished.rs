//! Unfinished exceptions with what they wait for, as EVQ.PENDING and EVQ.STATS show them. The state
//! that is saved says less: an exception that is due may be in flight, or be held by an event of
//! another partition.

use super::gate::Gate;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::progress::exceptions::{Exception, State};
use crate::model::progress::lease::Lease;

/// The thing that an unfinished exception waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// The worker's answer: it was handed out again.
    InFlight,
    /// Its time, in unix ms.
    Retry(u64),
    /// An earlier event of its key.
    Held,
    /// An earlier event of its key that lies in another partition.
    HeldElsewhere {
        /// That partition.
        partition: u32,
        /// The event.
        id: EventId,
    },
    /// An operator.
    Dead,
}

impl Progress {
    /// The unfinished exceptions in the order of ids, each with what it waits for. Without a
    /// `lease` none counts as in flight.
    pub fn unfinished<'a>(
        &'a self,
        lease: Option<&'a Lease>,
        gate: &'a Gate<'a>,
    ) -> impl Iterator<Item = (EventId, &'a Exception, Unfinished)> + 'a {
        let redelivering = move |id| lease.is_some_and(|lease| lease.redelivering.contains(&id));
        self.exceptions.iter().filter_map(move |(id, exception)| {
            let waits_for = match exception.state {
                State::Finished => return None,
                State::Held => Unfinished::Held,
                State::Dead => Unfinished::Dead,
                State::Retry(_) if redelivering(id) => Unfinished::InFlight,
                State::Retry(due_ms) => match gate.holder(exception.key, id) {
                    Some((partition, id)) => Unfinished::HeldElsewhere { partition, id },
                    None => Unfinished::Retry(due_ms),
                },
            };
            Some((id, exception, waits_for))
        })
    }
}
