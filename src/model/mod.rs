//! The rules of EVQ as plain Rust: no Redis, no clock, no I/O, no `unsafe`.
//!
//! Everything lasting is a value ([`ring::Ring`], [`partition::Partition`]) that changes only by
//! applying an [`effect::Effect`], so a replica, an AOF replay and a test all run the same code.

pub mod activity;
pub mod clock;
pub mod continuum;
pub mod delivery;
mod due;
pub mod effect;
mod ends;
pub mod error;
pub mod exceptions;
pub mod failure;
pub mod format1;
mod generations;
pub mod giving;
pub mod group;
pub mod hash;
mod heap;
pub mod history;
mod identity;
pub mod ids;
pub mod keys;
pub mod lease;
pub mod limits;
pub mod name;
pub mod needs;
pub mod partition;
pub mod progress;
pub mod resize;
pub mod retention;
pub mod rights;
pub mod ring;
pub mod snapshot;
pub mod throttle;
pub mod totals;
pub mod words;

#[cfg(test)]
mod simulator;

#[cfg(test)]
mod written_tests;
