//! `EVQ.REPLAY group key [FROM first|<id>|<unix ms>] [RING ring]`
//!
//! Delivers the retained events of one key to a group again, in order; other keys are not affected.
//! Covers every partition that the key has belonged to. Replies the number of events.

use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::parse::{Start, Words, is, once};
use crate::model::rules::replay::Request;
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::cluster::control::NO_TRANSACTION;
use crate::server::cluster::passing::Passing;
use crate::server::cluster::rights::Of;
use crate::server::delivery::{replayed, state};
use crate::server::dispatch::hand_over::hand_over;
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::RING;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::{place, ring};
use crate::server::waiting::release::look_again;

pub(super) struct Replay;

/// Where a replay begins. What is left out is known by its last event.
fn start(text: &[u8]) -> Result<Start, Error> {
    match Start::parse(text)? {
        Start::Last => Err(Error::BadId("FROM must be first, an id or unix milliseconds")),
        start => Ok(start),
    }
}

struct Asked<'a> {
    group: Name,
    key: &'a [u8],
    from: Option<Start>,
    ring: Name,
}

fn parse<'a>(all: &'a [&'a [u8]]) -> Result<Asked<'a>, Error> {
    let mut words = Words::new("evq.replay", all);
    let group = Name::group(words.positional()?)?;
    let key = words.positional()?;
    let (mut from, mut ring) = (None, None);
    while let Some(word) = words.next() {
        if is(word, "FROM") {
            once(&mut from, word, start(words.value(word)?)?)?;
        } else if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else {
            return Err(Error::syntax(word));
        }
    }
    Ok(Asked { group, key, from, ring: ring.unwrap_or_else(Name::default_name) })
}

impl Command for Replay {
    const SPEC: Spec = Spec {
        name: c"EVQ.REPLAY",
        flags: c"write",
        acl: c"write slow",
        arity: -3,
        summary: c"Delivers the retained events of one key to a group again.",
        complexity: c"O(N), where N is the number of entries read, at most 100,000.",
        routing: Routing::Word(2),
        args: &[Arg::string(c"group"), Arg::string(c"key"), Arg::option(c"start", c"FROM"), RING],
    };

    fn pass_on(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Asked { key, ring, .. } = parse(args.words())?;
        let rights = vec![(Of::Groups, Access::ReadUpdate), (Of::Stream, Access::Read)];
        Passing::verbatim(ring, args, rights).beside_data().by_key(ctx, NO_TRANSACTION, key)
    }

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let Asked { group, key, from, ring } = parse(args.words())?;
        let user = User::of(ctx);
        let view = ring::find(ctx, &user, &ring)?;
        let value = view.value()?;
        let now = value.continuum.route(key);
        view.check_beside(now)?;
        let mut places = Vec::new();
        for p in value.homes.before(&value.ring, key, now).into_iter().chain([now]) {
            // One that is gone holds nothing of the key.
            if p != now && value.ring.check_partition(p).is_err() {
                continue;
            }
            let place = place::in_ring(ctx, &user, Access::ReadUpdate, &view, p, &group)?;
            user.check(&place.names.stream, Access::Read)?;
            state::open(ctx, &place.names).check()?;
            places.push(place);
        }
        let request = Request { key, from: from.unwrap_or(Start::First) };
        let replayed = replayed::replay(ctx, &places, request)?;
        for place in &places {
            // It is done, whoever pulls next.
            let _ = hand_over(ctx, &place.line);
            look_again(ctx, &place.line);
        }
        reply::integer(ctx, replayed);
        Ok(())
    }
}
