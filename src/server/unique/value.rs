//! The tokens of a partition as a value type. See [`crate::server::keyspace::datatype`].

use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::atomic::AtomicPtr;

use super::hints;
use crate::model::keys::parse_unique_key;
use crate::model::saved::effect::Effect;
use crate::model::saved::pieces;
use crate::model::saved::snapshot::Corrupt;
use crate::model::unique::tokens::Tokens;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::raw;
use crate::server::keyspace::datatype::{Pieces, Stored, register_one};

static TOKENS_TYPE: AtomicPtr<raw::RedisModuleType> = AtomicPtr::new(null_mut());

/// Registers the type; false if the server refuses it.
pub(crate) fn register(ctx: &Ctx) -> bool {
    register_one::<Tokens>(ctx)
}

impl Stored for Tokens {
    const NAME: &'static CStr = c"evq-uniq1";

    fn handle() -> &'static AtomicPtr<raw::RedisModuleType> {
        &TOKENS_TYPE
    }

    fn save(&self, write: &mut dyn FnMut(&[u8])) {
        // Their number is within what a piece can hold, so this cannot fail.
        let _ = pieces::save(self, write);
    }

    fn load(first: &[u8], next: &mut Pieces<'_>) -> Result<Self, Corrupt> {
        pieces::load(first, next)
    }

    fn effects(&self, emit: &mut dyn FnMut(&Effect)) {
        pieces::effects(self).for_each(|effect| emit(&effect));
    }

    fn blocks(&self) -> usize {
        self.pieces().max(1)
    }

    fn bytes_held(&self) -> usize {
        size_of::<Self>() + self.heap_bytes()
    }

    fn seen(&self, db: i32, key: &[u8]) {
        if let Some((ring, p)) = parse_unique_key(key) {
            hints::note(db, &ring, p);
        }
    }

    fn duplicate(&self) -> Option<Self> {
        Some(self.clone())
    }
}
