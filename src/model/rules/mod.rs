//! The rules: who may act, what is given next, what a failure does, what a resize holds back, what
//! may be trimmed. Each decides from a state and an explicit `now`, and changes nothing.

pub mod answers;
pub mod delivery;
pub mod drive;
pub mod failure;
pub mod gate;
pub mod left;
pub mod needs;
pub mod offer;
pub mod ready;
pub mod removed;
pub mod replay;
pub mod rights;
pub mod shell;
pub mod source;
mod steps;
pub mod tenure;
pub mod trim;
pub mod unfinished;
