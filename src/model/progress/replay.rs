//! The effect of EVQ.REPLAY on a group's progress: events of one key are handed out again.

use super::Progress;
use super::exceptions::{Exception, State};
use crate::model::ids::EventId;

impl Progress {
    /// Saved: these events of `key`, in the order of ids, are handed out again from attempt 1: the
    /// first is due, the others are held behind it. None of them is in flight any more. Unfinished
    /// exceptions of the key that are not among them cannot be handed out, so they are over.
    pub(in crate::model) fn replay(&mut self, key: u128, events: &[EventId]) {
        let unfinished: Vec<EventId> = self.exceptions.of_key(key).collect();
        for id in unfinished.into_iter().filter(|id| events.binary_search(id).is_err()) {
            self.drop_exception(id);
        }
        let states = [State::Retry(0)].into_iter().chain(std::iter::repeat(State::Held));
        for (id, state) in events.iter().copied().zip(states) {
            // What was in flight when a lease was lost and was not answered comes alone as before.
            if self.is_in_care(id) && self.exceptions.get(id).is_none() {
                self.careful.redelivered.insert(id);
            }
            self.exceptions.set(id, Exception { key, attempts: 0, first_ms: 0, state });
            if let Some(lease) = &mut self.lease {
                lease.redelivering.remove(&id);
                lease.refused.remove(&id);
            }
        }
        if let Some(lease) = &mut self.lease {
            lease.revived.remove(&key);
        }
        self.suspect.take_if(|suspect| events.binary_search(&suspect.id).is_ok());
    }
}
