//! Who is served next: a pull from word to reply, blocking, handing over.
//!
//! Knows `api` to `retention`, and the state machine of [`crate::model::waiting`], which decides.
//! Kept out: the rules of delivery, and appending.

pub(crate) mod arrivals;
pub(crate) mod block;
pub(crate) mod hand_over;
pub(crate) mod partitions;
mod places;
pub(crate) mod pull;
pub(crate) mod removed;
pub(crate) mod request;
pub(crate) mod tidy;
