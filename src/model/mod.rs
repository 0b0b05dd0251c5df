//! The rules of EVQ as plain Rust: no Redis, no clock, no I/O, no `unsafe`.
//!
//! Everything lasting is a value ([`ring::Ring`], [`partition::Partition`]) that changes only by
//! applying an [`effect::Effect`], so a replica, an AOF replay and a test all run the same code.

pub mod continuum;
pub mod delivery;
pub mod effect;
pub mod error;
pub mod exceptions;
pub mod failure;
pub mod giving;
pub mod group;
pub mod hash;
pub mod ids;
pub mod keys;
pub mod lease;
pub mod limits;
pub mod name;
pub mod partition;
pub mod progress;
pub mod rights;
pub mod ring;
pub mod snapshot;
pub mod totals;
pub mod words;

#[cfg(test)]
mod simulator;
