//! Open keys. A key that was open for writing is closed when its guard drops, which is also when
//! the server wakes clients that wait for it, so guards are kept short.
//!
//! One that was open for reading is kept until the call ends, because the same few keys are opened
//! again and again and each time costs a look-up. What may put another value under a name, or
//! remove it, comes through here and closes what is kept first.
//!
//! WATCH and client tracking learn of a change from [`signal_modified`] alone: the module's
//! options say that closing a key that was open for writing means nothing. So what is refused after
//! that invalidates nobody. Values of our own types are changed in place, in keys open for reading;
//! only what appends to a stream or creates a value opens for writing.

use std::ffi::c_int;

use super::cluster;
use super::ctx::Ctx;
use super::ffi::{OK, raw};
use super::kept_keys::{Opened, close_kept, keep, take_kept};
use super::text::Text;
use crate::model::error::Error;

/// An open key.
#[derive(Debug)]
pub(crate) struct Key {
    raw: *mut raw::RedisModuleKey,
    /// The call that opened it, if it may be kept. The server's string lives as long as the key.
    opened: Option<Opened>,
}

/// The kind of value that an open key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: the key does not exist.
    Empty,
    /// A native stream.
    Stream,
    /// A value of some module.
    Module,
    /// Anything else.
    Other,
}

impl Key {
    /// The pointer to lend to the server.
    pub(crate) fn raw(&self) -> *mut raw::RedisModuleKey {
        self.raw
    }

    /// The kind of value that the key holds.
    pub(crate) fn kind(&self) -> Kind {
        // SAFETY: the key is open; the server answers "empty" for a null pointer.
        match unsafe { api!(RedisModule_KeyType)(self.raw) } as isize {
            raw::REDISMODULE_KEYTYPE_EMPTY => Kind::Empty,
            raw::REDISMODULE_KEYTYPE_STREAM => Kind::Stream,
            raw::REDISMODULE_KEYTYPE_MODULE => Kind::Module,
            _ => Kind::Other,
        }
    }

    /// The key as a stream, or none if it does not exist.
    ///
    /// # Errors
    /// [`Error::WrongType`] if it holds anything else.
    pub(crate) fn stream(self) -> Result<Option<Self>, Error> {
        match self.kind() {
            Kind::Empty => Ok(None),
            Kind::Stream => Ok(Some(self)),
            Kind::Module | Kind::Other => Err(Error::WrongType),
        }
    }

    /// The number of elements.
    pub(crate) fn length(&self) -> u64 {
        // SAFETY: the key is open; the server answers 0 for a null pointer.
        unsafe { api!(RedisModule_ValueLength)(self.raw) as u64 }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // A key that does not exist is null when it is opened for reading: nothing to keep.
        if self.raw.is_null() {
            return;
        }
        let kept = self.opened.is_some_and(|opened| keep(opened, self.raw));
        if !kept {
            // SAFETY: opened by `open`, and closed only once: here, or when it was kept.
            unsafe { api!(RedisModule_CloseKey)(self.raw) };
        }
    }
}

fn open(ctx: &Ctx, name: &Text, mode: u32) -> *mut raw::RedisModuleKey {
    cluster::check(name);
    // SAFETY: the context and the name are valid; the key is closed by the guard.
    unsafe { api!(RedisModule_OpenKey)(ctx.raw(), name.raw(), mode as c_int) }.cast()
}

/// Opens a key for reading.
pub(crate) fn open_read(ctx: &Ctx, name: &Text) -> Key {
    let opened = Opened { ctx: ctx.raw(), db: ctx.db(), name: name.raw() };
    let raw = take_kept(opened).unwrap_or_else(|| open(ctx, name, raw::REDISMODULE_READ));
    Key { raw, opened: Some(opened) }
}

/// Opens a key for writing. Whoever then changes it calls [`signal_modified`].
pub(crate) fn open_write(ctx: &Ctx, name: &Text) -> Key {
    close_kept();
    Key { raw: open(ctx, name, raw::REDISMODULE_READ | raw::REDISMODULE_WRITE), opened: None }
}

/// Tells WATCH and client tracking that the value of `name` has changed in place.
pub(crate) fn signal_modified(ctx: &Ctx, name: &Text) {
    // SAFETY: the context and the name are valid.
    unsafe { api!(RedisModule_SignalModifiedKey)(ctx.raw(), name.raw()) };
}

/// Deletes keys as UNLINK does: with its keyspace events, and replicated as UNLINK.
///
/// # Errors
/// [`Error::Bug`] if the server refuses.
pub(crate) fn unlink(ctx: &Ctx, names: &[&Text]) -> Result<(), Error> {
    names.iter().for_each(|name| cluster::check(name));
    let mut raw_names: Vec<_> = names.iter().map(|name| name.raw()).collect();
    call_replicated(ctx, c"UNLINK", &mut raw_names).map(drop)
}

/// Deletes entries of a stream as XDEL does, replicated; how many there were.
///
/// # Errors
/// [`Error::Bug`] if the server refuses.
pub(crate) fn delete_entries(ctx: &Ctx, stream: &Text, ids: &[Text]) -> Result<u64, Error> {
    cluster::check(stream);
    let mut words: Vec<_> = [stream].into_iter().chain(ids).map(Text::raw).collect();
    call_replicated(ctx, c"XDEL", &mut words)
}

/// Removes all entries of a stream below the id `below` as XTRIM does, replicated; how many.
///
/// # Errors
/// [`Error::Bug`] if the server refuses.
pub(crate) fn trim_stream(ctx: &Ctx, stream: &Text, below: &Text) -> Result<u64, Error> {
    cluster::check(stream);
    let (minid, exactly) = (Text::new(b"MINID"), Text::new(b"="));
    let mut words = [stream.raw(), minid.raw(), exactly.raw(), below.raw()];
    call_replicated(ctx, c"XTRIM", &mut words)
}

/// Has a key expire after so many ms, as PEXPIRE does, replicated.
///
/// # Errors
/// [`Error::Bug`] if the server refuses.
pub(crate) fn expire_in(ctx: &Ctx, name: &Text, ms: u64) -> Result<(), Error> {
    cluster::check(name);
    let ms = Text::new(ms.to_string().as_bytes());
    call_replicated(ctx, c"PEXPIRE", &mut [name.raw(), ms.raw()]).map(drop)
}

/// Has a key stay, as PERSIST does, replicated.
///
/// # Errors
/// [`Error::Bug`] if the server refuses.
pub(crate) fn persist(ctx: &Ctx, name: &Text) -> Result<(), Error> {
    cluster::check(name);
    call_replicated(ctx, c"PERSIST", &mut [name.raw()]).map(drop)
}

fn call_replicated(
    ctx: &Ctx,
    command: &std::ffi::CStr,
    arguments: &mut [*mut raw::RedisModuleString],
) -> Result<u64, Error> {
    close_kept();
    // SAFETY: "!" replicates, "v" takes an array of strings and its length; all are valid.
    unsafe {
        let reply = api!(RedisModule_Call)(
            ctx.raw(),
            command.as_ptr(),
            c"!v".as_ptr(),
            arguments.as_mut_ptr(),
            arguments.len(),
        );
        if reply.is_null() {
            return Err(Error::Bug("the server refused a command"));
        }
        let count = api!(RedisModule_CallReplyInteger)(reply);
        api!(RedisModule_FreeCallReply)(reply);
        Ok(count.try_into().unwrap_or(0))
    }
}

/// Publishes a keyspace event of a stream, as the native command would.
pub(crate) fn notify_stream(ctx: &Ctx, event: &std::ffi::CStr, name: &Text) {
    notify(ctx, raw::REDISMODULE_NOTIFY_STREAM, event, name);
}

/// Publishes a keyspace event of EVQ's own values.
pub(crate) fn notify_module(ctx: &Ctx, event: &std::ffi::CStr, name: &Text) {
    notify(ctx, raw::REDISMODULE_NOTIFY_MODULE, event, name);
}

fn notify(ctx: &Ctx, class: c_int, event: &std::ffi::CStr, name: &Text) {
    // Another module that hears of it may do anything to any key.
    close_kept();
    // SAFETY: the event ends with NUL, the name is valid.
    let sent = unsafe {
        api!(RedisModule_NotifyKeyspaceEvent)(ctx.raw(), class, event.as_ptr(), name.raw())
    };
    debug_assert_eq!(sent, OK);
}
