//! Whether an event with a token has come before. Nothing changes.

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::{MAX_BATCH, MAX_TOKENS};
use crate::model::unique::keyed_hash::Secret;
use crate::model::unique::tokens;
use crate::model::unique::tokens::{Clock, Tokens};
use crate::server::api::acl::{Access, User};
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::keyspace::copies;
use crate::server::keyspace::key_names::PartitionNames;
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::ops::config;

/// An event with a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// Its key.
    pub(crate) key: &'a [u8],
    /// Its token.
    pub(crate) token: &'a [u8],
}

/// What becomes of it.
#[derive(Debug)]
pub(crate) enum Judged {
    /// It came before, and is this event of this partition.
    Repeated(u32, EventId),
    /// It is new, and this stands for its key and token.
    New(u128),
}

/// What is about to be remembered in one partition.
#[derive(Debug)]
pub(crate) struct Arrivals {
    /// The moment, and what is too old then.
    pub(crate) clock: Clock,
    /// The secret under which the partition's tokens begin, where it has none.
    pub(crate) begins: Option<Secret>,
    /// How many they are.
    pub(crate) count: usize,
    /// Whether the partition is so full that they may not fit.
    is_tight: bool,
    /// Whether the user may touch the partition's tokens.
    is_allowed: bool,
}

impl Arrivals {
    /// None so far.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, begins: None, count: 0, is_tight: false, is_allowed: false }
    }
}

/// The clock of a ring's tokens at this moment.
pub(crate) fn clock(ctx: &Ctx, value: &RingValue) -> Clock {
    Clock::new(ctx.now().ms(), value.ring.unique_ms(config::UNIQUE_MS.get()))
}

/// Looks whether the event came before: in the partition `p`, to which its key belongs, and
/// wherever its key has lived before. One that is new counts among the arrivals of `p`.
/// O(remembered resizes).
///
/// # Errors
/// [`Error::NoPermission`], [`Error::WrongType`].
pub(crate) fn judge(
    ctx: &Ctx,
    user: &User,
    ring: &RingView,
    p: u32,
    request: Request<'_>,
    arrivals: &mut Arrivals,
) -> Result<Judged, Error> {
    let value = ring.value()?;
    let mut hash = None;
    let before = value.homes.find(&value.ring, request.key, p, |home| {
        let names = ring.names.partition(home);
        if home != p || !arrivals.is_allowed {
            user.check(&names.unique, Access::Insert)?;
            arrivals.is_allowed = true;
        }
        let known = look(ctx, &names, request, arrivals.clock)?;
        if let Some(known) = known.as_ref().filter(|_| home == p) {
            (hash, arrivals.is_tight) = (Some(known.hash), known.is_tight);
        }
        Ok::<_, Error>(known.and_then(|known| known.id))
    })?;
    if let Some((home, id)) = before {
        return Ok(Judged::Repeated(home, id));
    }
    arrivals.count += 1;
    Ok(Judged::New(hash.unwrap_or_else(|| {
        let secret = *arrivals.begins.get_or_insert_with(random);
        tokens::hash(secret, request.key, request.token)
    })))
}

/// What a partition that has tokens knows of an event.
struct Known {
    /// What stands for its key and token there.
    hash: u128,
    /// Which event it is.
    id: Option<EventId>,
    /// Whether a batch may not fit.
    is_tight: bool,
}

/// What a partition knows of an event; none if it has no tokens at all.
#[inline]
fn look(
    ctx: &Ctx,
    names: &PartitionNames,
    request: Request<'_>,
    clock: Clock,
) -> Result<Option<Known>, Error> {
    let key = key::open_read(ctx, &names.unique);
    let Some(known) = key.value::<Tokens>()? else {
        copies::check_owned(ctx, names)?;
        return Ok(None);
    };
    let hash = known.hash(request.key, request.token);
    let is_tight = known.len() + MAX_BATCH as usize > MAX_TOKENS;
    Ok(Some(Known { hash, id: known.find(hash, clock), is_tight }))
}

/// Refuses more arrivals than the partition has room for.
///
/// # Errors
/// [`Error::Limit`], [`Error::WrongType`].
pub(crate) fn check_room(
    ctx: &Ctx,
    names: &PartitionNames,
    arrivals: &Arrivals,
) -> Result<(), Error> {
    if !arrivals.is_tight {
        return Ok(());
    }
    let key = key::open_read(ctx, &names.unique);
    match key.value::<Tokens>()? {
        Some(tokens) => tokens.check_room(arrivals.count, arrivals.clock),
        None => Ok(()),
    }
}

/// A secret that nobody knows.
pub(crate) fn random() -> Secret {
    let mut bytes = [0; size_of::<Secret>()];
    // SAFETY: pointer and length describe `bytes`.
    unsafe { api!(RedisModule_GetRandomBytes)(bytes.as_mut_ptr(), bytes.len()) };
    let (words, _) = bytes.as_chunks::<8>();
    [0, 1].map(|at| words.get(at).copied().map_or(0, u64::from_le_bytes))
}
