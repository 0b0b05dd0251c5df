//! The rules: who may act, what is given next, what a failure does, what a resize holds back, what
//! may be trimmed. Each decides from a state and an explicit `now`, and changes nothing.

pub mod delivery;
pub mod failure;
pub mod gate;
pub mod needs;
pub mod offer;
pub mod rights;
pub mod source;
pub mod trim;
pub mod unfinished;
