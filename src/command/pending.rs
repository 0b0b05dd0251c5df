//! `EVQ.PENDING partition [GROUP group] [RING ring] [COUNT n] [JSON]`
//!
//! Lists the events that a group has started and not finished: in flight, waiting for a retry, held
//! behind another event of their key, or dead and holding their key. In the order of ids, by
//! default 100 at most.

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::MAX_COUNT;
use crate::model::name::Name;
use crate::model::parse::{Format, PartitionArg, Words, is, once};
use crate::model::progress::Progress;
use crate::model::progress::exceptions::Exception;
use crate::model::rules::source::Entry;
use crate::model::rules::unfinished::Unfinished;
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::stream::{Entries, Event};
use crate::server::api::tree::Tree;
use crate::server::api::{key, reply};
use crate::server::delivery::leases::worker_of;
use crate::server::delivery::{shell, state};
use crate::server::entry::command::{Command, Reach};
use crate::server::entry::shared_args::{GROUP, JSON, PARTITION, RING};
use crate::server::entry::spec::{Arg, Routing, Spec};
use crate::server::keyspace::place::Place;
use crate::server::keyspace::{place, ring};
use crate::server::waiting::lines::scene;

pub(super) struct Pending;

const DEFAULT_COUNT: u64 = 100;

struct Request {
    ring: Name,
    partition: u32,
    group: Name,
    count: usize,
    format: Format,
}

fn parse(all: &[&[u8]]) -> Result<Request, Error> {
    let mut words = Words::new("evq.pending", all);
    let partition = PartitionArg::parse(words.positional()?)?;
    let (mut ring, mut group, mut count, mut format) = (None, None, None, None);
    while let Some(word) = words.next() {
        if is(word, "RING") {
            once(&mut ring, word, Name::ring(words.value(word)?)?)?;
        } else if is(word, "GROUP") {
            once(&mut group, word, Name::group(words.value(word)?)?)?;
        } else if is(word, "COUNT") {
            once(&mut count, word, words.count_after(word, "COUNT", MAX_COUNT)?)?;
        } else if !Format::take(&mut format, word)? {
            return Err(Error::syntax(word));
        }
    }
    let (ring, partition) = partition.resolve(ring)?;
    let group = group.unwrap_or_else(Name::default_name);
    let count = usize::try_from(count.unwrap_or(DEFAULT_COUNT)).unwrap_or(usize::MAX);
    Ok(Request { ring, partition, group, count, format: format.unwrap_or_default() })
}

/// An event that is not finished, as it is shown.
struct Row {
    id: EventId,
    key: Vec<u8>,
    state: &'static str,
    worker: Option<String>,
    attempts: u32,
    due_ms: Option<u64>,
    behind: Option<String>,
}

impl Row {
    /// An event in the hands of `worker`.
    fn in_flight(event: &Event, worker: Option<String>, attempts: u32) -> Self {
        Self {
            id: event.id,
            key: event.key().to_vec(),
            state: "in-flight",
            worker,
            attempts,
            due_ms: None,
            behind: None,
        }
    }

    fn describe(self) -> Tree {
        Tree::map([
            ("id", self.id.to_string().into()),
            ("key", Tree::Text(self.key)),
            ("state", self.state.into()),
            ("worker", self.worker.into()),
            ("attempts", self.attempts.into()),
            ("due-ms", self.due_ms.into()),
            ("behind", self.behind.into()),
        ])
    }
}

/// An exception, with what it waits for.
fn exception_row(
    progress: &Progress,
    event: &Event,
    exception: &Exception,
    waits_for: Unfinished,
    worker: Option<&str>,
) -> Row {
    let row = Row::in_flight(event, None, exception.attempts);
    match waits_for {
        Unfinished::InFlight => {
            Row { worker: worker.map(str::to_owned), attempts: exception.attempts + 1, ..row }
        }
        Unfinished::Retry(due_ms) => Row { state: "retry", due_ms: Some(due_ms), ..row },
        Unfinished::Held => {
            let head = progress.exceptions().head(exception.key, event.id);
            Row { state: "held", behind: head.map(|id| id.to_string()), ..row }
        }
        Unfinished::HeldElsewhere { partition, id } => {
            Row { state: "held", behind: Some(format!("{partition}:{id}")), ..row }
        }
        Unfinished::Dead => Row { state: "dead", ..row },
    }
}

fn list(ctx: &Ctx, place: &Place, count: usize) -> Result<Tree, Error> {
    let none = Tree::List(Vec::new());
    let Some(stream) = key::open_read(ctx, &place.names.stream).stream()? else {
        return Ok(none);
    };
    let barriers = shell::barriers_as_seen(ctx, place)?;
    let gate = barriers.as_ref().map(|barriers| barriers.gate(place)).transpose()?;
    let gate = gate.unwrap_or_default();
    let state = state::open(ctx, &place.names);
    let Some(progress) = state.progress(&place.line.group)? else { return Ok(none) };
    let lease = progress.standing(scene(&place.line, Some(progress)));
    let worker = lease.map(worker_of);
    let mut rows = Vec::new();
    // Exceptions first, up to the cursor and beyond; fresh events in flight lie above the cursor.
    for (id, exception, waits_for) in progress.unfinished(lease, &gate) {
        // An entry that was deleted by hand is finished.
        let Some(event) = Event::read(&stream, id) else { continue };
        rows.push(exception_row(progress, &event, exception, waits_for, worker.as_deref()));
        if rows.len() >= count {
            break;
        }
    }
    let mut entries = Entries::after(&stream, progress.cursor());
    let position = lease.map_or(progress.cursor(), |lease| lease.given);
    let mut fresh = 0;
    while let Some(event) = entries.next_event() {
        if event.id > position || fresh >= count {
            break;
        }
        if progress.is_fresh(&place.group, &event) {
            fresh += 1;
            rows.push(Row::in_flight(&event, worker.clone(), progress.attempts(event.id) + 1));
        }
    }
    rows.sort_by_key(|row| row.id);
    Ok(rows.into_iter().take(count).map(Row::describe).collect())
}

impl Command for Pending {
    const SPEC: Spec = Spec {
        name: c"EVQ.PENDING",
        flags: c"readonly",
        acl: c"read slow",
        arity: -2,
        summary:
            c"Lists the started, unfinished events of a group: in flight, in retry, held or dead.",
        complexity: c"O(N), where N is the number of events shown.",
        routing: Routing::Word(1),
        args: &[PARTITION, GROUP, RING, Arg::number(c"count", c"COUNT"), JSON],
    };
    const REACH: Reach = Reach::Partition;

    fn run(ctx: &Ctx, args: &Args<'_>) -> Result<(), Error> {
        let request = parse(args.words())?;
        let user = User::of(ctx);
        let (p, group) = (request.partition, &request.group);
        let view = ring::find_at(ctx, &user, &request.ring, p)?;
        let place = place::in_ring(ctx, &user, Access::Read, &view, p, group)?;
        user.check(&place.names.stream, Access::Read)?;
        reply::described(ctx, list(ctx, &place, request.count)?, request.format);
        Ok(())
    }
}
