//! Handing events out: from the stream straight into the reply.
//!
//! Where delivery is plain (no exceptions, no types) entries are passed on unread. Otherwise the
//! rules of [`crate::model::delivery`] decide step by step.

use super::counters;
use super::ctx::Ctx;
use super::key::Key;
use super::state::Place;
use super::stream::{Entries, Event};
use super::{sweep, waiting};
use crate::model::delivery::{self, Source, Step, step, step_unowned};
use crate::model::effect::Change;
use crate::model::error::Error;
use crate::model::failure::Failure;
use crate::model::ids::EventId;
use crate::model::lease::{Caller, Now};
use crate::model::limits::MAX_SCAN;
use crate::model::progress::Progress;
use crate::model::rights::Ack;

/// Steps that one command takes at most. Each may look at [`MAX_SCAN`] entries, so a group that
/// takes almost none of them is not drained by one command but goes on in the background.
const MAX_STEPS: usize = 8;

/// What a partition has for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Something to hand out.
    Work,
    /// Nothing now.
    Nothing,
    /// Nothing so far: a bounded step was taken, and more may lie behind it.
    Later,
}

/// A partition's stream, open for reading.
struct Open<'k>(&'k Key);

impl Source for Open<'_> {
    type Entry = Event;

    fn after(&self, after: EventId) -> impl Iterator<Item = Event> {
        let mut entries = Entries::after(self.0, after);
        std::iter::from_fn(move || entries.next_event())
    }

    fn get(&self, id: EventId) -> Option<Event> {
        Event::read(self.0, id)
    }
}

impl Ctx {
    /// Replies `[partition, epoch, events]` with what comes next under the lease of `place`: a
    /// redelivery alone, or up to `count` events. False, without a reply, if there is nothing to
    /// give now or no lease. O(log(nodes of the stream) + entries read).
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn deliver(&self, place: &Place, count: u64, now: Now) -> Result<bool, Error> {
        let group = &place.line.group;
        let Some(stream) = self.open_read(&place.names.stream).stream()? else { return Ok(false) };
        let plain = {
            let state = self.open_state(&place.names);
            let Some(progress) = state.progress(group)? else { return Ok(false) };
            progress.is_plain(&place.group)
        };
        if plain {
            return self.deliver_plain(place, &stream, count, now);
        }
        self.deliver_by_steps(place, &stream, count, now)
    }

    fn deliver_plain(
        &self,
        place: &Place,
        stream: &Key,
        count: u64,
        now: Now,
    ) -> Result<bool, Error> {
        let group = &place.line.group;
        let mut state = self.open_state(&place.names);
        let Some(progress) = state.progress(group)? else { return Ok(false) };
        let Some(lease) = progress.lease() else { return Ok(false) };
        let mut entries = Entries::after(stream, lease.position.max(progress.cursor()));
        let Some(mut entry) = entries.next_entry() else { return Ok(false) };
        self.reply_array(3);
        self.reply_integer(place.line.partition.into());
        self.reply_integer(progress.epoch());
        let events = self.reply_array_of_unknown_length();
        let mut given = 0;
        let last = loop {
            let (id, fields) = entry;
            self.reply_event_start(id, fields);
            // The reply promises this many strings, so a field that cannot be read is a null.
            for _ in 0..fields {
                match entries.next_field() {
                    Some((name, value)) => {
                        self.reply_string(name.raw());
                        self.reply_string(value.raw());
                    }
                    None => {
                        self.reply_null();
                        self.reply_null();
                    }
                }
            }
            given += 1;
            if given == count {
                break id;
            }
            match entries.next_entry() {
                Some(next) => entry = next,
                None => break id,
            }
        };
        self.end_array(events, given);
        counters::DELIVERED.add(given);
        state.volatile(group, |progress| progress.hand_out(last, given, given, now))?;
        Ok(true)
    }

    fn deliver_by_steps(
        &self,
        place: &Place,
        stream: &Key,
        count: u64,
        now: Now,
    ) -> Result<bool, Error> {
        let group = &place.line.group;
        for _ in 0..MAX_STEPS {
            let mut state = self.open_state(&place.names);
            let Some(progress) = state.progress(group)? else { return Ok(false) };
            let epoch = progress.epoch();
            let Some(step) = step(progress, &place.group, &Open(stream), now, count) else {
                return Ok(false);
            };
            match step {
                Step::Change(change) => {
                    drop(state);
                    self.change(place, change)?;
                }
                Step::Redeliver(event, attempt) => {
                    self.reply_events(place, epoch, &[(&event, Some(attempt))]);
                    counters::REDELIVERED.add(1);
                    state.volatile(group, |progress| progress.redeliver(event.id, now))?;
                    return Ok(true);
                }
                Step::Give(events, last, scanned) => {
                    let attempt = |event: &Event| {
                        progress.is_suspect(event.id).then(|| progress.attempts(event.id) + 1)
                    };
                    let shown: Vec<_> =
                        events.iter().map(|event| (event, attempt(event))).collect();
                    self.reply_events(place, epoch, &shown);
                    let given = events.len() as u64;
                    state.volatile(group, |p| p.hand_out(last, scanned, given, now))?;
                    return Ok(true);
                }
                Step::Nothing(last, scanned) => {
                    state.volatile(group, |p| p.hand_out(last, scanned, 0, now))?;
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    /// Finds out whether there is anything to hand out in `place`, to its owner if `owned`, else to
    /// whoever gets the lease next. Applies what has to be applied before, so that the same entries
    /// are not looked at over and over.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn prepare(&self, place: &Place, now: Now, owned: bool) -> Result<Ready, Error> {
        let group = &place.line.group;
        let Some(stream) = self.open_read(&place.names.stream).stream()? else {
            return Ok(Ready::Nothing);
        };
        for _ in 0..MAX_STEPS {
            let mut state = self.open_state(&place.names);
            let beginning = place.beginning();
            let progress = state.progress(group)?.unwrap_or(&beginning);
            let era = waiting::era();
            let lease = progress.lease().filter(|lease| owned && lease.era == era);
            if progress.is_plain(&place.group) {
                let cursor = progress.cursor();
                let after = lease.map_or(cursor, |lease| lease.position.max(cursor));
                let found = Entries::after(&stream, after).next_entry().is_some();
                return Ok(if found { Ready::Work } else { Ready::Nothing });
            }
            let step = match lease {
                Some(_) => step(progress, &place.group, &Open(&stream), now, 1),
                None => Some(step_unowned(progress, &place.group, &Open(&stream), now)),
            };
            match step {
                None => return Ok(Ready::Nothing),
                Some(Step::Redeliver(..) | Step::Give(..)) => return Ok(Ready::Work),
                Some(Step::Nothing(last, scanned)) => {
                    if lease.is_some() {
                        state.volatile(group, |p| p.hand_out(last, scanned, 0, now))?;
                    }
                    return Ok(if scanned < MAX_SCAN { Ready::Nothing } else { Ready::Later });
                }
                Some(Step::Change(change)) => {
                    let begins = state.progress(group)?.is_none();
                    drop(state);
                    if begins {
                        // Epoch 0 is nobody's; with it the group has progress that can change.
                        let start = place.group.start(place.line.partition);
                        self.change(place, Change::Epoch { epoch: 0, start })?;
                    }
                    self.change(place, change)?;
                }
            }
        }
        Ok(Ready::Later)
    }

    /// Something was answered under the lease of `place`. If EVQ.CONSUME * took it, it is anybody's
    /// once nothing is in flight, so the cursor passes now what holds it up no longer, and a
    /// worker that stands in line for this partition gets it.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn share(&self, place: &Place, now: Now) -> Result<(), Error> {
        let group = &place.line.group;
        let shared = |progress: &Progress| progress.lease().is_some_and(|lease| lease.shared);
        let reached = {
            let state = self.open_state(&place.names);
            let Some(progress) = state.progress(group)?.filter(|p| shared(p)) else {
                return Ok(());
            };
            // A key that holds something else has nothing to pass.
            let stream = self.open_read(&place.names.stream).stream().ok().flatten();
            stream.and_then(|stream| delivery::reach(progress, &place.group, &Open(&stream)))
        };
        if let Some(reached) = reached {
            self.change(place, Change::Passed(reached))?;
        }
        let state = self.open_state(&place.names);
        let progress = state.progress(group)?;
        let scene = waiting::scene(&place.line, progress);
        if scene.queue && progress.is_some_and(|progress| progress.is_free(now, scene)) {
            sweep::soon(self);
        }
        Ok(())
    }

    /// Decides an EVQ.ACK, see [`delivery::ack`].
    ///
    /// # Errors
    /// As [`Progress::ack`].
    pub(crate) fn decide_ack(
        &self,
        place: &Place,
        progress: &Progress,
        caller: &Caller,
        id: EventId,
    ) -> Result<Ack, Error> {
        let scene = waiting::scene(&place.line, Some(progress));
        if progress.is_plain(&place.group) {
            return progress.ack(caller, scene, id);
        }
        match self.open_read(&place.names.stream).stream() {
            Ok(Some(stream)) => {
                delivery::ack(progress, &place.group, &Open(&stream), caller, scene, id)
            }
            _ => progress.ack(caller, scene, id),
        }
    }

    /// Who is to blame if the lease of `place` is lost now, see [`delivery::loss`]. A key of another
    /// type has nothing in flight.
    ///
    /// # Errors
    /// [`Error::WrongType`] for the delivery state.
    pub(crate) fn loss(&self, place: &Place, now: Now) -> Result<Option<(Event, Change)>, Error> {
        let Ok(Some(stream)) = self.open_read(&place.names.stream).stream() else {
            return Ok(None);
        };
        let state = self.open_state(&place.names);
        let progress = state.progress(&place.line.group)?;
        Ok(progress.and_then(|p| delivery::loss(p, &place.group, &Open(&stream), now)))
    }

    /// Decides an EVQ.NACK, see [`delivery::nack`].
    ///
    /// # Errors
    /// [`Error::WrongType`], and the decision's own.
    pub(crate) fn failure(
        &self,
        place: &Place,
        id: EventId,
        delay_ms: Option<u64>,
        now: Now,
    ) -> Result<Option<(Event, Failure)>, Error> {
        let Some(stream) = self.open_read(&place.names.stream).stream()? else { return Ok(None) };
        let state = self.open_state(&place.names);
        let progress = state.progress(&place.line.group)?.ok_or(Error::Fenced)?;
        delivery::nack(progress, &place.group, &Open(&stream), now, id, delay_ms)
    }

    fn reply_events(&self, place: &Place, epoch: u64, events: &[(&Event, Option<u32>)]) {
        self.reply_array(3);
        self.reply_integer(place.line.partition.into());
        self.reply_integer(epoch);
        self.reply_array(events.len());
        for (event, attempt) in events {
            let fields = event.fields.len() + usize::from(attempt.is_some());
            self.reply_event_start(event.id, fields);
            for (name, value) in &event.fields {
                self.reply_string(name.raw());
                self.reply_string(value.raw());
            }
            if let Some(attempt) = attempt {
                self.reply_bytes(b"attempt");
                self.reply_bytes(attempt.to_string().as_bytes());
            }
        }
        counters::DELIVERED.add(events.len() as u64);
    }

    fn reply_event_start(&self, id: EventId, fields: usize) {
        self.reply_array(2);
        self.reply_id(id);
        self.reply_array(fields * 2);
    }
}
