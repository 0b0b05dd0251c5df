//! The one partition that a passed-on command is about, in a cluster: whatever its words say, it
//! concerns no other. So a command of a ring runs once beside each partition, on the node that has
//! it, and opens no key of another slot.
//!
//! Its words are those of the command that a client sent to another node. It travels to replicas
//! under them, as if it had come from a client.

use std::cell::{Cell, RefCell};

use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::raw;

thread_local! {
    static PARTITION: Cell<Option<u32>> = const { Cell::new(None) };
    /// The command's words, its name first.
    static WORDS: RefCell<Vec<*mut raw::RedisModuleString>> = const { RefCell::new(Vec::new()) };
}

/// A command runs beside one partition until this drops.
#[derive(Debug)]
pub(crate) struct Scope;

/// A command of these words, its name first, runs beside partition `p` from here on. The words live
/// until the scope ends.
pub(crate) fn begin(p: u32, words: &[*mut raw::RedisModuleString]) -> Scope {
    PARTITION.set(Some(p));
    WORDS.with_borrow_mut(|all| {
        all.clear();
        all.extend_from_slice(words);
    });
    Scope
}

impl Drop for Scope {
    fn drop(&mut self) {
        PARTITION.set(None);
        WORDS.with_borrow_mut(Vec::clear);
    }
}

/// The partition that the running command is confined to, if it is.
pub(crate) fn partition() -> Option<u32> {
    PARTITION.get()
}

/// Replicates the running command under its own words. False if it was not passed on.
pub(crate) fn replicate(ctx: &Ctx) -> bool {
    WORDS.with_borrow(|words| {
        let Some((name, rest)) = words.split_first() else { return false };
        // SAFETY: the words live until the scope ends; a command's name ends with NUL, as every
        // string of the server does. "v" takes an array of strings and its length.
        unsafe {
            let mut length = 0;
            let name = api!(RedisModule_StringPtrLen)(*name, &mut length);
            let format = c"v".as_ptr();
            let rest = rest.to_vec();
            api!(RedisModule_Replicate)(ctx.raw(), name, format, rest.as_ptr(), rest.len());
        }
        true
    })
}
