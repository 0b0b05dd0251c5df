//! Blocking a client and letting it go again.
//!
//! The owner of a lease blocks on the stream key (RM_BlockClientOnKeys), so that XADD by hand,
//! MULTI, scripts and RENAME wake it. A standby is parked (RM_BlockClient), where appends do not
//! call it: each blocked client that an append wakes in vain costs about a microsecond an event.
//!
//! In the wake-up callback of a key only that key may be read until it is certain that the client
//! will be served: answering "not served" after a replication, or after opening another key that
//! has expired, kills Redis 7.0. So the callback reads whether there is an entry after the waiter's
//! position first, and only then runs the command again, which always replies.
//!
//! The server is told that a client is released by the sweep only, a timer, and it lets the client
//! go before it reads the next command. A parked client's time is kept by the sweep too. For on
//! Redis 7.0, when the time is up or CLIENT UNBLOCK comes between the telling and the letting go, a
//! parked client is unblocked without any reply, and one that blocks on its stream gets a second.

use std::ffi::{c_int, c_longlong};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;
use std::rc::Rc;

use super::partitions::Keys;
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::waiting::calls;
use crate::model::waiting::line::ANY;
use crate::model::waiting::partitions::Partitions;
use crate::model::waiting::waiter::{Answer, Cause, Left, Outcome, Wait};
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{ERR, OK, raw};
use crate::server::api::key::Kind;
use crate::server::api::stream::Entries;
use crate::server::api::stream_end::Seen;
use crate::server::api::{key, reply, timer};
use crate::server::delivery::state;
use crate::server::keyspace::key_names::PartitionNames;
use crate::server::ops::panics::reply_outcome;
use crate::server::waiting::lines;
use crate::server::waiting::waiter::{Client, Resume, Woken};

type RawCtx = *mut raw::RedisModuleCtx;
type RawArgs = *mut *mut raw::RedisModuleString;

/// What the server needs to block a client.
#[derive(Debug)]
pub(crate) struct Request {
    /// What it waits for.
    pub(crate) wait: Wait,
    /// The keys of its partition; of one that takes any, those of the first.
    pub(crate) names: Rc<PartitionNames>,
    /// How long it waits, in ms; 0 is for ever.
    pub(crate) timeout_ms: u64,
    /// What to do when its turn comes.
    pub(crate) resume: Resume,
}

/// Blocks the client as the owner of its line's lease until the stream has an entry after the
/// position of its wait, or its time is up. The context must allow blocking.
pub(crate) fn on_stream_key(ctx: &Ctx, request: Request) {
    let Request { wait, names, timeout_ms, resume } = request;
    let mut keys = [names.stream.raw()];
    // SAFETY: the callbacks have the signatures that the server wants; the key is copied.
    let blocked = unsafe {
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
    if watch_disconnect(blocked) {
        let (id, plain) = (ctx.client_id(), wait.plain);
        let client = Client { blocked, names, resume };
        lines::change(|lines| lines.wait_as_owner(id, wait, client));
        if !plain {
            // The sweep checks at once, and knows from there on when to check again.
            timer::arm(ctx, Reason::Watch, ctx.now().ms());
        }
    }
}

/// Parks the client at the end of its line until its time is up. The lease that it waits for lapses
/// at `lapses_ms`, or is free. The context must allow blocking.
pub(crate) fn park(ctx: &Ctx, request: Request, lapses_ms: u64) {
    let Request { wait, names, timeout_ms, resume } = request;
    // SAFETY: the callbacks have the signatures that the server wants.
    let blocked = unsafe {
        api!(RedisModule_BlockClient)(ctx.raw(), Some(on_parked_ready), Some(on_timeout), None, 0)
    };
    if watch_disconnect(blocked) {
        let (id, now_ms, any) = (ctx.client_id(), ctx.now().ms(), wait.line.partition == ANY);
        let ends_ms = (timeout_ms > 0).then(|| now_ms.saturating_add(timeout_ms));
        let client = Client { blocked, names, resume };
        lines::change(|lines| lines.wait_in_line(id, wait, client, ends_ms));
        if let Some(ends_ms) = ends_ms {
            timer::arm(ctx, Reason::WaitEnd, ends_ms);
        }
        if any {
            timer::arm(ctx, Reason::AnyPartition, now_ms + 1);
        } else {
            timer::arm(ctx, Reason::Lease, lapses_ms.max(now_ms + 1));
        }
    }
}

fn watch_disconnect(blocked: *mut raw::RedisModuleBlockedClient) -> bool {
    if blocked.is_null() {
        // The server has replied an error by itself.
        return false;
    }
    // SAFETY: the handle is fresh, the callback has the signature that the server wants.
    unsafe { api!(RedisModule_SetDisconnectCallback)(blocked, Some(on_disconnect)) };
    true
}

/// Lets the parked workers of a partition see what was appended to it: its parked owners, and
/// the workers that take any partition. Cheap if there are none.
pub(crate) fn wake(ctx: &Ctx, ring: &Name, partition: u32) {
    if lines::awaits_appends() {
        calls::appended(&mut Keys(ctx), ctx.db(), ring, partition, ctx.now());
    }
}

unsafe extern "C" fn on_stream_ready(ctx: RawCtx, argv: RawArgs, argc: c_int) -> c_int {
    let ctx = Ctx::new(ctx);
    let seen = catch_unwind(AssertUnwindSafe(|| {
        let client = ctx.client_id();
        let (names, awaited) = lines::read(|lines| {
            lines.awaited(client).map(|(to, awaited)| (Rc::clone(&to.names), awaited))
        })?;
        let key = key::open_read(&ctx, &names.stream);
        if key.kind() != Kind::Stream {
            return None;
        }
        if awaited.plain {
            // Any event is for it, and the last is found at once.
            return Seen::look(&key, awaited.position);
        }
        let next = Entries::after(&key, awaited.position).next_entry();
        if let Some((id, _)) = next {
            // Whether this event is for the group takes more than this key to know.
            drop(key);
            lines::change(|lines| lines.move_on(client, id));
            timer::soon(&ctx, Reason::Watch);
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
        let left = leave(ctx, Cause::Woken)?;
        // SAFETY: the caller vouches for the arguments.
        unsafe { end_wait(ctx, &left, argv, argc, seen) }
    });
}

/// The time is up, CLIENT UNBLOCK was called, or a client that blocks on its stream was released.
unsafe extern "C" fn on_timeout(ctx: RawCtx, argv: RawArgs, argc: c_int) -> c_int {
    let ctx = Ctx::new(ctx);
    reply_outcome(&ctx, || {
        let left = leave(&ctx, Cause::TimedOut)?;
        // SAFETY: the server keeps a blocked client's arguments.
        unsafe { end_wait(&ctx, &left, argv, argc, None) }
    });
    OK
}

/// The client was killed or closed its connection, or the server lets it go by itself.
unsafe extern "C" fn on_disconnect(ctx: RawCtx, _blocked: *mut raw::RedisModuleBlockedClient) {
    let ctx = Ctx::new(ctx);
    // A panic here could only come from the bookkeeping; there is nobody to reply to.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        if leave(&ctx, Cause::Vanished).is_ok_and(|left| left.called.is_some()) {
            // No key may be opened here: the sweep takes the call back.
            timer::soon(&ctx, Reason::Departure);
        }
    }));
}

/// Ends the bookkeeping of the context's client.
fn leave(ctx: &Ctx, cause: Cause) -> Result<Left<Client>, Error> {
    let id = ctx.client_id();
    let left = lines::change(|lines| lines.leave(id, cause));
    let left = left.ok_or(Error::Bug("the waiting client is unknown"))?;
    if left.is_untold && cause != Cause::Woken {
        // SAFETY: a parked client's handle lives until the server is told, once.
        unsafe { api!(RedisModule_UnblockClient)(left.handle.blocked, null_mut()) };
    }
    Ok(left)
}

/// # Safety
/// `argv` and `argc` must be the arguments of the context's client.
unsafe fn end_wait(
    ctx: &Ctx,
    left: &Left<Client>,
    argv: RawArgs,
    argc: c_int,
    seen: Option<Seen>,
) -> Result<(), Error> {
    let ended = match &left.outcome {
        // To serve may mean to write, and who must not write has no way to wait on.
        Outcome::Serve if ctx.may_replicate() => {
            // SAFETY: the caller vouches for the arguments.
            let may = unsafe { User::of(ctx).check_command(argv, argc) };
            // SAFETY: the same.
            let args = unsafe { Args::new(argv, argc) };
            let woken = Woken { seen, partition: left.called };
            let resumed = may.and_then(|()| (left.handle.resume)(ctx, &args, woken));
            if resumed.is_ok() {
                check_lease(ctx, left, Answer::Events);
                return Ok(());
            }
            resumed
        }
        Outcome::Serve | Outcome::Nothing => give_nothing(ctx, left),
        Outcome::Refuse(error) => Err(error.clone()),
    };
    if left.as_owner && ended.is_err() {
        // It may not come back, so its lease is anybody's who has a use for it.
        let mut state = state::open(ctx, &left.handle.names);
        let caller = &left.wait.caller;
        state.volatile(&left.wait.line.group, |progress| progress.tell_nothing(caller))?;
    }
    check_lease(ctx, left, Answer::Other);
    if let Some(partition) = left.called {
        Keys(ctx).call_off(ctx.client_id(), &left.wait.line.at(partition));
        timer::soon(ctx, Reason::Departure);
    }
    ended
}

/// The standbys of an owner that left have its lease checked.
fn check_lease(ctx: &Ctx, left: &Left<Client>, answer: Answer) {
    if let Some(after_ms) = left.lease_check_in_ms(answer) {
        timer::arm(ctx, Reason::Lease, ctx.now().ms().saturating_add(after_ms));
    }
}

/// Replies null. The lease of an owner did not age while it waited; from here on it does.
fn give_nothing(ctx: &Ctx, left: &Left<Client>) -> Result<(), Error> {
    if left.as_owner {
        let (client, now) = (ctx.client_id(), ctx.now());
        let mut state = state::open(ctx, &left.handle.names);
        state.volatile(&left.wait.line.group, |progress| {
            progress.renew_for(client, now);
            progress.tell_nothing(&left.wait.caller);
        })?;
    }
    reply::null_array(ctx);
    Ok(())
}
