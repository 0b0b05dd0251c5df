//! How events travel to replicas and files, and the ids they have there.

mod clock;
mod contexts;
pub(crate) mod ids;
