//! The user's ACL, checked against the keys a command really touches.
//!
//! The server knows only the routing argument, which is no key of ours, and module calls bypass
//! ACL, so each command names its keys here before it opens them.

use super::ctx::Ctx;
use super::ffi::{OK, raw};
use super::text::Text;
use crate::model::error::Error;

/// What a command does to a key, in the words of ACL key permissions (`%R~`, `%W~`).
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
pub(crate) struct User(Option<*mut raw::RedisModuleUser>);

impl User {
    /// The user of the current client. What comes from the primary or the append-only file was
    /// checked there and has no user here; asking for one is a null dereference in some servers.
    pub(crate) fn of(ctx: &Ctx) -> Self {
        if ctx.is_replay() {
            return Self(None);
        }
        // SAFETY: a client command always has a user; the name is freed, the user in Drop.
        unsafe {
            let name = api!(RedisModule_GetCurrentUserName)(ctx.raw());
            if name.is_null() {
                return Self(Some(std::ptr::null_mut()));
            }
            let user = api!(RedisModule_GetModuleUserFromUserName)(name);
            api!(RedisModule_FreeString)(std::ptr::null_mut(), name);
            Self(Some(user))
        }
    }

    /// Refuses a key that the user may not touch in this way.
    ///
    /// # Errors
    /// [`Error::NoPermission`]; also for a user that was deleted while its connection lives on.
    pub(crate) fn check(&self, key: &Text, access: Access) -> Result<(), Error> {
        match self.0 {
            None => Ok(()),
            Some(user) if user.is_null() => Err(Error::NoPermission),
            // SAFETY: the user and the key are valid.
            Some(user) => match unsafe {
                api!(RedisModule_ACLCheckKeyPermissions)(user, key.raw(), access.bits())
            } {
                OK => Ok(()),
                _ => Err(Error::NoPermission),
            },
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(user) = self.0.filter(|user| !user.is_null()) {
            // SAFETY: got from GetModuleUserFromUserName, whose result is ours to free.
            unsafe { api!(RedisModule_FreeModuleUser)(user) };
        }
    }
}
