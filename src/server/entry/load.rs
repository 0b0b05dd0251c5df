//! The C entry point of the module and what has to hold before anything is registered.

use std::ffi::{c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use lazy_static::lazy_static;

use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{ERR, OK, missing_functions, raw};
use crate::server::api::log::{Level, line};
use crate::server::ops::panics::log_panics;

/// The module's name, with its NUL.
const NAME: [u8; 4] = *b"evq\0";

/// Valkey's option of that name: without it a Valkey 9 moves no slots at once for anybody. Another
/// server may mean something else by the bit.
const ATOMIC_SLOT_MIGRATION: u32 = 1 << 5;

/// CONFIG REWRITE, which Sentinel sends too, writes the modules that are loaded into the main file,
/// whatever an included one has.
const TWICE: &str = "EVQ does not load: it is loaded already. Keep one `loadmodule` line: CONFIG \
                     REWRITE writes it into the main configuration file";

/// Defines the symbol that the server calls; `$load` registers everything.
macro_rules! on_load {
    ($load:path) => {
        #[allow(unsafe_code, unreachable_pub, missing_docs)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn RedisModule_OnLoad(
            ctx: *mut redis_module::raw::RedisModuleCtx,
            argv: *mut *mut redis_module::raw::RedisModuleString,
            argc: std::ffi::c_int,
        ) -> std::ffi::c_int {
            // SAFETY: called by the server, once, with its own arguments.
            unsafe { $crate::server::entry::load::start(ctx, argv, argc, $load) }
        }
    };
}

/// Connects to the module API and loads; a refusal is one line in the log.
///
/// # Safety
/// The arguments must be those of `RedisModule_OnLoad`.
pub(crate) unsafe fn start(
    ctx: *mut raw::RedisModuleCtx,
    argv: *mut *mut raw::RedisModuleString,
    argc: c_int,
    load: fn(&Ctx, &[&[u8]]) -> Result<(), String>,
) -> c_int {
    // Nothing may allocate before this call: the allocator is the server's.
    // SAFETY: the name ends with NUL.
    let connected = unsafe {
        raw::Export_RedisModule_Init(
            ctx,
            NAME.as_ptr().cast::<c_char>(),
            *VERSION,
            raw::REDISMODULE_APIVER_1 as c_int,
        )
    };
    if connected != OK {
        // Only this makes it fail, after it has connected.
        line(ctx, Level::Warning, TWICE);
        return ERR;
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let missing = missing_functions();
        if !missing.is_empty() {
            return Err(format!("this server is too old: it lacks {}", missing.join(", ")));
        }
        log_panics();
        // With the first, a short read while loading is an error that we see, not the server's end;
        // with the second, a key opened for writing counts as changed only when we say so.
        let options = raw::REDISMODULE_OPTIONS_HANDLE_IO_ERRORS
            | raw::REDISMODULE_OPTION_NO_IMPLICIT_SIGNAL_MODIFIED;
        let options = if is_valkey(ctx) { options | ATOMIC_SLOT_MIGRATION } else { options };
        // SAFETY: the context is valid for this call.
        unsafe { api!(RedisModule_SetModuleOptions)(ctx, options.cast_signed()) };
        // SAFETY: the server's arguments are valid for this call. They do not begin with a name.
        let args = unsafe { Args::new(argv, argc) };
        load(&Ctx::new(ctx), args.all())
    }));
    match outcome {
        Ok(Ok(())) => OK,
        Ok(Err(why)) => {
            line(ctx, Level::Warning, &format!("EVQ does not load: {why}"));
            ERR
        }
        Err(_) => ERR,
    }
}

/// Whether the server is a Valkey.
fn is_valkey(ctx: *mut raw::RedisModuleCtx) -> bool {
    let functions = (
        optional_api!(RedisModule_GetServerInfo),
        optional_api!(RedisModule_ServerInfoGetFieldC),
        optional_api!(RedisModule_FreeServerInfo),
    );
    let (Some(get), Some(field), Some(free)) = functions else { return false };
    // SAFETY: the names end with NUL; what is got is freed once, after its last use.
    unsafe {
        let info = get(ctx, c"server".as_ptr());
        if info.is_null() {
            return false;
        }
        let is_valkey = !field(info, c"valkey_version".as_ptr()).is_null();
        free(ctx, info);
        is_valkey
    }
}

lazy_static! {
    /// The crate's version as MODULE LIST shows it: `major * 10000 + minor * 100 + patch`.
    pub(crate) static ref VERSION: c_int = {
        let part = |text: &str| text.parse::<c_int>().unwrap_or(0);
        part(env!("CARGO_PKG_VERSION_MAJOR")) * 10_000
            + part(env!("CARGO_PKG_VERSION_MINOR")) * 100
            + part(env!("CARGO_PKG_VERSION_PATCH"))
    };
}
