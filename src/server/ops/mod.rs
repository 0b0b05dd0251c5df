//! What operators set and see: settings, counters, log lines about their rings, caught panics.
//!
//! Knows `api`.
//! Kept out: keys and their values, and decisions; a setting is read where it is used.

pub(crate) mod alarm;
pub(crate) mod config;
pub(crate) mod counters;
pub(crate) mod credentials;
pub(crate) mod panics;
