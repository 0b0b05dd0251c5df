//! Events of one key that are handed out again, in every partition in which the key has lived. What
//! that does is written in [`crate::model::rules::replay`].

use super::shell::PlaceShell;
use crate::model::error::Error;
use crate::model::rules::replay;
use crate::model::rules::replay::{Allowance, Request};
use crate::server::api::ctx::Ctx;
use crate::server::keyspace::place::Place;

/// Hands the events of a key out again in these places, and returns how many. All places are
/// decided before one is changed.
///
/// # Errors
/// [`Error::Limit`], [`Error::WrongType`]; nothing has changed then.
pub(crate) fn replay(ctx: &Ctx, places: &[Place], request: Request<'_>) -> Result<u64, Error> {
    let (now, mut allowance) = (ctx.now(), Allowance::default());
    let mut decided = Vec::new();
    for place in places {
        let mut shell = PlaceShell::new(ctx, place, now);
        decided.push(replay::decide(&mut shell, request, &mut allowance)?);
    }
    let events = decided.iter().map(Vec::len).sum::<usize>();
    for (place, events) in places.iter().zip(decided) {
        replay::carry_out(&mut PlaceShell::new(ctx, place, now), request.key, events)?;
    }
    Ok(events as u64)
}
