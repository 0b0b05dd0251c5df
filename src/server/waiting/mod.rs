//! Clients that wait: which line each stands in, and how its wait ends.
//!
//! Knows `api` to `keyspace`, and the pure lines of the model.
//! Kept out: keys. Nothing here opens one, so it may be called from any callback.

pub(crate) mod any_lines;
pub(crate) mod connections;
pub(crate) mod fast_map;
pub(crate) mod lines;
pub(crate) mod release;
pub(crate) mod waiter;
