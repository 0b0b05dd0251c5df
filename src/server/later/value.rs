//! The scheduled events of a partition as a value type. See [`crate::server::keyspace::datatype`].

use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::atomic::AtomicPtr;

use super::{moving, spots};
use crate::model::keys::parse_later_key;
use crate::model::later::schedule::Schedule;
use crate::model::saved::effect::Effect;
use crate::model::saved::schedule;
use crate::model::saved::snapshot::Corrupt;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::raw;
use crate::server::keyspace::datatype::{Pieces, Stored, register_one};
use crate::server::keyspace::tickets;

static LATER_TYPE: AtomicPtr<raw::RedisModuleType> = AtomicPtr::new(null_mut());

/// Registers the type; false if the server refuses it.
pub(crate) fn register(ctx: &Ctx) -> bool {
    register_one::<Schedule>(ctx)
}

impl Stored for Schedule {
    const NAME: &'static CStr = c"evq-latr1";

    fn handle() -> &'static AtomicPtr<raw::RedisModuleType> {
        &LATER_TYPE
    }

    fn save(&self, write: &mut dyn FnMut(&[u8])) {
        // Each part is within what a piece can hold, so this cannot fail.
        let _ = schedule::save(self, write);
    }

    fn load(first: &[u8], next: &mut Pieces<'_>) -> Result<Self, Corrupt> {
        schedule::load(first, next)
    }

    fn effects(&self, emit: &mut dyn FnMut(&Effect)) {
        schedule::effects(self).for_each(|effect| emit(&effect));
    }

    fn blocks(&self) -> usize {
        self.pieces().max(1)
    }

    fn bytes_held(&self) -> usize {
        size_of::<Self>() + self.heap_bytes()
    }

    fn seen(&self, db: i32, key: &[u8]) {
        tickets::saw(self.last_ticket());
        if let Some((ring, p)) = parse_later_key(key) {
            let spot = (db, ring, p);
            moving::forget(&spot);
            spots::note(spot, self);
        }
    }

    fn duplicate(&self) -> Option<Self> {
        Some(self.clone())
    }
}
