//! Who is served next: a pull from word to reply, blocking, calling, handing over, the sweep.
//!
//! Knows `api` to `retention`.
//! Kept out: the rules of delivery, and appending.

pub(crate) mod block;
pub(crate) mod call;
pub(crate) mod hand_over;
pub(crate) mod sweep;
pub(crate) mod tidy;
