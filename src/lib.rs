//! EVQ: ordered, partitioned event queues as a Redis and Valkey server module.
//!
//! Arrows only go down: `module` wires `command` and `server`; a `command` reads the rules in
//! `model` and acts through `server`; `server` is the only place that talks to the module API and
//! the only one with `unsafe`; `model` is pure and knows nothing of Redis. `tests/layers.rs`
//! enforces this.

pub mod model;

#[cfg(feature = "module")]
mod command;
#[cfg(feature = "module")]
mod module;
#[cfg(feature = "module")]
mod server;
