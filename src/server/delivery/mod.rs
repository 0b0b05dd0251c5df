//! One group in one partition: its state, leases, barriers, dead letters, lag, and handing events
//! out.
//!
//! Knows `api` to `waiting`; the rules are those of `model::rules`, the driver is theirs too.
//! Kept out: which partition or worker is next; that is `dispatch`.

pub(crate) mod backlog;
pub(crate) mod barriers;
pub(crate) mod hand_out;
pub(crate) mod lag;
pub(crate) mod leases;
pub(crate) mod letters;
pub(crate) mod plain;
pub(crate) mod remove_group;
pub(crate) mod state;
pub(crate) mod xrange;
