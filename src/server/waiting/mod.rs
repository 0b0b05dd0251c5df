//! Clients that wait: this server's lines, and the calls to the server that end a wait.
//!
//! Knows `api` to `keyspace`, and the state machine of [`crate::model::waiting`].
//! Kept out: keys, and decisions. Nothing here opens a key, so it may be called from any callback.

pub(crate) mod connections;
pub(crate) mod lines;
pub(crate) mod release;
pub(crate) mod waiter;
