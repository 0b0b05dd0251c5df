//! Handing events out: from the stream into the reply.
//!
//! The loop around the rules is [`crate::model::rules::drive`]; this is what it comes to on a
//! server.

use super::event_reply::{Head, reply_events};
use super::shell::PlaceShell;
use crate::model::error::Error;
use crate::model::now::Now;
use crate::model::rules::drive::{Delivery, Shown};
use crate::model::rules::ready::{Ready, Taker};
use crate::model::rules::{answers, drive, ready};
use crate::server::api::ctx::Ctx;
use crate::server::api::stream_end::Stand;
use crate::server::keyspace::place::Place;
use crate::server::ops::counters;

/// Replies `[partition, epoch, events]` with what comes next under the lease of `place`: a
/// redelivery alone, or up to `count` events. False, without a reply, if there is nothing to hand
/// out now or no lease. O(log(nodes of the stream) + entries read).
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn deliver(
    ctx: &Ctx,
    place: &Place,
    count: u64,
    now: Now,
    stand: Stand,
) -> Result<bool, Error> {
    let mut shell = PlaceShell::new(ctx, place, now).with_stand(stand);
    let partition = place.line.partition;
    let delivered = match drive::deliver(&mut shell, count)? {
        Delivery::Passed(passed) => passed.count,
        Delivery::Fresh { epoch, events } => {
            reply_events(ctx, Head { partition, epoch }, &events);
            events.len() as u64
        }
        Delivery::Again { epoch, event, attempt } => {
            let shown = Shown { event, attempt: Some(attempt) };
            reply_events(ctx, Head { partition, epoch }, &[shown]);
            counters::REDELIVERED.add(1);
            1
        }
        Delivery::Nothing | Delivery::Later | Delivery::Closed => return Ok(false),
    };
    counters::DELIVERED.add(delivered);
    Ok(true)
}

/// Finds out whether there is anything to hand out in `place`, see [`ready::prepare`].
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn prepare(ctx: &Ctx, place: &Place, now: Now, taker: Taker) -> Result<Ready, Error> {
    ready::prepare(&mut PlaceShell::new(ctx, place, now), taker)
}

/// Something was answered under the lease of `place`, see [`answers::share`].
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn share(ctx: &Ctx, place: &Place, now: Now) -> Result<(), Error> {
    answers::share(&mut PlaceShell::new(ctx, place, now))
}
