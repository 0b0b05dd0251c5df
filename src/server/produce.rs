//! One event on its way into a stream: its fields in the server's own strings, without copies.

use super::acl::{Access, User};
use super::args::Args;
use super::counters;
use super::ctx::Ctx;
use super::ffi::raw;
use super::names::RingNames;
use super::rings::RingView;
use super::text::Text;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::ring::Payload;

struct FieldNames {
    key: Text,
    payload: Text,
    kind: Text,
}

thread_local! {
    static FIELD_NAMES: FieldNames = FieldNames {
        key: Text::new(b"key"),
        payload: Text::new(b"payload"),
        kind: Text::new(b"type"),
    };
}

/// The fields of one event, in the order of the contract: `key`, `payload`, `type`, `h:<name>`.
#[derive(Debug)]
pub(crate) struct Draft {
    fields: Vec<*mut raw::RedisModuleString>,
    /// Header names, which carry a prefix and so have to be made.
    _made: Vec<Text>,
}

impl Draft {
    /// The event whose parts are these words of the command: key, payload, type, and headers as
    /// name and value.
    ///
    /// # Errors
    /// [`Error::Bug`] if a word does not exist.
    pub(crate) fn new(
        args: &Args<'_>,
        key: usize,
        payload: usize,
        kind: Option<usize>,
        headers: &[(&[u8], usize)],
    ) -> Result<Self, Error> {
        let word = |index| args.string(index).ok_or(Error::Bug("a word that is not there"));
        let mut fields = Vec::with_capacity(4 + 2 * (headers.len() + 1));
        let mut made = Vec::new();
        FIELD_NAMES.with(|names| {
            fields.extend([names.key.raw(), word(key)?, names.payload.raw(), word(payload)?]);
            if let Some(kind) = kind {
                fields.extend([names.kind.raw(), word(kind)?]);
            }
            Ok(())
        })?;
        for (name, value) in headers {
            let name = Text::new(&[b"h:", *name].concat());
            fields.extend([name.raw(), word(*value)?]);
            made.push(name);
        }
        Ok(Self { fields, _made: made })
    }
}

/// Refuses a payload that the ring does not accept. O(length of the payload) for JSON rings.
///
/// # Errors
/// [`Error::Payload`] with the place where the parser stopped, never the content.
pub(crate) fn check_payload(accepts: Payload, payload: &[u8]) -> Result<(), Error> {
    if accepts == Payload::Any {
        return Ok(());
    }
    // The parser below skips over strings without looking at their bytes.
    let text = std::str::from_utf8(payload).map_err(|error| {
        let good = payload.get(..error.valid_up_to()).unwrap_or_default();
        let lines = good.split(|byte| *byte == b'\n');
        let column = lines.clone().next_back().map_or(0, <[u8]>::len) + 1;
        Error::Payload { line: lines.count(), column }
    })?;
    // IgnoredAny reads the whole document and builds nothing.
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(drop)
        .map_err(|error| Error::Payload { line: error.line(), column: error.column() })
}

impl Ctx {
    /// Refuses to append to a partition: the user may not, a key is of another type, or a stream
    /// that has yet to be made would have no id left. True if the stream exists.
    ///
    /// # Errors
    /// [`Error::NoPermission`], [`Error::WrongType`], [`Error::Exhausted`].
    pub(crate) fn check_append(&self, user: &User, ring: &RingView, p: u32) -> Result<bool, Error> {
        let names = ring.names.partition(p);
        user.check(&names.stream, Access::Insert)?;
        let exists = self.open_read(&names.stream).stream()?.is_some();
        if !exists {
            self.floor(ring, p)?.next().ok_or(Error::Exhausted)?;
        }
        Ok(exists)
    }

    /// Appends one event to partition `p`, replicates it and lets parked workers see it. O(1).
    ///
    /// # Errors
    /// [`Error::WrongType`], [`Error::Exhausted`]; nothing has changed then.
    pub(crate) fn produce(
        &self,
        ring: &RingView,
        p: u32,
        draft: &mut Draft,
    ) -> Result<EventId, Error> {
        let names = ring.names.partition(p);
        let stream = &names.stream;
        let id = self.append(stream, &mut draft.fields, || self.floor(ring, p))?;
        self.replicate_event(stream, id, &mut draft.fields);
        counters::TRIGGERED.add(1);
        self.wake(&ring.names.name, p);
        Ok(id)
    }

    /// Takes back what was produced by the command that now fails: `events` as partition and id,
    /// and the streams of the partitions `made`, which were not there before.
    ///
    /// # Errors
    /// [`Error::Bug`] if the server refuses.
    pub(crate) fn take_back(
        &self,
        ring: &RingNames,
        events: &[(u32, EventId)],
        made: &[u32],
    ) -> Result<(), Error> {
        for (p, id) in events.iter().filter(|(p, _)| !made.contains(p)) {
            let id = Text::new(id.to_string().as_bytes());
            self.delete_entry(&ring.partition(*p).stream, &id)?;
        }
        made.iter().try_for_each(|p| self.unlink(&[&ring.partition(*p).stream]))
    }
}
