//! Events into streams: one, many, those that a replica repeats, and the clock that goes back.
//!
//! Knows `api` to `dispatch`, which it tells what was appended.
//! Kept out: who gets an event.

pub(crate) mod append;
pub(crate) mod batch;
pub(crate) mod columns;
pub(crate) mod due;
pub(crate) mod once;
pub(crate) mod one;
pub(crate) mod repeats;
pub(crate) mod replay;
pub(crate) mod travel;
