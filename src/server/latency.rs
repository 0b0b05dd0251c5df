//! `LATENCY` for what no command does: the sweep, in which leases lapse and retries become due,
//! stops the server as a slow command would, and neither SLOWLOG nor INFO commandstats knows of it.

use std::time::Instant;

/// The event's name in LATENCY.
const SWEEP: &std::ffi::CStr = c"evq-sweep";

/// A sweep began at `began` and is over. The server keeps it if it took longer than
/// latency-monitor-threshold.
pub(super) fn sweep_done(began: Instant) {
    let took_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    // SAFETY: the name is static.
    unsafe { api!(RedisModule_LatencyAddSample)(SWEEP.as_ptr(), took_ms) };
}
