//! EVQ's keys: their names, the types of their values, the ring's value, what travels to replicas.
//!
//! Knows `api` and `ops`.
//! Kept out: progress of groups, clients, time. A ring is opened and changed here, nowhere else.

pub(crate) mod copies;
pub(crate) mod datatype;
pub(crate) mod deleted;
pub(crate) mod key_names;
pub(crate) mod known_rings;
pub(crate) mod line;
pub(crate) mod place;
pub(crate) mod replicate;
pub(crate) mod ring;
pub(crate) mod ring_value;
pub(crate) mod scope;
pub(crate) mod shared;
pub(crate) mod tickets;
pub(crate) mod values;
