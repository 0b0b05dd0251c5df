//! The rules of EVQ as plain Rust: no Redis, no clock, no I/O, no `unsafe`.
//!
//! Everything lasting is a value ([`ring::Ring`], [`progress::partition::Partition`]) that changes
//! only by applying an [`saved::effect::Effect`], so a replica, an AOF replay and a test all run
//! the same code.

pub mod claim;
pub mod deadlines;
pub mod error;
pub mod hash;
mod identity;
pub mod ids;
pub mod keys;
pub mod later;
pub mod limits;
mod memory;
pub mod name;
pub mod now;
pub mod parse;
pub mod progress;
pub mod ring;
pub mod rules;
pub mod saved;
pub mod slots;
pub mod throttle;
pub mod unique;
pub mod waiting;

#[cfg(test)]
mod simulator;
