//! `EVQ.PENDING partition [GROUP group] [RING ring] [COUNT n]`
//!
//! Shows what the group has not finished though it was handed out or passed: what is in flight,
//! waits for a retry, is held behind another event of its key, or is dead and holds its key. In
//! the order of ids, 100 at most unless COUNT says otherwise.

use serde_json::{Value, json};

use crate::model::error::Error;
use crate::model::limits::MAX_COUNT;
use crate::model::name::Name;
use crate::model::parse::{PartitionArg, Words, is, once};
use crate::model::progress::exceptions::State;
use crate::model::rules::source::Entry;
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::stream::{Entries, Event};
use crate::server::api::{key, reply};
use crate::server::delivery::leases::worker_of;
use crate::server::delivery::{barriers, state};
use crate::server::entry::command::Command;
use crate::server::entry::shared_args::{GROUP, PARTITION, RING};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::place::Place;
use crate::server::keyspace::{place, ring};
use crate::server::waiting::lines::scene;

pub(super) struct Pending;

const DEFAULT_COUNT: u64 = 100;

fn parse(all: &[&[u8]]) -> Result<(Name, u32, Name, usize), Error> {
    let mut words = Words::new("evq.pending", all);
    let partition = PartitionArg::parse(words.positional()?)?;
    let (mut ring, mut group, mut count) = (None, None, None);
    while let Some(word) = words.next() {
        if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else if is(word, "GROUP") {
            once(&mut group, word, Name::group(words.value(word)?)?)?;
        } else if is(word, "COUNT") {
            once(&mut count, word, words.count_after(word, "events of one reply", MAX_COUNT)?)?;
        } else {
            return Err(Error::syntax(word));
        }
    }
    let (ring, p) = partition.resolve(ring)?;
    let count = usize::try_from(count.unwrap_or(DEFAULT_COUNT)).unwrap_or(usize::MAX);
    Ok((ring, p, group.unwrap_or_else(Name::default_name), count))
}

fn list(ctx: &Ctx, place: &Place, count: usize) -> Result<Vec<Value>, Error> {
    let Some(stream) = key::open_read(ctx, &place.names.stream).stream()? else {
        return Ok(Vec::new());
    };
    let barriers = barriers::as_seen(ctx, place)?;
    let gate = barriers.as_ref().map(|barriers| barriers.gate(place)).transpose()?;
    let gate = gate.unwrap_or_default();
    let state = state::open(ctx, &place.names);
    let Some(progress) = state.progress(&place.line.group)? else { return Ok(Vec::new()) };
    let lease = progress.standing(scene(&place.line, Some(progress)));
    let worker = lease.map(worker_of);
    let redelivering = |id| lease.is_some_and(|lease| lease.redelivering.contains(&id));
    let mut rows = Vec::new();
    // Exceptions first, up to the cursor and beyond; fresh events in flight lie above the cursor.
    for (id, exception) in progress.exceptions().iter() {
        // An entry that was deleted by hand is finished; what is only marked so, too.
        let Some(event) = Event::read(&stream, id) else { continue };
        let (state, due_ms) = match exception.state {
            State::Finished => continue,
            State::Retry(_) if redelivering(id) => ("in-flight", None),
            State::Retry(_) if gate.holder(exception.key, id).is_some() => ("held", None),
            State::Retry(due_ms) => ("retry", Some(due_ms)),
            State::Held => ("held", None),
            State::Dead => ("dead", None),
        };
        let behind = match exception.state {
            State::Held => progress.exceptions().head(exception.key, id).map(|id| id.to_string()),
            _ if state == "held" => {
                // An event of the partition that the key came from.
                gate.holder(exception.key, id).map(|(other, id)| format!("{other}:{id}"))
            }
            State::Retry(_) | State::Dead | State::Finished => None,
        };
        rows.push((
            id,
            json!({
                "id": id.to_string(),
                "key": String::from_utf8_lossy(event.key()),
                "state": state,
                "worker": if state == "in-flight" { worker.clone() } else { None },
                "attempts": exception.attempts + u32::from(state == "in-flight"),
                "due-ms": due_ms,
                "behind": behind,
            }),
        ));
        if rows.len() >= count {
            break;
        }
    }
    let mut entries = Entries::after(&stream, progress.cursor());
    let position = lease.map_or(progress.cursor(), |lease| lease.position);
    let mut fresh = 0;
    while let Some(event) = entries.next_event() {
        if event.id > position || fresh >= count {
            break;
        }
        if place.group.takes(event.kind()) && progress.exceptions().get(event.id).is_none() {
            fresh += 1;
            rows.push((
                event.id,
                json!({
                    "id": event.id.to_string(),
                    "key": String::from_utf8_lossy(event.key()),
                    "state": "in-flight",
                    "worker": worker,
                    "attempts": progress.attempts(event.id) + 1,
                    "due-ms": null,
                    "behind": null,
                }),
            ));
        }
    }
    rows.sort_by_key(|(id, _)| *id);
    Ok(rows.into_iter().take(count).map(|(_, row)| row).collect())
}

impl Command for Pending {
    const SPEC: Spec = Spec {
        name: c"EVQ.PENDING",
        flags: c"readonly",
        acl: c"read slow",
        arity: -2,
        summary:
            c"Lists what a group has begun and not finished: in flight, to be retried, held or dead.",
        complexity: c"O(N), where N is the number of events shown.",
        routing: Routing::Word(1),
        args: &[PARTITION, GROUP, RING, Arg::number(c"count", c"COUNT")],
    };

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let (ring, p, group, count) = parse(args.words())?;
        let user = User::of(ctx);
        let view = ring::find(ctx, &user, &ring)?;
        let place = place::in_ring(ctx, &user, Access::Read, &view, p, &group)?;
        user.check(&place.names.stream, Access::Read)?;
        reply::tree(ctx, &Value::Array(list(ctx, &place, count)?));
        Ok(())
    }
}
