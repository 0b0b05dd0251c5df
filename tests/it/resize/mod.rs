//! Resizing a ring while it is used.

mod command;
mod hands;
mod held;
mod load;
pub(crate) mod order;
mod survival;
