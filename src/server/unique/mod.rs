//! The tokens by which repeated events are known: judged before an event is appended, remembered
//! with it, forgotten when they are too old.
//!
//! Knows `api` to `keyspace`.
//! Kept out: events. What is appended and how it travels is told by `producing`.

pub(crate) mod forget;
pub(crate) mod hints;
pub(crate) mod judge;
pub(crate) mod remember;
pub(crate) mod value;
