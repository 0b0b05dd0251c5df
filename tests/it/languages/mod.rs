//! examples/<language>: what people copy must hold what the README says about it, in each language.
//!
//! `program` builds and starts the two programs, `lines` reads what workers print, `mixed` lets
//! workers of all languages share a ring, `workers` and `producers` try each language alone,
//! `python` what Python alone has. A language whose toolchain is missing is left out, and the run
//! says so.

mod lines;
mod mixed;
mod producers;
pub(crate) mod program;
mod python;
mod workers;

use program::{Language, Running, each_language, languages};
