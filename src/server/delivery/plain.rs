//! Plain delivery: fresh events from the stream straight into the reply, where none has to be read
//! before.
//!
//! There are three ways. Many small events come from the server's own XRANGE, whose reply is passed
//! on, see [`crate::server::delivery::xrange`]. Otherwise entries are read one by one. A handful of
//! them is read before the reply begins, so that its length is known: each word of a reply whose
//! length is set at its end costs more than one that goes straight into the client's buffer.

use super::xrange;
use super::xrange::Given;
use crate::model::ids::EventId;
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Key;
use crate::server::api::reply;
use crate::server::api::stream::{Entries, Field};
use crate::server::api::text::Text;

/// Entries of a handful at most: by then the client's buffer is about full.
const HANDFUL: u64 = 64;

/// What a reply of EVQ.CONSUME begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// The partition.
    pub(crate) partition: u32,
    /// The epoch of the lease.
    pub(crate) epoch: u64,
}

/// What is to be given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Entries above this id.
    pub(crate) after: EventId,
    /// At most so many.
    pub(crate) count: u64,
    /// What an entry took lately, on average.
    pub(crate) event_bytes: Option<u32>,
}

/// Entries in the order of the stream.
#[derive(Debug)]
struct Handful {
    /// Their ids, and how many fields each has.
    entries: Vec<(EventId, usize)>,
    /// The names and values of all.
    fields: Vec<(Field, Field)>,
}

impl Handful {
    /// The next entries, at most `count`; none if there is none.
    fn read(from: &mut Entries<'_>, count: u64) -> Option<Self> {
        let mut entry = from.next_entry()?;
        let count = usize::try_from(count).unwrap_or_default();
        // Most events have two fields.
        let mut read =
            Self { entries: Vec::with_capacity(count), fields: Vec::with_capacity(2 * count) };
        loop {
            let (id, fields) = entry;
            let before = read.fields.len();
            read.fields.extend((0..fields).map_while(|_| from.next_field()));
            read.entries.push((id, read.fields.len() - before));
            if read.entries.len() == count {
                return Some(read);
            }
            match from.next_entry() {
                Some(next) => entry = next,
                None => return Some(read),
            }
        }
    }
}

/// Replies `[partition, epoch, events]` with the entries of the stream `name`, which is open as
/// `stream`. None, without a reply, if there is no entry. With `and_more` it also finds out whether
/// there are more.
pub(crate) fn give(
    ctx: &Ctx,
    name: &Text,
    stream: &Key,
    head: Head,
    wanted: Wanted,
    and_more: bool,
) -> Option<Given> {
    let Wanted { after, count, event_bytes } = wanted;
    if xrange::pays(count, event_bytes)
        && let Some(range) = xrange::read(ctx, name, after, count)
    {
        let given = range.given?;
        reply_head(ctx, head);
        xrange::reply(ctx, &range);
        return Some(given);
    }
    let mut entries = Entries::after(stream, after);
    let given = if (2..=HANDFUL).contains(&count) {
        give_handful(ctx, &mut entries, head, count)
    } else {
        give_each(ctx, &mut entries, head, count)
    };
    given.map(|given| Given {
        more: and_more && given.count == count && entries.next_entry().is_some(),
        ..given
    })
}

/// Replies a handful of entries.
fn give_handful(ctx: &Ctx, from: &mut Entries<'_>, head: Head, count: u64) -> Option<Given> {
    let read = Handful::read(from, count)?;
    let ((first, _), (last, _)) = (read.entries.first()?, read.entries.last()?);
    reply_head(ctx, head);
    reply::array(ctx, read.entries.len());
    let mut bytes = 0;
    let mut fields = read.fields.iter();
    for (id, count) in &read.entries {
        reply_event_start(ctx, *id, *count);
        for (name, value) in fields.by_ref().take(*count) {
            bytes += reply_field(ctx, name, value);
        }
    }
    let count = read.entries.len() as u64;
    Some(Given { first: *first, last: *last, count, bytes, more: false })
}

/// Replies entries one by one.
fn give_each(ctx: &Ctx, from: &mut Entries<'_>, head: Head, count: u64) -> Option<Given> {
    let mut entry = from.next_entry()?;
    let (first, _) = entry;
    reply_head(ctx, head);
    let events = if count == 1 {
        reply::array(ctx, 1);
        None
    } else {
        Some(reply::array_of_unknown_length(ctx))
    };
    let (mut given, mut bytes) = (0, 0);
    let last = loop {
        let (id, fields) = entry;
        reply_event_start(ctx, id, fields);
        // The reply promises this many strings, so a field that cannot be read is a null.
        for _ in 0..fields {
            match from.next_field() {
                Some((name, value)) => bytes += reply_field(ctx, &name, &value),
                None => {
                    reply::null(ctx);
                    reply::null(ctx);
                }
            }
        }
        given += 1;
        if given == count {
            break id;
        }
        match from.next_entry() {
            Some(next) => entry = next,
            None => break id,
        }
    };
    if let Some(events) = events {
        reply::end_array(ctx, events, given);
    }
    Some(Given { first, last, count: given, bytes, more: false })
}

/// Replies a name and its value; returns how many bytes they have.
fn reply_field(ctx: &Ctx, name: &Field, value: &Field) -> u64 {
    let (name, value) = (name.bytes(), value.bytes());
    reply::bytes(ctx, name);
    reply::bytes(ctx, value);
    (name.len() + value.len()) as u64
}

/// Replies what comes before the events.
pub(crate) fn reply_head(ctx: &Ctx, head: Head) {
    reply::array(ctx, 3);
    reply::integer(ctx, head.partition.into());
    reply::integer(ctx, head.epoch);
}

/// Replies an event's id and the start of its fields.
pub(crate) fn reply_event_start(ctx: &Ctx, id: EventId, fields: usize) {
    reply::array(ctx, 2);
    reply::id(ctx, id);
    reply::array(ctx, fields * 2);
}
