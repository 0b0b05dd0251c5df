//! EVQ's value types, and one of them: a partition's delivery state.
//!
//! All lasting state is in such values, so DEL, RENAME, FLUSHALL, SWAPDB, DUMP, COPY, replication
//! and RDB need no special cases. Every callback catches panics; `free` may run on a background
//! thread, so values hold nothing of the server's. There is no defrag callback: the values are
//! small and short-lived compared with the events, and a copy would not be defragmentation.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::model::error::Error;
use crate::model::progress::partition::Partition;
use crate::model::saved::effect::Effect;
use crate::model::saved::snapshot::{Corrupt, decode, encode};
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{OK, raw};
use crate::server::api::key;
use crate::server::api::key::Kind;
use crate::server::api::log::{Level, line};
use crate::server::api::text::{Text, bytes_of};

/// The encoding version the server records beside a value. The value's own bytes carry their
/// format version too, because effects need one as well.
const ENCODING_VERSION: c_int = 1;

/// A value that lives under a key.
pub(crate) trait Stored: Sized + Send + 'static {
    /// The type's name: exactly nine characters.
    const NAME: &'static CStr;
    /// Where the server's handle of the type is kept.
    fn handle() -> &'static AtomicPtr<raw::RedisModuleType>;
    /// Writes the saved part, at least one piece of bytes.
    fn save(&self, write: &mut dyn FnMut(&[u8]));
    /// A value from hostile bytes, without anything volatile; `next` reads the piece that follows.
    fn load(first: &[u8], next: &mut Pieces<'_>) -> Result<Self, Corrupt>;
    /// Emits the effects that make this value from nothing.
    fn effects(&self, emit: &mut dyn FnMut(&Effect));
    /// How much work it is to free, in blocks of memory.
    fn blocks(&self) -> usize {
        1
    }
    /// Bytes held, the value itself included.
    fn bytes_held(&self) -> usize;
    /// It came into being under `key`.
    fn seen(&self, _db: i32, _key: &[u8]) {}
    /// A copy without anything volatile.
    fn duplicate(&self) -> Option<Self>;
}

/// Reads a piece of a saved value; none where the file ends.
pub(crate) type Pieces<'a> = dyn FnMut() -> Option<Piece> + 'a;

/// A piece of a saved value, as the server read it.
#[derive(Debug)]
pub(crate) struct Piece {
    buffer: *mut c_char,
    length: usize,
}

impl Piece {
    fn read(io: *mut raw::RedisModuleIO) -> Option<Self> {
        let mut length = 0;
        // SAFETY: `io` is valid; with HANDLE_IO_ERRORS set a short read answers null.
        let buffer = unsafe { api!(RedisModule_LoadStringBuffer)(io, &mut length) };
        (!buffer.is_null()).then_some(Self { buffer, length })
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the server allocated so many bytes there for us, freed in Drop.
        unsafe { std::slice::from_raw_parts(self.buffer.cast(), self.length) }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: from LoadStringBuffer, and nothing refers to it any more.
        unsafe { api!(RedisModule_Free)(self.buffer.cast()) };
    }
}

static PARTITION_TYPE: AtomicPtr<raw::RedisModuleType> = AtomicPtr::new(null_mut());

impl Stored for Partition {
    const NAME: &'static CStr = c"evq-part1";

    fn handle() -> &'static AtomicPtr<raw::RedisModuleType> {
        &PARTITION_TYPE
    }

    fn save(&self, write: &mut dyn FnMut(&[u8])) {
        write(&encode(self).unwrap_or_default());
    }

    fn load(first: &[u8], _next: &mut Pieces<'_>) -> Result<Self, Corrupt> {
        decode(first)
    }

    fn effects(&self, emit: &mut dyn FnMut(&Effect)) {
        emit(&Effect::Partition(self.clone()));
    }

    fn duplicate(&self) -> Option<Self> {
        decode(&encode(self).ok()?).ok()
    }

    fn bytes_held(&self) -> usize {
        size_of::<Self>() + self.heap_bytes()
    }
}

/// Registers the type of this file; false if the server refuses it.
pub(crate) fn register(ctx: &Ctx) -> bool {
    register_one::<Partition>(ctx)
}

/// Registers a type; false if the server refuses it.
pub(crate) fn register_one<T: Stored>(ctx: &Ctx) -> bool {
    let mut methods = raw::RedisModuleTypeMethods {
        version: u64::from(raw::REDISMODULE_TYPE_METHOD_VERSION),
        rdb_load: Some(rdb_load::<T>),
        rdb_save: Some(rdb_save::<T>),
        aof_rewrite: Some(aof_rewrite::<T>),
        mem_usage: Some(mem_usage::<T>),
        digest: Some(digest::<T>),
        free: Some(free::<T>),
        aux_load: None,
        aux_save: None,
        aux_save_triggers: 0,
        free_effort: Some(free_effort::<T>),
        unlink: None,
        copy: None,
        defrag: None,
        mem_usage2: None,
        free_effort2: None,
        unlink2: None,
        copy2: Some(copy::<T>),
        aux_save2: None,
    };
    // SAFETY: name and methods live through the call; the server copies both.
    let handle = unsafe {
        api!(RedisModule_CreateDataType)(
            ctx.raw(),
            T::NAME.as_ptr(),
            ENCODING_VERSION,
            &mut methods,
        )
    };
    T::handle().store(handle, Ordering::Relaxed);
    !handle.is_null()
}

/// Runs a callback's body; a panic ends here, in the log, with `fallback` as the answer.
fn guarded<R>(fallback: R, body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        line(null_mut(), Level::Warning, "EVQBUG panic in a data type callback; please report");
        fallback
    })
}

unsafe extern "C" fn rdb_load<T: Stored>(
    io: *mut raw::RedisModuleIO,
    version: c_int,
) -> *mut c_void {
    guarded(null_mut(), || {
        if version != ENCODING_VERSION {
            let text = format!("saved value refused: unknown encoding version {version}");
            line(null_mut(), Level::Warning, &text);
            return null_mut();
        }
        let Some(first) = Piece::read(io) else { return null_mut() };
        match T::load(first.as_ref(), &mut || Piece::read(io)) {
            Ok(value) => {
                // SAFETY: `io` is valid; the name is null when the bytes come from no key.
                unsafe {
                    let key = api!(RedisModule_GetKeyNameFromIO)(io);
                    if !key.is_null() {
                        value.seen(api!(RedisModule_GetDbIdFromIO)(io), bytes_of(key));
                    }
                }
                Box::into_raw(Box::new(value)).cast()
            }
            Err(corrupt) => {
                line(null_mut(), Level::Warning, &format!("saved value refused: {corrupt}"));
                null_mut()
            }
        }
    })
}

/// # Safety
/// `value` must be a live value of type `T`, as the server's pointers to it are.
unsafe fn value_of<'a, T: Stored>(value: *const c_void) -> &'a T {
    // SAFETY: the caller vouches for it.
    unsafe { &*value.cast() }
}

unsafe extern "C" fn rdb_save<T: Stored>(io: *mut raw::RedisModuleIO, value: *mut c_void) {
    guarded((), || {
        // SAFETY: the server passes a value of this type; pointer and length describe the bytes.
        unsafe { value_of::<T>(value) }.save(&mut |bytes| unsafe {
            api!(RedisModule_SaveStringBuffer)(io, bytes.as_ptr().cast(), bytes.len());
        });
    });
}

unsafe extern "C" fn aof_rewrite<T: Stored>(
    io: *mut raw::RedisModuleIO,
    key: *mut raw::RedisModuleString,
    value: *mut c_void,
) {
    guarded((), || {
        // SAFETY: the server passes a value of this type.
        unsafe { value_of::<T>(value) }.effects(&mut |effect| {
            let bytes = encode(effect).unwrap_or_default();
            let apply = crate::server::keyspace::replicate::APPLY.as_ptr();
            let (start, length) = (bytes.as_ptr(), bytes.len());
            // SAFETY: "s" takes a string, "b" a pointer and a length.
            unsafe { api!(RedisModule_EmitAOF)(io, apply, c"sb".as_ptr(), key, start, length) };
        });
    });
}

unsafe extern "C" fn mem_usage<T: Stored>(value: *const c_void) -> usize {
    // SAFETY: the server passes a value of this type.
    guarded(0, || unsafe { value_of::<T>(value) }.bytes_held())
}

unsafe extern "C" fn digest<T: Stored>(md: *mut raw::RedisModuleDigest, value: *mut c_void) {
    guarded((), || {
        // SAFETY: the server passes a value of this type; pointer and length describe the bytes.
        unsafe { value_of::<T>(value) }.save(&mut |bytes| unsafe {
            api!(RedisModule_DigestAddStringBuffer)(md, bytes.as_ptr().cast(), bytes.len());
        });
        // SAFETY: what belongs together has been added.
        unsafe { api!(RedisModule_DigestEndSequence)(md) };
    });
}

unsafe extern "C" fn free_effort<T: Stored>(
    _key: *mut raw::RedisModuleString,
    value: *const c_void,
) -> usize {
    // SAFETY: the server passes a value of this type.
    guarded(1, || unsafe { value_of::<T>(value) }.blocks())
}

unsafe extern "C" fn free<T: Stored>(value: *mut c_void) {
    // SAFETY: made by `Box::into_raw` and given back once, when the server drops the key.
    guarded((), || drop(unsafe { Box::<T>::from_raw(value.cast()) }));
}

unsafe extern "C" fn copy<T: Stored>(
    opt: *mut raw::RedisModuleKeyOptCtx,
    value: *const c_void,
) -> *mut c_void {
    guarded(null_mut(), || {
        // SAFETY: the server passes a value of this type.
        let Some(copy) = unsafe { value_of::<T>(value) }.duplicate() else {
            // Null refuses the COPY.
            return null_mut();
        };
        // SAFETY: `opt` is valid and names the key that the copy goes to.
        unsafe {
            let key = api!(RedisModule_GetToKeyNameFromOptCtx)(opt);
            if !key.is_null() {
                copy.seen(api!(RedisModule_GetToDbIdFromOptCtx)(opt), bytes_of(key));
            }
        }
        Box::into_raw(Box::new(copy)).cast()
    })
}

/// Stores a new value under `name`, in place of nothing.
///
/// # Errors
/// [`Error::WrongType`] if the key holds something; [`Error::Bug`] if the server refuses.
pub(crate) fn create_value<T: Stored>(ctx: &Ctx, name: &Text, value: T) -> Result<(), Error> {
    if key::open_read(ctx, name).kind() != Kind::Empty {
        return Err(Error::WrongType);
    }
    let key = key::open_write(ctx, name);
    let value = Box::into_raw(Box::new(value));
    // SAFETY: the key is open for writing; the server takes the value over if it answers OK.
    unsafe {
        let handle = T::handle().load(Ordering::Relaxed);
        if api!(RedisModule_ModuleTypeSetValue)(key.raw(), handle, value.cast()) != OK {
            drop(Box::from_raw(value));
            return Err(Error::Bug("the server refused a value"));
        }
    }
    key::signal_modified(ctx, name);
    Ok(())
}
