//! The tokens by which a repeated EVQ.TRIGGER is known: what a partition remembers of them, for how
//! long, and how much memory that takes.
//!
//! A token belongs to a key, and what is remembered of both is a keyed hash ([`keyed_hash`]).
//! Tokens come and go in one order, so they lie in a queue ([`chunks`]) with a table over it
//! ([`table`]). All times come from the primary, see [`tokens::Change`].

pub mod chunks;
pub mod keyed_hash;
pub mod table;
pub mod tokens;

#[cfg(test)]
mod tokens_tests;
