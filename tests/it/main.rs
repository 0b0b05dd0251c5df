//! Integration tests: real servers with the real module, one file per capability.
//!
//! Everything a test needs to start, stop, kill and question a server is in `harness`.

// A test that cannot go on should stop where it stands and say so.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod acl;
mod bound;
mod campaign;
mod config;
mod consume;
mod dead;
mod demo;
mod docs;
mod epochs;
mod failing;
mod failover_load;
mod failover_state;
mod formats;
mod groups;
mod harness;
mod harness_test;
mod hostile;
mod kept;
mod kinds;
mod lag;
mod leaks;
mod leases;
mod nack;
mod once;
mod order_book;
mod persistence;
mod poison;
mod produce;
mod promises;
mod pull;
mod python_failures;
mod python_once;
mod python_worker;
mod readme;
mod real_failures;
mod replication;
mod replication_mix;
mod resize;
mod resize_command;
mod resize_hands;
mod resize_held;
mod resize_load;
mod resize_survival;
mod restore;
mod retention_any;
mod retention_copies;
mod retention_depth;
mod retention_finished;
mod retention_idle;
mod retention_lag;
mod retention_resize;
mod retention_types;
mod ring;
mod ring_life;
mod routing;
mod seek;
mod soak;
mod star;
mod star_chaos;
mod star_waiting;
mod stats;
mod survival;
mod torture;
mod travel;
mod travel_clock;
mod travel_where;
mod types;
mod unblocking;
mod usage;
mod waiting;
