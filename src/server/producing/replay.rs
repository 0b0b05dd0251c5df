//! Events on a replica and out of the append-only file.
//!
//! EVQ.TRIGGER and EVQ.MTRIGGER travel as they were sent only where the id of each event follows
//! from the last id of its stream and from the ring's clock ([`crate::model::ring::clock`]). The
//! stream and the ring are the same here, so the id is. The last id is read from the stream each
//! time and never remembered, because XADD, XDEL, XTRIM, XSETID, DEL, RENAME and a load all change
//! it. Nothing else is judged: no user, no limit, not this server's clock.

use super::append::Draft;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::ring::clock::next_id;
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Kind;
use crate::server::api::stream::Entries;
use crate::server::api::xinfo::Info;
use crate::server::api::{key, stream};
use crate::server::keyspace::ring::RingView;

/// The answer to an event that this server's data does not fit: it is not what the primary has.
const OTHER_DATA: Error = Error::Bug("the stream of a replicated event is missing");

/// Appends an event to partition `p` under the id that follows, as the primary did, and gives it.
/// O(1).
///
/// # Errors
/// [`Error::Bug`] if the stream is not there; nothing has changed then.
pub(crate) fn event(
    ctx: &Ctx,
    ring: &RingView,
    p: u32,
    draft: &mut Draft,
) -> Result<EventId, Error> {
    let name = &ring.names.partition(p).stream;
    let key = key::open_write(ctx, name);
    if key.kind() != Kind::Stream {
        return Err(OTHER_DATA);
    }
    let clock_ms = ring.value()?.ring.clock_ms();
    let last = Entries::last(&key).next_entry().map(|(id, _)| id);
    let next = next_id(last.unwrap_or_default(), clock_ms);
    let mut add = |id: EventId| stream::add(ctx, &key, name, Some(id), draft.fields()).ok();
    let mut added = next.and_then(&mut add);
    if added.is_none() {
        // The last event was deleted, so that the stream alone knows what id it had.
        added = next_id(Info::of(ctx, name)?.last, clock_ms).and_then(add);
    }
    let id = added.ok_or(OTHER_DATA)?;
    key::signal_modified(ctx, name);
    Ok(id)
}
