//! EVQ: ordered, partitioned event queues as a Redis and Valkey server module.
//!
//! ```text
//! module           OnLoad: the order of registration, nothing else
//! command          one file per command: usage, spec, parse, run
//! server           everything that touches the module API; the only layer with `unsafe`
//!   entry          what the server calls: loading, commands, events, INFO
//!   producing      events into streams, and how they travel to replicas
//!   dispatch       who is served next: blocking, calling, the sweep
//!   retention      what goes, and when
//!   delivery       one group in one partition: leases, handing out, dead letters, lag
//!   waiting        who waits; opens no key
//!   keyspace       EVQ's keys and values
//!   ops            settings, counters, log lines, caught panics
//!   api            the module API as safe types, ignorant of EVQ
//! peers            a client of the cluster, in a thread of its own; no module API
//! model            pure rules: no server, no clock, no I/O
//!   waiting        who waits and who is served next, as a state machine
//!   rules          decisions from a state and a `now`, and the driver that runs them
//!   saved          effects, the only changes to saved state, and their format
//!   progress       one group in one partition
//!   ring           partitions, mapping, groups, resizes, settings
//!   nouns          ids, names, errors, limits, words of a command
//! ```
//!
//! Arrows go down: a layer or room knows only those below it. `tests/layers` enforces that, and the
//! measures of files.

pub mod model;

#[cfg(feature = "peers")]
pub mod peers;

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
