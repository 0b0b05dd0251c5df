//! A throttle for log lines about what may happen a thousand times a second: one line once it has
//! happened often enough within a period, and no other before the next period.

use super::now::Now;

/// The length of a period.
pub const PERIOD_MS: u64 = 10_000;

/// Counts one kind of happening.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// The number of them in a period that is worth a line.
    threshold: u64,
    began_ms: u64,
    in_period: u64,
    unsaid: u64,
}

impl Throttle {
    /// Worth a word if it happens `threshold` times in a period.
    #[must_use]
    pub const fn new(threshold: u64) -> Self {
        Self { threshold, began_ms: 0, in_period: 0, unsaid: 0 }
    }

    /// It happened. Answers how often since the last word if it is time for one.
    pub fn happened(&mut self, now: Now) -> Option<u64> {
        let now_ms = now.ms();
        // A clock that was put back begins a new period too, or nothing would be said for long.
        if now_ms.checked_sub(self.began_ms).is_none_or(|age_ms| age_ms >= PERIOD_MS) {
            (self.began_ms, self.in_period) = (now_ms, 0);
        }
        self.in_period += 1;
        self.unsaid += 1;
        (self.in_period == self.threshold).then(|| std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { unix_us: ms * 1000 }
    }

    #[test]
    fn the_first_is_said_at_once_and_the_others_with_the_first_of_the_next_period() {
        let mut throttle = Throttle::new(1);
        let start = 1_000_000;
        assert_eq!(throttle.happened(at(start)), Some(1));
        for ms in [1, 2, PERIOD_MS - 1] {
            assert_eq!(throttle.happened(at(start + ms)), None);
        }
        assert_eq!(throttle.happened(at(start + PERIOD_MS)), Some(4));
        assert_eq!(throttle.happened(at(start + 3 * PERIOD_MS)), Some(1));
        // The clock was put back.
        assert_eq!(throttle.happened(at(5)), Some(1));
    }

    #[test]
    fn what_is_rare_is_not_said() {
        let mut throttle = Throttle::new(3);
        let mut said = Vec::new();
        for ms in [0, 4000, 11_000, 12_000, 13_000, 14_000, 15_000, 22_000, 22_001, 22_002] {
            said.extend(throttle.happened(at(1_000_000 + ms)).map(|times| (ms, times)));
        }
        assert_eq!(said, [(13_000, 5), (22_002, 5)]);
    }
}
