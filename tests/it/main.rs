//! Integration tests: real servers with the real module, one file per capability.
//!
//! Everything a test needs to start, stop, kill and question a server is in `harness`.

// A test that cannot go on should stop where it stands and say so.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod acl;
mod acl_commands;
mod again;
mod any_partition;
mod bound;
mod campaign;
mod config;
mod consume;
mod dead;
mod demo;
mod docs;
mod ended_waits;
mod epochs;
mod failing;
mod failover_load;
mod failover_state;
mod formats;
mod groups;
mod harness;
mod harness_test;
mod hostile;
mod idle;
mod json;
mod kept;
mod kinds;
mod lag;
mod leaks;
mod leaks_by_command;
mod leases;
mod limits;
mod lossy;
mod memory;
mod nack;
mod observe;
mod once;
mod order_book;
mod persistence;
mod poison;
mod produce;
mod promises;
mod proxy;
mod pull;
mod python_failures;
mod python_once;
mod python_worker;
mod readme;
mod real_failures;
mod removed;
mod replication;
mod replication_mix;
mod resize;
mod restore;
mod retention;
mod ring;
mod ring_life;
mod routing;
mod seek;
mod soak;
mod start;
mod stats;
mod survival;
mod torture;
mod totals;
mod travel;
mod types;
mod unblocking;
mod unique;
mod usage;
mod waiting;
