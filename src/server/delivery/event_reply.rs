//! The form of what EVQ.CONSUME replies: `[partition, epoch, events]`, each event as XRANGE shows
//! it.

use crate::model::ids::EventId;
use crate::model::rules::drive::Shown;
use crate::server::api::ctx::Ctx;
use crate::server::api::reply;
use crate::server::api::stream::Event;

/// What a reply begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// The partition.
    pub(super) partition: u32,
    /// The epoch of the lease.
    pub(super) epoch: u64,
}

impl Head {
    /// Replies what comes before the events.
    pub(super) fn reply(self, ctx: &Ctx) {
        reply::array(ctx, 3);
        reply::integer(ctx, self.partition.into());
        reply::integer(ctx, self.epoch);
    }
}

/// Replies all of it, for events that were read whole.
pub(super) fn reply_events(ctx: &Ctx, head: Head, events: &[Shown<Event>]) {
    head.reply(ctx);
    reply::array(ctx, events.len());
    for shown in events {
        reply_event(ctx, &shown.event, shown.attempt);
    }
}

/// Replies an event that was read whole, with its attempt as a field more if it is shown.
pub(super) fn reply_event(ctx: &Ctx, event: &Event, attempt: Option<u32>) {
    let fields = event.fields.len() + usize::from(attempt.is_some());
    reply_event_start(ctx, event.id, fields);
    for (name, value) in &event.fields {
        reply::bytes(ctx, name.bytes());
        reply::bytes(ctx, value.bytes());
    }
    if let Some(attempt) = attempt {
        reply::bytes(ctx, b"attempt");
        reply::bytes(ctx, attempt.to_string().as_bytes());
    }
}

/// Replies an event's id and the start of its fields.
pub(super) fn reply_event_start(ctx: &Ctx, id: EventId, fields: usize) {
    reply::array(ctx, 2);
    reply::id(ctx, id);
    reply::array(ctx, fields * 2);
}
