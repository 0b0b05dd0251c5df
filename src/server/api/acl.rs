//! The user's ACL, checked against the keys a command really touches.
//!
//! The server knows only the routing argument, which is no key of ours, and module calls bypass
//! ACL, so each command names its keys here before it opens them.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::null_mut;

use super::ctx::Ctx;
use super::ffi::{OK, raw};
use super::text::{Text, bytes_of};
use crate::model::error::Error;

/// The use of a key by a command, in the words of ACL key permissions (`%R~`, `%W~`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Returns its data.
    Read,
    /// Adds to it.
    Insert,
    /// Changes it.
    Update,
    /// Returns its data and changes it.
    ReadUpdate,
    /// Removes it.
    Delete,
}

impl Access {
    fn bits(self) -> i32 {
        let bits = match self {
            Self::Read => raw::REDISMODULE_CMD_KEY_ACCESS,
            Self::Insert => raw::REDISMODULE_CMD_KEY_INSERT,
            Self::Update => raw::REDISMODULE_CMD_KEY_UPDATE,
            Self::ReadUpdate => raw::REDISMODULE_CMD_KEY_ACCESS | raw::REDISMODULE_CMD_KEY_UPDATE,
            Self::Delete => raw::REDISMODULE_CMD_KEY_DELETE,
        };
        bits.cast_signed()
    }
}

/// The user a command runs as.
#[derive(Debug)]
pub(crate) enum User {
    /// The primary or the append-only file: whatever it says was checked there.
    Replay,
    /// The server's handle of a user that cannot be deleted; it is kept.
    Default(*mut raw::RedisModuleUser),
    /// The server's handle of any other user; null for one that was deleted while its connection
    /// lives on.
    Named(*mut raw::RedisModuleUser),
}

/// The one user that every server has from its start to its end: it cannot be deleted, and ACL LOAD
/// changes it in place. So its handle stays valid, and what it may do is checked each time. Keeping
/// the handle saves 2 % of an EVQ.TRIGGER.
const DEFAULT: &[u8] = b"default";

thread_local! {
    static DEFAULT_USER: Cell<*mut raw::RedisModuleUser> = const { Cell::new(null_mut()) };
}

impl User {
    /// The user of the current client. What is replayed has no user here; asking for one is a null
    /// dereference in some servers.
    pub(crate) fn of(ctx: &Ctx) -> Self {
        if ctx.is_replay() {
            return Self::Replay;
        }
        // SAFETY: a client command always has a user; the name is freed.
        unsafe {
            let name = api!(RedisModule_GetCurrentUserName)(ctx.raw());
            if name.is_null() {
                return Self::Named(null_mut());
            }
            let user = Self::by_name(name);
            api!(RedisModule_FreeString)(null_mut(), name);
            user
        }
    }

    /// The user of this name.
    pub(crate) fn named(name: &[u8]) -> Self {
        // SAFETY: the name lives through the call.
        unsafe { Self::by_name(Text::new(name).raw()) }
    }

    /// # Safety
    /// `name` must be valid.
    #[inline(always)]
    unsafe fn by_name(name: *mut raw::RedisModuleString) -> Self {
        // SAFETY: the caller vouches for the name. The user is freed in Drop, if it is not kept.
        unsafe {
            if bytes_of(name) == DEFAULT {
                if DEFAULT_USER.get().is_null() {
                    DEFAULT_USER.set(api!(RedisModule_GetModuleUserFromUserName)(name));
                }
                Self::Default(DEFAULT_USER.get())
            } else {
                Self::Named(api!(RedisModule_GetModuleUserFromUserName)(name))
            }
        }
    }

    /// The name of the current client's user. None where it was deleted, or nothing has one.
    pub(crate) fn name(ctx: &Ctx) -> Option<Vec<u8>> {
        if ctx.is_replay() {
            return None;
        }
        // SAFETY: a client command always has a user; the name is freed.
        unsafe {
            let name = api!(RedisModule_GetCurrentUserName)(ctx.raw());
            if name.is_null() {
                return None;
            }
            let bytes = bytes_of(name).to_vec();
            api!(RedisModule_FreeString)(null_mut(), name);
            Some(bytes)
        }
    }

    /// Whether the command is an effect to apply, not a request to judge.
    pub(crate) fn is_replay(&self) -> bool {
        matches!(self, Self::Replay)
    }

    /// Refuses a command that the user may not run, where the server offers the check.
    ///
    /// # Errors
    /// [`Error::NoPermission`]; also for a user that was deleted while its connection lives on.
    ///
    /// # Safety
    /// `argv` and `argc` must be the arguments of a command.
    pub(crate) unsafe fn check_command(
        &self,
        argv: *mut *mut raw::RedisModuleString,
        argc: c_int,
    ) -> Result<(), Error> {
        let user = match *self {
            Self::Replay => return Ok(()),
            Self::Default(user) | Self::Named(user) => user,
        };
        if user.is_null() {
            return Err(Error::NoPermission);
        }
        let Some(check) = optional_api!(RedisModule_ACLCheckCommandPermissions) else {
            return Ok(());
        };
        // SAFETY: the user is valid; the caller vouches for the arguments.
        match unsafe { check(user, argv, argc) } {
            OK => Ok(()),
            _ => Err(Error::NoPermission),
        }
    }

    /// Refuses a key that the user may not touch in this way.
    ///
    /// # Errors
    /// [`Error::NoPermission`]; also for a user that was deleted while its connection lives on.
    pub(crate) fn check(&self, key: &Text, access: Access) -> Result<(), Error> {
        let user = match *self {
            Self::Replay => return Ok(()),
            Self::Default(user) | Self::Named(user) => user,
        };
        if user.is_null() {
            return Err(Error::NoPermission);
        }
        // SAFETY: the user and the key are valid.
        match unsafe { api!(RedisModule_ACLCheckKeyPermissions)(user, key.raw(), access.bits()) } {
            OK => Ok(()),
            _ => Err(Error::NoPermission),
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Self::Named(user) = *self
            && !user.is_null()
        {
            // SAFETY: got from GetModuleUserFromUserName, whose result is ours to free.
            unsafe { api!(RedisModule_FreeModuleUser)(user) };
        }
    }
}
