//! Events in native streams.
//!
//! Adding bypasses everything XADD does around the append. The keyspace event is sent here; the
//! caller signals and replicates, see [`crate::server::keyspace::replicate`]. Reading is an own
//! iterator over the raw calls: the crate's one deletes entries when dropped.

use std::ffi::{c_int, c_long};

use super::ctx::Ctx;
use super::ffi::{OK, raw};
use super::key;
use super::key::{Key, Kind};
use super::text::{Text, bytes_of};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::rules::source::{Entry, Source};

/// The place of the field `type` among those of an event with a type, from 0.
const TYPE_AT: usize = 2;

fn to_raw(id: EventId) -> raw::RedisModuleStreamID {
    raw::RedisModuleStreamID { ms: id.ms, seq: id.seq }
}

/// Appends one event to the stream `name`, whose key `key` is open for writing, and publishes
/// `xadd`, but neither replicates nor signals it. `fields` are names and values in turn. `floor` is
/// called only if the stream does not exist: the new one begins above it. O(1).
///
/// # Errors
/// [`Error::WrongType`]; [`Error::Exhausted`] when the last possible id is used up. Nothing was
/// added then.
pub(crate) fn append(
    ctx: &Ctx,
    key: &Key,
    name: &Text,
    fields: &mut [*mut raw::RedisModuleString],
    floor: impl FnOnce() -> Result<EventId, Error>,
) -> Result<Added, Error> {
    let added = append_unsaid(ctx, key, fields, floor)?;
    key::notify_stream(ctx, c"xadd", name);
    Ok(added)
}

/// As [`append`], and publishes nothing: nobody else has done anything to any key when it returns.
///
/// # Errors
/// As [`append`].
#[inline(always)]
pub(crate) fn append_unsaid(
    ctx: &Ctx,
    key: &Key,
    fields: &mut [*mut raw::RedisModuleString],
    floor: impl FnOnce() -> Result<EventId, Error>,
) -> Result<Added, Error> {
    let (existed, id) = match key.kind() {
        Kind::Stream => (true, None),
        Kind::Empty => {
            // The server's own clock stands still during a command or a script and may be behind
            // the one that is asked here, so it must not choose an id where there is a floor.
            let above = match floor()? {
                EventId::ZERO => None,
                floor => {
                    let clock = EventId { ms: ctx.now().ms(), seq: 0 };
                    Some(floor.next().ok_or(Error::Exhausted)?.max(clock))
                }
            };
            (false, above)
        }
        Kind::Module | Kind::Other => return Err(Error::WrongType),
    };
    let id = add_unsaid(key, id, fields)?;
    Ok(Added { id, existed })
}

/// Appends one event under the given id, or under one of the server's.
///
/// # Errors
/// [`Error::Exhausted`] if the stream has had this id or a greater one. Nothing was added then.
pub(crate) fn add(
    ctx: &Ctx,
    key: &Key,
    name: &Text,
    id: Option<EventId>,
    fields: &mut [*mut raw::RedisModuleString],
) -> Result<EventId, Error> {
    let id = add_unsaid(key, id, fields)?;
    key::notify_stream(ctx, c"xadd", name);
    Ok(id)
}

#[inline(always)]
fn add_unsaid(
    key: &Key,
    id: Option<EventId>,
    fields: &mut [*mut raw::RedisModuleString],
) -> Result<EventId, Error> {
    let mut raw_id = to_raw(id.unwrap_or_default());
    let flags = if id.is_some() { 0 } else { raw::REDISMODULE_STREAM_ADD_AUTOID };
    let pairs = i64::try_from(fields.len() / 2).unwrap_or(i64::MAX);
    // SAFETY: the key is open for writing; `fields` holds that many pairs of valid strings.
    let added = unsafe {
        api!(RedisModule_StreamAdd)(
            key.raw(),
            flags as c_int,
            &mut raw_id,
            fields.as_mut_ptr(),
            pairs,
        )
    };
    if added != OK {
        // The type was checked, the fields are pairs: what is left is an id beyond the last.
        return Err(Error::Exhausted);
    }
    Ok(EventId { ms: raw_id.ms, seq: raw_id.seq })
}

/// An event that was appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    /// The id it got.
    pub(crate) id: EventId,
    /// Whether the stream was there before, so that the server's clock gave the id.
    pub(crate) existed: bool,
}

/// The extent of a stream.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    /// The number of entries.
    pub(crate) length: u64,
    /// The first entry.
    pub(crate) first: Option<EventId>,
    /// The last entry.
    pub(crate) last: Option<EventId>,
}

impl Extent {
    /// The extent of the stream `name`; nothing if it does not exist.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn of(ctx: &Ctx, name: &Text) -> Result<Self, Error> {
        let Some(stream) = key::open_read(ctx, name).stream()? else {
            return Ok(Self::default());
        };
        let first = Entries::first(&stream).next_entry().map(|(id, _)| id);
        let last = Entries::last(&stream).next_entry().map(|(id, _)| id);
        Ok(Self { length: stream.length(), first, last })
    }
}

/// Reads a stream's entries in order. The key must stay open; one iterator a key at a time.
#[derive(Debug)]
pub(crate) struct Entries<'k> {
    key: &'k Key,
    started: bool,
    /// Fields of the current entry that were not read yet. The server's iterator stands among
    /// them, and would take one for the next entry.
    unread: usize,
}

impl<'k> Entries<'k> {
    /// Starts with the first entry above `after`.
    pub(crate) fn after(key: &'k Key, after: EventId) -> Self {
        match after.next() {
            Some(first) => Self::between(key, first, EventId::MAX, 0),
            None => Self { key, started: false, unread: 0 },
        }
    }

    /// Starts with the first entry.
    pub(crate) fn first(key: &'k Key) -> Self {
        Self::between(key, EventId::ZERO, EventId::MAX, 0)
    }

    /// Whether the stream has the entry `id`. No other iterator over it may be open.
    pub(crate) fn has(key: &'k Key, id: EventId) -> bool {
        Self::between(key, id, id, 0).next_entry().is_some()
    }

    /// Starts with the last entry, going back.
    pub(crate) fn last(key: &'k Key) -> Self {
        let reverse = raw::REDISMODULE_STREAM_ITERATOR_REVERSE;
        Self::between(key, EventId::ZERO, EventId::MAX, reverse)
    }

    fn between(key: &'k Key, first: EventId, last: EventId, flags: u32) -> Self {
        let (mut first, mut last) = (to_raw(first), to_raw(last));
        // SAFETY: the key is open and a stream (the server refuses others); the ids live through
        // the call.
        let started = unsafe {
            api!(RedisModule_StreamIteratorStart)(key.raw(), flags as c_int, &mut first, &mut last)
                == OK
        };
        // The one reason left is a second iterator: what it would have found is taken for deleted.
        debug_assert!(started, "two iterators over one key");
        Self { key, started, unread: 0 }
    }

    /// The next entry's id and its number of fields.
    pub(crate) fn next_entry(&mut self) -> Option<(EventId, usize)> {
        if !self.started {
            return None;
        }
        while self.unread > 0 {
            self.unread -= 1;
            let (none, key) = (std::ptr::null_mut(), self.key.raw());
            // SAFETY: the iterator stands on an entry; nothing is asked for but to go on.
            unsafe { api!(RedisModule_StreamIteratorNextField)(key, none, none) };
        }
        let mut id = to_raw(EventId::ZERO);
        let mut fields: c_long = 0;
        // SAFETY: the iterator is started; both places live through the call.
        let found = unsafe {
            api!(RedisModule_StreamIteratorNextID)(self.key.raw(), &mut id, &mut fields) == OK
        };
        if !found {
            return None;
        }
        self.unread = usize::try_from(fields).unwrap_or_default();
        Some((EventId { ms: id.ms, seq: id.seq }, self.unread))
    }

    /// The next entry with all its fields.
    pub(crate) fn next_event(&mut self) -> Option<Event> {
        let (id, count) = self.next_entry()?;
        let fields = (0..count).map_while(|_| self.next_field()).collect();
        Some(Event { id, fields })
    }

    /// The next field of the current entry: its name and value.
    pub(crate) fn next_field(&mut self) -> Option<(Field, Field)> {
        let (mut name, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the iterator stands on an entry; the strings that come back are ours to free.
        let found = unsafe {
            api!(RedisModule_StreamIteratorNextField)(self.key.raw(), &mut name, &mut value) == OK
        };
        self.unread = self.unread.saturating_sub(1);
        found.then(|| (Field(name), Field(value)))
    }
}

impl Entries<'_> {
    /// The type of the current entry, `id`, of which no field was read yet; none if it has none. A
    /// payload may be large, so values are only read where the type is expected, or was found.
    pub(crate) fn kind(&mut self, id: EventId) -> Option<Field> {
        for index in 0..self.unread {
            if index == TYPE_AT {
                let (name, value) = self.next_field()?;
                if name.bytes() == b"type" {
                    return Some(value);
                }
            } else if self.next_name()?.bytes() == b"type" {
                return self.value_again(id, index);
            }
        }
        None
    }

    /// The next field's name alone.
    fn next_name(&mut self) -> Option<Field> {
        let (mut name, none) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: the iterator stands on an entry; the string that comes back is ours to free.
        let found = unsafe {
            api!(RedisModule_StreamIteratorNextField)(self.key.raw(), &mut name, none) == OK
        };
        self.unread = self.unread.saturating_sub(1);
        found.then(|| Field(name))
    }

    /// Goes back to the entry `id` for the value of the field with this index.
    fn value_again(&mut self, id: EventId, index: usize) -> Option<Field> {
        // One iterator at a time: the old one ends before the new one starts.
        drop(std::mem::replace(self, Self { key: self.key, started: false, unread: 0 }));
        *self = Self::between(self.key, id, EventId::MAX, 0);
        self.next_entry()?;
        for _ in 0..index {
            self.next_name()?;
        }
        self.next_field().map(|(_, value)| value)
    }
}

/// An entry that was read whole.
#[derive(Debug)]
pub(crate) struct Event {
    /// Its id.
    pub(crate) id: EventId,
    /// Names and values in their order.
    pub(crate) fields: Vec<(Field, Field)>,
}

impl Event {
    /// The event `id`, if the stream has it.
    pub(crate) fn read(stream: &Key, id: EventId) -> Option<Self> {
        Entries::between(stream, id, id, 0).next_event()
    }

    /// The value of the first field of this name; empty if there is none.
    pub(crate) fn value(&self, name: &[u8]) -> &[u8] {
        let field = self.fields.iter().find(|(field, _)| field.bytes() == name);
        field.map_or(&[], |(_, value)| value.bytes())
    }
}

impl Entry for Event {
    fn id(&self) -> EventId {
        self.id
    }

    fn key(&self) -> &[u8] {
        self.value(b"key")
    }

    fn kind(&self) -> &[u8] {
        self.value(b"type")
    }
}

impl Drop for Entries<'_> {
    fn drop(&mut self) {
        if self.started {
            // SAFETY: started and not stopped yet.
            unsafe { api!(RedisModule_StreamIteratorStop)(self.key.raw()) };
        }
    }
}

/// A field's name or value, freed when dropped.
#[derive(Debug)]
pub(crate) struct Field(*mut raw::RedisModuleString);

impl Field {
    /// The pointer to lend to the server.
    pub(crate) fn raw(&self) -> *mut raw::RedisModuleString {
        self.0
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the string lives as long as `self`.
        unsafe { bytes_of(self.0) }
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        // SAFETY: the server hands field strings over; automatic memory is never switched on.
        unsafe { api!(RedisModule_FreeString)(std::ptr::null_mut(), self.0) };
    }
}

/// A partition's stream, open for reading.
pub(crate) struct Open<'k>(pub(crate) &'k Key);

impl Source for Open<'_> {
    type Entry = Event;

    fn after(&self, after: EventId) -> impl Iterator<Item = Event> {
        let mut entries = Entries::after(self.0, after);
        std::iter::from_fn(move || entries.next_event())
    }

    fn get(&self, id: EventId) -> Option<Event> {
        Event::read(self.0, id)
    }

    fn has(&self, id: EventId) -> bool {
        Entries::has(self.0, id)
    }

    fn has_after(&self, after: EventId) -> bool {
        Entries::after(self.0, after).next_entry().is_some()
    }
}
