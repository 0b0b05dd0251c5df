//! What goes, and when: trimming, room at MAXDEPTH, groups that nobody uses.
//!
//! Knows `api` to `delivery`.
//! Kept out: clients. What was removed is told to `delivery`, and the sweep wakes whom it concerns.

pub(crate) mod background;
mod dead_age;
pub(crate) mod depth;
pub(crate) mod front;
pub(crate) mod idle_groups;
mod pace;
pub(crate) mod schedule;
pub(crate) mod trim;
