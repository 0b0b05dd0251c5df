//! The module API as safe types: contexts, keys, streams, replies, the timer.
//!
//! Knows the server and the nouns of the model, and nothing of rings, groups or leases.
//! Every call through the FFI is here or in a callback of `entry`; `unsafe` needs its reason beside
//! it.

#[macro_use]
pub(crate) mod ffi;

pub(crate) mod acl;
pub(crate) mod args;
pub(crate) mod cluster;
pub(crate) mod ctx;
pub(crate) mod kept_keys;
pub(crate) mod key;
pub(crate) mod log;
pub(crate) mod reply;
pub(crate) mod stream;
pub(crate) mod stream_end;
pub(crate) mod text;
pub(crate) mod timer;
pub(crate) mod tree;
pub(crate) mod xinfo;
