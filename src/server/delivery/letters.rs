//! Dead letters: a native stream per group and partition, so that any tool can read them.

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::keys::dead_key;
use crate::model::name::Name;
use crate::model::saved::effect::Failure;
use crate::server::api::ctx::Ctx;
use crate::server::api::stream::{Entries, Event};
use crate::server::api::text::Text;
use crate::server::api::{key, stream};
use crate::server::keyspace::place::Place;
use crate::server::keyspace::replicate;

/// What is known of an event that failed for the last time.
#[derive(Debug)]
pub(crate) struct Letter<'a> {
    /// The event.
    pub(crate) event: &'a Event,
    /// Its last failure.
    pub(crate) failure: &'a Failure,
    /// The worker that had it.
    pub(crate) worker: String,
    /// What the worker said.
    pub(crate) reason: &'a [u8],
    /// When it failed last, in unix ms.
    pub(crate) last_ms: u64,
}

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
pub(crate) fn write(ctx: &Ctx, place: &Place, letter: &Letter<'_>) -> Result<(), Error> {
    let name = place.letters();
    let key = key::open_write(ctx, &name);
    let failure = letter.failure;
    let before = pair("id", failure.id.to_string().as_bytes());
    let after = [
        pair("attempts", failure.attempts.to_string().as_bytes()),
        pair("reason", letter.reason),
        pair("worker", letter.worker.as_bytes()),
        pair("first-ms", failure.first_ms.to_string().as_bytes()),
        pair("last-ms", letter.last_ms.to_string().as_bytes()),
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
    let Some(stream) = key::open_read(ctx, &place.letters()).stream()? else {
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
    key::delete_entry(ctx, &place.letters(), &Text::new(letter.to_string().as_bytes()))
}

/// The number of dead letters.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn count(ctx: &Ctx, place: &Place) -> Result<u64, Error> {
    Ok(key::open_read(ctx, &place.letters()).stream()?.map_or(0, |stream| stream.length()))
}

fn pair(field: &str, value: &[u8]) -> (Text, Text) {
    (Text::new(field.as_bytes()), Text::new(value))
}
