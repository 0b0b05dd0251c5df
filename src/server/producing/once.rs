//! One event with a token: both are appended together, and travel as one command.
//!
//! It travels as it was sent where its id follows (see [`super::travel`]) and the partition's
//! tokens have the moment already, as for all but the first event of a millisecond. Else an
//! EVQ.APPLY carries the event with its id, the token and the moment.

use super::append;
use super::append::{Draft, Target};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::keys::parse_unique_key;
use crate::model::ring::clock::follows;
use crate::model::saved::effect::Effect;
use crate::model::saved::snapshot::encode;
use crate::model::unique::tokens::{Change, Tokens};
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::raw;
use crate::server::api::key::Kind;
use crate::server::api::text::Text;
use crate::server::api::{key, stream};
use crate::server::delivery::state;
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::replicate;
use crate::server::keyspace::ring::RingView;
use crate::server::ops::counters;
use crate::server::unique::judge::Arrivals;
use crate::server::unique::remember;

/// The answer to what no primary sends.
const OTHER_EFFECT: Error = Error::Usage("this version cannot read the event");

/// Appends the one event of this command with its token, of which `hash` is what is remembered,
/// replicates both and lets parked workers see the event. The ring's clock shows `clock_ms`. O(1).
///
/// # Errors
/// [`Error::Exhausted`]; nothing has changed then.
pub(crate) fn produce(
    ctx: &Ctx,
    ring: &RingView,
    clock_ms: u64,
    target: &Target,
    draft: &mut Draft,
    (arrivals, hash): (&Arrivals, u128),
) -> Result<EventId, Error> {
    let names = &target.names;
    let floor = || state::floor(ctx, ring, target.p);
    // Others hear of the event when its token is remembered: until then the key stays open.
    let added = stream::append_unsaid(ctx, &target.key, draft.fields(), floor)?;
    counters::TRIGGERED.add(1);
    let token = (hash, added.id);
    let remembered = remember::remember(ctx, names, arrivals, &[token]);
    key::notify_stream(ctx, c"xadd", &names.stream);
    match remembered {
        Ok(true) if added.existed && follows(added.id, clock_ms) => replicate::verbatim(ctx),
        Ok(_) => {
            let change = Change::Remembered(arrivals.clock, vec![token]);
            let effect = encode(&Effect::Unique(change))?;
            replicate::effect_and_event(ctx, &names.unique, &effect, draft.fields());
        }
        // Another module has taken the tokens away: the event stands without one.
        Err(_) => replicate::event(ctx, &names.stream, added.id, draft.fields()),
    }
    append::announce(ctx, ring, target);
    Ok(added.id)
}

/// Appends an event of a primary, whose fields are given, with its token, as the `effect` on the
/// key `unique` says.
///
/// # Errors
/// [`Error::Usage`], [`Error::Bug`], [`Error::WrongType`]; nothing has changed then.
pub(crate) fn replay(
    ctx: &Ctx,
    unique: &Text,
    effect: Effect,
    fields: &mut [*mut raw::RedisModuleString],
) -> Result<(), Error> {
    let Effect::Unique(change) = effect else { return Err(OTHER_EFFECT) };
    let Change::Remembered(_, tokens) = &change else { return Err(OTHER_EFFECT) };
    let [(_, id)] = tokens[..] else { return Err(OTHER_EFFECT) };
    let (ring, p) = parse_unique_key(unique.bytes()).ok_or(OTHER_EFFECT)?;
    if fields.is_empty() || !fields.len().is_multiple_of(2) {
        return Err(OTHER_EFFECT);
    }
    let names = RingNames::of(&ring).partition(p);
    key::open_read(ctx, unique).value::<Tokens>()?;
    let key = key::open_write(ctx, &names.stream);
    if !matches!(key.kind(), Kind::Stream | Kind::Empty) {
        return Err(Error::WrongType);
    }
    stream::add(ctx, &key, &names.stream, Some(id), fields)?;
    drop(key);
    key::signal_modified(ctx, &names.stream);
    remember::apply(ctx, unique, change)
}
