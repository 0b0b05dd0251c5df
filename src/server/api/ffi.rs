//! The module API as function pointers that the server fills in at load.
//!
//! `api!(Name)` is the function `RedisModule_Name`. Which of them a server has depends on its
//! version: [`missing_functions`] is checked once at load, so that `api!` on any of those cannot
//! fail later; what only newer servers have is looked up with `optional_api!`.

use std::ffi::c_int;

use lazy_static::lazy_static;
pub(crate) use redis_module::raw;

/// The C result `REDISMODULE_OK`.
pub(crate) const OK: i32 = raw::REDISMODULE_OK as i32;
/// The C result `REDISMODULE_ERR`.
pub(crate) const ERR: i32 = raw::REDISMODULE_ERR as i32;

macro_rules! api {
    ($name:ident) => {{
        // SAFETY: the pointer is written once, by the server, before any other code of the module
        // runs, and only read after that.
        #[allow(unused_unsafe)]
        let function = unsafe { redis_module::raw::$name };
        match function {
            Some(function) => function,
            None => $crate::server::api::ffi::absent(stringify!($name)),
        }
    }};
}

macro_rules! optional_api {
    ($name:ident) => {{
        // SAFETY: as in `api!`.
        #[allow(unused_unsafe)]
        let function = unsafe { redis_module::raw::$name };
        function
    }};
}

lazy_static! {
    /// The server's version as `0x00MMmmpp`; servers that came from Redis give that of the Redis
    /// they are like. None if the server does not tell.
    pub(crate) static ref SERVER_VERSION: Option<c_int> = {
        // SAFETY: takes no arguments.
        optional_api!(RedisModule_GetServerVersion).map(|version| unsafe { version() })
    };
}

/// Called for a function that [`missing_functions`] should have caught at load. The panic ends at
/// the entry point, as EVQBUG.
#[cold]
#[allow(clippy::panic)]
pub(crate) fn absent(name: &str) -> ! {
    panic!("this server has no {name}")
}

macro_rules! needed {
    ($($name:ident),* $(,)?) => {
        /// The functions EVQ cannot do without and this server does not have.
        pub(crate) fn missing_functions() -> Vec<&'static str> {
            let mut missing = Vec::new();
            $(if optional_api!($name).is_none() { missing.push(stringify!($name)); })*
            missing
        }
    };
}

needed![
    RedisModule_ACLCheckKeyPermissions,
    RedisModule_AvoidReplicaTraffic,
    RedisModule_BlockClient,
    RedisModule_BlockClientOnKeys,
    RedisModule_Call,
    RedisModule_CallReplyArrayElement,
    RedisModule_CallReplyInteger,
    RedisModule_CallReplyLength,
    RedisModule_CallReplyProto,
    RedisModule_CallReplyStringPtr,
    RedisModule_CloseKey,
    RedisModule_CreateCommand,
    RedisModule_CreateDataType,
    RedisModule_CreateString,
    RedisModule_CreateTimer,
    RedisModule_DigestAddStringBuffer,
    RedisModule_DigestEndSequence,
    RedisModule_EmitAOF,
    RedisModule_EventLoopAddOneShot,
    RedisModule_Free,
    RedisModule_FreeCallReply,
    RedisModule_FreeModuleUser,
    RedisModule_FreeString,
    RedisModule_FreeThreadSafeContext,
    RedisModule_GetBlockedClientPrivateData,
    RedisModule_GetClientId,
    RedisModule_GetCommand,
    RedisModule_GetContextFlags,
    RedisModule_GetCurrentUserName,
    RedisModule_GetModuleUserFromUserName,
    RedisModule_GetDbIdFromIO,
    RedisModule_GetKeyNameFromIO,
    RedisModule_GetRandomBytes,
    RedisModule_GetSelectedDb,
    RedisModule_GetThreadSafeContext,
    RedisModule_GetToDbIdFromOptCtx,
    RedisModule_GetToKeyNameFromOptCtx,
    RedisModule_InfoAddFieldCString,
    RedisModule_InfoAddFieldULongLong,
    RedisModule_InfoAddSection,
    RedisModule_KeyType,
    RedisModule_LatencyAddSample,
    RedisModule_LoadConfigs,
    RedisModule_LoadStringBuffer,
    RedisModule_Log,
    RedisModule_ModuleTypeGetType,
    RedisModule_ModuleTypeGetValue,
    RedisModule_ModuleTypeSetValue,
    RedisModule_NotifyKeyspaceEvent,
    RedisModule_OpenKey,
    RedisModule_RegisterInfoFunc,
    RedisModule_RegisterNumericConfig,
    RedisModule_Replicate,
    RedisModule_ReplySetArrayLength,
    RedisModule_ReplicateVerbatim,
    RedisModule_ReplyWithArray,
    RedisModule_ReplyWithCallReply,
    RedisModule_ReplyWithDouble,
    RedisModule_ReplyWithError,
    RedisModule_ReplyWithLongLong,
    RedisModule_ReplyWithMap,
    RedisModule_ReplyWithNull,
    RedisModule_ReplyWithNullArray,
    RedisModule_ReplyWithSimpleString,
    RedisModule_ReplyWithString,
    RedisModule_ReplyWithStringBuffer,
    RedisModule_SaveStringBuffer,
    RedisModule_SelectDb,
    RedisModule_SetCommandInfo,
    RedisModule_SetDisconnectCallback,
    RedisModule_SetModuleOptions,
    RedisModule_SignalModifiedKey,
    RedisModule_StopTimer,
    RedisModule_StreamAdd,
    RedisModule_StreamIteratorNextField,
    RedisModule_StreamIteratorNextID,
    RedisModule_StreamIteratorStart,
    RedisModule_StreamIteratorStop,
    RedisModule_StringPtrLen,
    RedisModule_SubscribeToKeyspaceEvents,
    RedisModule_SubscribeToServerEvent,
    RedisModule_UnblockClient,
    RedisModule_ValueLength,
];
