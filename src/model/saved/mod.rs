//! What is saved and what travels: effects, snapshots, and their formats.

pub mod effect;
pub mod pieces;
pub mod schedule;
pub mod snapshot;

#[cfg(test)]
mod written_tests;
