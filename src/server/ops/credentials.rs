//! The user as whom the nodes of a cluster speak to each other: `evq.cluster-user` and
//! `evq.cluster-password`, by default those of replication, `masteruser` and `masterauth`.
//!
//! A user that is everybody's would open internal commands to every client, so `default` is none.

use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::server::api::acl::User;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{OK, raw};
use crate::server::api::text::bytes_of;

/// One text setting.
#[derive(Debug)]
pub(crate) struct TextSetting {
    pub(crate) name: &'static str,
    /// The setting of the server that counts where this one is empty.
    instead: &'static std::ffi::CStr,
    is_secret: bool,
    value: Mutex<Vec<u8>>,
    /// The value of the server's setting, if it was read since the server's settings changed last.
    of_server: Mutex<Option<Vec<u8>>>,
}

impl TextSetting {
    const fn new(name: &'static str, instead: &'static std::ffi::CStr, is_secret: bool) -> Self {
        let value = Mutex::new(Vec::new());
        Self { name, instead, is_secret, value, of_server: Mutex::new(None) }
    }

    fn own(&self) -> Vec<u8> {
        lock(&self.value).clone()
    }

    /// Sets the value.
    pub(crate) fn set(&self, value: &[u8]) {
        *lock(&self.value) = value.to_vec();
    }

    /// The value that counts.
    fn get(&self, ctx: &Ctx) -> Vec<u8> {
        let own = self.own();
        if !own.is_empty() {
            return own;
        }
        if let Some(known) = lock(&self.of_server).clone() {
            return known;
        }
        let read = server_setting(ctx, self.instead);
        *lock(&self.of_server) = Some(read.clone());
        read
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Settings of the server have changed: those that count here are read again.
pub(crate) fn forget_server() {
    for setting in [&USER, &PASSWORD] {
        *lock(&setting.of_server) = None;
    }
}

/// The user's name.
pub(crate) static USER: TextSetting = TextSetting::new("cluster-user", c"masteruser", false);
/// The user's password.
pub(crate) static PASSWORD: TextSetting = TextSetting::new("cluster-password", c"masterauth", true);

/// The text setting of this name.
pub(crate) fn find(name: &[u8]) -> Option<&'static TextSetting> {
    [&USER, &PASSWORD].into_iter().find(|text| name.eq_ignore_ascii_case(text.name.as_bytes()))
}

/// What is said where none are set.
pub(crate) const MISSING: &str = "commands are not passed on to other nodes of the cluster: set \
                                  evq.cluster-user and evq.cluster-password to a user other than \
                                  default";

/// The user of every server.
const EVERYBODY: &[u8] = b"default";

/// A name and its password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) user: Vec<u8>,
    pub(crate) password: Vec<u8>,
}

/// The credentials among the nodes; None where none are set that are not everybody's.
pub(crate) fn of_peers(ctx: &Ctx) -> Option<Credentials> {
    user_of_peers(ctx).map(|user| Credentials { user, password: PASSWORD.get(ctx) })
}

fn user_of_peers(ctx: &Ctx) -> Option<Vec<u8>> {
    Some(USER.get(ctx)).filter(|user| !user.is_empty() && user != EVERYBODY)
}

/// Whether the client is another node of the cluster, or the log of one.
pub(crate) fn is_peer(ctx: &Ctx) -> bool {
    if ctx.is_replay() {
        return true;
    }
    let user = User::name(ctx);
    user.is_some_and(|user| user_of_peers(ctx).is_some_and(|peers| peers == user))
}

/// A setting of the server, empty if it has none.
pub(crate) fn server_setting(ctx: &Ctx, name: &std::ffi::CStr) -> Vec<u8> {
    // SAFETY: "cc" takes two texts that end with NUL; the reply is freed.
    unsafe {
        let (command, get) = (c"CONFIG".as_ptr(), c"GET".as_ptr());
        let reply = api!(RedisModule_Call)(ctx.raw(), command, c"cc".as_ptr(), get, name.as_ptr());
        if reply.is_null() {
            return Vec::new();
        }
        let value = api!(RedisModule_CallReplyArrayElement)(reply, 1);
        let mut bytes = Vec::new();
        if !value.is_null() {
            let mut length = 0;
            let text = api!(RedisModule_CallReplyStringPtr)(value, &mut length);
            if !text.is_null() {
                bytes = std::slice::from_raw_parts(text.cast::<u8>(), length).to_vec();
            }
        }
        api!(RedisModule_FreeCallReply)(reply);
        bytes
    }
}

/// Registers both settings.
///
/// # Errors
/// The line for the log.
pub(crate) fn register(ctx: &Ctx) -> Result<(), String> {
    for setting in [&USER, &PASSWORD] {
        let refused = || format!("the server refused the setting evq.{}", setting.name);
        let register = optional_api!(RedisModule_RegisterStringConfig).ok_or_else(refused)?;
        let name = CString::new(setting.name).unwrap_or_default();
        let default = CString::new(setting.own()).unwrap_or_default();
        let flags = if setting.is_secret {
            raw::REDISMODULE_CONFIG_SENSITIVE
        } else {
            raw::REDISMODULE_CONFIG_DEFAULT
        };
        let privdata: *const TextSetting = setting;
        // SAFETY: the texts are copied; `privdata` is static and only ever read.
        let registered = unsafe {
            register(
                ctx.raw(),
                name.as_ptr(),
                default.as_ptr(),
                flags,
                Some(get),
                Some(set),
                None,
                privdata.cast_mut().cast(),
            )
        };
        if registered != OK {
            return Err(refused());
        }
    }
    Ok(())
}

/// The server reads the text at once and does not free it, so the last one is kept.
unsafe extern "C" fn get(
    _name: *const c_char,
    privdata: *mut c_void,
) -> *mut raw::RedisModuleString {
    thread_local! {
        static LAST: std::cell::RefCell<Option<crate::server::api::text::Text>> =
            const { std::cell::RefCell::new(None) };
    }
    // SAFETY: the setting that was registered with this function.
    let value = unsafe { &*privdata.cast::<TextSetting>() }.own();
    let text = crate::server::api::text::Text::new(&value);
    let raw = text.raw();
    LAST.set(Some(text));
    raw
}

unsafe extern "C" fn set(
    _name: *const c_char,
    value: *mut raw::RedisModuleString,
    privdata: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: the setting that was registered with this function, and a valid string.
    unsafe { (*privdata.cast::<TextSetting>()).set(bytes_of(value)) };
    OK
}
