//! The server as one command, callback or timer sees it.

use std::cell::Cell;
use std::ffi::c_int;
use std::time::{SystemTime, UNIX_EPOCH};

use super::ffi::raw;
use super::kept_keys::close_kept;
use crate::model::now::Now;

/// A module context, valid for the call that got it.
#[derive(Debug)]
pub(crate) struct Ctx {
    raw: *mut raw::RedisModuleCtx,
    /// The flags of the call, once they were read.
    flags: Cell<Option<c_int>>,
}

impl Ctx {
    /// Wraps what the server handed to an entry point, for the length of that call.
    pub(crate) fn new(ctx: *mut raw::RedisModuleCtx) -> Self {
        Self { raw: ctx, flags: Cell::new(None) }
    }

    /// The pointer to give back to the server.
    pub(crate) fn raw(&self) -> *mut raw::RedisModuleCtx {
        self.raw
    }

    /// The flags of this call, read once: none of those in use changes during a call. Saves 3 % of
    /// an EVQ.ACK.
    fn flags(&self) -> c_int {
        if let Some(flags) = self.flags.get() {
            return flags;
        }
        // SAFETY: the context is valid for this call.
        let flags = unsafe { api!(RedisModule_GetContextFlags)(self.raw) };
        self.flags.set(Some(flags));
        flags
    }

    /// The clock, read once by whoever decides something.
    pub(crate) fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { unix_us: u64::try_from(unix.as_micros()).unwrap_or(u64::MAX) }
    }

    /// The server's own clock in unix ms, by which it gives ids: it stands still during a call,
    /// and so may be behind. The time itself where the server does not tell.
    pub(crate) fn cached_ms(&self) -> u64 {
        let Some(cached) = optional_api!(RedisModule_CachedMicroseconds) else {
            return self.now().ms();
        };
        // SAFETY: takes no arguments.
        let us = unsafe { cached() };
        u64::try_from(us).unwrap_or_default() / 1000
    }

    /// The selected database.
    pub(crate) fn db(&self) -> c_int {
        // SAFETY: the context is valid for this call.
        unsafe { api!(RedisModule_GetSelectedDb)(self.raw) }
    }

    /// Selects a database, for a timer. False if there is none of that number.
    pub(crate) fn select_db(&self, db: c_int) -> bool {
        close_kept();
        // SAFETY: the context is valid for this call.
        unsafe { api!(RedisModule_SelectDb)(self.raw, db) == crate::server::api::ffi::OK }
    }

    /// The client's id.
    pub(crate) fn client_id(&self) -> u64 {
        // SAFETY: the context is valid for this call.
        unsafe { api!(RedisModule_GetClientId)(self.raw) }
    }

    /// The connection as an identity: none in a script or under another module's call, where the
    /// client is a stand-in.
    pub(crate) fn connection(&self) -> Option<u64> {
        let flags = self.flags();
        let has = |flag: u32| flags & flag.cast_signed() != 0;
        let scripted = has(raw::REDISMODULE_CTX_FLAGS_LUA)
            || has(raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING)
                && !has(raw::REDISMODULE_CTX_FLAGS_MULTI);
        (!scripted).then(|| self.client_id())
    }

    /// Whether a command may block here: not in MULTI, a script, or where the server says no.
    pub(crate) fn may_block(&self) -> bool {
        let no = raw::REDISMODULE_CTX_FLAGS_DENY_BLOCKING
            | raw::REDISMODULE_CTX_FLAGS_MULTI
            | raw::REDISMODULE_CTX_FLAGS_LUA;
        self.flags() & no.cast_signed() == 0
    }

    /// Whether this command comes from the primary's link or from the append-only file: then it is
    /// an effect to apply, not a request to judge.
    pub(crate) fn is_replay(&self) -> bool {
        // Not while loading asynchronously: then clients are served.
        let replay = raw::REDISMODULE_CTX_FLAGS_REPLICATED | raw::REDISMODULE_CTX_FLAGS_LOADING;
        self.flags() & replay.cast_signed() != 0
    }

    /// Whether this server is a primary that is not loading: the only one that acts by itself.
    pub(crate) fn may_act(&self) -> bool {
        let flags = self.flags();
        let loading = raw::REDISMODULE_CTX_FLAGS_LOADING | raw::REDISMODULE_CTX_FLAGS_ASYNC_LOADING;
        flags & raw::REDISMODULE_CTX_FLAGS_MASTER.cast_signed() != 0
            && flags & loading.cast_signed() == 0
    }

    /// Whether something that no command asked for may be written now. Not while clients are
    /// paused: then the replicas are to catch up, and a write kills the server.
    pub(crate) fn may_replicate(&self) -> bool {
        // SAFETY: takes no arguments.
        unsafe { api!(RedisModule_AvoidReplicaTraffic)() == 0 }
    }

    /// Whether the server is over its memory limit, so that it refuses what may use more.
    pub(crate) fn is_out_of_memory(&self) -> bool {
        self.flags() & raw::REDISMODULE_CTX_FLAGS_OOM.cast_signed() != 0
    }

    /// Whether the server is part of a Redis Cluster.
    pub(crate) fn is_cluster(&self) -> bool {
        self.flags() & raw::REDISMODULE_CTX_FLAGS_CLUSTER.cast_signed() != 0
    }
}

impl Drop for Ctx {
    fn drop(&mut self) {
        close_kept();
    }
}
