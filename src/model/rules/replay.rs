//! EVQ.REPLAY: the retained events of one key are handed out to a group again, in order, while
//! everything else goes on.
//!
//! They become exceptions of one key: the first is due, the others are held behind it, and later
//! events of the key are held by the usual rule. So nothing else has to know of a replay. What of
//! the key is in flight, retrying, held or dead joins them, and is in flight no more. A key may
//! have lived in several partitions: each is decided before any is changed, and barriers and
//! exceptions keep the order between them as ever.

use super::answers;
use super::shell::Shell;
use super::source::{Entry, Source};
use super::steps::{change_or_begin, or_beginning};
use crate::model::error::Error;
use crate::model::hash::digest;
use crate::model::ids::EventId;
use crate::model::limits::{MAX_REPLAY, MAX_REPLAY_READ};
use crate::model::parse::Start;
use crate::model::progress::Progress;
use crate::model::ring::group::Group;
use crate::model::rules::left::Left;
use crate::model::saved::effect::Change;

/// What a replay hands out again: a key, from where on.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Events before are left as they are, unless they are unfinished.
    pub from: Start,
}

/// What a replay may still do, over all partitions.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    events: usize,
    reads: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { events: MAX_REPLAY, reads: MAX_REPLAY_READ }
    }
}

impl Allowance {
    fn read(&mut self) -> Result<(), Error> {
        let limit = Error::Limit("entries read by one EVQ.REPLAY", MAX_REPLAY_READ as u64);
        self.reads = self.reads.checked_sub(1).ok_or(limit)?;
        Ok(())
    }

    fn take(&mut self) -> Result<(), Error> {
        let limit = Error::Limit("events delivered again by one EVQ.REPLAY", MAX_REPLAY as u64);
        self.events = self.events.checked_sub(1).ok_or(limit)?;
        Ok(())
    }
}

/// Decides which events of a partition are handed out again, in the order of ids. Changes nothing.
/// O(log(nodes of the stream) + entries up to the last that was handed out + exceptions of the
/// key).
///
/// # Errors
/// [`Error::Limit`] if that is more than is allowed, or there is no room; [`Error::WrongType`].
pub fn decide<S: Shell>(
    shell: &mut S,
    request: Request<'_>,
    allowance: &mut Allowance,
) -> Result<Vec<EventId>, Error> {
    shell.with(|shell, progress| {
        let Some(stream) = shell.stream()? else { return Ok(Vec::new()) };
        or_beginning(shell, progress, |progress| {
            let lease = progress.lease().filter(|lease| lease.era == shell.era());
            let given = lease.map(|lease| lease.given);
            find(progress, given, shell.group(), &stream, request, allowance)
        })
    })?
}

/// Hands those events out again that were decided.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub fn carry_out<S: Shell>(shell: &mut S, key: &[u8], events: Vec<EventId>) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    change_or_begin(shell, Change::Replayed(digest(key), events))?;
    // What was in flight may have been all that kept a lease from others.
    answers::share(shell)
}

fn find<S: Source>(
    progress: &Progress,
    given: Option<EventId>,
    group: &Group,
    stream: &S,
    request: Request<'_>,
    allowance: &mut Allowance,
) -> Result<Vec<EventId>, Error> {
    let key = digest(request.key);
    let is_meant = |entry: &S::Entry| entry.key() == request.key && group.takes(entry.kind());
    let cursor = progress.cursor();
    let unfinished: Vec<EventId> = progress.exceptions().of_key(key).collect();
    let given = given.max(progress.exceptions().last_of_key(key));
    let until = cursor.max(given.unwrap_or_default());
    let after = request.from.cursor(EventId::MAX);
    // What is in flight joins wherever it lies.
    let begin = if until > cursor { after.min(cursor) } else { after };
    let mut events = Vec::new();
    for id in unfinished.iter().copied().take_while(|id| *id <= begin) {
        allowance.read()?;
        if stream.get(id).is_some_and(|entry| is_meant(&entry)) {
            allowance.take()?;
            events.push(id);
        }
    }
    for entry in stream.after(begin).take_while(|entry| entry.id() <= until) {
        allowance.read()?;
        let id = entry.id();
        if is_meant(&entry) && (id > after || progress.left_of(id) != Left::Nothing) {
            allowance.take()?;
            events.push(id);
        }
    }
    let new = events.iter().filter(|id| progress.exceptions().get(**id).is_none()).count();
    progress.check_room(new)?;
    Ok(events)
}
