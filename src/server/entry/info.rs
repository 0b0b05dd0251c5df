//! `INFO evq`: totals since the start, and who waits at this moment.

use std::ffi::c_int;
use std::panic::catch_unwind;

use super::load;
use crate::model::waiting::lines::Lines;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{OK, raw};
use crate::server::keyspace::known_rings;
use crate::server::later::spots;
use crate::server::ops::counters;
use crate::server::producing::due;
use crate::server::retention::background;
use crate::server::waiting::lines;

/// Registers the section; false if the server refuses.
pub(crate) fn register(ctx: &Ctx) -> bool {
    // SAFETY: the callback has the signature that the server wants.
    unsafe { api!(RedisModule_RegisterInfoFunc)(ctx.raw(), Some(info)) == OK }
}

unsafe extern "C" fn info(ctx: *mut raw::RedisModuleInfoCtx, for_crash_report: c_int) {
    if for_crash_report != 0 {
        // The process is dying; nothing of ours is worth another fault.
        return;
    }
    // A panic ends here: the section is then shorter.
    let _ = catch_unwind(|| {
        let waiting = lines::read(Lines::totals);
        // A context only to read the clock by.
        let retention = background::overview(Ctx::new(std::ptr::null_mut()).now());
        let scheduled = spots::totals();
        let (idlest, idlest_ms) = retention.idlest.unwrap_or_default();
        let idlest = std::ffi::CString::new(idlest).unwrap_or_default();
        // SAFETY: the context is valid for this call; every name is static.
        unsafe {
            if api!(RedisModule_InfoAddSection)(ctx, std::ptr::null()) != OK {
                // The client asked for other sections.
                return;
            }
            let field = |name: &std::ffi::CStr, value: u64| {
                api!(RedisModule_InfoAddFieldULongLong)(ctx, name.as_ptr(), value);
            };
            field(c"version", u64::from(load::VERSION.unsigned_abs()));
            field(c"rings_known", known_rings::len());
            field(c"owners_waiting", waiting.owners);
            field(c"standbys_waiting", waiting.standbys);
            field(c"any_partition_waiting", waiting.any_partition);
            for counter in counters::ALL {
                field(counter.name, counter.get());
            }
            field(c"scheduled_waiting", scheduled.waiting);
            field(c"scheduled_next_ms", scheduled.next_ms.unwrap_or_default());
            field(c"scheduled_held_up_partitions", scheduled.stand_still);
            field(c"scheduled_longest_us", due::longest_us());
            field(c"trim_longest_us", retention.longest_us);
            field(c"trim_held_up_partitions", retention.held_up);
            let name = c"trim_held_up_by_idlest";
            api!(RedisModule_InfoAddFieldCString)(ctx, name.as_ptr(), idlest.as_ptr());
            field(c"trim_held_up_by_idlest_ms", idlest_ms);
        }
    });
}
