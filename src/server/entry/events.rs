//! Events that the server reports: a connection closed, the role changed, databases were loaded,
//! emptied or swapped, a key came to be, or got another name or database, a setting was changed.

use std::ffi::{CStr, c_char, c_int, c_void};

use crate::model::deadlines::Reason;
use crate::model::keys::{
    is_of_a_ring, parse_copy_key, parse_groups_key, parse_later_key, parse_ring_key,
    parse_stream_key, parse_unique_key,
};
use crate::model::waiting::lines::Lines;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{OK, raw};
use crate::server::api::text::bytes_of;
use crate::server::api::timer;
use crate::server::keyspace::{copies, deleted, known_rings};
use crate::server::later::{moving, spots};
use crate::server::ops::credentials;
use crate::server::retention::idle_groups;
use crate::server::unique::hints;
use crate::server::waiting::{connections, lines};

/// Subscribes; false if the server refuses.
pub(crate) fn subscribe(ctx: &Ctx) -> bool {
    subscribe_one(ctx, raw::REDISMODULE_EVENT_CLIENT_CHANGE, on_client_change)
        && subscribe_one(ctx, raw::REDISMODULE_EVENT_REPLICATION_ROLE_CHANGED, on_role_change)
        && subscribe_one(ctx, raw::REDISMODULE_EVENT_LOADING, on_loading)
        && subscribe_one(ctx, raw::REDISMODULE_EVENT_FLUSHDB, on_flush)
        && subscribe_one(ctx, raw::REDISMODULE_EVENT_SWAPDB, on_swap)
        && subscribe_one(ctx, raw::REDISMODULE_EVENT_CONFIG, on_setting)
        && subscribe_to_keys(ctx)
}

/// Of keyspace events only those of whole keys, so that appending events costs nothing more.
fn subscribe_to_keys(ctx: &Ctx) -> bool {
    // SAFETY: the callback has the signature that the server wants.
    unsafe {
        api!(RedisModule_SubscribeToKeyspaceEvents)(
            ctx.raw(),
            raw::REDISMODULE_NOTIFY_GENERIC
                | raw::REDISMODULE_NOTIFY_EXPIRED
                | raw::REDISMODULE_NOTIFY_EVICTED,
            Some(on_key_event),
        ) == OK
    }
}

type Callback =
    unsafe extern "C" fn(*mut raw::RedisModuleCtx, raw::RedisModuleEvent, u64, *mut c_void);

fn subscribe_one(ctx: &Ctx, id: u64, callback: Callback) -> bool {
    // Version 1 of every event's data; these events have had only that one.
    let event = raw::RedisModuleEvent { id, dataver: 1 };
    // SAFETY: the callback has the signature that the server wants.
    unsafe { api!(RedisModule_SubscribeToServerEvent)(ctx.raw(), event, Some(callback)) == OK }
}

unsafe extern "C" fn on_client_change(
    ctx: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    what: u64,
    data: *mut c_void,
) {
    if what != raw::REDISMODULE_SUBEVENT_CLIENT_CHANGE_DISCONNECTED || data.is_null() {
        return;
    }
    // SAFETY: this event's data is the client's info.
    let client = unsafe { (*data.cast::<raw::RedisModuleClientInfo>()).id };
    // Keys are not opened here: the server is in the middle of freeing the client.
    let _ = std::panic::catch_unwind(|| {
        connections::connection_closed(&Ctx::new(ctx), client);
    });
}

unsafe extern "C" fn on_role_change(
    ctx: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    _what: u64,
    _data: *mut c_void,
) {
    let _ = std::panic::catch_unwind(|| {
        lines::change(Lines::begin_era);
        copies::begin_era();
        begin_to_act(&Ctx::new(ctx));
    });
}

unsafe extern "C" fn on_loading(
    ctx: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    what: u64,
    _data: *mut c_void,
) {
    if what == raw::REDISMODULE_SUBEVENT_LOADING_ENDED {
        let _ = std::panic::catch_unwind(|| {
            deleted::loaded();
            copies::begin_era();
            begin_to_act(&Ctx::new(ctx));
        });
    }
}

/// There are rings to look after that nobody has asked for yet.
fn begin_to_act(ctx: &Ctx) {
    let now = ctx.now();
    idle_groups::begin_anew(now);
    check_everything(ctx);
}

/// Also of the rings that were resized.
fn check_everything(ctx: &Ctx) {
    timer::soon(ctx, Reason::Recheck);
    timer::soon(ctx, Reason::Tidy);
    timer::soon(ctx, Reason::Removed);
    timer::soon(ctx, Reason::Lag);
}

unsafe extern "C" fn on_flush(
    _ctx: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    what: u64,
    data: *mut c_void,
) {
    if what == raw::REDISMODULE_SUBEVENT_FLUSHDB_END && !data.is_null() {
        // SAFETY: this event's data is the flush's info.
        let db = unsafe { (*data.cast::<raw::RedisModuleFlushInfo>()).dbnum };
        let db = (db >= 0).then_some(db);
        let _ = std::panic::catch_unwind(|| {
            known_rings::forget_all(db);
            deleted::forget_all(db);
            hints::forget_all(db);
            spots::forget_all(db);
            moving::forget_all();
        });
    }
}

unsafe extern "C" fn on_swap(
    ctx: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    _what: u64,
    data: *mut c_void,
) {
    if !data.is_null() {
        // SAFETY: this event's data is the swap's info.
        let swap = unsafe { &*data.cast::<raw::RedisModuleSwapDbInfo>() };
        let (one, other) = (swap.dbnum_first, swap.dbnum_second);
        let _ = std::panic::catch_unwind(|| {
            known_rings::swap(one, other);
            hints::swap(one, other);
            spots::swap(one, other);
            moving::forget_all();
            deleted::swap(one, other);
            lines::change(|lines| lines.swap_databases(one, other));
            check_everything(&Ctx::new(ctx));
        });
    }
}

unsafe extern "C" fn on_setting(
    _ctx: *mut raw::RedisModuleCtx,
    _event: raw::RedisModuleEvent,
    _what: u64,
    _data: *mut c_void,
) {
    let _ = std::panic::catch_unwind(credentials::forget_server);
}

/// RENAME and MOVE bring a ring under a name without any call to its type, RESTORE and COPY without
/// anybody who could look after it.
unsafe extern "C" fn on_key_event(
    ctx: *mut raw::RedisModuleCtx,
    _class: c_int,
    event: *const c_char,
    key: *mut raw::RedisModuleString,
) -> c_int {
    let _ = std::panic::catch_unwind(|| {
        // SAFETY: the server passes text that ends with NUL.
        let event = unsafe { CStr::from_ptr(event) };
        // SAFETY: the key's name is valid for this call.
        let name = unsafe { bytes_of(key) };
        if !is_of_a_ring(name) {
            return;
        }
        let is_deleted = [c"del", c"expired", c"evicted"].contains(&event);
        if is_deleted || [c"rename_from", c"move_from"].contains(&event) {
            if let Some((ring, p)) = parse_later_key(name) {
                spots::forget(&(Ctx::new(ctx).db(), ring, p));
            } else if let Some((ring, p)) = parse_copy_key(name) {
                known_rings::forget_copy(Ctx::new(ctx).db(), &ring, p);
            } else if let Some((ring, p)) = parse_stream_key(name).filter(|_| is_deleted) {
                deleted::note((Ctx::new(ctx).db(), ring, p));
            }
            return;
        }
        if ![c"rename_to", c"move_to", c"restore", c"copy_to"].contains(&event) {
            return;
        }
        // What waits may have come with it, or its stream.
        timer::soon(&Ctx::new(ctx), Reason::Removed);
        if let Some((ring, p)) = parse_groups_key(name).or_else(|| parse_stream_key(name)) {
            deleted::settle(&(Ctx::new(ctx).db(), ring, p));
        }
        if let Some(ring) = parse_ring_key(name) {
            let ctx = Ctx::new(ctx);
            known_rings::note(ctx.db(), &ring);
            check_everything(&ctx);
        } else if let Some((ring, p)) = parse_copy_key(name) {
            let ctx = Ctx::new(ctx);
            known_rings::note_copy(ctx.db(), &ring, p);
            check_everything(&ctx);
        } else if let Some((ring, p)) = parse_unique_key(name) {
            let ctx = Ctx::new(ctx);
            hints::note(ctx.db(), &ring, p);
            timer::soon(&ctx, Reason::Tokens);
        } else if let Some((ring, p)) = parse_later_key(name) {
            let ctx = Ctx::new(ctx);
            let spot = (ctx.db(), ring, p);
            moving::forget(&spot);
            spots::note_unknown(spot);
            timer::soon(&ctx, Reason::Later);
        }
    });
    OK
}
