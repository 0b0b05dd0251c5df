//! Totals since the server started, for `INFO evq`. Never saved.

use std::sync::atomic::{AtomicU64, Ordering};

/// One total.
#[derive(Debug)]
pub(crate) struct Counter {
    /// Its field in `INFO evq`.
    pub(crate) name: &'static std::ffi::CStr,
    value: AtomicU64,
}

impl Counter {
    const fn new(name: &'static std::ffi::CStr) -> Self {
        Self { name, value: AtomicU64::new(0) }
    }

    /// Counts `more`. Relaxed: only the server's main thread counts.
    pub(crate) fn add(&self, more: u64) {
        self.value.fetch_add(more, Ordering::Relaxed);
    }

    /// The total.
    pub(crate) fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// Events appended by EVQ.TRIGGER and EVQ.MTRIGGER.
pub(crate) static TRIGGERED: Counter = Counter::new(c"triggered");
/// Events handed out, redeliveries included.
pub(crate) static DELIVERED: Counter = Counter::new(c"delivered");
/// Events handed out again after a failure, or after being held behind one.
pub(crate) static REDELIVERED: Counter = Counter::new(c"redelivered");
/// Acknowledgements that finished something.
pub(crate) static ACKS: Counter = Counter::new(c"acknowledgements");
/// Failures that led to a retry.
pub(crate) static RETRIES: Counter = Counter::new(c"retries");
/// Failures that led to a dead letter.
pub(crate) static DEAD: Counter = Counter::new(c"dead");
/// Leases granted.
pub(crate) static GRANTS: Counter = Counter::new(c"leases_granted");

/// All of them.
pub(crate) static ALL: [&Counter; 7] =
    [&TRIGGERED, &DELIVERED, &REDELIVERED, &ACKS, &RETRIES, &DEAD, &GRANTS];
