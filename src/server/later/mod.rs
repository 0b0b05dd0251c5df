//! Scheduled events: kept until they are due, cancelled, handed to the partitions that own their
//! keys after a resize.
//!
//! Knows `api` to `unique`.
//! Kept out: streams. A due event is appended by `producing`.

pub(crate) mod change;
pub(crate) mod judge;
pub(crate) mod moving;
pub(crate) mod spots;
pub(crate) mod value;
