//! EVQ: ordered, partitioned event queues as a Redis and Valkey server module.
//!
//! Arrows only go down: `module` wires `command` and `server`; a `command` reads the rules in
//! `model` and acts through `server`; `server` is the only place that talks to the module API and
//! the only one with `unsafe`; `model` is pure and knows nothing of Redis. `tests/layers.rs`
//! enforces this.

pub mod model;

#[cfg(feature = "module")]
#[macro_use]
mod server;

#[cfg(feature = "module")]
mod command;

#[cfg(feature = "module")]
mod module;

// The server's allocator, so that used_memory and maxmemory see what the module holds. A test
// binary has no server to ask.
#[cfg(all(feature = "module", not(test)))]
#[global_allocator]
static ALLOCATOR: redis_module::alloc::RedisAlloc = redis_module::alloc::RedisAlloc;

// The fuzz targets' sources see the model as other crates do; their corpora are replayed here.
#[cfg(test)]
extern crate self as evq;
#[cfg(test)]
#[path = "../fuzz/src/replay.rs"]
mod fuzz;
