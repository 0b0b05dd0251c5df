//! Ending waits: what commands change for those who wait, and telling the server.

use std::ptr::null_mut;

use super::lines;
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::waiting::line::Line;
use crate::server::api::ctx::Ctx;
use crate::server::api::timer;

/// The state of a line changed in a way that may give its waiting owner, or a worker that takes
/// any partition, something to do.
pub(crate) fn look_again(ctx: &Ctx, line: &Line) {
    if lines::change(|lines| lines.watch(line)) {
        timer::soon(ctx, Reason::Watch);
    }
}

/// Events that owners wait for in front of a ring may have to wait for other partitions from now
/// on, for one group or for all: each event is checked.
pub(crate) fn watch_all(ctx: &Ctx, ring: &Name, group: Option<&Name>) {
    let db = ctx.db();
    if lines::change(|lines| lines.watch_ring(db, ring, group)) {
        timer::soon(ctx, Reason::Watch);
    }
}

/// Tells the server of the clients that were released. Only from the sweep, see
/// `dispatch::block`. For a client that blocks on its stream this runs its time-out callback, which
/// may release others.
pub(crate) fn tell_released() {
    while let Some(blocked) = lines::change(|lines| lines.next_to_tell().map(|to| to.blocked)) {
        // SAFETY: the handle is live until the server is told, which happens once.
        unsafe { api!(RedisModule_UnblockClient)(blocked, null_mut()) };
    }
}

/// Another than the client `but` got the lease of `line`: the owner that still waits under the old
/// one is refused.
pub(crate) fn fence_owner(ctx: &Ctx, line: &Line, but: Option<u64>) {
    if lines::change(|lines| lines.fence_owner(line, but)) {
        timer::tell_soon(ctx);
    }
}

/// The lease of `line` goes on at `connection`: an owner that waits under it elsewhere waits in
/// vain.
#[inline]
pub(crate) fn move_wait(ctx: &Ctx, line: &Line, connection: Option<u64>) {
    let Some(connection) = connection else { return };
    if lines::change(|lines| lines.move_wait(line, connection)) {
        timer::tell_soon(ctx);
    }
}

/// A ring, or one group of it, is gone: everybody who waits in front of it is refused.
pub(crate) fn dismiss(ctx: &Ctx, ring: &Name, group: Option<&Name>) {
    let db = ctx.db();
    if lines::change(|lines| lines.dismiss(db, ring, group)) {
        timer::tell_soon(ctx);
    }
}

/// A partition of a ring, or a group of it, is gone: everybody who waits in front of it is refused.
pub(crate) fn dismiss_partition(
    ctx: &Ctx,
    (ring, partition): (&Name, u32),
    group: Option<&Name>,
    error: &Error,
) {
    let at = (ctx.db(), ring, partition);
    if lines::change(|lines| lines.dismiss_partition(at, group, error)) {
        timer::tell_soon(ctx);
    }
}
