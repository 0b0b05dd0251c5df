//! Registration of commands: name, flags, arity, key specs, documentation, ACL categories. One path
//! for every server version: what a server does not have is left out.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::null;

use lazy_static::lazy_static;

use super::command::{Command, Reach, enter};
use super::spec::{Arg, ArgKind, Routing, Spec};
use crate::model::error::Error;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{OK, raw};

lazy_static! {
    /// The version in which everything so far came.
    static ref SINCE: CString = CString::new(env!("CARGO_PKG_VERSION")).unwrap_or_default();
}

/// Registers EVQ's ACL category where the server can. Call it before any command.
pub(crate) fn register_category(ctx: &Ctx) -> bool {
    match optional_api!(RedisModule_AddACLCategory) {
        // SAFETY: the name is static.
        Some(add) => unsafe { add(ctx.raw(), c"evq".as_ptr()) == OK },
        None => true,
    }
}

/// What runs a command.
pub(crate) type Run = fn(&Ctx, &Args<'_>) -> Result<(), Error>;

thread_local! {
    static RUNS: RefCell<Vec<(&'static Spec, Reach, Run)>> = const { RefCell::new(Vec::new()) };
}

/// The command of this name, with its reach and what runs it.
pub(crate) fn find(name: &[u8]) -> Option<(&'static Spec, Reach, Run)> {
    let is_it = |spec: &Spec| name.eq_ignore_ascii_case(spec.name.to_bytes());
    RUNS.with_borrow(|all| all.iter().find(|(spec, ..)| is_it(spec)).copied())
}

/// Registers a command; false if the server refuses.
pub(crate) fn register<C: Command>(ctx: &Ctx) -> bool {
    let spec = &C::SPEC;
    RUNS.with_borrow_mut(|all| all.push((spec, C::REACH, C::run)));
    // SAFETY: name and flags are static; `enter` has the signature that the server wants.
    let command = unsafe {
        let created = api!(RedisModule_CreateCommand)(
            ctx.raw(),
            spec.name.as_ptr(),
            Some(enter::<C>),
            spec.flags.as_ptr(),
            0,
            0,
            0,
        );
        if created != OK {
            return false;
        }
        api!(RedisModule_GetCommand)(ctx.raw(), spec.name.as_ptr())
    };
    !command.is_null() && describe(command, spec) && categorize(command, spec)
}

fn categorize(command: *mut raw::RedisModuleCommand, spec: &Spec) -> bool {
    let Some(set) = optional_api!(RedisModule_SetCommandACLCategories) else { return true };
    let own = optional_api!(RedisModule_AddACLCategory).map_or("", |_| " evq");
    let categories = format!("{}{own}", spec.acl.to_string_lossy());
    let categories = CString::new(categories).unwrap_or_default();
    // SAFETY: the command is valid while the module loads; the text is copied.
    unsafe { set(command, categories.as_ptr()) == OK }
}

fn describe(command: *mut raw::RedisModuleCommand, spec: &Spec) -> bool {
    let mut key_specs = [key_spec(spec.routing), zeroed_key_spec()];
    let (mut lists, mut args) = (Vec::new(), Vec::new());
    arg_list(spec.args, &mut lists, &mut args);
    let mut version = raw::RedisModuleCommandInfoVersion {
        version: 1,
        sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
        sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
        sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
    };
    let info = raw::RedisModuleCommandInfo {
        version: &raw mut version,
        summary: spec.summary.as_ptr(),
        complexity: spec.complexity.as_ptr(),
        since: SINCE.as_ptr(),
        history: std::ptr::null_mut(),
        tips: null(),
        arity: spec.arity,
        key_specs: match spec.routing {
            Routing::None => std::ptr::null_mut(),
            Routing::Word(_) | Routing::Key(_) => key_specs.as_mut_ptr(),
        },
        args: if args.is_empty() { std::ptr::null_mut() } else { args.as_mut_ptr() },
    };
    // SAFETY: everything `info` points to lives through the call, and the server copies it.
    unsafe { api!(RedisModule_SetCommandInfo)(command, &info) == OK }
}

fn zeroed_key_spec() -> raw::RedisModuleCommandKeySpec {
    // SAFETY: a plain C struct of numbers and pointers, for which zeros mean "the end".
    unsafe { std::mem::zeroed() }
}

fn key_spec(routing: Routing) -> raw::RedisModuleCommandKeySpec {
    let mut spec = zeroed_key_spec();
    let (index, flags) = match routing {
        Routing::None => return spec,
        Routing::Word(index) => {
            (index, raw::REDISMODULE_CMD_KEY_RO | raw::REDISMODULE_CMD_KEY_NOT_KEY)
        }
        Routing::Key(index) => {
            (index, raw::REDISMODULE_CMD_KEY_RW | raw::REDISMODULE_CMD_KEY_UPDATE)
        }
    };
    spec.flags = u64::from(flags);
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
    spec.bs.index.pos = index;
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
    spec.fk.range.lastkey = 0;
    spec.fk.range.keystep = 1;
    spec.fk.range.limit = 0;
    spec
}

/// Lays out `args` as the server wants them: an array that ends with zeros. Sub-lists are kept in
/// `lists`, because the arrays point into each other.
fn arg_list(
    args: &[Arg],
    lists: &mut Vec<Vec<raw::RedisModuleCommandArg>>,
    out: &mut Vec<raw::RedisModuleCommandArg>,
) {
    use raw::{
        RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK as BLOCK,
        RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER as INTEGER,
        RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF as ONE_OF,
        RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN as KEYWORD,
        RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING as STRING,
    };
    if args.is_empty() {
        return;
    }
    for arg in args {
        let mut parts = Vec::new();
        arg_list(arg.parts, lists, &mut parts);
        let subargs = if parts.is_empty() { std::ptr::null_mut() } else { parts.as_mut_ptr() };
        // Moving the vector into the list does not move what it points to.
        lists.push(parts);
        let optional = if arg.optional { raw::REDISMODULE_CMD_ARG_OPTIONAL } else { 0 };
        let repeats = match (arg.repeats, arg.keyword) {
            (false, _) => 0,
            (true, None) => raw::REDISMODULE_CMD_ARG_MULTIPLE,
            (true, Some(_)) if arg.parts.is_empty() => raw::REDISMODULE_CMD_ARG_MULTIPLE,
            (true, Some(_)) => {
                raw::REDISMODULE_CMD_ARG_MULTIPLE | raw::REDISMODULE_CMD_ARG_MULTIPLE_TOKEN
            }
        };
        out.push(raw::RedisModuleCommandArg {
            name: arg.name.as_ptr(),
            type_: match arg.kind {
                ArgKind::String => STRING,
                ArgKind::Integer => INTEGER,
                ArgKind::Keyword => KEYWORD,
                ArgKind::OneOf => ONE_OF,
                ArgKind::Block => BLOCK,
            },
            key_spec_index: -1,
            token: arg.keyword.map_or(null::<c_char>(), CStr::as_ptr),
            summary: null(),
            since: null(),
            flags: (optional | repeats) as c_int,
            deprecated_since: null(),
            subargs,
            display_text: null(),
        });
    }
    // SAFETY: a plain C struct of numbers and pointers, for which zeros mean "the end".
    out.push(unsafe { std::mem::zeroed() });
}
