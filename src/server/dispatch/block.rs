//! Blocking a client and letting it go again.
//!
//! The owner of a lease blocks on the stream key (RM_BlockClientOnKeys), so that XADD by hand,
//! MULTI, scripts and RENAME wake it. A standby is parked (RM_BlockClient), where appends do not
//! call it: each blocked client that an append wakes in vain costs about a microsecond an event.
//!
//! In the wake-up callback of a key only that key may be read until it is certain that the client
//! will be served: answering "not served" after a replication, or after opening another key that
//! has expired, kills Redis 7.0. So the callback looks for an entry beyond the waiter's position
//! first, and only then runs the command again, which always replies.
//!
//! That a client is released the server is told by the sweep only, a timer, and it lets the client
//! go before it reads the next command. A parked client's time is kept by the sweep too. For on
//! Redis 7.0, when the time is up or CLIENT UNBLOCK comes between the telling and the letting go, a
//! parked client is unblocked without any reply, and one that blocks on its stream gets a second.

use std::ffi::{c_int, c_longlong};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use super::call;
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{ERR, OK, raw};
use crate::server::api::key::Kind;
use crate::server::api::stream::Entries;
use crate::server::api::stream_end::Seen;
use crate::server::api::timer::RECHECK_MS;
use crate::server::api::{key, reply, timer};
use crate::server::delivery::state;
use crate::server::keyspace::line::Line;
use crate::server::ops::panics::reply_outcome;
use crate::server::waiting::release::release;
use crate::server::waiting::waiter::{Outcome, Wait, Waiter, Woken};
use crate::server::waiting::{any_lines, lines};

type RawCtx = *mut raw::RedisModuleCtx;
type RawArgs = *mut *mut raw::RedisModuleString;

/// Blocks the client as the owner of its line's lease until the stream has an entry beyond
/// `wait.position`, at most `timeout_ms` (0: for ever). The context must allow blocking.
pub(crate) fn on_stream_key(ctx: &Ctx, wait: Wait, timeout_ms: u64) {
    let mut keys = [wait.names.stream.raw()];
    // SAFETY: the callbacks have the signatures that the server wants; the key is copied.
    let handle = unsafe {
        api!(RedisModule_BlockClientOnKeys)(
            ctx.raw(),
            Some(on_stream_ready),
            Some(on_timeout),
            None,
            timeout_ms.cast_signed() as c_longlong,
            keys.as_mut_ptr(),
            1,
            null_mut(),
        )
    };
    if watch_disconnect(ctx, handle) {
        let look_ms = wait.look_ms;
        lines::wait_as_owner(ctx.client_id(), on_stream(wait, handle));
        if let Some(look_ms) = look_ms {
            timer::arm(ctx, look_ms);
        }
    }
}

/// Parks the client at the end of its line, behind the lease of `progress` if it is one
/// partition's, at most `timeout_ms` (0: for ever). The context must allow blocking.
pub(crate) fn park(ctx: &Ctx, wait: Wait, timeout_ms: u64, progress: Option<&Progress>) {
    // SAFETY: the callbacks have the signatures that the server wants.
    let handle = unsafe {
        api!(RedisModule_BlockClient)(ctx.raw(), Some(on_parked_ready), Some(on_timeout), None, 0)
    };
    if watch_disconnect(ctx, handle) {
        let ends_ms = (timeout_ms > 0).then(|| ctx.now().ms().saturating_add(timeout_ms));
        let waiter = Waiter { on_stream: false, ends_ms, ..on_stream(wait, handle) };
        lines::wait_in_line(ctx.client_id(), waiter);
        watch(ctx, progress);
    }
}

fn watch_disconnect(_ctx: &Ctx, handle: *mut raw::RedisModuleBlockedClient) -> bool {
    if handle.is_null() {
        // The server has replied an error by itself.
        return false;
    }
    // SAFETY: the handle is fresh, the callback has the signature that the server wants.
    unsafe { api!(RedisModule_SetDisconnectCallback)(handle, Some(on_disconnect)) };
    true
}

/// Lets the parked workers of a partition see what was appended to it: its parked owners, and
/// the workers that take any partition. Cheap if there are none.
pub(crate) fn wake(ctx: &Ctx, ring: &Name, partition: u32) {
    if lines::any_parked_owner() {
        for client in lines::parked_owners(ctx.db(), ring, partition) {
            if lines::wait_of(client).is_some_and(|wait| wait.plain) {
                release(ctx, client, Outcome::Serve);
            } else {
                timer::soon(ctx);
            }
        }
    }
    if any_lines::any_waited_in() {
        for line in any_lines::to_look_for(ctx.db(), ring, partition) {
            call::look_at(ctx, &line, partition);
        }
    }
}

fn on_stream(wait: Wait, handle: *mut raw::RedisModuleBlockedClient) -> Waiter {
    let outcome = Outcome::Serve;
    Waiter {
        wait,
        called: None,
        handle,
        on_stream: true,
        released: false,
        told: false,
        outcome,
        ends_ms: None,
    }
}

unsafe extern "C" fn on_stream_ready(ctx: RawCtx, argv: RawArgs, argc: c_int) -> c_int {
    let ctx = Ctx::new(ctx);
    let seen = catch_unwind(AssertUnwindSafe(|| {
        let client = ctx.client_id();
        let (names, position, plain) = lines::awaited(client)?;
        let key = key::open_read(&ctx, &names.stream);
        if key.kind() != Kind::Stream {
            return None;
        }
        if plain {
            // Any event is for it, and the last is found at once.
            return Seen::look(&key, position);
        }
        let next = Entries::after(&key, position).next_entry();
        if let Some((id, _)) = next {
            // Whether this event is for the group takes more than this key to know.
            drop(key);
            lines::move_on(client, id);
            timer::soon(&ctx);
        }
        None
    }));
    let Ok(Some(seen)) = seen else { return ERR };
    // SAFETY: the server keeps a blocked client's arguments.
    unsafe { resume(&ctx, argv, argc, Some(seen)) };
    OK
}

unsafe extern "C" fn on_parked_ready(ctx: RawCtx, argv: RawArgs, argc: c_int) -> c_int {
    // SAFETY: the server keeps a blocked client's arguments.
    unsafe { resume(&Ctx::new(ctx), argv, argc, None) };
    OK
}

/// # Safety
/// `argv` and `argc` must be the arguments of the context's client.
unsafe fn resume(ctx: &Ctx, argv: RawArgs, argc: c_int, seen: Option<Seen>) {
    reply_outcome(ctx, || {
        let (waiter, owner) = leave(ctx)?;
        // SAFETY: the caller vouches for the arguments.
        unsafe { end_wait(ctx, waiter, owner, argv, argc, seen) }
    });
}

/// # Safety
/// `argv` and `argc` must be the arguments of the context's client.
unsafe fn end_wait(
    ctx: &Ctx,
    waiter: Waiter,
    owner: bool,
    argv: RawArgs,
    argc: c_int,
    seen: Option<Seen>,
) -> Result<(), Error> {
    let (wait, partition) = (waiter.wait, waiter.called);
    let ended = match waiter.outcome {
        // To serve may mean to write, and who must not write has no way to wait on.
        Outcome::Serve if ctx.may_replicate() => {
            // SAFETY: the caller vouches for the arguments.
            let args = unsafe { Args::new(argv, argc) };
            let resumed = (wait.resume)(ctx, &args, Woken { seen, partition });
            if resumed.is_ok() {
                return Ok(());
            }
            resumed
        }
        Outcome::Serve | Outcome::Nothing => give_nothing(ctx, &wait, owner),
        Outcome::Refuse(error) => Err(error),
    };
    if let Some(partition) = partition {
        call::call_off(ctx, ctx.client_id(), &Line { partition, ..wait.line });
    }
    ended
}

/// The time is up, CLIENT UNBLOCK was called, or a client that blocks on its stream was released.
unsafe extern "C" fn on_timeout(ctx: RawCtx, argv: RawArgs, argc: c_int) -> c_int {
    let ctx = Ctx::new(ctx);
    reply_outcome(&ctx, || {
        let (waiter, owner) = leave(&ctx)?;
        if !waiter.on_stream && !waiter.told {
            // SAFETY: a parked client's handle lives until the server is told, once.
            unsafe { api!(RedisModule_UnblockClient)(waiter.handle, null_mut()) };
        }
        if !waiter.released {
            return give_nothing(&ctx, &waiter.wait, owner);
        }
        // SAFETY: the server keeps a blocked client's arguments.
        unsafe { end_wait(&ctx, waiter, owner, argv, argc, None) }
    });
    OK
}

/// Ends the bookkeeping of the context's client; also tells whether it waited as the owner.
fn leave(ctx: &Ctx) -> Result<(Waiter, bool), Error> {
    lines::remove(ctx.client_id()).ok_or(Error::Bug("an unknown waiter"))
}

/// Replies null. The lease of an owner did not age while it waited; from here on it does.
fn give_nothing(ctx: &Ctx, wait: &Wait, owner: bool) -> Result<(), Error> {
    if owner {
        let (client, now) = (ctx.client_id(), ctx.now());
        let mut state = state::open(ctx, &wait.names);
        state.volatile(&wait.line.group, |progress| progress.renew_for(client, now))?;
    }
    reply::null_array(ctx);
    Ok(())
}

/// The client was killed or closed its connection, or the server lets it go by itself.
unsafe extern "C" fn on_disconnect(ctx: RawCtx, handle: *mut raw::RedisModuleBlockedClient) {
    let ctx = Ctx::new(ctx);
    // A panic here could only come from the bookkeeping; there is nobody to reply to.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        let client = ctx.client_id();
        let Some((waiter, _)) = lines::remove(client) else { return };
        if !waiter.on_stream && !waiter.told {
            // SAFETY: a parked client's handle lives until the server is told, once.
            unsafe { api!(RedisModule_UnblockClient)(handle, null_mut()) };
        }
        if let Some(partition) = waiter.called {
            call::call_off_soon(&ctx, client, Line { partition, ..waiter.wait.line });
        }
    }));
}

/// A line is waited in from now on: looks after it when the lease that it waits for lapses.
pub(crate) fn watch(ctx: &Ctx, progress: Option<&Progress>) {
    let now_ms = ctx.now().ms();
    let deadline_ms = progress.and_then(Progress::lease).map_or(now_ms, |lease| lease.deadline_ms);
    let end_ms = lines::next_end().unwrap_or(u64::MAX);
    timer::arm(ctx, deadline_ms.min(end_ms).clamp(now_ms + 1, now_ms + RECHECK_MS));
}
