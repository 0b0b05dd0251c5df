//! One group in one partition: its state, leases, barriers, dead letters, lag, and handing events
//! out.
//!
//! Knows `api` to `waiting`. The rules and the order in which they run are those of `model::rules`;
//! `shell` is what they run on.
//! Kept out: which partition or worker is next; that is `dispatch`.

pub(crate) mod backlog;
pub(crate) mod barriers;
mod event_reply;
pub(crate) mod hand_out;
pub(crate) mod lag;
pub(crate) mod leases;
pub(crate) mod letters;
mod plain;
pub(crate) mod remove_group;
pub(crate) mod shell;
pub(crate) mod state;
mod xrange;
