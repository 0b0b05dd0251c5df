//! Ending waits.

use std::ptr::null_mut;

use super::waiter::Outcome;
use super::{any_lines, lines};
use crate::model::error::Error;
use crate::model::name::Name;
use crate::server::api::ctx::Ctx;
use crate::server::api::timer;
use crate::server::keyspace::line::Line;

/// The state of a line changed in a way that may give its waiting owner, or a worker that takes
/// any partition, something to do.
pub(crate) fn look_again(ctx: &Ctx, line: &Line) {
    if lines::be_watchful(line) {
        timer::soon(ctx);
    }
}

/// Lets a client go: it gets its reply in the next sweep.
pub(crate) fn release(ctx: &Ctx, client: u64, outcome: Outcome) {
    if lines::release(client, outcome) {
        timer::soon_unless_firing(ctx);
    }
}

/// Tells the server of the clients that were released. Only from the sweep, see above. For a client
/// that blocks on its stream this runs `on_timeout`, which may release others.
pub(crate) fn tell_released() {
    while let Some(handle) = lines::next_to_tell() {
        // SAFETY: the handle is live until the server is told, which happens once.
        unsafe { api!(RedisModule_UnblockClient)(handle, null_mut()) };
    }
}

/// Somebody else than the client `but` got the lease of `line`: the owner that still waits under
/// the old one is told so.
pub(crate) fn fence_owner(ctx: &Ctx, line: &Line, but: Option<u64>) {
    if let Some(client) = lines::waiting_owner(line).filter(|client| Some(*client) != but) {
        release(ctx, client, Outcome::Refuse(Error::Fenced));
    }
}

/// The lease of `line` goes on at `connection`: whoever waits under it elsewhere waits in vain.
pub(crate) fn move_wait(ctx: &Ctx, line: &Line, connection: Option<u64>) {
    if let Some(client) = lines::waiting_owner(line).filter(|client| Some(*client) != connection)
        && connection.is_some()
    {
        release(ctx, client, Outcome::Nothing);
    }
}

/// A ring, or one group of it, is gone: everybody who waits in front of it is told so.
pub(crate) fn dismiss(ctx: &Ctx, ring: &Name, group: Option<&Name>) {
    let error = if group.is_some() { Error::NoGroup } else { Error::NoRing };
    for client in lines::waiters_of_ring(ctx.db(), ring, group) {
        release(ctx, client, Outcome::Refuse(error.clone()));
    }
    any_lines::forget(ctx.db(), ring, group);
}

/// A partition of a ring is gone: everybody who waits in front of it is told so.
pub(crate) fn dismiss_partition(ctx: &Ctx, ring: &Name, partition: u32) {
    for client in lines::waiters_of_ring(ctx.db(), ring, None) {
        if lines::wait_of(client).is_some_and(|wait| wait.line.partition == partition) {
            release(ctx, client, Outcome::Refuse(Error::NoPartition));
        }
    }
}

/// What owners who wait in front of a ring are to be given may have to wait for other partitions
/// from now on, for one group or for all: each event is looked at.
pub(crate) fn watch_all(ctx: &Ctx, ring: &Name, group: Option<&Name>) {
    if lines::be_watchful_in(ctx.db(), ring, group) {
        timer::soon(ctx);
    }
}
