//! Tokens on their way into a partition, on the primary and wherever its effects are applied.
//!
//! What is decided elsewhere is applied here as it came: it has the moment of the primary and what
//! was too old then, so neither a clock nor a setting is read.

use super::hints;
use super::judge::Arrivals;
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::keys::parse_unique_key;
use crate::model::saved::effect::Effect;
use crate::model::saved::snapshot::encode;
use crate::model::unique::tokens::{Change, Tokens};
use crate::server::api::ctx::Ctx;
use crate::server::api::text::Text;
use crate::server::api::{key, timer};
use crate::server::keyspace::key_names::PartitionNames;
use crate::server::keyspace::{datatype, replicate};

/// The answer to a token that this server's data does not fit: it is not what the primary has.
const OTHER_DATA: Error = Error::Bug("the tokens of the partition are missing");

/// Remembers the tokens of events that were appended. Replicates only that tokens begin, where they
/// do. True if the partition's clock showed that moment before: then it need not be told.
///
/// # Errors
/// [`Error::Bug`], [`Error::WrongType`] if another module has changed the key meanwhile.
pub(crate) fn remember(
    ctx: &Ctx,
    names: &PartitionNames,
    arrivals: &Arrivals,
    tokens: &[(u128, EventId)],
) -> Result<bool, Error> {
    if let Some(secret) = arrivals.begins {
        change(ctx, &names.unique, Change::Begun(secret))?;
    }
    let mut key = key::open_read(ctx, &names.unique);
    let known = key.value_mut::<Tokens>()?.ok_or(OTHER_DATA)?;
    let same = known.clock() == arrivals.clock;
    if !same {
        known.tick(arrivals.clock);
    }
    // Nobody watches tokens: what they are told of is the event.
    tokens.iter().for_each(|(hash, id)| known.remember(*hash, *id));
    Ok(same)
}

/// Applies a change and replicates it.
///
/// # Errors
/// [`Error::WrongType`]; [`Error::Limit`] for an effect that could not be read back. Nothing has
/// changed then.
pub(crate) fn change(ctx: &Ctx, name: &Text, change: Change) -> Result<(), Error> {
    let bytes = encode(&Effect::Unique(change.clone()))?;
    apply(ctx, name, change)?;
    replicate::effect(ctx, name, &bytes);
    Ok(())
}

/// Remembers the token of an event of a primary, at the moment that the partition's clock shows.
///
/// # Errors
/// [`Error::Bug`] if there are no tokens; [`Error::WrongType`].
pub(crate) fn replay(
    ctx: &Ctx,
    names: &PartitionNames,
    key: &[u8],
    token: &[u8],
    id: EventId,
) -> Result<(), Error> {
    let mut open = key::open_read(ctx, &names.unique);
    let known = open.value_mut::<Tokens>()?.ok_or(OTHER_DATA)?;
    known.remember(known.hash(key, token), id);
    Ok(())
}

/// Applies a change to the tokens under `name`; they come into being if they are missing.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn apply(ctx: &Ctx, name: &Text, change: Change) -> Result<(), Error> {
    let mut key = key::open_read(ctx, name);
    if let Some(tokens) = key.value_mut::<Tokens>()? {
        tokens.apply(change);
        key::signal_modified(ctx, name);
        return Ok(());
    }
    drop(key);
    let mut tokens = Tokens::default();
    tokens.apply(change);
    datatype::create_value(ctx, name, tokens)?;
    if let Some((ring, p)) = parse_unique_key(name.bytes()) {
        hints::note(ctx.db(), &ring, p);
        timer::soon(ctx, Reason::Tokens);
    }
    Ok(())
}
