//! Who waits for what, and who is served next, as a state machine: requests and the time go in,
//! decisions and the next moment come out.
//!
//! [`lines::Lines`] is the state: it opens no key and knows no clock. Its changes are in `lines`
//! and `news`, what it tells in `view`. What is decided with open keys (is the lease free, is
//! there work, is it this caller's turn) asks [`partitions::Partitions`] for those facts:
//! `hand_over` gives a free lease to the next in line, `calls` calls a worker that takes any
//! partition, `owners` serves an owner, `sweep` does all of that when it is due.

mod any_lines;
pub mod calls;
pub mod connections;
pub mod fast_map;
pub mod hand_over;
pub mod line;
pub mod lines;
pub mod news;
pub mod owners;
mod parked;
pub mod partitions;
pub mod sweep;
pub mod view;
pub mod waiter;
