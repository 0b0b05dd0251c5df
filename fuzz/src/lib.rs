//! What the fuzz targets do with their bytes. The targets themselves, in `fuzz_targets`, only hand
//! them over; EVQ's own tests include these files too and replay the corpora (see `replay.rs`).
//!
//! - `words`: a client's words against a naive reading of them.
//! - `saved`: the bytes of snapshots and effects, and what is done with a value that was read.
//! - `pieces`: the bytes of values that are saved in pieces, and of effects on them.
//! - `delivery`: the delivery of a partition (over a `shell.rs` in memory) against a ledger that
//!   knows nothing of its rules (`ledger.rs`).

pub mod bytes;
pub mod delivery;
pub mod ledger;
pub mod pieces;
pub mod saved;
pub mod shell;
pub mod words;
