//! Which connections hold leases: what commands and the server's events tell of them.

use super::lines;
use crate::model::deadlines::Reason;
use crate::model::progress::lease::Caller;
use crate::model::waiting::line::Line;
use crate::server::api::ctx::Ctx;
use crate::server::api::timer;

/// Remembers that the lease of `line` is now with the connection of `caller`.
#[inline]
pub(crate) fn note_owner(line: &Line, caller: &Caller) {
    lines::change(|lines| lines.note_owner(line, caller));
}

/// Remembers that the lease of `line` is now with the connection of `caller`, which pulls from any
/// partition.
#[inline]
pub(crate) fn note_any_owner(line: &Line, caller: &Caller) {
    lines::change(|lines| lines.note_any_owner(line, caller));
}

/// Remembers that the connection of `caller` has nothing in flight in `line`.
pub(crate) fn note_answered(line: &Line, caller: &Caller) {
    lines::change(|lines| lines.note_answered(line, caller));
}

/// A connection closed: the sweep ends its leases.
pub(crate) fn connection_closed(ctx: &Ctx, client: u64) {
    if lines::change(|lines| lines.connection_closed(client)) {
        timer::soon(ctx, Reason::Departure);
    }
}
