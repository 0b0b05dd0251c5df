//! What the state machine of those who wait has to know of the keys, and does to them.

use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::{Caller, Turn};
use crate::model::rules::ready::{Ready, Taker};
use crate::model::waiting::connections::Departure;
use crate::model::waiting::line::{ANY, Line};
use crate::model::waiting::lines::Lines;
use crate::model::waiting::partitions::{Found, Grant, Partitions, Tenure};
use crate::server::api::cluster;
use crate::server::api::ctx::Ctx;
use crate::server::api::{key, timer};
use crate::server::delivery::{hand_out, leases, state};
use crate::server::keyspace::copies;
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::known_rings;
use crate::server::keyspace::place;
use crate::server::keyspace::place::Place;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::waiting::lines;
use crate::server::waiting::waiter::Client;

/// The keys as one command, callback or sweep sees them.
#[derive(Debug)]
pub(crate) struct Keys<'a>(pub(crate) &'a Ctx);

impl Keys<'_> {
    /// Asks the progress of `place`, which may have none yet.
    fn progress<R>(&self, place: &Place, answer: impl FnOnce(&Progress) -> R) -> Result<R, Error> {
        let state = state::open(self.0, &place.names);
        let beginning = place.beginning();
        Ok(answer(state.progress(&place.line.group)?.unwrap_or(&beginning)))
    }

    /// Changes what is volatile about the progress of `place`, if it has any.
    fn volatile(&self, place: &Place, change: impl FnOnce(&mut Progress)) -> Result<(), Error> {
        state::open(self.0, &place.names).volatile(&place.line.group, change)
    }

    /// Whether the ring of a line exists without its partition: see [`Found::Outside`].
    fn is_outside(&self, line: &Line) -> Result<bool, Error> {
        if !self.0.select_db(line.db) {
            return Ok(false);
        }
        let key = copies::open_at(self.0, &RingNames::of(&line.ring), line.partition);
        let value = key.value::<RingValue>()?;
        Ok(value.is_some_and(|value| value.ring.check_partition(line.partition).is_err()))
    }

    /// Whether the ring of a line exists without its group though there are events: see
    /// [`Found::Orphaned`].
    fn is_orphaned(&self, line: &Line) -> Result<bool, Error> {
        if !self.0.select_db(line.db) {
            return Ok(false);
        }
        let names = RingNames::of(&line.ring);
        let key = copies::open_at(self.0, &names, line.partition);
        let Some(value) = key.value::<RingValue>()? else { return Ok(false) };
        let in_ring = value.ring.check_partition(line.partition).is_ok();
        if !in_ring || value.ring.group(&line.group).is_some() {
            return Ok(false);
        }
        let stream = key::open_read(self.0, &names.partition(line.partition).stream).stream()?;
        Ok(stream.is_some_and(|stream| stream.length() > 0))
    }
}

impl Partitions for Keys<'_> {
    type Handle = Client;
    type Place = Place;

    fn lines<R>(&mut self, act: impl FnOnce(&mut Lines<Client>) -> R) -> R {
        lines::change(act)
    }

    fn wake_at(&mut self, reason: Reason, at_ms: u64) {
        timer::arm(self.0, reason, at_ms);
    }

    fn wake_soon(&mut self, reason: Reason) {
        match reason {
            Reason::Release => timer::tell_soon(self.0),
            reason => timer::soon(self.0, reason),
        }
    }

    fn find(&mut self, line: &Line) -> Result<Found<Place>, Error> {
        if cluster::is_on() && self.0.select_db(line.db) {
            let names = RingNames::of(&line.ring);
            let is_whole = copies::is_whole(self.0, &names, line.partition);
            if !is_whole && !copies::may_act_on(self.0, &names, line.partition) {
                return Ok(Found::Missing);
            }
        }
        Ok(match place::of_line(self.0, line) {
            Some(place) => Found::Place(place),
            None if self.is_orphaned(line)? => Found::Orphaned,
            None if self.is_outside(line)? => Found::Outside,
            None => Found::Missing,
        })
    }

    fn is_away(&mut self, line: &Line) -> bool {
        if line.partition == ANY {
            return cluster::is_on() && known_rings::copies(line.db, &line.ring).is_empty();
        }
        cluster::is_on()
            && self.0.select_db(line.db)
            && !copies::may_act_on(self.0, &RingNames::of(&line.ring), line.partition)
    }

    fn of_ring(&mut self, any: &Line) -> Option<Vec<u32>> {
        if !self.0.select_db(any.db) {
            return None;
        }
        let names = RingNames::of(&any.ring);
        let key = copies::open_any(self.0, &names);
        let value = key.value::<RingValue>().ok()??;
        Some(copies::stored(any.db, &names, value))
    }

    fn tenure(&mut self, place: &Place, now: Now) -> Result<Tenure, Error> {
        self.progress(place, |progress| {
            Tenure::of(progress, lines::scene(&place.line, Some(progress)), now)
        })
    }

    fn turn(&mut self, place: &Place, caller: &Caller, now: Now) -> Result<Turn, Error> {
        leases::turn(self.0, place, caller, now)
    }

    fn is_plain(&mut self, place: &Place) -> Result<bool, Error> {
        self.progress(place, |progress| progress.is_plain(&place.group))
    }

    fn search(&mut self, place: &Place, taker: Taker, now: Now) -> Result<Ready, Error> {
        hand_out::prepare(self.0, place, now, taker)
    }

    fn next_retry_ms(&mut self, place: &Place, now: Now) -> Result<Option<u64>, Error> {
        self.progress(place, |progress| progress.next_due_ms(now))
    }

    fn has_in_flight(&mut self, place: &Place) -> Result<bool, Error> {
        self.progress(place, |progress| {
            progress.lease().is_some_and(|lease| !lease.is_idle(progress.cursor()))
        })
    }

    fn grant(&mut self, place: &Place, grant: Grant<'_>, now: Now) -> Result<(), Error> {
        // Found without a look at the slot, which a search of many partitions spares.
        if cluster::is_on() {
            copies::check_owned(self.0, &place.names)?;
        }
        let Grant { caller, epoch, lease_ms } = grant;
        leases::grant(self.0, place, caller, epoch, now, lease_ms)
    }

    fn lose(&mut self, place: &Place, now: Now) -> Result<(), Error> {
        leases::lose(self.0, place, now)
    }

    fn keep(
        &mut self,
        place: &Place,
        caller: &Caller,
        lease_ms: u64,
        now: Now,
    ) -> Result<(), Error> {
        self.volatile(place, |progress| {
            progress.continue_lease(caller.connection, now, lease_ms);
            progress.call_owner();
        })
    }

    fn call_off(&mut self, client: u64, line: &Line) {
        if !self.0.select_db(line.db) {
            return;
        }
        let names = RingNames::of(&line.ring).partition(line.partition);
        let mut state = state::open(self.0, &names);
        // A key that holds something else by now has no lease.
        let _ = state.volatile(&line.group, |progress| progress.call_off(client));
    }

    fn departure(&mut self, place: &Place, client: u64) -> Result<Departure, Error> {
        self.progress(place, |progress| Departure::of(client, progress.lease()))
    }

    fn abandon(&mut self, place: &Place) -> Result<(), Error> {
        self.volatile(place, Progress::abandon_lease)
    }
}
