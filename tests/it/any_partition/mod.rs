//! EVQ.CONSUME *: workers that pull from any partition of a ring.

mod chaos;
pub(crate) mod pulls;
mod stolen;
mod waiting;
