//! What the server calls: loading, commands and their documentation, events, the timer, INFO.
//!
//! Knows every other room.
//! Kept out: decisions. Errors and panics end here.

#[macro_use]
pub(crate) mod load;

pub(crate) mod command;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod registry;
pub(crate) mod shared_args;
pub(crate) mod spec;
pub(crate) mod sweep;
