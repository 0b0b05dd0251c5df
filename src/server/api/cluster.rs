//! The server as a node of a Redis Cluster: whether it is one, and which keys may be opened then.
//!
//! Newer servers take the slot of a key from the command that the client sent: a key of another
//! slot, opened behind a declared one, is not found, or is stored where nobody finds it. So in a
//! cluster no command opens a key outside the slot of its declared first key. Timers and reply
//! callbacks have no such key, and the server computes each slot. [`check`] holds every opened key
//! to this in debug builds.
//!
//! The module API checks no ownership when it opens a key. [`owns`] asks by way of EXISTS, which
//! the server refuses where it would redirect a client.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ctx::Ctx;
use super::ffi::raw;
use super::kept_keys::close_kept;
use super::text::Text;
use crate::model::slots::Slot;

static IS_ON: AtomicBool = AtomicBool::new(false);

thread_local! {
    static DECLARED: Cell<Option<Slot>> = const { Cell::new(None) };
}

/// Finds out whether the server is part of a cluster, which never changes. Called once at load.
pub(crate) fn detect(ctx: &Ctx) {
    IS_ON.store(ctx.is_cluster(), Ordering::Relaxed);
}

/// Whether the server is part of a cluster.
#[inline]
pub(crate) fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// The slot of a command's declared key, until this drops.
#[derive(Debug)]
pub(crate) struct Declared;

/// A command runs that declared this key. Only debug builds in a cluster remember it.
pub(crate) fn declare(key: Option<&[u8]>) -> Option<Declared> {
    if !cfg!(debug_assertions) || !is_on() {
        return None;
    }
    DECLARED.set(key.map(Slot::of));
    Some(Declared)
}

impl Drop for Declared {
    fn drop(&mut self) {
        DECLARED.set(None);
    }
}

/// Holds a key that is about to be opened to the rule above.
#[inline]
pub(crate) fn check(key: &Text) {
    if cfg!(debug_assertions) && is_on() {
        let declared = DECLARED.get();
        debug_assert!(
            declared.is_none_or(|slot| slot == Slot::of(key.bytes())),
            "a key outside the declared slot: {}",
            key.bytes().escape_ascii()
        );
    }
}

/// Whether all of these keys of one slot, as far as they exist, are to be found here: the slot is
/// this node's, and while it moves each of them exists. Anywhere but in a cluster, yes.
pub(crate) fn owns(ctx: &Ctx, keys: &[&Text]) -> bool {
    if !is_on() {
        return true;
    }
    // The look-up may expire a key that is kept open.
    close_kept();
    let mut words: Vec<*mut raw::RedisModuleString> = keys.iter().map(|key| key.raw()).collect();
    // SAFETY: "v" takes an array of strings and its length; all are valid.
    unsafe {
        let (command, format) = (c"EXISTS".as_ptr(), c"v".as_ptr());
        let (first, count) = (words.as_mut_ptr(), words.len());
        let reply = api!(RedisModule_Call)(ctx.raw(), command, format, first, count);
        if !reply.is_null() {
            api!(RedisModule_FreeCallReply)(reply);
        }
        !reply.is_null()
    }
}
