//! Handing events out: from the stream straight into the reply.
//!
//! Where delivery is plain (no exceptions, no types) entries are passed on unread. Otherwise each
//! is looked at: what the group does not take and what is an exception is skipped, what has an
//! exception of its key before it is held, and redeliveries come first, one a reply.

use super::counters;
use super::ctx::Ctx;
use super::key::Key;
use super::state::Place;
use super::stream::{Entries, Event};
use super::waiting;
use crate::model::effect::Change;
use crate::model::error::Error;
use crate::model::hash::digest;
use crate::model::ids::EventId;
use crate::model::lease::Now;
use crate::model::limits::MAX_SCAN;
use crate::model::progress::{Offer, Progress};

/// What a look at a partition found, without changing anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// There is something to hand out.
    pub(crate) work: bool,
    /// The look ended at its bound: there may be work behind it.
    pub(crate) more: bool,
    /// The cursor may pass up to here: all before it is an exception or not taken.
    pub(crate) reached: EventId,
}

/// Fresh events that were chosen, and what the choice means for the rest.
#[derive(Debug, Default)]
struct Choice {
    give: Vec<Event>,
    hold: Vec<(EventId, u128)>,
    /// The last entry that was looked at, and how many were.
    last: EventId,
    scanned: u64,
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
        self.pass_over(place, &stream)?;
        if self.deliver_due(place, &stream, now)? {
            return Ok(true);
        }
        self.deliver_chosen(place, &stream, count, now)
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
            self.reply_event_start(id, fields, None);
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

    /// Moves the cursor over exceptions and over what the group does not take.
    fn pass_over(&self, place: &Place, stream: &Key) -> Result<(), Error> {
        let reached = {
            let state = self.open_state(&place.names);
            let Some(progress) = state.progress(&place.line.group)? else { return Ok(()) };
            reach(place, progress, stream).0
        };
        if let Some(reached) = reached {
            self.change(place, Change::Passed(reached))
        } else {
            Ok(())
        }
    }

    fn deliver_due(&self, place: &Place, stream: &Key, now: Now) -> Result<bool, Error> {
        let group = &place.line.group;
        loop {
            let mut state = self.open_state(&place.names);
            let Some(progress) = state.progress(group)? else { return Ok(false) };
            let Some(lease) = progress.lease() else { return Ok(false) };
            let Some(id) = progress.due(lease, now) else { return Ok(false) };
            if let Some(event) = Event::read(stream, id) {
                let attempt = progress.attempts(id) + 1;
                self.reply_array(3);
                self.reply_integer(place.line.partition.into());
                self.reply_integer(progress.epoch());
                self.reply_array(1);
                self.reply_event(&event, Some(attempt));
                counters::DELIVERED.add(1);
                counters::REDELIVERED.add(1);
                state.volatile(group, |progress| progress.redeliver(id, now))?;
                return Ok(true);
            }
            // Its entry was deleted by hand: that finishes it.
            drop(state);
            self.change(place, Change::Dropped(id))?;
        }
    }

    fn deliver_chosen(
        &self,
        place: &Place,
        stream: &Key,
        count: u64,
        now: Now,
    ) -> Result<bool, Error> {
        let group = &place.line.group;
        let (choice, epoch, idle) = {
            let state = self.open_state(&place.names);
            let Some(progress) = state.progress(group)? else { return Ok(false) };
            let Some(lease) = progress.lease() else { return Ok(false) };
            let count = count.min(progress.fresh_allowed(lease));
            if count == 0 {
                return Ok(false);
            }
            let after = lease.position.max(progress.cursor());
            let idle = lease.is_idle(progress.cursor());
            (choose(place, progress, stream, after, count), progress.epoch(), idle)
        };
        if choice.scanned == 0 {
            return Ok(false);
        }
        if !choice.hold.is_empty() {
            self.change(place, Change::Held(choice.hold))?;
        }
        if choice.give.is_empty() && idle {
            self.change(place, Change::Passed(choice.last))?;
        }
        let given = choice.give.len() as u64;
        if given > 0 {
            self.reply_array(3);
            self.reply_integer(place.line.partition.into());
            self.reply_integer(epoch);
            self.reply_array(choice.give.len());
            let state = self.open_state(&place.names);
            let progress = state.progress(group)?.cloned().unwrap_or_default();
            for event in &choice.give {
                let suspect = progress.is_suspect(event.id);
                self.reply_event(event, suspect.then(|| progress.attempts(event.id) + 1));
            }
            counters::DELIVERED.add(given);
        }
        let (last, scanned) = (choice.last, choice.scanned);
        self.open_state(&place.names)
            .volatile(group, |progress| progress.hand_out(last, scanned, given, now))?;
        Ok(given > 0)
    }

    /// Looks whether the group has anything to be handed out, under its lease if `leased`, else
    /// from its cursor as the next owner would. Changes nothing.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn look(&self, place: &Place, now: Now, leased: bool) -> Result<Look, Error> {
        let Some(stream) = self.open_read(&place.names.stream).stream()? else {
            return Ok(Look::default());
        };
        let state = self.open_state(&place.names);
        let beginning = place.beginning();
        let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
        let cursor = progress.cursor();
        let lease = progress.lease().filter(|lease| leased && lease.era == waiting::era());
        if lease.is_some_and(|lease| progress.fresh_allowed(lease) == 0) {
            return Ok(Look::default());
        }
        let after = lease.map_or(cursor, |lease| lease.position.max(cursor));
        if progress.is_plain(&place.group) {
            let work = Entries::after(&stream, after).next_entry().is_some();
            return Ok(Look { work, ..Look::default() });
        }
        let (reached, more) = reach(place, progress, &stream);
        let reached = reached.unwrap_or(cursor);
        let in_flight = |id| lease.is_some_and(|lease| lease.redelivering.contains(&id));
        let mut due = progress.exceptions().retries().take_while(|(at, _)| *at <= now.ms());
        if due.any(|(_, id)| id <= reached && !in_flight(id)) {
            return Ok(Look { work: true, more, reached });
        }
        let choice = choose(place, progress, &stream, after, 1);
        let more = more || choice.scanned >= MAX_SCAN;
        Ok(Look { work: !choice.give.is_empty(), more, reached })
    }

    /// Persists what a look found to be passed, for a group that nobody pulls for just now.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn pass_to(&self, place: &Place, reached: EventId) -> Result<(), Error> {
        let behind = {
            let state = self.open_state(&place.names);
            state.progress(&place.line.group)?.is_some_and(|progress| progress.cursor() < reached)
        };
        if behind { self.change(place, Change::Passed(reached)) } else { Ok(()) }
    }

    fn reply_event(&self, event: &Event, attempt: Option<u32>) {
        self.reply_event_start(event.id, event.fields.len(), attempt);
        for (name, value) in &event.fields {
            self.reply_string(name.raw());
            self.reply_string(value.raw());
        }
        self.reply_attempt(attempt);
    }

    fn reply_event_start(&self, id: EventId, fields: usize, attempt: Option<u32>) {
        self.reply_array(2);
        self.reply_id(id);
        self.reply_array((fields + usize::from(attempt.is_some())) * 2);
    }

    fn reply_attempt(&self, attempt: Option<u32>) {
        if let Some(attempt) = attempt {
            self.reply_bytes(b"attempt");
            self.reply_bytes(attempt.to_string().as_bytes());
        }
    }
}

/// How far the cursor may pass from where it stands, if at all, and whether the bound was reached.
fn reach(place: &Place, progress: &Progress, stream: &Key) -> (Option<EventId>, bool) {
    let typed = !place.group.types.is_empty();
    if !typed && progress.exceptions().above(progress.cursor()).next().is_none() {
        return (None, false);
    }
    let mut reached = None;
    let mut entries = Entries::after(stream, progress.cursor());
    for _ in 0..MAX_SCAN {
        let Some(event) = entries.next_event() else { return (reached, false) };
        let passable =
            progress.exceptions().get(event.id).is_some() || !place.group.takes(event.kind());
        if !passable {
            return (reached, false);
        }
        reached = Some(event.id);
    }
    (reached, true)
}

/// Reads on from `after` until `count` events are chosen.
fn choose(place: &Place, progress: &Progress, stream: &Key, after: EventId, count: u64) -> Choice {
    let mut choice = Choice { last: after, ..Choice::default() };
    let mut held = std::collections::HashSet::new();
    let mut entries = Entries::after(stream, after);
    while choice.scanned < MAX_SCAN.max(count) && (choice.give.len() as u64) < count {
        let Some(event) = entries.next_event() else { break };
        let (id, key) = (event.id, digest(event.key()));
        let offer = progress.offer(
            &place.group,
            id,
            key,
            event.kind(),
            choice.hold.len(),
            held.contains(&key),
        );
        match offer {
            Offer::Give => choice.give.push(event),
            Offer::Skip => {}
            Offer::Hold => {
                choice.hold.push((id, key));
                held.insert(key);
            }
            Offer::Wait => break,
        }
        choice.last = id;
        choice.scanned += 1;
    }
    choice
}
