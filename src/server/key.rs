//! Open keys. A key is closed when its guard drops, which is also when the server wakes clients
//! that wait for it, so guards are kept short.
//!
//! Closing a key that was opened for writing invalidates WATCH and client tracking even if nothing
//! changed. So everything here opens for reading; values of our own types are changed in place and
//! announced with [`Ctx::signal_modified`], and only what creates a value opens for writing.

use std::ffi::c_int;

use super::ctx::Ctx;
use super::ffi::{OK, raw};
use super::text::Text;
use crate::model::error::Error;

/// An open key.
#[derive(Debug)]
pub(crate) struct Key(*mut raw::RedisModuleKey);

/// What an open key holds.
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
        self.0
    }

    /// What the key holds.
    pub(crate) fn kind(&self) -> Kind {
        // SAFETY: the key is open; the server answers "empty" for a null pointer.
        match unsafe { api!(RedisModule_KeyType)(self.0) } as isize {
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
        unsafe { api!(RedisModule_ValueLength)(self.0) as u64 }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: opened by `open`, and closed only here.
            unsafe { api!(RedisModule_CloseKey)(self.0) };
        }
    }
}

impl Ctx {
    fn open(&self, name: &Text, mode: u32) -> Key {
        // SAFETY: the context and the name are valid; the key is closed by the guard.
        Key(unsafe { api!(RedisModule_OpenKey)(self.raw(), name.raw(), mode as c_int) }.cast())
    }

    /// Opens a key for reading.
    pub(crate) fn open_read(&self, name: &Text) -> Key {
        self.open(name, raw::REDISMODULE_READ)
    }

    /// Opens a key for writing: only where something will certainly be written.
    pub(crate) fn open_write(&self, name: &Text) -> Key {
        self.open(name, raw::REDISMODULE_READ | raw::REDISMODULE_WRITE)
    }

    /// Tells WATCH and client tracking that the value of `name` has changed in place.
    pub(crate) fn signal_modified(&self, name: &Text) {
        // SAFETY: the context and the name are valid.
        unsafe { api!(RedisModule_SignalModifiedKey)(self.raw(), name.raw()) };
    }

    /// Deletes keys as UNLINK does: with its keyspace events, and replicated as UNLINK.
    ///
    /// # Errors
    /// [`Error::Bug`] if the server refuses.
    pub(crate) fn unlink(&self, names: &[&Text]) -> Result<(), Error> {
        let mut raw_names: Vec<_> = names.iter().map(|name| name.raw()).collect();
        self.call_replicated(c"UNLINK", &mut raw_names)
    }

    /// Deletes one entry of a stream as XDEL does, replicated.
    ///
    /// # Errors
    /// [`Error::Bug`] if the server refuses.
    pub(crate) fn delete_entry(&self, stream: &Text, id: &Text) -> Result<(), Error> {
        self.call_replicated(c"XDEL", &mut [stream.raw(), id.raw()])
    }

    fn call_replicated(
        &self,
        command: &std::ffi::CStr,
        arguments: &mut [*mut raw::RedisModuleString],
    ) -> Result<(), Error> {
        // SAFETY: "!" replicates, "v" takes an array of strings and its length; all are valid.
        unsafe {
            let reply = api!(RedisModule_Call)(
                self.raw(),
                command.as_ptr(),
                c"!v".as_ptr(),
                arguments.as_mut_ptr(),
                arguments.len(),
            );
            if reply.is_null() {
                return Err(Error::Bug("the server refused a command"));
            }
            api!(RedisModule_FreeCallReply)(reply);
        }
        Ok(())
    }

    /// Publishes a keyspace event of a stream, as the native command would.
    pub(crate) fn notify_stream(&self, event: &std::ffi::CStr, name: &Text) {
        self.notify(raw::REDISMODULE_NOTIFY_STREAM, event, name);
    }

    /// Publishes a keyspace event of EVQ's own values.
    pub(crate) fn notify_module(&self, event: &std::ffi::CStr, name: &Text) {
        self.notify(raw::REDISMODULE_NOTIFY_MODULE, event, name);
    }

    fn notify(&self, class: c_int, event: &std::ffi::CStr, name: &Text) {
        // SAFETY: the event ends with NUL, the name is valid.
        let sent = unsafe {
            api!(RedisModule_NotifyKeyspaceEvent)(self.raw(), class, event.as_ptr(), name.raw())
        };
        debug_assert_eq!(sent, OK);
    }
}
