//! The rules of EVQ as plain Rust: no Redis, no clock, no I/O, no `unsafe`.

pub mod continuum;
pub mod hash;
pub mod ids;
pub mod limits;
