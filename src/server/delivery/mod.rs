//! One group in one partition: its state, leases, barriers, dead letters, lag, and handing events
//! out.
//!
//! Knows `api` to `waiting`. The rules and the order in which they run are those of `model::rules`;
//! `shell` is what they run on.
//! Kept out: which partition or worker is next; that is `dispatch`.

pub(crate) mod backlog;
pub(crate) mod barriers;
mod count;
mod event_reply;
mod excepted;
pub(crate) mod hand_out;
pub(crate) mod in_hand;
pub(crate) mod lag;
pub(crate) mod leases;
pub(crate) mod letters;
pub(crate) mod opened;
mod plain;
pub(crate) mod recount;
pub(crate) mod remove_group;
pub(crate) mod replayed;
pub(crate) mod shell;
pub(crate) mod state;
pub(crate) mod survey;
mod xrange;
