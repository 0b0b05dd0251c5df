//! EVQ's two value types: a ring's definition and a partition's delivery state.
//!
//! All lasting state is in such values, so DEL, RENAME, FLUSHALL, SWAPDB, DUMP, COPY, replication
//! and RDB need no special cases. Every callback catches panics; `free` may run on a background
//! thread, so values hold nothing of the server's. There is no defrag callback: the values are
//! small and short-lived compared with the events, and a copy would not be defragmentation.

use std::ffi::{CStr, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::model::error::Error;
use crate::model::keys::parse_ring_key;
use crate::model::progress::partition::Partition;
use crate::model::ring::Ring;
use crate::model::ring::continuum::Continuum;
use crate::model::ring::history::History;
use crate::model::saved::effect::Effect;
use crate::model::saved::snapshot::{Corrupt, decode, encode};
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{OK, raw};
use crate::server::api::key;
use crate::server::api::key::{Key, Kind};
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
    /// The saved part as bytes.
    fn save(&self) -> Result<Vec<u8>, Error>;
    /// A value from hostile bytes, without anything volatile.
    fn load(bytes: &[u8]) -> Result<Self, Corrupt>;
    /// The effect that makes this value from nothing.
    fn whole(&self) -> Effect;
    /// Bytes held, the value itself included.
    fn bytes_held(&self) -> usize;
    /// A value of this type came into being under `key`.
    fn seen(_db: i32, _key: &[u8]) {}
    /// A copy without anything volatile.
    fn duplicate(&self) -> Option<Self> {
        Self::load(&self.save().ok()?).ok()
    }
}

/// A ring's definition with what follows from it.
#[derive(Debug)]
pub(crate) struct RingValue {
    /// The definition.
    pub(crate) ring: Ring,
    /// Its continuum.
    pub(crate) continuum: Continuum,
    /// What its past means for the order of delivery, if it has one.
    pub(crate) history: Option<Arc<History>>,
    /// The newest millisecond that an event began whose id did not follow, see
    /// [`crate::server::producing::travel`].
    pub(crate) begun_ms: u64,
}

impl RingValue {
    /// Lays out the continuum.
    pub(crate) fn new(ring: Ring) -> Self {
        let continuum = ring.continuum();
        let history = ring.history(&continuum).map(Arc::new);
        Self { ring, continuum, history, begun_ms: 0 }
    }

    /// Applies an effect to the definition, and to what follows from it no more than has changed.
    pub(crate) fn apply(&mut self, effect: Effect) {
        let forgotten = match effect {
            Effect::Forgotten(generations) => generations,
            _ => 0,
        };
        let resizes = matches!(effect, Effect::Resized(..));
        let applied = self.ring.apply(effect);
        let history = self.history.as_deref();
        if let Some(past) = self.ring.past().last()
            && resizes
            && applied
        {
            let now = self.ring.continuum();
            let history = History::next(history, past, &self.continuum, &now);
            (self.history, self.continuum) = (Some(Arc::new(history)), now);
        } else if forgotten > 0 {
            self.history = history.and_then(|history| history.without(forgotten)).map(Arc::new);
        }
    }
}

static RING_TYPE: AtomicPtr<raw::RedisModuleType> = AtomicPtr::new(null_mut());
static PARTITION_TYPE: AtomicPtr<raw::RedisModuleType> = AtomicPtr::new(null_mut());

impl Stored for RingValue {
    const NAME: &'static CStr = c"evq-ring1";

    fn handle() -> &'static AtomicPtr<raw::RedisModuleType> {
        &RING_TYPE
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        encode(&self.ring)
    }

    fn load(bytes: &[u8]) -> Result<Self, Corrupt> {
        decode(bytes).map(Self::new)
    }

    fn whole(&self) -> Effect {
        Effect::Ring(self.ring.clone())
    }

    fn bytes_held(&self) -> usize {
        let history = self.history.as_ref().map_or(0, |history| history.heap_bytes());
        size_of::<Self>() + self.ring.heap_bytes() + self.continuum.heap_bytes() + history
    }

    fn seen(db: i32, key: &[u8]) {
        if let Some(ring) = parse_ring_key(key) {
            crate::server::keyspace::known_rings::note(db, &ring);
        }
    }
}

impl Stored for Partition {
    const NAME: &'static CStr = c"evq-part1";

    fn handle() -> &'static AtomicPtr<raw::RedisModuleType> {
        &PARTITION_TYPE
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        encode(self)
    }

    fn load(bytes: &[u8]) -> Result<Self, Corrupt> {
        decode(bytes)
    }

    fn whole(&self) -> Effect {
        Effect::Partition(self.clone())
    }

    fn bytes_held(&self) -> usize {
        size_of::<Self>() + self.heap_bytes()
    }
}

/// Registers both types; false if the server refuses one.
pub(crate) fn register(ctx: &Ctx) -> bool {
    register_one::<RingValue>(ctx) && register_one::<Partition>(ctx)
}

fn register_one<T: Stored>(ctx: &Ctx) -> bool {
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
        free_effort: None,
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
            let text = format!("cannot load a value of encoding version {version}");
            line(null_mut(), Level::Warning, &text);
            return null_mut();
        }
        let mut length = 0;
        // SAFETY: `io` is valid; with HANDLE_IO_ERRORS set a short read answers null.
        let buffer = unsafe { api!(RedisModule_LoadStringBuffer)(io, &mut length) };
        if buffer.is_null() {
            return null_mut();
        }
        // SAFETY: the server allocated `length` bytes at `buffer` for us, freed below.
        let loaded = T::load(unsafe { std::slice::from_raw_parts(buffer.cast(), length) });
        // SAFETY: as above; nothing refers to the buffer any more.
        unsafe { api!(RedisModule_Free)(buffer.cast()) };
        match loaded {
            Ok(value) => {
                // SAFETY: `io` is valid; the name is null when the bytes come from no key.
                unsafe {
                    let key = api!(RedisModule_GetKeyNameFromIO)(io);
                    if !key.is_null() {
                        T::seen(api!(RedisModule_GetDbIdFromIO)(io), bytes_of(key));
                    }
                }
                Box::into_raw(Box::new(value)).cast()
            }
            Err(corrupt) => {
                line(null_mut(), Level::Warning, &format!("refused a saved value: {corrupt}"));
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
        // SAFETY: the server passes a value of this type.
        let bytes = unsafe { value_of::<T>(value) }.save().unwrap_or_default();
        // SAFETY: pointer and length describe `bytes`.
        unsafe { api!(RedisModule_SaveStringBuffer)(io, bytes.as_ptr().cast(), bytes.len()) };
    });
}

unsafe extern "C" fn aof_rewrite<T: Stored>(
    io: *mut raw::RedisModuleIO,
    key: *mut raw::RedisModuleString,
    value: *mut c_void,
) {
    guarded((), || {
        // SAFETY: the server passes a value of this type.
        let effect = unsafe { value_of::<T>(value) }.whole();
        let bytes = encode(&effect).unwrap_or_default();
        // SAFETY: "s" takes a string, "b" a pointer and a length.
        unsafe {
            api!(RedisModule_EmitAOF)(
                io,
                crate::server::keyspace::replicate::APPLY.as_ptr(),
                c"sb".as_ptr(),
                key,
                bytes.as_ptr(),
                bytes.len(),
            );
        }
    });
}

unsafe extern "C" fn mem_usage<T: Stored>(value: *const c_void) -> usize {
    // SAFETY: the server passes a value of this type.
    guarded(0, || unsafe { value_of::<T>(value) }.bytes_held())
}

unsafe extern "C" fn digest<T: Stored>(md: *mut raw::RedisModuleDigest, value: *mut c_void) {
    guarded((), || {
        // SAFETY: the server passes a value of this type.
        let bytes = unsafe { value_of::<T>(value) }.save().unwrap_or_default();
        // SAFETY: pointer and length describe `bytes`.
        unsafe {
            api!(RedisModule_DigestAddStringBuffer)(md, bytes.as_ptr().cast(), bytes.len());
            api!(RedisModule_DigestEndSequence)(md);
        }
    });
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
                T::seen(api!(RedisModule_GetToDbIdFromOptCtx)(opt), bytes_of(key));
            }
        }
        Box::into_raw(Box::new(copy)).cast()
    })
}

impl Key {
    fn value_pointer<T: Stored>(&self) -> Result<Option<*mut T>, Error> {
        // SAFETY: the key is open. The server answers null for a null pointer and for what is no
        // module's value. The type is checked before the cast.
        unsafe {
            let handle = api!(RedisModule_ModuleTypeGetType)(self.raw());
            if handle.is_null() || handle != T::handle().load(Ordering::Relaxed) {
                return if self.kind() == Kind::Empty { Ok(None) } else { Err(Error::WrongType) };
            }
            let value = api!(RedisModule_ModuleTypeGetValue)(self.raw());
            Ok((!value.is_null()).then_some(value.cast()))
        }
    }

    /// The value of type `T`, or none if the key does not exist.
    ///
    /// # Errors
    /// [`Error::WrongType`] if the key holds anything else.
    pub(crate) fn value<T: Stored>(&self) -> Result<Option<&T>, Error> {
        // SAFETY: the value lives while the key is open, and the server runs one command at a
        // time; callers keep no two references across a change.
        Ok(self.value_pointer::<T>()?.map(|value| unsafe { &*value }))
    }

    /// The value of type `T`, to be changed in place; None if the key does not exist.
    ///
    /// # Errors
    /// [`Error::WrongType`] if the key holds anything else.
    pub(crate) fn value_mut<T: Stored>(&mut self) -> Result<Option<&mut T>, Error> {
        // SAFETY: as in `value`; `&mut self` keeps others of this guard away.
        Ok(self.value_pointer::<T>()?.map(|value| unsafe { &mut *value }))
    }
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
