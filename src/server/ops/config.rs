//! The `evq.*` settings: as `loadmodule` arguments (`name value`), in redis.conf and by CONFIG SET.

use std::ffi::{CString, c_char, c_int, c_longlong, c_void};
use std::sync::atomic::{AtomicI64, Ordering};

use super::credentials;
use crate::model::limits::{MAX_DURATION_MS, MAX_PARTITIONS, MAX_POINTS, MAX_VNODES};
use crate::model::parse::number;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{OK, raw};

/// One numeric setting.
#[derive(Debug)]
pub(crate) struct Setting {
    name: &'static str,
    min: i64,
    max: i64,
    value: AtomicI64,
}

impl Setting {
    const fn new(name: &'static str, default: i64, min: i64, max: i64) -> Self {
        Self { name, min, max, value: AtomicI64::new(default) }
    }

    /// The value now. Settings are never negative.
    pub(crate) fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed).unsigned_abs()
    }

    /// The value now of a setting that fits 32 bits by its bound.
    pub(crate) fn get_u32(&self) -> u32 {
        u32::try_from(self.get()).unwrap_or(u32::MAX)
    }
}

/// Partitions of the default ring when it is made.
pub(crate) static PARTITIONS: Setting = Setting::new("partitions", 8, 1, MAX_PARTITIONS as i64);
/// Virtual nodes of a ring that is made without VNODES. At most what lets the largest number of
/// partitions stay within the points of a ring.
pub(crate) static VNODES: Setting = Setting::new(
    "vnodes",
    160,
    1,
    if MAX_POINTS as i64 / (MAX_PARTITIONS as i64) < MAX_VNODES as i64 {
        MAX_POINTS as i64 / MAX_PARTITIONS as i64
    } else {
        MAX_VNODES as i64
    },
);
/// How long EVQ.CONSUME waits without BLOCK; 0 is for ever.
pub(crate) static BLOCK_MS: Setting = Setting::new("block-ms", 1000, 0, MAX_DURATION_MS);
/// How long a lease lasts without LEASE.
pub(crate) static LEASE_MS: Setting = Setting::new("lease-ms", 30_000, 1, MAX_DURATION_MS);
/// The age up to which events of rings without MAXAGE are kept; 0 is for ever.
pub(crate) static MAX_AGE_MS: Setting =
    Setting::new("max-age-ms", 7 * 24 * 3600 * 1000, 0, MAX_DURATION_MS);
/// How long a group may be without workers before it is removed; 0 is for ever.
pub(crate) static GROUP_IDLE_MS: Setting = Setting::new("group-idle-ms", 0, 0, MAX_DURATION_MS);

/// How long tokens of rings without UNIQUEFOR are remembered.
pub(crate) static UNIQUE_MS: Setting = Setting::new("unique-ms", 300_000, 1, MAX_DURATION_MS);

static ALL: [&Setting; 7] =
    [&PARTITIONS, &VNODES, &BLOCK_MS, &LEASE_MS, &MAX_AGE_MS, &GROUP_IDLE_MS, &UNIQUE_MS];

/// Reads `loadmodule` arguments and registers every setting. What redis.conf says wins over the
/// arguments.
///
/// # Errors
/// The line for the log, if an argument is no setting or the server refuses.
pub(crate) fn register(ctx: &Ctx, arguments: &[&[u8]]) -> Result<(), String> {
    for pair in arguments.chunks(2) {
        let [name, value] = pair else {
            return Err("loadmodule arguments come in pairs: name value".into());
        };
        if let Some(text) = credentials::find(name) {
            text.set(value);
            continue;
        }
        let setting = ALL
            .iter()
            .find(|setting| name.eq_ignore_ascii_case(setting.name.as_bytes()))
            .ok_or_else(|| format!("unknown loadmodule argument '{}'", name.escape_ascii()))?;
        let value = number(value, setting.name, setting.min, setting.max)
            .map_err(|error| error.to_string())?;
        setting.value.store(value, Ordering::Relaxed);
    }
    for setting in ALL {
        let name = CString::new(setting.name).unwrap_or_default();
        let privdata: *const Setting = setting;
        // SAFETY: the name is copied; `privdata` is static and only ever read.
        let registered = unsafe {
            api!(RedisModule_RegisterNumericConfig)(
                ctx.raw(),
                name.as_ptr(),
                setting.value.load(Ordering::Relaxed),
                raw::REDISMODULE_CONFIG_DEFAULT,
                setting.min,
                setting.max,
                Some(get),
                Some(set),
                None,
                privdata.cast_mut().cast(),
            )
        };
        if registered != OK {
            return Err(format!("the server refused the setting evq.{}", setting.name));
        }
    }
    credentials::register(ctx)?;
    // SAFETY: called once, after every setting was registered.
    if unsafe { api!(RedisModule_LoadConfigs)(ctx.raw()) } != OK {
        return Err("the server refused a value of an evq.* setting".into());
    }
    Ok(())
}

unsafe extern "C" fn get(_name: *const c_char, privdata: *mut c_void) -> c_longlong {
    // SAFETY: the setting that was registered with this function.
    unsafe { &*privdata.cast::<Setting>() }.value.load(Ordering::Relaxed)
}

unsafe extern "C" fn set(
    _name: *const c_char,
    value: c_longlong,
    privdata: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    // The server has checked the bounds.
    // SAFETY: the setting that was registered with this function.
    unsafe { &*privdata.cast::<Setting>() }.value.store(value, Ordering::Relaxed);
    OK
}

/// Every setting with its value, for the log.
pub(crate) fn describe() -> String {
    let show = |setting: &&Setting| format!("{} {}", setting.name, setting.get());
    ALL.iter().map(show).collect::<Vec<_>>().join(", ")
}
