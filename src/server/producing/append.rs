//! One event on its way into a stream: its fields in the server's own strings, without copies.

use std::ptr::null_mut;
use std::rc::Rc;

use super::travel;
use super::travel::{Spread, Travels};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::later::parts;
use crate::model::ring::Payload;
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::raw;
use crate::server::api::key::{Key, Kind};
use crate::server::api::stream::Added;
use crate::server::api::text::Text;
use crate::server::api::{key, stream};
use crate::server::delivery::state;
use crate::server::dispatch::block;
use crate::server::keyspace::key_names::PartitionNames;
use crate::server::keyspace::replicate;
use crate::server::keyspace::ring::RingView;
use crate::server::ops::counters;

/// The names of an event's fields, made once. Saves 9 % of an EVQ.TRIGGER.
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

/// Fields, as names and values, of an event without headers at most.
const FEW: usize = 6;

/// Where the parts of an event stand in a command's words, from 0 after its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    /// The key.
    pub(crate) key: usize,
    /// The payload.
    pub(crate) payload: usize,
    /// The type, if it has one.
    pub(crate) kind: Option<usize>,
    /// The headers.
    pub(crate) headers: &'a [Header<'a>],
}

/// A header of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header<'a> {
    /// Its name.
    pub(crate) name: &'a [u8],
    /// The word that is its value.
    pub(crate) value: usize,
}

/// The fields of one event, in the order of the contract: `key`, `payload`, `type`, `h:<name>`.
#[derive(Debug)]
pub(crate) struct Draft {
    /// Those of an event without headers: nothing is allocated for it. Saves 4 % of an
    /// EVQ.MTRIGGER.
    few: [*mut raw::RedisModuleString; FEW],
    used: usize,
    /// All of them, if there are headers.
    many: Vec<*mut raw::RedisModuleString>,
    /// What had to be made: header names, which carry a prefix, and all words of a scheduled event.
    _made: Vec<Text>,
}

impl Draft {
    /// The event whose parts are these words of the command.
    ///
    /// # Errors
    /// [`Error::Bug`] if a word does not exist.
    // A result of this size that is handed over costs as much as what is done for it.
    #[inline(always)]
    pub(crate) fn new(args: &Args<'_>, parts: Parts<'_>) -> Result<Self, Error> {
        let Parts { key, payload, kind, headers } = parts;
        let word = |index| args.string(index).ok_or(Error::Bug("an argument is missing"));
        let (key, payload) = (word(key)?, word(payload)?);
        let (mut few, mut used) = FIELD_NAMES.with(|names| {
            let (kind, none) = (names.kind.raw(), null_mut());
            ([names.key.raw(), key, names.payload.raw(), payload, kind, none], FEW - 2)
        });
        if let (Some(kind), Some(last)) = (kind, few.last_mut()) {
            (*last, used) = (word(kind)?, FEW);
        }
        let (mut many, mut made) = (Vec::new(), Vec::new());
        if !headers.is_empty() {
            many.extend(few.iter().take(used));
        }
        for header in headers {
            let name = Text::new(&[b"h:", header.name].concat());
            many.extend([name.raw(), word(header.value)?]);
            made.push(name);
        }
        Ok(Self { few, used, many, _made: made })
    }

    /// A scheduled event.
    pub(crate) fn of(event: &parts::Parts) -> Self {
        let [key, payload, kind] =
            FIELD_NAMES.with(|names| [&names.key, &names.payload, &names.kind].map(Text::raw));
        let (mut many, mut made) = (Vec::new(), Vec::new());
        let mut own = |text: Text| {
            let raw = text.raw();
            made.push(text);
            raw
        };
        many.extend([key, own(Text::new(event.key()))]);
        many.extend([payload, own(Text::new(event.payload()))]);
        if let Some(given) = event.kind() {
            many.extend([kind, own(Text::new(given))]);
        }
        for (name, value) in event.headers() {
            many.extend([own(Text::new(&[b"h:", name].concat())), own(Text::new(value))]);
        }
        Self { few: [null_mut(); FEW], used: 0, many, _made: made }
    }

    /// Headers go into this, which is empty.
    pub(crate) fn put_into(&mut self, room: Vec<*mut raw::RedisModuleString>) {
        self.many = room;
    }

    /// What has room for the headers of another event.
    pub(crate) fn left(mut self) -> Vec<*mut raw::RedisModuleString> {
        self.many.clear();
        self.many
    }

    /// One more field.
    pub(crate) fn add(&mut self, name: &Text, value: *mut raw::RedisModuleString) {
        if self.many.is_empty() {
            self.many.extend(self.few.iter().take(self.used));
        }
        self.many.extend([name.raw(), value]);
    }

    /// Names and values in turn, as the server takes them.
    pub(crate) fn fields(&mut self) -> &mut [*mut raw::RedisModuleString] {
        if self.many.is_empty() {
            self.few.get_mut(..self.used).unwrap_or_default()
        } else {
            &mut self.many
        }
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

/// A partition that events are about to be appended to: its stream, open for writing.
#[derive(Debug)]
pub(crate) struct Target {
    /// The partition.
    pub(crate) p: u32,
    /// Its keys.
    pub(crate) names: Rc<PartitionNames>,
    pub(crate) key: Key,
    /// Whether the stream was there before.
    pub(crate) exists: bool,
}

/// Opens a partition to append to it, with everything checked that can refuse: the user may
/// not, a key is of another type, or a stream that has yet to be made would have no id left. Its
/// stream may be open for writing already. O(1).
///
/// # Errors
/// [`Error::NoPermission`], [`Error::WrongType`], [`Error::Exhausted`].
#[inline(always)]
pub(crate) fn target(
    ctx: &Ctx,
    user: &User,
    ring: &RingView,
    p: u32,
    opened: Option<Key>,
) -> Result<Target, Error> {
    let names = ring.names.partition(p);
    user.check(&names.stream, Access::Insert)?;
    let key = opened.unwrap_or_else(|| key::open_write(ctx, &names.stream));
    let exists = match key.kind() {
        Kind::Stream => true,
        Kind::Empty => {
            state::floor(ctx, ring, p)?.next().ok_or(Error::Exhausted)?;
            false
        }
        Kind::Module | Kind::Other => return Err(Error::WrongType),
    };
    Ok(Target { p, names, key, exists })
}

/// Appends the one event of this command, replicates it and lets parked workers see it. O(1).
///
/// It travels as the command itself where its id follows from the stream and the ring's clock,
/// which shows `clock_ms`: a replica has the same and finds the same id, see
/// [`crate::server::producing::replay`].
///
/// # Errors
/// [`Error::Exhausted`]; nothing has changed then.
pub(crate) fn produce(
    ctx: &Ctx,
    ring: &mut RingView,
    clock_ms: u64,
    target: &Target,
    draft: &mut Draft,
) -> Result<EventId, Error> {
    let added = append_to(ctx, ring, target, draft)?;
    match ring.travels(added, clock_ms, Spread::One) {
        Travels::AsSent => replicate::verbatim(ctx),
        Travels::AfterTick(effect) => {
            travel::replicate_tick(ctx, ring, &effect);
            replicate::verbatim(ctx);
        }
        Travels::AsXadd => {
            replicate::event(ctx, &target.names.stream, added.id, draft.fields());
        }
    }
    announce(ctx, ring, target);
    Ok(added.id)
}

pub(crate) fn append_to(
    ctx: &Ctx,
    ring: &RingView,
    target: &Target,
    draft: &mut Draft,
) -> Result<Added, Error> {
    let floor = || state::floor(ctx, ring, target.p);
    let added = stream::append(ctx, &target.key, &target.names.stream, draft.fields(), floor)?;
    counters::TRIGGERED.add(1);
    Ok(added)
}

/// Something was appended: WATCH, client tracking and parked workers learn of it.
pub(crate) fn announce(ctx: &Ctx, ring: &RingView, target: &Target) {
    key::signal_modified(ctx, &target.names.stream);
    block::wake(ctx, &ring.names.name, target.p);
}
