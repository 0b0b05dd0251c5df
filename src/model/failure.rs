//! What a failure does: decided here, applied as an effect.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::exceptions::{Exception, State};
use super::group::{Group, OnDead};
use super::ids::EventId;
use super::lease::Now;
use super::limits::MAX_EXCEPTIONS;
use super::progress::Progress;

/// What a failure does to its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fate {
    /// It is handed out again at this unix time in ms.
    Retry(u64),
    /// It is dead and holds its key.
    Dead,
    /// It is dead and its key goes on.
    Skipped,
}

/// A failure that was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The event.
    pub id: EventId,
    /// The digest of its key.
    pub key: u128,
    /// How often it has failed, this time included.
    pub attempts: u32,
    /// When it failed first, in unix ms.
    pub first_ms: u64,
    /// What happens to it.
    pub fate: Fate,
    /// Later events of its key that were handed out already: they are held behind it from now on.
    pub held: Vec<EventId>,
}

impl Progress {
    /// Decides the failure of an event in flight. `later` are the events of its key that were
    /// handed out after it; those that are no exceptions yet become held. `delay_ms` replaces the
    /// group's backoff.
    ///
    /// # Errors
    /// [`Error::Limit`] if the exceptions would not fit.
    pub fn fail(
        &self,
        group: &Group,
        now: Now,
        id: EventId,
        key: u128,
        later: &[EventId],
        delay_ms: Option<u64>,
    ) -> Result<Failure, Error> {
        let attempts = self.attempts(id).saturating_add(1);
        let first_ms = match self.exceptions.get(id) {
            Some(exception) if exception.first_ms > 0 => exception.first_ms,
            _ => now.ms(),
        };
        let fate = if attempts < group.max_attempts {
            let delay_ms = delay_ms.unwrap_or_else(|| group.backoff_ms(attempts));
            Fate::Retry(now.ms().saturating_add(delay_ms))
        } else {
            match group.on_dead {
                OnDead::Hold => Fate::Dead,
                OnDead::Skip => Fate::Skipped,
            }
        };
        // Behind an event that is skipped nothing has to wait.
        let held: Vec<EventId> = match fate {
            Fate::Skipped => Vec::new(),
            Fate::Retry(_) | Fate::Dead => {
                later.iter().copied().filter(|id| self.exceptions.get(*id).is_none()).collect()
            }
        };
        let new = usize::from(self.exceptions.get(id).is_none());
        self.check_room(held.len() + new)?;
        Ok(Failure { id, key, attempts, first_ms, fate, held })
    }

    /// Refuses one more exception where there is no room, unless `id` is one already.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub fn check_room_for(&self, id: EventId) -> Result<(), Error> {
        self.check_room(usize::from(self.exceptions.get(id).is_none()))
    }

    pub(super) fn check_room(&self, more: usize) -> Result<(), Error> {
        if self.exceptions.len() + more > MAX_EXCEPTIONS {
            let what = "events of a group that wait for a retry or are held in a partition";
            return Err(Error::Limit(what, MAX_EXCEPTIONS as u64));
        }
        Ok(())
    }

    /// Saved: a failure.
    pub(super) fn failed(&mut self, failure: &Failure) {
        let Failure { id, key, attempts, first_ms, fate, held } = failure;
        let state = match fate {
            Fate::Retry(due_ms) => State::Retry(*due_ms),
            Fate::Dead => State::Dead,
            Fate::Skipped => State::Finished,
        };
        let exception = Exception { key: *key, attempts: *attempts, first_ms: *first_ms, state };
        self.exceptions.set(*id, exception);
        for id in held {
            self.hold(*id, *key);
        }
        if *fate == Fate::Skipped {
            self.exceptions.pass(self.cursor);
            self.exceptions.release(*key);
        }
        self.suspect.take_if(|(suspect, _)| suspect == id);
        match fate {
            Fate::Retry(_) => self.totals.retries += 1,
            Fate::Dead | Fate::Skipped => self.totals.dead += 1,
        }
        if let Some(lease) = &mut self.lease {
            lease.redelivering.remove(id);
        }
    }
}
