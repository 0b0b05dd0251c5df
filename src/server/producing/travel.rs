//! How an appended event travels to replicas and the append-only file: as the command that was
//! sent, if its id follows from the stream and the ring's clock ([`crate::model::ring::clock`]),
//! otherwise as XADD with its id.
//!
//! A command as it was sent is cheap to replicate: it saves a fifth of an EVQ.TRIGGER and a third
//! of an EVQ.MTRIGGER. Putting the clock right costs as much as an XADD, and MULTI and EXEC around
//! it and the event. So the first event of a millisecond that does not follow travels as XADD, and
//! the clock is put right when another one comes in another partition. The command is then enough
//! for all that come after it in this millisecond.

use crate::model::ring::clock::follows;
use crate::model::saved::effect::Effect;
use crate::model::saved::snapshot::encode;
use crate::server::api::ctx::Ctx;
use crate::server::api::stream::Added;
use crate::server::keyspace::replicate;
use crate::server::keyspace::ring::RingView;

/// How an event travels.
#[derive(Debug)]
pub(crate) enum Travels {
    /// As it was sent.
    AsSent,
    /// As it was sent, after this effect on the ring, which has been applied.
    AfterTick(Vec<u8>),
    /// As XADD with its id.
    AsXadd,
}

/// To how many partitions a command appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// To one.
    One,
    /// To several, so that others of its events may begin the same millisecond.
    Several,
}

impl RingView {
    /// How the event `added` travels, where the ring's clock shows `clock_ms`. O(1).
    #[inline(always)]
    pub(crate) fn travels(&mut self, added: Added, clock_ms: u64, spread: Spread) -> Travels {
        if !added.existed {
            Travels::AsXadd
        } else if follows(added.id, clock_ms) {
            Travels::AsSent
        } else {
            self.tick(added.id.ms, spread)
        }
    }

    fn tick(&mut self, ms: u64, spread: Spread) -> Travels {
        let Some(value) = self.value_mut() else { return Travels::AsXadd };
        let effect = Effect::Tick(ms);
        let worth_it = spread == Spread::Several || value.begun_ms == ms;
        value.begun_ms = ms;
        match encode(&effect) {
            Ok(bytes) if worth_it => {
                value.apply(effect);
                Travels::AfterTick(bytes)
            }
            _ => Travels::AsXadd,
        }
    }
}

/// Leaves the ring's clock as it was before a command that now fails, replicated.
pub(crate) fn put_clock_back(ctx: &Ctx, ring: &mut RingView, clock_ms: u64) {
    let effect = Effect::Tick(clock_ms);
    let Ok(bytes) = encode(&effect) else { return };
    if let Some(value) = ring.value_mut().filter(|value| value.ring.clock_ms() != clock_ms) {
        value.apply(effect);
        replicate_tick(ctx, ring, &bytes);
    }
}

/// Replicates what [`Travels::AfterTick`] has: nobody watches a ring for its clock, so nothing
/// else is told.
pub(crate) fn replicate_tick(ctx: &Ctx, ring: &RingView, effect: &[u8]) {
    ring.with_key(|key| replicate::effect(ctx, key, effect));
}
