//! One event of one command. EVQ.TRIGGER and EVQ.APPEND differ in who finds the partition: the
//! server, or a producer that has the continuum too and is told where it is wrong.

use super::append::{self, Draft, Header, Parts, check_payload};
use super::{once, replay};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::keys::stream_key;
use crate::model::limits::{MAX_EVENT_BYTES, MAX_HEADERS};
use crate::model::name::Name;
use crate::model::parse::{Words, is, once as only_once, token};
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::{replicate, ring};
use crate::server::ops::counters;
use crate::server::retention::depth;
use crate::server::unique::judge::{Arrivals, Judged};
use crate::server::unique::{judge, remember};

/// An event as a command gives it, some parts as their places among its words.
#[derive(Debug)]
pub(crate) struct Event<'a> {
    key: usize,
    payload: usize,
    kind: Option<usize>,
    headers: Vec<Header<'a>>,
    token: Option<&'a [u8]>,
}

impl<'a> Event<'a> {
    /// Reads the key and the payload, the next two words.
    ///
    /// # Errors
    /// [`Error::Arity`].
    pub(crate) fn parse(words: &mut Words<'a>, all: &[&[u8]]) -> Result<Self, Error> {
        let key = all.len() - words.left();
        words.positional()?;
        words.positional()?;
        Ok(Self { key, payload: key + 1, kind: None, headers: Vec::new(), token: None })
    }

    /// Takes `word` and its values if it is an option of an event; false if it is another word.
    ///
    /// # Errors
    /// [`Error::Syntax`], [`Error::Usage`].
    pub(crate) fn take(
        &mut self,
        word: &[u8],
        words: &mut Words<'a>,
        all: &[&[u8]],
    ) -> Result<bool, Error> {
        if is(word, "TYPE") {
            words.value(word)?;
            only_once(&mut self.kind, word, all.len() - words.left() - 1)?;
        } else if is(word, "HEADER") {
            let name = words.value(word)?;
            words.value(word)?;
            self.headers.push(Header { name, value: all.len() - words.left() - 1 });
        } else if is(word, "UNIQUE") {
            only_once(&mut self.token, word, token(words.value(word)?)?)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The key.
    pub(crate) fn key<'w>(&self, all: &[&'w [u8]]) -> &'w [u8] {
        all.get(self.key).copied().unwrap_or_default()
    }

    /// Whether it has a token.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The words that say the same of it: the key, the payload, and the options.
    pub(crate) fn words<'w>(&self, all: &[&'w [u8]]) -> impl Iterator<Item = &'w [u8]>
    where
        'a: 'w,
    {
        let word = |at: usize| all.get(at).copied().unwrap_or_default();
        let mut words = vec![word(self.key), word(self.payload)];
        words.extend(self.kind.iter().flat_map(|kind| [&b"TYPE"[..], word(*kind)]));
        let headers = self.headers.iter();
        words.extend(headers.flat_map(|header| [&b"HEADER"[..], header.name, word(header.value)]));
        words.extend(self.token.iter().flat_map(|token| [&b"UNIQUE"[..], *token]));
        words.into_iter()
    }

    /// Refuses one that is too large, by all words of its command.
    ///
    /// # Errors
    /// [`Error::Limit`].
    pub(crate) fn check_limits(&self, all: &[&[u8]]) -> Result<(), Error> {
        if self.headers.len() > MAX_HEADERS {
            return Err(Error::Limit("headers of an event", MAX_HEADERS as u64));
        }
        // All words together are a bound on the event that costs nothing to compute exactly.
        let bytes: usize = all.iter().map(|word| word.len()).sum();
        if bytes > MAX_EVENT_BYTES {
            return Err(Error::Limit("bytes of an event", MAX_EVENT_BYTES as u64));
        }
        Ok(())
    }
}

/// Appends the event of this command to the partition that its key belongs to, and replies where
/// it stands. A producer that found the partition itself says `at`.
///
/// # Errors
/// [`Error::NoRing`], [`Error::NoPartition`], [`Error::Moved`], [`Error::Limit`],
/// [`Error::Payload`], [`Error::Full`], [`Error::NoPermission`], [`Error::WrongType`],
/// [`Error::Exhausted`]; nothing has changed then.
#[inline(always)]
pub(crate) fn produce(
    ctx: &Ctx,
    args: &Args<'_>,
    ring: &Name,
    at: Option<u32>,
    event: &Event<'_>,
) -> Result<(), Error> {
    let all = args.words();
    let Event { key, payload, kind, headers, .. } = event;
    let parts = Parts { key: *key, payload: *payload, kind: *kind, headers };
    let mut draft = Draft::new(args, parts)?;
    let word = |index: &usize| *all.get(*index).unwrap_or(&&[][..]);
    let (key, payload) = (word(key), word(payload));
    let user = User::of(ctx);
    let (mut ring, stream) = match at {
        Some(p) => ring::find_to_append(ctx, &user, ring, p)?,
        None => (ring::find(ctx, &user, ring)?, None),
    };
    if user.is_replay() {
        drop(stream);
        return repeat(ctx, &ring, (key, event.token), &mut draft);
    }
    event.check_limits(all)?;
    let value = ring.value()?;
    let (partition, clock_ms) = (value.continuum.route(key), value.ring.clock_ms());
    if let Some(p) = at
        && p != partition
    {
        value.ring.check_partition(p)?;
        return Err(Error::Moved(partition, stream_key(&ring.names.name, partition)));
    }
    check_payload(value.ring.payload(), payload)?;
    let target = append::target(ctx, &user, &ring, partition, stream)?;
    let mut arrival = None;
    if let Some(token) = event.token {
        match judged(ctx, &user, &ring, target.p, judge::Request { key, token })? {
            Told::Before(partition, id) => {
                tell(ctx, partition, id);
                return Ok(());
            }
            Told::New(arrivals, hash) => {
                judge::check_room(ctx, &target.names, &arrivals)?;
                arrival = Some((arrivals, hash));
            }
        }
    }
    let room = depth::find_room(ctx, &ring, value, std::iter::once(partition))?;
    ring::settle(ctx, &user, &ring)?;
    let id = match &arrival {
        None => append::produce(ctx, &mut ring, clock_ms, &target, &mut draft)?,
        Some((arrivals, hash)) => {
            once::produce(ctx, &ring, clock_ms, &target, &mut draft, (arrivals, *hash))?
        }
    };
    // No key may be open while its stream is trimmed.
    drop(target);
    depth::make_room(ctx, &ring, &room);
    tell(ctx, partition, id);
    Ok(())
}

/// The primary has judged the event, and its id follows from the stream and the ring's clock. It
/// travels on as it was sent.
fn repeat(
    ctx: &Ctx,
    ring: &RingView,
    (key, token): (&[u8], Option<&[u8]>),
    draft: &mut Draft,
) -> Result<(), Error> {
    if !ring.is_made() {
        return Err(Error::NoRing);
    }
    let partition = ring.value()?.continuum.route(key);
    let id = replay::event(ctx, ring, partition, draft)?;
    if let Some(token) = token {
        remember::replay(ctx, &ring.names.partition(partition), key, token, id)?;
    }
    replicate::verbatim(ctx);
    reply::ok(ctx);
    Ok(())
}

fn tell(ctx: &Ctx, partition: u32, id: EventId) {
    reply::array(ctx, 2);
    reply::integer(ctx, partition.into());
    reply::id(ctx, id);
}

/// What the token says of an event.
enum Told {
    /// It is this event of this partition, which was appended before.
    Before(u32, EventId),
    /// It is new; this is remembered with it.
    New(Arrivals, u128),
}

/// Tokens are judged before the limits, which count new events only.
#[inline(never)]
fn judged(
    ctx: &Ctx,
    user: &User,
    ring: &RingView,
    partition: u32,
    request: judge::Request<'_>,
) -> Result<Told, Error> {
    let mut arrivals = Arrivals::new(judge::clock(ctx, ring.value()?));
    match judge::judge(ctx, user, ring, partition, request, &mut arrivals)? {
        Judged::Repeated(partition, id) => {
            counters::REPEATED.add(1);
            Ok(Told::Before(partition, id))
        }
        Judged::New(hash) => Ok(Told::New(arrivals, hash)),
    }
}
