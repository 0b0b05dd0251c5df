//! Plain delivery: fresh events from the stream straight into the reply, where none has to be read
//! before.
//!
//! It saves nearly a third of an EVQ.CONSUME of a hundred events, compared with deciding about
//! each, and a twelfth of one of a single event. There are three ways.
//!
//! - Many small events come from the server's own XRANGE, whose reply is passed on, see
//!   [`crate::server::delivery::xrange`].
//! - A handful of entries is read before the reply begins, so that its length is known: each word
//!   of a reply whose length is set at its end costs more than one that goes straight into the
//!   client's buffer. Saves 6 % of an EVQ.CONSUME of ten events where a range of so few does not
//!   pay.
//! - Otherwise entries are read and replied one by one.

use super::event_reply::{Head, reply_event, reply_event_start};
use super::xrange;
use super::xrange::Given;
use crate::model::ids::EventId;
use crate::model::rules::shell::{Passed, Plain};
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Key;
use crate::server::api::reply;
use crate::server::api::stream::{Entries, Field};
use crate::server::api::stream_end::{Last, Stand};
use crate::server::api::text::Text;
use crate::server::keyspace::place::Place;

/// Entries of a handful at most: by then the client's buffer is about full.
const HANDFUL: u64 = 64;

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

/// Replies `[partition, epoch, events]` with entries as they are, for a worker that stands there in
/// the stream. None, without a reply, if there is none.
pub(super) fn pass_on(
    ctx: &Ctx,
    place: &Place,
    stream: &Key,
    plain: &Plain,
    stand: Stand,
) -> Option<Passed<()>> {
    let head = Head { partition: place.line.partition, epoch: plain.epoch };
    // A worker that was told of more finds it sooner from where it stands.
    let stand = if plain.behind { stand.with_a_backlog() } else { stand };
    let and_more = stand.is_ready_to_wait();
    let given = match stand.look(stream, plain.after) {
        Last::Passed => return None,
        Last::Alone(event) => {
            head.reply(ctx);
            reply::array(ctx, 1);
            reply_event(ctx, &event, None);
            Given { first: event.id, last: event.id, count: 1, bytes: 0, more: false }
        }
        Last::OfMany => give(ctx, &place.names.stream, stream, head, plain, and_more)?,
    };
    let Given { first, last, count, more, .. } = given;
    Some(Passed { first, last, count, more, event_bytes: given.event_bytes(), batch: () })
}

/// Replies the entries of the stream `name`, which is open as `stream`. Whether there is more is
/// looked at if that is wanted.
fn give(
    ctx: &Ctx,
    name: &Text,
    stream: &Key,
    head: Head,
    plain: &Plain,
    and_more: bool,
) -> Option<Given> {
    let Plain { after, count, event_bytes, .. } = *plain;
    if xrange::pays(count, event_bytes)
        && let Some(range) = xrange::read(ctx, name, after, count)
    {
        let given = range.given?;
        head.reply(ctx);
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
    head.reply(ctx);
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
    head.reply(ctx);
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
