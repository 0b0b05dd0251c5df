//! Forgetting tokens that are too old, so that memory shrinks where producers stop. By the one
//! timer, on primaries only, in bounded steps, each of which is an effect. Tokens that are all gone
//! leave no key.

use std::time::{Duration, Instant};

use super::hints;
use super::remember::change;
use crate::model::error::Error;
use crate::model::unique::tokens::{Change, Clock, Tokens};
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::keyspace::copies;
use crate::server::keyspace::key_names::{PartitionNames, RingNames};
use crate::server::keyspace::known_rings::Spot;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::ops::config;

/// How long one sweep forgets, but for its last step.
const SLICE: Duration = Duration::from_millis(1);
/// How long it then rests.
const REST_MS: u64 = 4;
/// Tokens that one step forgets at most.
const STEP: u32 = 1000;
/// How soon to look again whatever is known: a setting or the clock may have changed.
const LOOK_MS: u64 = 1000;

/// Forgets what is too old, for a bounded time. Answers when to do so again.
pub(crate) fn sweep(ctx: &Ctx) -> Option<u64> {
    let begun = Instant::now();
    let mut rests = false;
    while let Some(spot) = hints::next_due(ctx.now().ms()) {
        // A key of another type has no tokens; where the server refuses, later it may not.
        match look(ctx, &spot) {
            Ok(Some(at_ms)) => hints::put(spot, at_ms),
            Ok(None) | Err(Error::WrongType) => hints::take(&spot),
            Err(_) => hints::put(spot, ctx.now().ms() + LOOK_MS),
        }
        rests = begun.elapsed() >= SLICE;
        if rests {
            break;
        }
    }
    let now_ms = ctx.now().ms();
    hints::first_ms().map(|first_ms| first_ms.max(now_ms + if rests { REST_MS } else { 1 }))
}

/// Forgets some tokens of a partition; answers when to look again, if ever.
fn look(ctx: &Ctx, (db, ring, p): &Spot) -> Result<Option<u64>, Error> {
    if !ctx.select_db(*db) {
        return Ok(None);
    }
    let ring = RingNames::of(ring);
    let names = ring.partition(*p);
    if !copies::may_act_on(ctx, &ring, *p) {
        return Ok(Some(ctx.now().ms() + LOOK_MS));
    }
    let window_ms = window_ms(ctx, &ring, *p);
    let clock = Clock::new(ctx.now().ms(), window_ms);
    let (old, count, oldest_ms) = {
        let key = key::open_read(ctx, &names.unique);
        let Some(tokens) = key.value::<Tokens>()? else { return Ok(None) };
        (tokens.forgettable(STEP, clock), tokens.len(), tokens.oldest_ms().unwrap_or_default())
    };
    if old.unwrap_or_default() as usize == count {
        key::unlink(ctx, &[&names.unique])?;
        return Ok(None);
    }
    if let Some(old) = old {
        change(ctx, &names.unique, Change::Forgot(clock, old))?;
        return Ok(Some(clock.now_ms + u64::from(old < STEP)));
    }
    let due_ms = oldest_ms.saturating_add(window_ms);
    Ok(Some(due_ms.clamp(clock.now_ms + 1, clock.now_ms + LOOK_MS)))
}

/// How long tokens count in a ring; in one that is not there, as the server's setting says.
fn window_ms(ctx: &Ctx, ring: &RingNames, p: u32) -> u64 {
    let default_ms = config::UNIQUE_MS.get();
    let key = copies::open_at(ctx, ring, p);
    let value = key.value::<RingValue>().ok().flatten();
    value.map_or(default_ms, |value| value.ring.unique_ms(default_ms))
}

/// Whether a partition remembers a token that counts and came at `until_ms` or before. A key of
/// another type has none.
pub(crate) fn remembers(ctx: &Ctx, names: &PartitionNames, until_ms: u64, clock: Clock) -> bool {
    let key = key::open_read(ctx, &names.unique);
    let tokens = key.value::<Tokens>().ok().flatten();
    tokens.is_some_and(|tokens| tokens.lives_since(until_ms, clock))
}

/// The tokens of a partition hear of the clock before a generation ends, see
/// [`Tokens::before_an_end`].
///
/// # Errors
/// As [`change`].
pub(crate) fn before_an_end(ctx: &Ctx, names: &PartitionNames, clock: Clock) -> Result<(), Error> {
    let heard = {
        let key = key::open_read(ctx, &names.unique);
        key.value::<Tokens>().ok().flatten().and_then(|tokens| tokens.before_an_end(clock))
    };
    heard.map_or(Ok(()), |heard| change(ctx, &names.unique, heard))
}
