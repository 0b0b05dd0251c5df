//! What the module does by itself, each with the moment when it is due.
//!
//! One timer serves all of it. It is armed to the earliest moment, and a firing does what is due
//! then, not everything. Each reason keeps its earliest moment only: whatever is done for a reason
//! covers all that it may be about, and asks for the next moment itself.

/// How long after a reason was given everything is checked again, whatever is due: keys may have
/// been deleted, renamed or restored by hand, of which the module hears nothing.
pub const RECHECK_MS: u64 = 1000;

/// Why the module has something to do by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A wait is decided, and the server has to be told to unblock the client.
    Release,
    /// The time of a parked client is up.
    WaitEnd,
    /// A connection closed, or a called worker does not come: leases end with it.
    Departure,
    /// A lease with standbys is free, or lapses.
    Lease,
    /// Workers that take any partition are called to those that have work.
    AnyPartition,
    /// Parked owners get what was appended by other means than EVQ.TRIGGER.
    Parked,
    /// An owner that waits may have something to do.
    Watch,
    /// A retry becomes due, or a bounded search for work goes on.
    Retry,
    /// A barrier may be open.
    Barrier,
    /// Events may have to be trimmed, and groups without workers removed.
    Retention,
    /// Rings that were resized may have partitions or generations that nobody needs.
    Tidy,
    /// A lag is counted further.
    Lag,
    /// Tokens may be too old.
    Tokens,
    /// A scheduled event is due, or others have to be looked after.
    Later,
    /// Events that wait may have been removed by hand.
    Removed,
    /// Everything is checked, see [`RECHECK_MS`].
    Recheck,
}

impl Reason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 16] = [
        Self::Release,
        Self::WaitEnd,
        Self::Departure,
        Self::Lease,
        Self::AnyPartition,
        Self::Parked,
        Self::Watch,
        Self::Retry,
        Self::Barrier,
        Self::Retention,
        Self::Tidy,
        Self::Lag,
        Self::Tokens,
        Self::Later,
        Self::Removed,
        Self::Recheck,
    ];

    const fn bit(self) -> u32 {
        1 << self as u16
    }
}

/// The reasons that are due at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due(u32);

impl Due {
    /// Whether any of `reasons` is due.
    #[must_use]
    pub fn any(self, reasons: &[Reason]) -> bool {
        reasons.iter().any(|reason| self.0 & reason.bit() != 0)
    }

    /// What is due, in the order of declaration.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.any(&[*reason]))
    }
}

impl FromIterator<Reason> for Due {
    fn from_iter<I: IntoIterator<Item = Reason>>(reasons: I) -> Self {
        Self(reasons.into_iter().fold(0, |all, reason| all | reason.bit()))
    }
}

/// The moments of all reasons, in unix ms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deadlines {
    at_ms: [Option<u64>; Reason::ALL.len()],
}

impl Deadlines {
    /// Makes `reason` due at `at_ms`, or earlier if it is already.
    pub fn put(&mut self, reason: Reason, at_ms: u64) {
        if let Some(known_ms) = self.at_ms.get_mut(reason as usize) {
            *known_ms = Some(known_ms.map_or(at_ms, |known_ms| known_ms.min(at_ms)));
        }
    }

    /// Takes what is due at `now_ms`.
    pub fn take_due(&mut self, now_ms: u64) -> Due {
        let moments = Reason::ALL.into_iter().zip(&mut self.at_ms);
        moments
            .filter_map(|(reason, at_ms)| at_ms.take_if(|at_ms| *at_ms <= now_ms).map(|_| reason))
            .collect()
    }

    /// The earliest moment of all, if there is any. What waits for a moment is also checked within
    /// [`RECHECK_MS`] of `now_ms`.
    pub fn next(&mut self, now_ms: u64) -> Option<u64> {
        self.earliest()?;
        // The earlier of two: what was put off again and again would never come, and a clock that
        // is set back must not put it off.
        self.put(Reason::Recheck, now_ms.saturating_add(RECHECK_MS));
        self.earliest()
    }

    /// The moment of `reason`, if it has one.
    #[must_use]
    pub fn of(&self, reason: Reason) -> Option<u64> {
        self.at_ms.get(reason as usize).copied().flatten()
    }

    fn earliest(&self) -> Option<u64> {
        self.at_ms.iter().flatten().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(reasons: &[Reason]) -> Due {
        reasons.iter().copied().collect()
    }

    #[test]
    fn the_reasons_are_all_in_order() {
        for (place, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, place);
        }
        assert!(Due::from_iter(Reason::ALL).iter().eq(Reason::ALL));
    }

    #[test]
    fn only_what_is_due_is_taken_and_once() {
        let mut deadlines = Deadlines::default();
        deadlines.put(Reason::Lease, 20);
        deadlines.put(Reason::Lag, 10);
        deadlines.put(Reason::Tidy, 30);
        assert_eq!(deadlines.next(0), Some(10));
        assert_eq!(deadlines.take_due(9), Due::default());
        assert_eq!(deadlines.take_due(20), due(&[Reason::Lease, Reason::Lag]));
        assert_eq!(deadlines.take_due(20), Due::default());
        assert_eq!(deadlines.next(20), Some(30));
    }

    #[test]
    fn a_reason_keeps_its_earliest_moment() {
        let mut deadlines = Deadlines::default();
        for at_ms in [20, 10, 30] {
            deadlines.put(Reason::Lease, at_ms);
        }
        assert_eq!(deadlines.of(Reason::Lease), Some(10));
        assert_eq!(deadlines.take_due(10), due(&[Reason::Lease]));
        deadlines.put(Reason::Lease, 30);
        assert_eq!(deadlines.of(Reason::Lease), Some(30));
    }

    #[test]
    fn everything_is_checked_within_a_second_of_the_last_check() {
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.next(0), None, "nothing waits for a moment");
        deadlines.put(Reason::Lease, 60_000);
        assert_eq!(deadlines.next(0), Some(RECHECK_MS));
        // What comes in between does not put it off.
        deadlines.put(Reason::Lag, 500);
        assert_eq!(deadlines.next(400), Some(500));
        assert_eq!(deadlines.take_due(500), due(&[Reason::Lag]));
        assert_eq!(deadlines.next(500), Some(RECHECK_MS));
        assert_eq!(deadlines.take_due(RECHECK_MS), due(&[Reason::Recheck]));
        assert_eq!(deadlines.next(RECHECK_MS), Some(2 * RECHECK_MS));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_put_the_check_off() {
        let mut deadlines = Deadlines::default();
        deadlines.put(Reason::Lease, 100_000);
        assert_eq!(deadlines.next(99_000), Some(100_000));
        assert_eq!(deadlines.next(5000), Some(5000 + RECHECK_MS));
    }

    #[test]
    fn the_check_ends_with_what_waits() {
        let mut deadlines = Deadlines::default();
        deadlines.put(Reason::Lag, 5);
        assert_eq!(deadlines.next(0), Some(5));
        deadlines.take_due(5);
        // One more check, and then nothing.
        assert_eq!(deadlines.next(5), Some(RECHECK_MS));
        assert_eq!(deadlines.take_due(RECHECK_MS), due(&[Reason::Recheck]));
        assert_eq!(deadlines.next(RECHECK_MS), None);
    }
}
