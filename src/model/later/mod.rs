//! Events with a time: what a partition keeps of them until they are due, and how much memory that
//! takes.
//!
//! An event waits as the words it was scheduled with ([`parts`]). It is found by its time and its
//! ticket, and by its ticket alone ([`schedule`]).

pub mod parts;
pub mod schedule;

#[cfg(test)]
mod schedule_tests;
