//! Fresh events, from the stream straight into the reply, where none has to be looked at before.
//!
//! Three ways lead there. On servers where that is cheap, the server itself is asked for a range and
//! its reply is passed on, see [`super::range`]. Else entries are read one by one, a handful of them
//! before the reply begins: a reply whose length is told when all of it is written is put together by
//! the server from parts, and each word that goes into it costs more than one that goes straight into
//! the client's buffer.

use super::ctx::Ctx;
use super::key::Key;
use super::range;
use super::stream::{Entries, Field};
use super::text::Text;
use crate::model::error::Error;
use crate::model::ids::EventId;

/// From so many entries on a range may be cheaper.
const FEW: u64 = 5;

/// So many are read first at most: by then the client's buffer is about full.
const HANDFUL: u64 = 64;

/// What a reply of EVQ.CONSUME begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// The partition.
    pub(super) partition: u32,
    /// The epoch of the lease.
    pub(super) epoch: u64,
}

/// What was given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Given {
    /// The first event.
    pub(super) first: EventId,
    /// The last event.
    pub(super) last: EventId,
    /// How many they were.
    pub(super) count: u64,
    /// There is more, as far as was looked.
    pub(super) more: bool,
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

impl Ctx {
    /// Replies `[partition, epoch, events]` with the entries of the stream `name`, which is open as
    /// `stream`, above `after`, at most `count`. None, without a reply, if there is none. Whether
    /// there is more is looked at if that is asked.
    ///
    /// # Errors
    /// As [`Ctx::range`].
    pub(super) fn give_fresh(
        &self,
        name: &Text,
        stream: &Key,
        head: Head,
        after: EventId,
        count: u64,
        and_more: bool,
    ) -> Result<Option<Given>, Error> {
        if count >= FEW && range::is_cheap() {
            return Ok(self.range(name, after, count)?.map(|range| {
                self.reply_head(head);
                self.reply_range(&range);
                Given {
                    first: range.first,
                    last: range.last,
                    count: range.count,
                    more: range.count == count,
                }
            }));
        }
        let mut entries = Entries::after(stream, after);
        let given = if (2..=HANDFUL).contains(&count) {
            self.give_handful(&mut entries, head, count)
        } else {
            self.give_each(&mut entries, head, count)
        };
        Ok(given.map(|given| Given {
            more: and_more && given.count == count && entries.next_entry().is_some(),
            ..given
        }))
    }

    /// Replies a handful of entries.
    fn give_handful(&self, from: &mut Entries<'_>, head: Head, count: u64) -> Option<Given> {
        let read = Handful::read(from, count)?;
        let ((first, _), (last, _)) = (read.entries.first()?, read.entries.last()?);
        self.reply_head(head);
        self.reply_array(read.entries.len());
        let mut fields = read.fields.iter();
        for (id, count) in &read.entries {
            self.reply_event_start(*id, *count);
            for (name, value) in fields.by_ref().take(*count) {
                self.reply_bytes(name.bytes());
                self.reply_bytes(value.bytes());
            }
        }
        let count = read.entries.len() as u64;
        Some(Given { first: *first, last: *last, count, more: false })
    }

    /// Replies entries one by one.
    fn give_each(&self, from: &mut Entries<'_>, head: Head, count: u64) -> Option<Given> {
        let mut entry = from.next_entry()?;
        let (first, _) = entry;
        self.reply_head(head);
        let events = if count == 1 {
            self.reply_array(1);
            None
        } else {
            Some(self.reply_array_of_unknown_length())
        };
        let mut given = 0;
        let last = loop {
            let (id, fields) = entry;
            self.reply_event_start(id, fields);
            // The reply promises this many strings, so a field that cannot be read is a null.
            for _ in 0..fields {
                match from.next_field() {
                    Some((name, value)) => {
                        self.reply_bytes(name.bytes());
                        self.reply_bytes(value.bytes());
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
            match from.next_entry() {
                Some(next) => entry = next,
                None => break id,
            }
        };
        if let Some(events) = events {
            self.end_array(events, given);
        }
        Some(Given { first, last, count: given, more: false })
    }

    /// Replies what comes before the events.
    pub(super) fn reply_head(&self, head: Head) {
        self.reply_array(3);
        self.reply_integer(head.partition.into());
        self.reply_integer(head.epoch);
    }

    /// Replies an event's id and the start of its fields.
    pub(super) fn reply_event_start(&self, id: EventId, fields: usize) {
        self.reply_array(2);
        self.reply_id(id);
        self.reply_array(fields * 2);
    }
}
