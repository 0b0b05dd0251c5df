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

    /// Counts `more`. Only the server's main thread counts, so that nothing has to be locked.
    pub(crate) fn add(&self, more: u64) {
        self.value.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// The total.
    pub(crate) fn get(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// Events appended by EVQ.TRIGGER and EVQ.MTRIGGER, and scheduled ones that were due.
pub(crate) static TRIGGERED: Counter = Counter::new(c"triggered");
/// Events that were not appended because their tokens say that they were before.
pub(crate) static REPEATED: Counter = Counter::new(c"repeated");
/// Events that EVQ.SCHEDULE has taken.
pub(crate) static SCHEDULED: Counter = Counter::new(c"scheduled");
/// Scheduled events that were appended when they were due.
pub(crate) static CAME_DUE: Counter = Counter::new(c"scheduled_appended");
/// Scheduled events that were cancelled.
pub(crate) static CANCELLED: Counter = Counter::new(c"scheduled_cancelled");
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
/// Leases that ended with events in flight, and not because their owner said so.
pub(crate) static LOST: Counter = Counter::new(c"leases_lost");

/// Events removed by retention, and to make room under MAXDEPTH.
pub(crate) static TRIMMED: Counter = Counter::new(c"trimmed");
/// Looks that retention took at a partition.
pub(crate) static TRIM_LOOKS: Counter = Counter::new(c"trim_looks");
/// EVQFULL replies.
pub(crate) static FULL: Counter = Counter::new(c"refused_full");
/// Dead letters removed because they were older than their group keeps them.
pub(crate) static DEAD_EXPIRED: Counter = Counter::new(c"dead_letters_expired");
/// Groups removed because they had no workers.
pub(crate) static EXPIRED_GROUPS: Counter = Counter::new(c"groups_expired");

/// All of them.
pub(crate) static ALL: [&Counter; 17] = [
    &TRIGGERED,
    &REPEATED,
    &SCHEDULED,
    &CAME_DUE,
    &CANCELLED,
    &DELIVERED,
    &REDELIVERED,
    &ACKS,
    &RETRIES,
    &DEAD,
    &GRANTS,
    &LOST,
    &TRIMMED,
    &TRIM_LOOKS,
    &FULL,
    &DEAD_EXPIRED,
    &EXPIRED_GROUPS,
];
