//! Everything that touches the module API, and the only place with `unsafe`.
//!
//! The layers above see safe types: [`ctx::Ctx`] for the server, [`key::Key`] for an open key,
//! [`stream`] for events, [`rings`] and [`state`] for EVQ's own values, [`waiting`] and
//! [`blocking`] for clients that wait. The rules about what may be called when are in the heads
//! of those files.
#![allow(unsafe_code)]

#[macro_use]
pub(crate) mod api;

pub(crate) mod delivery;
pub(crate) mod dispatch;
#[macro_use]
pub(crate) mod entry;
pub(crate) mod keyspace;
pub(crate) mod ops;
pub(crate) mod producing;
pub(crate) mod retention;
pub(crate) mod waiting;
