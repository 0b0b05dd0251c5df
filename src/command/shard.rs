//! `EVQ.SHARD key READ`
//! `EVQ.SHARD key PUT era definition`
//! `EVQ.SHARD key CONFIRM era id version`
//! `EVQ.SHARD key DECIDE deadline id version definition`
//! `EVQ.SHARD key STARTS group made partition start [partition start ...]`
//! `EVQ.SHARD key FORGET id`
//! `EVQ.SHARD stream-key RUN id deadline command ...`
//!
//! Internal: what the nodes of a cluster say to each other about a ring, refused from everybody
//! else. `key` is the authority (`evq:{ring}`) or a copy (`evq:{ring:p}:ring`). Definitions are
//! encoded. Deadlines are unix ms by the clock of the node that gets the command.

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::keys::{parse_copy_key, parse_ring_key, parse_stream_key};
use crate::model::limits::MAX_PARTITIONS;
use crate::model::name::Name;
use crate::model::parse::{Words, event_id, is, number};
use crate::model::ring::definition::Definition;
use crate::model::saved::snapshot::{decode, encode};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::text::Text;
use crate::server::api::{cluster, reply};
use crate::server::cluster::authority::Known;
use crate::server::cluster::{authority, copy};
use crate::server::entry::command::{Command, Reach};
use crate::server::entry::registry;
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::{copies, scope};
use crate::server::ops::credentials;

pub(super) struct Shard;

/// The words of RUN with the name of the command that it runs.
const RUN_WORDS: usize = 5;

/// The commands that nodes run for each other beside a partition. Others would open keys of other
/// slots, or wait for other nodes.
const PASSED_ON: [&[u8]; 11] = [
    b"evq.append",
    b"evq.cancel",
    b"evq.dead",
    b"evq.groups",
    b"evq.mtrigger",
    b"evq.replay",
    b"evq.ring",
    b"evq.schedule",
    b"evq.scheduled",
    b"evq.seek",
    b"evq.stats",
];

/// The key that a message is about.
enum About {
    Authority(Name),
    Copy(Name, u32),
    Partition(Name, u32),
}

impl About {
    fn parse(key: &[u8]) -> Result<Self, Error> {
        let copy = || parse_copy_key(key).map(|(ring, p)| Self::Copy(ring, p));
        let partition = || parse_stream_key(key).map(|(ring, p)| Self::Partition(ring, p));
        let about = parse_ring_key(key).map(Self::Authority).or_else(copy).or_else(partition);
        about.ok_or(Error::Usage("EVQ.SHARD takes a key of a ring"))
    }

    fn copy(self) -> Result<(Name, u32), Error> {
        match self {
            Self::Copy(ring, p) if p < MAX_PARTITIONS => Ok((ring, p)),
            _ => Err(Error::Usage("the key must be that of a copy of a definition")),
        }
    }

    fn authority(self) -> Result<Name, Error> {
        match self {
            Self::Authority(ring) => Ok(ring),
            _ => Err(Error::Usage("the key must be that of a ring")),
        }
    }
}

fn whole(words: &mut Words<'_>, what: &'static str) -> Result<u64, Error> {
    Ok(number(words.positional()?, what, 0, i64::MAX)?.unsigned_abs())
}

fn definition(words: &mut Words<'_>) -> Result<Definition, Error> {
    decode(words.positional()?).map_err(|_| Error::Usage("this version cannot read the definition"))
}

fn check_deadline(ctx: &Ctx, deadline_ms: u64) -> Result<(), Error> {
    if ctx.now().ms() > deadline_ms { Err(Error::Late) } else { Ok(()) }
}

/// Replies the era, and the definition if there is one.
fn read(ctx: &Ctx, key: &Text) -> Result<(), Error> {
    let definition = authority::read(ctx, key)?;
    let encoded = definition.map(|definition| encode(&definition)).transpose()?;
    reply::array(ctx, 2);
    reply::integer(ctx, copies::era());
    match encoded {
        Some(bytes) => reply::bytes(ctx, &bytes),
        None => reply::null(ctx),
    }
    Ok(())
}

fn put(ctx: &Ctx, about: About, words: &mut Words<'_>) -> Result<(), Error> {
    let (ring, p) = about.copy()?;
    let (era, definition) = (whole(words, "an era")?, definition(words)?);
    words.end()?;
    let held = copy::put(ctx, &RingNames::of(&ring), p, era, &definition)?;
    reply::array(ctx, 1 + 2 * held.starts.len());
    reply::integer(ctx, held.version);
    for (group, start) in held.starts {
        reply::bytes(ctx, group.as_str().as_bytes());
        reply::id(ctx, start);
    }
    Ok(())
}

fn decide(ctx: &Ctx, key: &Text, words: &mut Words<'_>) -> Result<(), Error> {
    check_deadline(ctx, whole(words, "a deadline")?)?;
    let known = Known { id: whole(words, "an id")?, version: whole(words, "a version")? };
    let wanted = definition(words)?;
    words.end()?;
    let decided = authority::decide(ctx, key, known, wanted)?;
    reply::bytes(ctx, &encode(&decided)?);
    Ok(())
}

fn starts(ctx: &Ctx, key: &Text, words: &mut Words<'_>) -> Result<(), Error> {
    let group = Name::group(words.positional()?)?;
    let made = whole(words, "a version")?;
    let mut starts: Vec<(u32, EventId)> = Vec::new();
    while words.left() > 0 {
        let p = number(words.positional()?, "a partition", 0, i64::from(MAX_PARTITIONS) - 1)?;
        starts.push((u32::try_from(p).unwrap_or(u32::MAX), event_id(words.positional()?)?));
    }
    let taken = authority::take_starts(ctx, key, &group, made, &starts)?;
    reply::integer(ctx, taken.into());
    Ok(())
}

/// Runs a command beside a partition. What it replies is the reply.
fn run(ctx: &Ctx, about: &About, args: &Args<'_>, words: &mut Words<'_>) -> Result<(), Error> {
    let About::Partition(ring, p) = about else {
        return Err(Error::Usage("the key must be that of a partition"));
    };
    let id = whole(words, "an id")?;
    check_deadline(ctx, whole(words, "a deadline")?)?;
    let name = words.positional()?;
    let is_passed_on = PASSED_ON.iter().any(|passed| name.eq_ignore_ascii_case(passed));
    let (spec, _, run) = registry::find(name)
        .filter(|_| is_passed_on)
        .ok_or(Error::Usage("this command cannot be passed on"))?;
    if spec.may_use_memory() && ctx.is_out_of_memory() {
        return Err(Error::OutOfMemory);
    }
    if *p >= MAX_PARTITIONS {
        return Err(Error::NoPartition);
    }
    let names = RingNames::of(ring);
    let partition = names.partition(*p);
    match authority::ring_id(ctx, copies::name_at(&names, &partition))? {
        None => {
            copies::check_owned(ctx, &partition)?;
            return Err(Error::NoRing);
        }
        Some(held) if held != id => return Err(Error::Stale),
        Some(_) => {}
    }
    let strings = args.strings_from(RUN_WORDS - 1);
    let inner = args.from(RUN_WORDS - 1);
    let _scope = scope::begin(*p, strings);
    run(ctx, &inner)
}

impl Command for Shard {
    const SPEC: Spec = Spec {
        name: c"EVQ.SHARD",
        flags: c"write",
        acl: c"write slow dangerous",
        arity: -3,
        summary: c"Internal: definitions and commands between the nodes of a cluster. Clients are refused.",
        complexity: c"O(N), where N is the size of the definition; for a command, the complexity of that command.",
        routing: Routing::Key(1),
        args: &[Arg::string(c"key"), Arg::string(c"message"), Arg::string(c"word").repeated()],
    };
    const REACH: Reach = Reach::Internal;

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        if !cluster::is_on() || !credentials::is_peer(ctx) {
            return Err(Error::NoPermission);
        }
        let mut words = Words::new("evq.shard", args.words());
        let key = words.positional()?;
        let (about, key) = (About::parse(key)?, Text::new(key));
        let message = words.positional()?;
        if is(message, "READ") {
            words.end()?;
            read(ctx, &key)
        } else if is(message, "PUT") {
            put(ctx, about, &mut words)
        } else if is(message, "CONFIRM") {
            about.copy()?;
            let (era, id) = (whole(&mut words, "an era")?, whole(&mut words, "an id")?);
            let version = whole(&mut words, "a version")?;
            words.end()?;
            reply::integer(ctx, copy::confirm(ctx, &key, era, id, version)?.into());
            Ok(())
        } else if is(message, "DECIDE") {
            about.authority()?;
            decide(ctx, &key, &mut words)
        } else if is(message, "STARTS") {
            about.authority()?;
            starts(ctx, &key, &mut words)
        } else if is(message, "FORGET") {
            let (ring, id) = (about.authority()?, whole(&mut words, "an id")?);
            words.end()?;
            reply::integer(ctx, authority::forget(ctx, &key, &ring, id)?.into());
            Ok(())
        } else if is(message, "RUN") {
            run(ctx, &about, args, &mut words)
        } else {
            Err(Error::syntax(message))
        }
    }
}
