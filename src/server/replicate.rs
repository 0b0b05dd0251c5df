//! What travels to replicas and the append-only file: exactly the effects, after they were
//! applied, in their order.
//!
//! Events travel as `XADD key <the id given out> ...`, acknowledgements as EVQ.ACK, deletions as
//! UNLINK; everything else as the internal command EVQ.APPLY with an encoded effect. A replica
//! therefore never reads a clock.

use std::ffi::CStr;

use super::ctx::Ctx;
use super::ffi::raw;
use super::names::PartitionNames;
use super::reply::IdText;
use super::text::Text;
use crate::model::ids::EventId;
use crate::model::name::Name;

/// The internal command that carries an encoded effect: `EVQ.APPLY key bytes`.
pub(crate) const APPLY: &CStr = c"EVQ.APPLY";

impl Ctx {
    /// Replicates an encoded effect on the value under `key`.
    pub(crate) fn replicate_effect(&self, key: &Text, effect: &[u8]) {
        // SAFETY: "s" takes a string, "b" a pointer and a length.
        unsafe {
            api!(RedisModule_Replicate)(
                self.raw(),
                APPLY.as_ptr(),
                c"sb".as_ptr(),
                key.raw(),
                effect.as_ptr(),
                effect.len(),
            );
        }
    }

    /// Replicates an appended event.
    pub(crate) fn replicate_event(
        &self,
        stream: &Text,
        id: EventId,
        fields: &mut [*mut raw::RedisModuleString],
    ) {
        let id = IdText::new(id);
        let id = id.bytes();
        // SAFETY: "s" a string, "b" a pointer and a length, "v" an array of strings and a length.
        unsafe {
            api!(RedisModule_Replicate)(
                self.raw(),
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

    /// Replicates an acknowledgement that came inside another command.
    pub(crate) fn replicate_ack(&self, names: &PartitionNames, group: &Name, id: EventId) {
        let id = IdText::new(id);
        let (id, group) = (id.bytes(), group.as_str());
        // SAFETY: "s" a string, "b" a pointer and a length, "c" text that ends with NUL.
        unsafe {
            api!(RedisModule_Replicate)(
                self.raw(),
                c"EVQ.ACK".as_ptr(),
                c"sbcb".as_ptr(),
                names.stream.raw(),
                id.as_ptr(),
                id.len(),
                c"GROUP".as_ptr(),
                group.as_ptr(),
                group.len(),
            );
        }
    }

    /// Replicates the command as the client sent it.
    pub(crate) fn replicate_verbatim(&self) {
        // SAFETY: the context is valid for this call.
        unsafe { api!(RedisModule_ReplicateVerbatim)(self.raw()) };
    }
}
