//! Replication: exactly the effects travel to replicas and the append-only file, after they were
//! applied, in their order.
//!
//! - Events travel as the client's command where their ids follow from the stream and the ring
//!   ([`crate::server::producing::travel`], [`crate::server::producing::replay`]), otherwise as
//!   `XADD key <the id given out> ...`, and with tokens as [`crate::server::producing::once`] says.
//! - Acknowledgements travel as the EVQ.ACK or the EVQ.CONSUME that brought them, deletions as
//!   UNLINK.
//! - Everything else travels as the internal command EVQ.APPLY with an encoded effect.
//!
//! So a replica never reads its own clock.

use std::ffi::CStr;

use super::scope;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::raw;
use crate::server::api::reply::IdText;
use crate::server::api::text::Text;

/// The internal command that carries an encoded effect: `EVQ.APPLY key bytes`.
pub(crate) const APPLY: &CStr = c"EVQ.APPLY";

/// Replicates an encoded effect on the value under `key`.
pub(crate) fn effect(ctx: &Ctx, key: &Text, effect: &[u8]) {
    // SAFETY: "s" takes a string, "b" a pointer and a length.
    unsafe {
        api!(RedisModule_Replicate)(
            ctx.raw(),
            APPLY.as_ptr(),
            c"sb".as_ptr(),
            key.raw(),
            effect.as_ptr(),
            effect.len(),
        );
    }
}

/// Replicates an encoded effect on the value under `key` together with an event, as one command:
/// the effect says where the event goes.
pub(crate) fn effect_and_event(
    ctx: &Ctx,
    key: &Text,
    effect: &[u8],
    fields: &mut [*mut raw::RedisModuleString],
) {
    // SAFETY: "s" takes a string, "b" a pointer and a length, "v" an array of strings and a length.
    unsafe {
        api!(RedisModule_Replicate)(
            ctx.raw(),
            APPLY.as_ptr(),
            c"sbv".as_ptr(),
            key.raw(),
            effect.as_ptr(),
            effect.len(),
            fields.as_mut_ptr(),
            fields.len(),
        );
    }
}

/// Replicates an appended event.
pub(crate) fn event(
    ctx: &Ctx,
    stream: &Text,
    id: EventId,
    fields: &mut [*mut raw::RedisModuleString],
) {
    let id = IdText::new(id);
    let id = id.bytes();
    // SAFETY: "s" a string, "b" a pointer and a length, "v" an array of strings and a length.
    unsafe {
        api!(RedisModule_Replicate)(
            ctx.raw(),
            c"XADD".as_ptr(),
            c"sbv".as_ptr(),
            stream.raw(),
            id.as_ptr(),
            id.len(),
            fields.as_mut_ptr(),
            fields.len(),
        );
    }
}

/// Replicates an acknowledgement that came with a command about other keys too, as an EVQ.ACK.
pub(crate) fn acknowledgement(ctx: &Ctx, stream: &Text, id: EventId, group: &Name) {
    let (id, group) = (IdText::new(id), group.as_str());
    let id = id.bytes();
    // SAFETY: "s" takes a string, "b" a pointer and a length, "c" a text that ends with NUL.
    unsafe {
        api!(RedisModule_Replicate)(
            ctx.raw(),
            c"EVQ.ACK".as_ptr(),
            c"sbcb".as_ptr(),
            stream.raw(),
            id.as_ptr(),
            id.len(),
            c"GROUP".as_ptr(),
            group.as_ptr(),
            group.len(),
        );
    }
}

/// Replicates an EVQ.MTRIGGER of so many events; `words` are what follows their number.
pub(crate) fn batch(ctx: &Ctx, events: &Text, words: &mut [*mut raw::RedisModuleString]) {
    // SAFETY: "s" takes a string, "v" an array of strings and a length.
    unsafe {
        api!(RedisModule_Replicate)(
            ctx.raw(),
            c"EVQ.MTRIGGER".as_ptr(),
            c"sv".as_ptr(),
            events.raw(),
            words.as_mut_ptr(),
            words.len(),
        );
    }
}

/// Replicates the command as the client sent it. Saves 35 % of an EVQ.ACK, compared with an effect.
pub(crate) fn verbatim(ctx: &Ctx) {
    if scope::replicate(ctx) {
        return;
    }
    // SAFETY: the context is valid for this call.
    unsafe { api!(RedisModule_ReplicateVerbatim)(ctx.raw()) };
}
