//! Everything that touches the module API, and the only place with `unsafe`.
//!
//! Twelve rooms, bottom up: [`api`], [`ops`], [`keyspace`], [`unique`], [`later`], [`waiting`],
//! [`delivery`], [`retention`], [`dispatch`], [`producing`], [`cluster`], [`entry`]. A room knows
//! itself and those before it; its head says what it is and what is kept out. Functions have a
//! subject, the first word of their path, as in `leases::acknowledge(ctx, ...)`; what may be called
//! when is in the heads of the files.
#![allow(unsafe_code)]

#[macro_use]
pub(crate) mod api;

pub(crate) mod cluster;
pub(crate) mod delivery;
pub(crate) mod dispatch;
#[macro_use]
pub(crate) mod entry;
pub(crate) mod keyspace;
pub(crate) mod later;
pub(crate) mod ops;
pub(crate) mod producing;
pub(crate) mod retention;
pub(crate) mod unique;
pub(crate) mod waiting;
