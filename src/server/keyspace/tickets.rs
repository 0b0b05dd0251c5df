//! The last ticket of a scheduled event that this server has issued or seen, in any ring.
//!
//! A ticket is issued once in its ring, for ever. Each partition keeps the last one that was issued
//! in it, also when nothing waits there any more, and the ring the last one of partitions that are
//! gone. Whatever brings such a value into being is seen here: a load, a replicated effect, a copy.
//! So the greatest of all is known without a look at every partition, and while the server runs it
//! never falls, whatever is dropped or flushed and wherever the clock goes.

use std::cell::Cell;

use crate::model::limits::MAX_PARTITIONS;
use crate::model::now::Now;

thread_local! {
    static LAST: Cell<u64> = const { Cell::new(0) };
}

/// A ticket was issued up to this one.
pub(crate) fn saw(ticket: u64) {
    LAST.set(LAST.get().max(ticket));
}

/// The ticket that is issued next: the larger of the last one plus 1 and the clock in microseconds.
/// In a cluster several servers issue tickets of a ring. There those of partition `p` leave the
/// remainder `p` when they are divided by the most partitions that a ring can have, so that none is
/// issued twice, and a ticket tells its partition.
pub(crate) fn next(now: Now, p: Option<u32>) -> u64 {
    let next = LAST.get().saturating_add(1).max(now.unix_us);
    let Some(p) = p.map(u64::from) else { return next };
    let most = u64::from(MAX_PARTITIONS);
    next.saturating_add((p + most - next % most) % most)
}

/// The partition that issued a ticket, in a cluster.
pub(crate) fn partition(ticket: u64) -> u32 {
    u32::try_from(ticket % u64::from(MAX_PARTITIONS)).unwrap_or_default()
}
