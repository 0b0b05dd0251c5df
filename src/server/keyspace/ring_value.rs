//! The value of a ring: its definition with what follows from it.

use std::ffi::CStr;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::AtomicPtr;

use super::datatype::{Pieces, Stored, register_one};
use super::{known_rings, shared, tickets};
use crate::model::error::Error;
use crate::model::keys::{parse_copy_key, parse_ring_key};
use crate::model::ring::Ring;
use crate::model::ring::continuum::Continuum;
use crate::model::ring::definition::{Definition, Membership};
use crate::model::ring::history::History;
use crate::model::ring::homes::Homes;
use crate::model::saved::effect::Effect;
use crate::model::saved::snapshot::{Corrupt, decode, encode};
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::raw;

static RING_TYPE: AtomicPtr<raw::RedisModuleType> = AtomicPtr::new(null_mut());

/// A ring's definition with what follows from it.
#[derive(Debug)]
pub(crate) struct RingValue {
    /// The definition.
    pub(crate) ring: Ring,
    /// Its continuum, which rings of equal shapes share.
    pub(crate) continuum: Arc<Continuum>,
    /// Where its keys lived before.
    pub(crate) homes: Homes,
    /// What its past means for the order of delivery, if it has one.
    pub(crate) history: Option<Arc<History>>,
    /// The newest millisecond that an event began whose id did not follow, see
    /// [`crate::server::producing::travel`].
    pub(crate) begun_ms: u64,
    /// Its place in a cluster, if it has one.
    pub(crate) membership: Option<Box<Membership>>,
    /// The era in which the authority has confirmed a copy; 0 for none. Not saved.
    pub(crate) confirmed_in: u64,
}

impl RingValue {
    /// Lays out the continuum.
    pub(crate) fn new(ring: Ring) -> Self {
        let continuum = Arc::new(ring.continuum());
        Self::with(ring, continuum)
    }

    /// An authority or a copy in a cluster.
    pub(crate) fn defined(definition: Definition) -> Self {
        let Definition { mut ring, membership } = definition;
        let continuum = shared::continuum(&mut ring);
        let membership = Some(Box::new(membership));
        Self { membership, ..Self::with(ring, continuum) }
    }

    /// The definition that is saved and sent; None for a ring that is in no cluster.
    pub(crate) fn definition(&self) -> Option<Definition> {
        let membership = self.membership.as_deref()?.clone();
        Some(Definition { ring: self.ring.clone(), membership })
    }

    fn encoded(&self) -> Result<Vec<u8>, Error> {
        match self.definition() {
            Some(definition) => encode(&definition),
            None => encode(&self.ring),
        }
    }

    fn decoded(bytes: &[u8]) -> Result<Self, Corrupt> {
        // Either kind has more bytes than the other would read, or fewer.
        match decode::<Ring>(bytes) {
            Err(Corrupt::Malformed) => decode(bytes).map(Self::defined),
            ring => ring.map(Self::new),
        }
    }

    fn with(ring: Ring, continuum: Arc<Continuum>) -> Self {
        let history = ring.history(&continuum).map(Arc::new);
        let homes = Homes::of(&ring);
        Self { ring, continuum, homes, history, begun_ms: 0, membership: None, confirmed_in: 0 }
    }

    /// Applies an effect to the definition, and to what follows from it no more than has changed.
    pub(crate) fn apply(&mut self, effect: Effect) {
        let forgotten = match effect {
            Effect::Forgotten(generations) => generations,
            _ => 0,
        };
        let resizes = matches!(effect, Effect::Resized(..));
        let applied = self.ring.apply(effect);
        let history = self.history.as_deref();
        if let Some(past) = self.ring.past().last()
            && resizes
            && applied
        {
            let now = Arc::new(self.ring.continuum_after(&self.continuum));
            let history = History::next(history, past, &self.continuum, &now);
            self.history = Some(Arc::new(history));
            self.homes.ended(std::mem::replace(&mut self.continuum, now));
        } else if forgotten > 0 {
            self.homes.forget(forgotten);
            self.history = history.and_then(|history| history.without(forgotten)).map(Arc::new);
        }
    }
}

/// Registers the type; false if the server refuses it.
pub(crate) fn register(ctx: &Ctx) -> bool {
    register_one::<RingValue>(ctx)
}

impl Stored for RingValue {
    const NAME: &'static CStr = c"evq-ring1";

    fn handle() -> &'static AtomicPtr<raw::RedisModuleType> {
        &RING_TYPE
    }

    fn save(&self, write: &mut dyn FnMut(&[u8])) {
        write(&self.encoded().unwrap_or_default());
    }

    fn load(first: &[u8], _next: &mut Pieces<'_>) -> Result<Self, Corrupt> {
        Self::decoded(first)
    }

    fn effects(&self, emit: &mut dyn FnMut(&Effect)) {
        emit(&match self.definition() {
            Some(definition) => Effect::Defined(Box::new(definition)),
            None => Effect::Ring(self.ring.clone()),
        });
    }

    fn duplicate(&self) -> Option<Self> {
        Self::decoded(&self.encoded().ok()?).ok()
    }

    fn bytes_held(&self) -> usize {
        let history = self.history.as_ref().map_or(0, |history| history.heap_bytes());
        // Of what several share, this one's part.
        let continuum = self.continuum.heap_bytes() / Arc::strong_count(&self.continuum);
        let continuums = continuum + self.homes.heap_bytes();
        let membership = self.membership.as_ref().map_or(0, |m| size_of_val(&**m) + m.heap_bytes());
        size_of::<Self>() + self.ring.heap_bytes() + continuums + history + membership
    }

    fn seen(&self, db: i32, key: &[u8]) {
        tickets::saw(self.ring.last_ticket());
        note_ring(db, key);
    }
}

/// A definition came to be under `key`.
pub(crate) fn note_ring(db: i32, key: &[u8]) {
    if let Some(ring) = parse_ring_key(key) {
        known_rings::note(db, &ring);
    } else if let Some((ring, p)) = parse_copy_key(key) {
        known_rings::note_copy(db, &ring, p);
    }
}
