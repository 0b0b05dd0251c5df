//! Real servers for tests: build the module once, start any number of servers with it, talk to
//! them in RESP2 or RESP3, kill and restart them, attach replicas.
//!
//! ```text
//! #[test]
//! fn a_promise_of_evq() {
//!     each_server(|server| {
//!         let mut conn = server.connect();
//!         let reply = must!(conn, "EVQ.TRIGGER", "thread:1", b"\x00\xff");
//!         assert_eq!(reply.array().len(), 2);
//!     });
//! }
//! ```
//!
//! A test that needs other settings takes [`each_binary`] and [`Server::with`]. Nothing waits by a
//! fixed sleep, nothing listens on a well-known port, and a server that crashed behind a test's
//! back fails that test when it is dropped.

// A part may be used by one capability only, or by none while that capability is being built.
#![allow(dead_code, unused_imports, clippy::print_stderr)]

mod args;
mod build;
mod cluster;
mod conn;
mod data;
mod left_out;
mod options;
mod process;
mod proxy;
mod random;
mod replica;
mod sentinel;
mod server;
mod servers;
mod stream;
mod tempdir;
mod value;
mod wait;

pub(crate) use args::{Arg, args, cmd, must};
pub(crate) use build::module_path;
pub(crate) use cluster::{Cluster, ClusterClient, Move, Setup, Users};
pub(crate) use conn::Conn;
pub(crate) use data::{FileEvent, file_history, file_history_repeated};
pub(crate) use left_out::left_out;
pub(crate) use options::{Options, free_port};
pub(crate) use proxy::{Fate, Proxy};
pub(crate) use random::{Random, seed};
pub(crate) use replica::wait_for_sync;
pub(crate) use sentinel::Sentinel;
pub(crate) use server::Server;
pub(crate) use servers::{Binary, binaries, each_binary, each_server};
pub(crate) use stream::Endpoint;
pub(crate) use tempdir::TempDir;
pub(crate) use value::{Value, read_value};
pub(crate) use wait::{PATIENCE, until, until_some};
