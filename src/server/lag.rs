//! Lag: how many events of a partition a group has not finished.
//!
//! A group that is nearly up to date is counted entry by entry. For one that is far behind, what
//! lies below its cursor is counted once and then kept by acknowledgements, and the stream's own
//! length gives the rest; if anybody removes entries by hand the count is made again, a bounded
//! step a look, and the answer says that it is not exact until then.

use std::ffi::CStr;

use super::ctx::Ctx;
use super::ffi::raw;
use super::key::Key;
use super::state::Place;
use super::stream::{Entries, Event};
use super::sweep;
use super::text::Text;
use crate::model::delivery::Entry;
use crate::model::error::Error;
use crate::model::exceptions::State;
use crate::model::ids::EventId;
use crate::model::limits::MAX_SCAN;
use crate::model::progress::Progress;
use crate::model::totals::Counted;

/// The answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lag {
    /// Events that are not finished.
    pub(crate) events: u64,
    /// Whether that is the truth; if not, the truth is being counted.
    pub(crate) exact: bool,
}

/// What the server knows about a stream.
#[derive(Clone, Copy, Debug, Default)]
struct Info {
    length: u64,
    added: u64,
    first: EventId,
}

impl Ctx {
    /// The lag of a group in a partition. Takes at most a few milliseconds.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn lag(&self, place: &Place) -> Result<Lag, Error> {
        let Some(stream) = self.open_read(&place.names.stream).stream()? else {
            return Ok(Lag { events: 0, exact: true });
        };
        let mut state = self.open_state(&place.names);
        let beginning = place.beginning();
        let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
        let passed = unfinished_below(progress, &stream);
        if let Some(above) = count_above(place, progress, &stream) {
            return Ok(Lag { events: above + passed, exact: true });
        }
        let info = self.info_of(&place.names.stream)?;
        let stamp = (info.added.saturating_sub(info.length), info.first);
        let kept = progress
            .counted()
            .filter(|counted| counted.stamp == stamp && counted.cursor <= progress.cursor());
        let start = Counted { cursor: EventId::ZERO, below: 0, stamp };
        let (counted, done) = count_below(progress, &stream, kept.unwrap_or(start));
        let finished = finished_above(progress);
        let events = info.length.saturating_sub(counted.below).saturating_sub(finished) + passed;
        // Entries of types that the group does not take are only told apart by reading them.
        let exact = done && place.group.types.is_empty();
        state.volatile(&place.line.group, |progress| progress.set_counted(counted))?;
        if !done {
            sweep::count_on(self, place);
        }
        Ok(Lag { events, exact })
    }

    /// The oldest event that the group has not finished.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn oldest_unfinished(&self, place: &Place) -> Result<Option<EventId>, Error> {
        let Some(stream) = self.open_read(&place.names.stream).stream()? else { return Ok(None) };
        let state = self.open_state(&place.names);
        let beginning = place.beginning();
        let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
        let exceptions = progress.exceptions();
        let open = exceptions.iter().filter(|(_, exception)| exception.state != State::Finished);
        let excepted = open.map(|(id, _)| id).find(|id| Event::read(&stream, *id).is_some());
        let mut entries = Entries::after(&stream, progress.cursor());
        let mut next = None;
        for _ in 0..MAX_SCAN {
            let Some(event) = entries.next_event() else { break };
            if place.group.takes(event.kind()) && exceptions.get(event.id).is_none() {
                next = Some(event.id);
                break;
            }
        }
        Ok(excepted.into_iter().chain(next).min())
    }

    /// XINFO STREAM: the only way to learn how many entries were ever added.
    fn info_of(&self, stream: &Text) -> Result<Info, Error> {
        let word = Text::new(b"STREAM");
        let mut arguments = [word.raw(), stream.raw()];
        // SAFETY: "v" takes an array of strings and its length; the reply is freed below.
        unsafe {
            let reply = api!(RedisModule_Call)(
                self.raw(),
                c"XINFO".as_ptr(),
                c"v".as_ptr(),
                arguments.as_mut_ptr(),
                arguments.len(),
            );
            if reply.is_null() {
                return Err(Error::Bug("the server refused XINFO"));
            }
            let first = element_after(reply, c"recorded-first-entry-id").map(text_of);
            let info = Info {
                length: element_after(reply, c"length").map_or(0, integer_of),
                added: element_after(reply, c"entries-added").map_or(0, integer_of),
                first: first.and_then(|text| EventId::parse(&text)).unwrap_or_default(),
            };
            api!(RedisModule_FreeCallReply)(reply);
            Ok(info)
        }
    }
}

type Reply = *mut raw::RedisModuleCallReply;

/// The value after the name `name` in a flat array of names and values.
fn element_after(reply: Reply, name: &CStr) -> Option<Reply> {
    // SAFETY: the reply is live; elements belong to it.
    unsafe {
        let length = api!(RedisModule_CallReplyLength)(reply);
        let element = |index| api!(RedisModule_CallReplyArrayElement)(reply, index);
        let at =
            (0..length).step_by(2).find(|index| text_of(element(*index)) == name.to_bytes())?;
        let value = element(at + 1);
        (!value.is_null()).then_some(value)
    }
}

fn text_of(reply: Reply) -> Vec<u8> {
    let mut length = 0;
    // SAFETY: the reply is live, and its text as long as it is.
    unsafe {
        let text = api!(RedisModule_CallReplyStringPtr)(reply, &mut length);
        if text.is_null() {
            return Vec::new();
        }
        std::slice::from_raw_parts(text.cast(), length).to_vec()
    }
}

fn integer_of(reply: Reply) -> u64 {
    // SAFETY: the reply is live.
    unsafe { api!(RedisModule_CallReplyInteger)(reply) }.try_into().unwrap_or(0)
}

/// Entries above the cursor that the group has to finish, if there are few enough to look.
fn count_above(place: &Place, progress: &Progress, stream: &Key) -> Option<u64> {
    let typed = !place.group.types.is_empty();
    let finished = |id| progress.exceptions().get(id).is_some_and(|e| e.state == State::Finished);
    let mut entries = Entries::after(stream, progress.cursor());
    let mut above = 0;
    for _ in 0..MAX_SCAN {
        let (id, taken) = if typed {
            match entries.next_event() {
                None => return Some(above),
                Some(event) => (event.id, place.group.takes(event.kind())),
            }
        } else {
            match entries.next_entry() {
                None => return Some(above),
                Some((id, _)) => (id, true),
            }
        };
        above += u64::from(taken && !finished(id));
    }
    None
}

/// Counts on towards the cursor, a bounded step; true if it got there.
fn count_below(progress: &Progress, stream: &Key, mut counted: Counted) -> (Counted, bool) {
    let mut entries = Entries::after(stream, counted.cursor);
    for _ in 0..MAX_SCAN {
        match entries.next_entry() {
            Some((id, _)) if id <= progress.cursor() => {
                counted.cursor = id;
                counted.below += 1;
            }
            Some(_) | None => {
                counted.cursor = progress.cursor();
                return (counted, true);
            }
        }
    }
    (counted, false)
}

fn finished_above(progress: &Progress) -> u64 {
    let above = progress.exceptions().above(progress.cursor());
    let finished =
        |id: &EventId| progress.exceptions().get(*id).is_some_and(|e| e.state == State::Finished);
    above.filter(finished).count() as u64
}

/// Exceptions that the cursor has passed and whose entries still exist.
fn unfinished_below(progress: &Progress, stream: &Key) -> u64 {
    let passed = progress.exceptions().iter().filter(|(id, _)| *id <= progress.cursor());
    let exists = |id: EventId| Event::read(stream, id).is_some();
    passed.filter(|(id, e)| e.state != State::Finished && exists(*id)).count() as u64
}
