//! Failures: the fate of an event whose handling failed, decided here and applied as an effect.
//! Also the verdicts of an operator about dead events, which start again or are given up.

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::MAX_EXCEPTIONS;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::exceptions::{Exception, State};
use crate::model::ring::group::{Group, OnDead};
use crate::model::saved::effect::{Change, Failure, Fate};

/// A failure as the worker reports it: what EVQ.NACK says. An option of that command is a field
/// here, and reaches the decision without passing through anybody's hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// The event.
    pub id: EventId,
    /// Replaces the group's backoff.
    pub delay_ms: Option<u64>,
    /// What the worker says, for the dead letter.
    pub reason: &'a [u8],
}

impl Refusal<'_> {
    /// A failure of which nothing is said.
    #[must_use]
    pub fn of(id: EventId) -> Self {
        Self { id, ..Self::default() }
    }
}

impl Progress {
    /// Decides the failure of an event in flight. `later` are the events of its key that were
    /// handed out after it; those that are no exceptions yet become held.
    ///
    /// # Errors
    /// [`Error::Limit`] if the exceptions would not fit.
    pub fn fail(
        &self,
        group: &Group,
        now: Now,
        refusal: &Refusal<'_>,
        key: u128,
        later: &[EventId],
    ) -> Result<Failure, Error> {
        let failure = self.failure(group, now, refusal, key, later);
        let new = usize::from(self.exceptions.get(refusal.id).is_none());
        self.check_room(failure.held.len() + new)?;
        Ok(failure)
    }

    /// Decides a failure, whether or not there is room for its exceptions.
    fn failure(
        &self,
        group: &Group,
        now: Now,
        refusal: &Refusal<'_>,
        key: u128,
        later: &[EventId],
    ) -> Failure {
        let Refusal { id, delay_ms, .. } = *refusal;
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
        Failure { id, key, attempts, first_ms, fate, held }
    }

    /// Decides what it means for the event `id` that it was alone in flight when a lease was lost.
    ///
    /// There is room even at the bound: dead events that hold their keys have twice as much, see
    /// [`Progress::offer`], and one that is skipped is no exception any more as soon as the cursor
    /// passes it, before anything else is handed out.
    #[must_use]
    pub fn blame(&self, group: &Group, now: Now, id: EventId, key: u128) -> Change {
        let attempts = self.attempts(id).saturating_add(1);
        if self.exceptions.get(id).is_none() && attempts < group.max_attempts {
            return Change::Suspected(id, attempts);
        }
        let at_once = Refusal { delay_ms: Some(0), ..Refusal::of(id) };
        Change::Failed(self.failure(group, now, &at_once, key, &[]))
    }

    /// Decides an operator's EVQ.DEAD RETRY of the event `id`: none if it is not over anyway, as
    /// after an EVQ.SEEK to before it.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is no room for one more exception.
    pub fn retry(&self, id: EventId, key: u128) -> Result<Option<Change>, Error> {
        let over = match self.exceptions.get(id).map(|exception| exception.state) {
            Some(state) => matches!(state, State::Dead | State::Finished),
            None => id <= self.cursor,
        };
        if !over {
            return Ok(None);
        }
        self.check_room(usize::from(self.exceptions.get(id).is_none()))?;
        Ok(Some(Change::Revived(id, key)))
    }

    /// Decides an operator's EVQ.DEAD SKIP of the event `id`: none if nothing waits for it.
    #[must_use]
    pub fn skip(&self, id: EventId) -> Option<Change> {
        let dead = self.exceptions.get(id).is_some_and(Exception::is_dead);
        dead.then_some(Change::Dropped(id))
    }

    /// Refuses so many more exceptions where there is no room.
    pub(in crate::model) fn check_room(&self, more: usize) -> Result<(), Error> {
        if self.exceptions.len() + more > MAX_EXCEPTIONS {
            let what = "retried and held events of a group in a partition";
            return Err(Error::Limit(what, MAX_EXCEPTIONS as u64));
        }
        Ok(())
    }

    /// Saved: a failure.
    pub(in crate::model) fn failed(&mut self, failure: &Failure) {
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
        self.suspect.take_if(|suspect| suspect.id == *id);
        match fate {
            Fate::Retry(_) => self.totals.retries += 1,
            Fate::Dead | Fate::Skipped => self.totals.dead += 1,
        }
        self.answered(*id);
    }
}
