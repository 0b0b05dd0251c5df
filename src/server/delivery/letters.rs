//! Dead letters: events that a group has given up, and what an operator decides about them.
//!
//! They lie in a native stream per group and partition, so that any tool can read and remove them.
//! A letter is a copy: the event stays in its partition, and under `hold` its exception holds its
//! key whether or not the letter is still there.

use std::collections::BTreeSet;

use super::state;
use crate::model::error::Error;
use crate::model::hash::digest;
use crate::model::ids::EventId;
use crate::model::keys::{dead_key, dead_prefix};
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::progress::exceptions::Exception;
use crate::model::rules::shell::Letter;
use crate::model::rules::source::Entry;
use crate::model::saved::effect::Change;
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Kind;
use crate::server::api::stream::{Entries, Event};
use crate::server::api::text::Text;
use crate::server::api::{key, stream};
use crate::server::keyspace::copies;
use crate::server::keyspace::place::Place;
use crate::server::keyspace::replicate;
use crate::server::waiting::release::look_again;

/// The name of a group's dead letters in a partition.
pub(crate) fn letters_name(ring: &Name, p: u32, group: &Name) -> Text {
    Text::new(dead_key(ring, p, group).as_bytes())
}

impl Place {
    /// The stream of the group's dead letters.
    pub(crate) fn letters(&self) -> Text {
        letters_name(&self.line.ring, self.line.partition, &self.line.group)
    }
}

/// Appends a dead letter and replicates it.
///
/// # Errors
/// [`Error::WrongType`]; nothing has changed then.
pub(crate) fn write(
    ctx: &Ctx,
    place: &Place,
    letter: &Letter<'_, Event>,
    now: Now,
) -> Result<(), Error> {
    let name = place.letters();
    let key = key::open_write(ctx, &name);
    if key.kind() == Kind::Empty {
        copies::check_owned_with(ctx, &place.names, &name)?;
    }
    let failure = letter.failure;
    let before = pair("id", failure.id.to_string().as_bytes());
    let after = [
        pair("attempts", failure.attempts.to_string().as_bytes()),
        pair("reason", letter.reason),
        pair("worker", letter.worker.as_bytes()),
        pair("first-ms", failure.first_ms.to_string().as_bytes()),
        pair("last-ms", now.ms().to_string().as_bytes()),
    ];
    let mut fields = vec![before.0.raw(), before.1.raw()];
    for (field, value) in &letter.event.fields {
        fields.extend([field.raw(), value.raw()]);
    }
    for (field, value) in &after {
        fields.extend([field.raw(), value.raw()]);
    }
    let added = stream::append(ctx, &key, &name, &mut fields, || Ok(EventId::ZERO))?;
    key::signal_modified(ctx, &name);
    replicate::event(ctx, &name, added.id, &mut fields);
    Ok(())
}

/// The dead letters of the events that `wanted` says, oldest first, as the letter's id and
/// its content.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn read(
    ctx: &Ctx,
    place: &Place,
    limit: usize,
    wanted: impl Fn(&Event) -> bool,
) -> Result<Vec<Event>, Error> {
    let name = place.letters();
    let Some(stream) = key::open_read(ctx, &name).stream()? else {
        copies::check_owned_with(ctx, &place.names, &name)?;
        return Ok(Vec::new());
    };
    let mut entries = Entries::first(&stream);
    let all = std::iter::from_fn(|| entries.next_event());
    Ok(all.filter(|letter| wanted(letter)).take(limit).collect())
}

/// Removes a dead letter, replicated.
///
/// # Errors
/// [`Error::Bug`] if the server refuses.
pub(crate) fn remove(ctx: &Ctx, place: &Place, letter: EventId) -> Result<(), Error> {
    let id = Text::new(letter.to_string().as_bytes());
    key::delete_entries(ctx, &place.letters(), &[id]).map(drop)
}

/// The number of dead letters in the stream `name`.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn count(ctx: &Ctx, name: &Text) -> Result<u64, Error> {
    Ok(key::open_read(ctx, name).stream()?.map_or(0, |stream| stream.length()))
}

/// The names of all groups' dead letters in a partition, one after the other.
#[derive(Debug)]
pub(crate) struct Names {
    name: Vec<u8>,
    prefix: usize,
}

impl Names {
    /// Those of the partition `p` of a ring.
    pub(crate) fn of(ring: &Name, p: u32) -> Self {
        let name = dead_prefix(ring, p).into_bytes();
        Self { prefix: name.len(), name }
    }

    /// That of a group.
    pub(crate) fn of_group(&mut self, group: &Name) -> Text {
        self.name.truncate(self.prefix);
        self.name.extend_from_slice(group.as_str().as_bytes());
        Text::new(&self.name)
    }
}

/// An operator's decision about dead events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They are handed out again from attempt 1.
    Retry,
    /// They are finished.
    Skip,
}

/// Carries out a verdict on the dead event `only`, or on all of these places; returns how many
/// events it concerned. Each is changed by itself: a place without room keeps the rest of its dead
/// events, and the others go on.
///
/// # Errors
/// [`Error::WrongType`]; [`Error::Limit`] where there is no room and nothing could be done.
pub(crate) fn resolve(
    ctx: &Ctx,
    places: &[Place],
    only: Option<EventId>,
    verdict: Verdict,
) -> Result<u64, Error> {
    let (mut done, mut limit) = (0, None);
    for place in places {
        for DeadEvent { id, letter } in concerned(ctx, place, only, verdict)? {
            let change = match decide(ctx, place, id, verdict) {
                Ok(Resolution::Change(change)) => Some(change),
                Ok(Resolution::LetterOnly) => None,
                Ok(Resolution::Impossible) => continue,
                // There may be room elsewhere.
                Err(error @ Error::Limit(..)) => {
                    limit = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            };
            if let Some(change) = change {
                state::change(ctx, place, change)?;
            }
            if let Some(letter) = letter {
                remove(ctx, place, letter)?;
            }
            done += 1;
        }
        look_again(ctx, &place.line);
    }
    limit.filter(|_| done == 0).map_or(Ok(done), Err)
}

/// A dead event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DeadEvent {
    id: EventId,
    /// Its letter; None if somebody deleted it.
    letter: Option<EventId>,
}

/// What a verdict on `only`, or on all, concerns: the dead events that have a letter, and those
/// that hold their key though somebody deleted the letter. To skip is also for what waits though
/// its entry was removed by hand, which cannot be handed out again; to find that out means to look
/// for each entry that a group waits for.
fn concerned(
    ctx: &Ctx,
    place: &Place,
    only: Option<EventId>,
    verdict: Verdict,
) -> Result<Vec<DeadEvent>, Error> {
    let meant = |id: &EventId| only.is_none_or(|only| only == *id);
    let event_of = |letter: &Event| EventId::parse(letter.value(b"id"));
    let letters =
        read(ctx, place, usize::MAX, |letter| event_of(letter).as_ref().is_some_and(meant))?;
    let with_letter =
        |letter: &Event| Some(DeadEvent { id: event_of(letter)?, letter: Some(letter.id) });
    let mut dead: Vec<DeadEvent> = letters.iter().filter_map(with_letter).collect();
    let listed: BTreeSet<EventId> = dead.iter().map(|event| event.id).collect();
    // Of a key of another type nothing was removed.
    let stream = key::open_read(ctx, &place.names.stream).stream();
    let is_over = |id: EventId, exception: &Exception| {
        let is_there = match &stream {
            Ok(stream) => stream.as_ref().is_some_and(|stream| Entries::has(stream, id)),
            Err(_) => true,
        };
        !exception.is_finished() && !is_there
    };
    let state = state::open(ctx, &place.names);
    if let Some(progress) = state.progress(&place.line.group)? {
        for (id, exception) in progress.exceptions().iter() {
            if !meant(&id) || listed.contains(&id) {
                continue;
            }
            if exception.is_dead() || verdict == Verdict::Skip && is_over(id, exception) {
                dead.push(DeadEvent { id, letter: None });
            }
        }
    }
    dead.sort_unstable();
    Ok(dead)
}

/// What a verdict comes to for one dead event.
#[derive(Debug)]
enum Resolution {
    /// Its group's progress changes, and its letter goes.
    Change(Change),
    /// Nothing waits for it: only its letter goes.
    LetterOnly,
    /// It cannot be handed out again: its entry was deleted or trimmed.
    Impossible,
}

fn decide(ctx: &Ctx, place: &Place, id: EventId, verdict: Verdict) -> Result<Resolution, Error> {
    let state = state::open(ctx, &place.names);
    let beginning = place.beginning();
    let progress = state.progress(&place.line.group)?.unwrap_or(&beginning);
    let change = match verdict {
        Verdict::Skip => progress.skip(id).or_else(|| {
            let stream = key::open_read(ctx, &place.names.stream).stream().ok()?;
            let is_there = stream.is_some_and(|stream| Entries::has(&stream, id));
            let is_over = progress.exceptions().is_unfinished(id) && !is_there;
            is_over.then_some(Change::Dropped(id))
        }),
        Verdict::Retry => {
            let stream = key::open_read(ctx, &place.names.stream).stream()?;
            match stream.as_ref().and_then(|stream| Event::read(stream, id)) {
                Some(event) => progress.retry(id, digest(event.key()))?,
                None => return Ok(Resolution::Impossible),
            }
        }
    };
    Ok(change.map_or(Resolution::LetterOnly, Resolution::Change))
}

fn pair(field: &str, value: &[u8]) -> (Text, Text) {
    (Text::new(field.as_bytes()), Text::new(value))
}
