//! A ring's definitions in a cluster: the authority decides, copies follow.
//!
//! Knows every room before it, and the client of the cluster, which runs in a thread of its own.
//! What is done here to keys touches keys of one slot in each function. What concerns other slots
//! is asked of their nodes, by a job for a client that is blocked meanwhile.

mod access;
pub(crate) mod authority;
pub(crate) mod confirm;
pub(crate) mod control;
pub(crate) mod copy;
pub(crate) mod events;
pub(crate) mod jobs;
pub(crate) mod listing;
pub(crate) mod main_thread;
pub(crate) mod outcome;
pub(crate) mod passing;
pub(crate) mod rights;
pub(crate) mod shapes;
