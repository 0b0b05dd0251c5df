//! Everything that touches the module API, and the only place with `unsafe`.
//!
//! The layers above see safe types: [`ctx::Ctx`] for the server, [`key::Key`] for an open key,
//! [`stream`] for events, [`rings`] and [`state`] for EVQ's own values, [`waiting`] and
//! [`blocking`] for clients that wait. The rules about what may be called when are in the heads
//! of those files.
#![allow(unsafe_code)]

#[macro_use]
pub(crate) mod ffi;

pub(crate) mod acl;
pub(crate) mod alarm;
pub(crate) mod args;
pub(crate) mod barriers;
pub(crate) mod batch;
pub(crate) mod blocking;
pub(crate) mod calls;
pub(crate) mod config;
pub(crate) mod connections;
pub(crate) mod counters;
pub(crate) mod ctx;
pub(crate) mod datatype;
pub(crate) mod dead;
pub(crate) mod decide;
pub(crate) mod deliver;
pub(crate) mod entry;
pub(crate) mod events;
mod fresh;
mod front;
pub(crate) mod generations;
pub(crate) mod groups;
pub(crate) mod idle;
pub(crate) mod info;
pub(crate) mod json;
pub(crate) mod key;
pub(crate) mod known;
pub(crate) mod lag;
pub(crate) mod latency;
pub(crate) mod leases;
#[macro_use]
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod names;
pub(crate) mod produce;
pub(crate) mod quick;
pub(crate) mod range;
pub(crate) mod registry;
pub(crate) mod replay;
pub(crate) mod replicate;
pub(crate) mod reply;
pub(crate) mod retention;
pub(crate) mod rings;
pub(crate) mod room;
pub(crate) mod rounds;
pub(crate) mod schedule;
pub(crate) mod state;
pub(crate) mod stream;
pub(crate) mod sweep;
pub(crate) mod tail;
pub(crate) mod text;
pub(crate) mod tick;
pub(crate) mod trim;
pub(crate) mod unfinished;
pub(crate) mod waiter;
pub(crate) mod waiting;
pub(crate) mod xinfo;
