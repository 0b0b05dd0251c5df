//! `EVQ.SCHEDULE key payload AT unix-ms | IN ms [RING ring] [TYPE type] [HEADER name value ...]
//! [UNIQUE token]`
//!
//! Appends an event at a given time, or after a delay. Replies `[partition, ticket]` or an error at
//! once. With UNIQUE, a repeated token of this key schedules nothing and repeats the first reply.

use crate::model::error::Error;
use crate::model::later::parts::Parts;
use crate::model::later::schedule::{Change, Place, Scheduled, check_ticket};
use crate::model::limits::{MAX_DURATION_MS, MAX_EVENT_BYTES, MAX_HEADERS};
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::parse::{Words, is, once, token as a_token};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::{key, reply};
use crate::server::cluster::control::NO_TRANSACTION;
use crate::server::cluster::passing::Passing;
use crate::server::cluster::rights::Of;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::RING;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::{ring, tickets};
use crate::server::later::change::change;
use crate::server::later::judge;
use crate::server::ops::counters;
use crate::server::producing::append::check_payload;
use crate::server::unique::judge as unique;

pub(super) struct Schedule;

/// When an event is due, in ms.
#[derive(Clone, Copy)]
enum When {
    At(i64),
    In(i64),
}

impl When {
    /// The moment in unix ms.
    ///
    /// # Errors
    /// [`Error::Number`] if it is too far ahead.
    fn moment_ms(self, now: Now) -> Result<u64, Error> {
        let now_ms = now.ms().cast_signed();
        let last_ms = now_ms.saturating_add(MAX_DURATION_MS);
        let due_ms = match self {
            Self::At(unix_ms) => unix_ms,
            Self::In(ms) => now_ms.saturating_add(ms),
        };
        if due_ms > last_ms {
            return Err(Error::Number { what: "time of the event", min: 0, max: last_ms });
        }
        Ok(due_ms.unsigned_abs())
    }
}

struct Request<'a> {
    key: &'a [u8],
    payload: &'a [u8],
    when: When,
    ring: Name,
    kind: Option<&'a [u8]>,
    headers: Vec<(&'a [u8], &'a [u8])>,
    token: Option<&'a [u8]>,
}

fn parse<'a>(all: &'a [&'a [u8]]) -> Result<Request<'a>, Error> {
    let mut words = Words::new("evq.schedule", all);
    let (key, payload) = (words.positional()?, words.positional()?);
    let (mut when, mut ring, mut kind, mut token) = (None, None, None, None);
    let mut headers = Vec::new();
    while let Some(word) = words.next() {
        if is(word, "AT") {
            let at = words.number(word, "AT", 0, i64::MAX)?;
            once(&mut when, word, When::At(at))?;
        } else if is(word, "IN") {
            let ms = words.duration_ms(word, "IN", 0)?;
            once(&mut when, word, When::In(ms))?;
        } else if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else if is(word, "TYPE") {
            once(&mut kind, word, words.value(word)?)?;
        } else if is(word, "HEADER") {
            headers.push((words.value(word)?, words.value(word)?));
        } else if is(word, "UNIQUE") {
            once(&mut token, word, a_token(words.value(word)?)?)?;
        } else {
            return Err(Error::syntax(word));
        }
    }
    let when = when.ok_or(Error::Usage("AT or IN is required"))?;
    let ring = ring.unwrap_or_else(Name::default_name);
    Ok(Request { key, payload, when, ring, kind, headers, token })
}

fn check_limits(request: &Request<'_>, all: &[&[u8]]) -> Result<(), Error> {
    if request.headers.len() > MAX_HEADERS {
        return Err(Error::Limit("headers of an event", MAX_HEADERS as u64));
    }
    let bytes: usize = all.iter().map(|word| word.len()).sum();
    if bytes > MAX_EVENT_BYTES {
        return Err(Error::Limit("bytes of an event", MAX_EVENT_BYTES as u64));
    }
    Ok(())
}

fn tell(ctx: &Ctx, partition: u32, ticket: u64) {
    reply::array(ctx, 2);
    reply::integer(ctx, partition.into());
    reply::integer(ctx, ticket);
}

impl Command for Schedule {
    const SPEC: Spec = Spec {
        name: c"EVQ.SCHEDULE",
        flags: c"write deny-oom fast",
        acl: c"write fast",
        arity: -3,
        summary: c"Appends an event at a given time, or after a delay.",
        complexity: c"O(log(N)), where N is the number of scheduled events of the partition.",
        routing: Routing::Word(1),
        args: &[
            Arg::string(c"key"),
            Arg::string(c"payload"),
            Arg::one_of(
                c"time",
                &[
                    Arg::integer(c"unix-time-ms").after(c"AT"),
                    Arg::integer(c"milliseconds").after(c"IN"),
                ],
            ),
            RING,
            Arg::option(c"type", c"TYPE"),
            Arg::block(c"header", &[Arg::string(c"name"), Arg::string(c"value")])
                .after(c"HEADER")
                .optional()
                .repeated(),
            Arg::option(c"token", c"UNIQUE"),
        ],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        // The time counts from when the partition gets it.
        request.when.moment_ms(ctx.now())?;
        check_limits(&request, args.words())?;
        let rights = vec![(Of::Stream, Access::Insert), (Of::Later, Access::Insert)];
        let passing = Passing::verbatim(request.ring, args, rights);
        passing.repeatable(request.token.is_some()).by_key(ctx, NO_TRANSACTION, request.key)
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let (user, now) = (User::of(ctx), ctx.now());
        let due_ms = request.when.moment_ms(now)?;
        let view = ring::find(ctx, &user, &request.ring)?;
        check_limits(&request, args.words())?;
        let value = view.value()?;
        check_payload(value.ring.payload(), request.payload)?;
        let p = value.continuum.route(request.key);
        view.check_beside(p)?;
        let names = view.names.partition(p);
        user.check(&names.stream, Access::Insert)?;
        user.check(&names.later, Access::Insert)?;
        key::open_read(ctx, &names.stream).stream()?;
        let Request { key, payload, kind, headers, token, .. } = &request;
        let parts = Parts::new(*token, key, payload, *kind, headers);
        let clock = unique::clock(ctx, value);
        if let Some((home, ticket)) = judge::repeated(ctx, &user, &view, p, &parts, clock)? {
            counters::REPEATED.add(1);
            tell(ctx, home, ticket);
            return Ok(());
        }
        let begins = judge::check_room(ctx, &names, &parts, clock)?;
        let ticket = tickets::next(now, view.beside());
        check_ticket(ticket)?;
        ring::settle(ctx, &user, &view)?;
        let event = Scheduled { place: Place { due_ms, ticket }, home: p, parts };
        change(ctx, &names.later, Change::Added(event, begins))?;
        counters::SCHEDULED.add(1);
        tell(ctx, p, ticket);
        Ok(())
    }
}
