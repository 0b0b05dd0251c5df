//! Who takes a group further: grants, lost leases, acknowledgements and failures, from the
//! decision in the model to the effect on the wire.

use super::ctx::Ctx;
use super::dead::Letter;
use super::names::RingNames;
use super::state::Place;
use super::stream::Event;
use super::{blocking, counters, waiting};
use crate::model::delivery::Entry;
use crate::model::effect::Change;
use crate::model::error::Error;
use crate::model::failure::{Failure, Fate};
use crate::model::hash::digest;
use crate::model::ids::EventId;
use crate::model::lease::{Caller, Lease, Now, Scene, Turn};
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::model::rights::Ack;

/// What an acknowledgement did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    /// It finished something, and has to be replicated.
    pub(crate) finishes: bool,
    /// [`Ctx::share`] has to follow that.
    pub(crate) shared: bool,
}

impl Ctx {
    /// Decides a CONSUME.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn turn(&self, place: &Place, caller: &Caller, now: Now) -> Result<Turn, Error> {
        self.decide_turn(place, caller, now, |scene| scene)
    }

    /// Decides a CONSUME whose turn has come after it had waited: nobody was before it, even if
    /// the lease it had is gone with its key.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn next_turn(
        &self,
        place: &Place,
        caller: &Caller,
        now: Now,
    ) -> Result<Turn, Error> {
        self.decide_turn(place, caller, now, |scene| Scene { queue: false, ..scene })
    }

    fn decide_turn(
        &self,
        place: &Place,
        caller: &Caller,
        now: Now,
        seen: impl FnOnce(Scene) -> Scene,
    ) -> Result<Turn, Error> {
        let state = self.open_state(&place.names);
        let progress = state.progress(&place.line.group)?;
        let scene = seen(waiting::scene(&place.line, progress));
        Ok(progress.unwrap_or(&place.beginning()).turn(caller, now, scene))
    }

    /// Issues `epoch` to `caller`, which fences whoever had the lease; a client that is blocked
    /// under the old lease learns so.
    ///
    /// # Errors
    /// [`Error::WrongType`]; nothing has changed then.
    pub(crate) fn grant(
        &self,
        place: &Place,
        caller: &Caller,
        epoch: u64,
        now: Now,
        lease_ms: u64,
    ) -> Result<(), Error> {
        if self.is_lost(place, caller, now)? {
            self.lose_lease(place, now)?;
        }
        let start = place.group.start(place.line.partition);
        self.change(place, Change::Epoch { epoch, start })?;
        self.open_state(&place.names).volatile(&place.line.group, |progress| {
            progress.begin_lease(caller, now, lease_ms, waiting::era());
        })?;
        counters::GRANTS.add(1);
        blocking::fence_owner(self, &place.line, caller.connection);
        Ok(())
    }

    /// Whether the lease that a grant replaces was lost. It was not if its own worker asks again by
    /// its name while its connection lives: then a reply got lost, and nobody is to blame.
    fn is_lost(&self, place: &Place, caller: &Caller, now: Now) -> Result<bool, Error> {
        let state = self.open_state(&place.names);
        let Some(progress) = state.progress(&place.line.group)? else { return Ok(false) };
        let Some(lease) = progress.lease() else { return Ok(false) };
        let same = lease.worker.is_some() && lease.worker == caller.worker;
        let scene = waiting::scene(&place.line, Some(progress));
        Ok(!same || lease.abandoned || scene.owner_gone || progress.is_free(now, scene))
    }

    /// Ends a lease that was lost by a closed connection, expiry or a takeover. An event that was
    /// alone in flight has failed with it; of several, none is blamed.
    ///
    /// # Errors
    /// [`Error::WrongType`]; nothing has changed then.
    pub(crate) fn lose_lease(&self, place: &Place, now: Now) -> Result<(), Error> {
        let group = &place.line.group;
        let worker = {
            let state = self.open_state(&place.names);
            let lease = state.progress(group)?.and_then(Progress::lease);
            lease.filter(|lease| lease.era == waiting::era()).map(worker_of)
        };
        if let Some(worker) = worker
            && let Some(event) = self.alone_in_flight(place)?
        {
            self.blame(place, &event, worker, now)?;
        }
        self.open_state(&place.names).volatile(group, Progress::lose_lease)
    }

    fn blame(&self, place: &Place, event: &Event, worker: String, now: Now) -> Result<(), Error> {
        let group = &place.line.group;
        let state = self.open_state(&place.names);
        let Some(progress) = state.progress(group)? else { return Ok(()) };
        let attempts = progress.attempts(event.id) + 1;
        let fresh = progress.exceptions().get(event.id).is_none();
        if fresh && attempts < place.group.max_attempts {
            drop(state);
            return self.change(place, Change::Suspected(event.id, attempts));
        }
        let key = digest(event.key());
        let Ok(failure) = progress.fail(&place.group, now, event.id, key, &[], Some(0)) else {
            // No room for one more exception: it is handed out again, uncounted.
            return Ok(());
        };
        drop(state);
        self.record_failure(place, event, failure, worker, b"the worker was lost", now)
    }

    /// Applies a failure, writes the dead letter if it was the last attempt, and replicates both.
    ///
    /// # Errors
    /// [`Error::WrongType`]; nothing has changed then.
    pub(crate) fn record_failure(
        &self,
        place: &Place,
        event: &Event,
        failure: Failure,
        worker: String,
        reason: &[u8],
        now: Now,
    ) -> Result<(), Error> {
        if matches!(failure.fate, Fate::Dead | Fate::Skipped) {
            let letter = Letter { event, failure: &failure, worker, reason, last_ms: now.ms() };
            self.write_letter(place, &letter)?;
            counters::DEAD.add(1);
        } else {
            counters::RETRIES.add(1);
        }
        self.change(place, Change::Failed(failure))?;
        blocking::look_again(self, &place.line);
        Ok(())
    }

    /// Judges an acknowledgement and applies it. Renews the lease.
    ///
    /// # Errors
    /// [`Error::Fenced`], [`Error::BadId`], [`Error::WrongType`]; nothing has changed then.
    pub(crate) fn acknowledge(
        &self,
        place: &Place,
        caller: &Caller,
        id: EventId,
        now: Now,
    ) -> Result<Answered, Error> {
        let group = &place.line.group;
        let mut state = self.open_state(&place.names);
        let progress = state.progress(group)?.ok_or(Error::Fenced)?;
        let shared = progress.lease().is_some_and(|lease| lease.shared);
        let scene = waiting::scene(&place.line, Some(progress));
        let finishes = progress.ack(caller, scene, id)? == Ack::Finishes;
        let watchful = !progress.is_plain(&place.group);
        if let Some(partition) = state.partition()? {
            if finishes {
                partition.acknowledge(group, id);
                self.signal_modified(&place.names.groups);
                counters::ACKS.add(1);
            }
            if let Some(progress) = partition.get_mut(group) {
                progress.renew(now);
            }
        }
        drop(state);
        if finishes && watchful {
            blocking::look_again(self, &place.line);
        }
        Ok(Answered { finishes, shared: finishes && shared })
    }

    /// Applies an acknowledgement that the primary has judged.
    ///
    /// # Errors
    /// [`Error::WrongType`]; nothing has changed then.
    pub(crate) fn replay_acknowledgement(
        &self,
        ring: &Name,
        p: u32,
        group: &Name,
        id: EventId,
    ) -> Result<(), Error> {
        let names = RingNames::of(ring).partition(p);
        if let Some(partition) = self.open_state(&names).partition()? {
            partition.acknowledge(group, id);
            self.signal_modified(&names.groups);
        }
        Ok(())
    }
}

/// How a dead letter names the worker that had the lease.
pub(crate) fn worker_of(lease: &Lease) -> String {
    match (&lease.worker, lease.connection) {
        (Some(name), _) => name.to_string(),
        (None, Some(connection)) => format!("connection {connection}"),
        (None, None) => String::new(),
    }
}
