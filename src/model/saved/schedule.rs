//! The scheduled events of a partition as pieces of bytes: a head that says how much there is, then
//! the tokens of those that were appended, then the events, so many in each piece that none
//! outgrows what is read back.

use serde::{Deserialize, Serialize};

use super::effect::Effect;
use super::pieces::{Piece, pieces};
use super::snapshot::{Corrupt, Snapshot, decode, encode};
use crate::model::error::Error;
use crate::model::later::schedule::{Change, Schedule, Scheduled, check_ticket};
use crate::model::limits::{MAX_SCHEDULED, MAX_TOKENS, MAX_TOKENS_A_PIECE};
use crate::model::unique::keyed_hash::Secret;
use crate::model::unique::tokens;
use crate::model::unique::tokens::Clock;

/// A piece with so many bytes takes no further event.
const PIECE_BYTES: usize = 1 << 20;

/// What comes before tokens and events.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    last: u64,
    secret: Secret,
    clock: Clock,
    tokens: u64,
    events: u64,
}

/// Some events.
#[derive(Debug, Serialize, Deserialize)]
struct Events(Vec<Scheduled>);

impl Snapshot for Head {
    fn check(&self) -> Result<(), Error> {
        if self.tokens > MAX_TOKENS as u64 {
            return Err(Error::Limit("tokens of a partition", MAX_TOKENS as u64));
        }
        if self.events > MAX_SCHEDULED as u64 {
            return Err(Error::Limit("scheduled events of a partition", MAX_SCHEDULED as u64));
        }
        check_ticket(self.last)
    }
}

impl Snapshot for Events {
    fn check(&self) -> Result<(), Error> {
        if self.0.is_empty() || self.0.len() > MAX_TOKENS_A_PIECE {
            return Err(Error::Limit("events of a piece", MAX_TOKENS_A_PIECE as u64));
        }
        self.0.iter().try_for_each(Scheduled::check)
    }
}

fn events(schedule: &Schedule) -> impl Iterator<Item = Vec<Scheduled>> + '_ {
    let mut all = schedule.iter().peekable();
    std::iter::from_fn(move || {
        let (mut piece, mut bytes) = (vec![all.next()?], 0);
        bytes += piece.first().map_or(0, |event| event.parts.len());
        while piece.len() < MAX_TOKENS_A_PIECE && bytes < PIECE_BYTES {
            let next = all.next_if(|event| bytes + event.parts.len() <= PIECE_BYTES);
            let Some(event) = next else { break };
            bytes += event.parts.len();
            piece.push(event);
        }
        Some(piece)
    })
}

/// Writes all of it piece by piece.
///
/// # Errors
/// [`Error::Limit`], which the bounds rule out.
pub fn save(schedule: &Schedule, mut write: impl FnMut(&[u8])) -> Result<(), Error> {
    let appended = schedule.appended();
    let head = Head {
        last: schedule.last_ticket(),
        secret: appended.secret(),
        clock: appended.clock(),
        tokens: appended.len() as u64,
        events: schedule.len() as u64,
    };
    write(&encode(&head)?);
    pieces(appended).try_for_each(|piece| encode(&Piece(piece)).map(|bytes| write(&bytes)))?;
    events(schedule).try_for_each(|piece| encode(&Events(piece)).map(|bytes| write(&bytes)))
}

/// Reads what [`save`] wrote, of which the first piece is `head`; `next` reads one more.
///
/// # Errors
/// [`Corrupt`], whatever the bytes are.
pub fn load<B: AsRef<[u8]>>(
    head: &[u8],
    mut next: impl FnMut() -> Option<B>,
) -> Result<Schedule, Corrupt> {
    let Head { last, secret, clock, tokens, events } = decode(head)?;
    let mut schedule = Schedule::default();
    schedule.apply(Change::Begun(last, secret));
    let tokens = super::pieces::load_tokens(secret, clock, tokens, &mut next)?;
    schedule.put_appended(tokens);
    while (schedule.len() as u64) < events {
        let bytes = next().ok_or(Corrupt::Malformed)?;
        let Events(piece) = decode(bytes.as_ref())?;
        let wanted = schedule.len() + piece.len();
        let places = piece.iter().map(|event| event.place);
        let sorted = schedule.last().into_iter().chain(places).is_sorted();
        schedule.apply(Change::Kept(piece));
        // One that was there before is none more.
        if !sorted || schedule.len() != wanted || wanted as u64 > events || !schedule.is_sound() {
            return Err(Corrupt::OutOfBounds);
        }
    }
    // An event with a later ticket would have made it the last one.
    if schedule.last_ticket() == last { Ok(schedule) } else { Err(Corrupt::OutOfBounds) }
}

/// The effects that make these scheduled events from nothing.
pub fn effects(schedule: &Schedule) -> impl Iterator<Item = Effect> + '_ {
    let appended = schedule.appended();
    let clock = appended.clock();
    let begun = Change::Begun(schedule.last_ticket(), appended.secret());
    let kept = pieces(appended).map(move |piece| tokens::Change::Kept(clock, piece));
    // Where there are none, the clock has to be told by itself.
    let clock = appended.is_empty().then_some(tokens::Change::Forgot(clock, 0));
    let tokens = kept.chain(clock).map(Change::Tokens);
    let events = events(schedule).map(Change::Kept);
    [begun].into_iter().chain(tokens).chain(events).map(Effect::Later)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
