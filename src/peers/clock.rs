//! The clock of another node.

use std::time::Duration;

use redis::Value;
use tokio::time::Instant;

/// After this time the clock is read again: clocks drift, and are set.
const FRESH: Duration = Duration::from_secs(5);

/// How much longer than the first one a reading may take and still be believed. What took longer
/// waited behind something, and nobody knows on which way.
const SLACK: Duration = Duration::from_millis(100);

/// A node's clock, as it was read last. It goes on with the time that passes here, so that this
/// machine's clock may be set without any harm.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    at: Instant,
    us: i64,
    /// How long the first reading took.
    first: Duration,
}

impl Clock {
    /// Reads a reply to TIME, which was asked for at `before` and is there now. Nothing if it is
    /// none.
    pub(crate) fn read(reply: &Value, before: Instant, now: Instant) -> Option<Self> {
        let took = now.saturating_duration_since(before);
        Some(Self { at: before + took / 2, us: time_us(reply)?, first: took })
    }

    /// Reads it again, unless that took too long.
    pub(crate) fn read_again(&mut self, reply: &Value, before: Instant, now: Instant) {
        let Some(read) = Self::read(reply, before, now) else { return };
        if read.first <= self.first * 2 + SLACK {
            *self = Self { first: self.first, ..read };
        }
    }

    /// Whether it is to be read again.
    pub(crate) fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) > FRESH
    }

    /// What it shows at `moment`, in unix milliseconds.
    pub(crate) fn unix_ms(&self, moment: Instant) -> i64 {
        let us = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        let after = us(moment.saturating_duration_since(self.at));
        let before = us(self.at.saturating_duration_since(moment));
        self.us.saturating_add(after).saturating_sub(before) / 1000
    }
}

/// Reads a reply to TIME: seconds, and the microseconds beyond.
fn time_us(reply: &Value) -> Option<i64> {
    let Value::Array(parts) = reply else { return None };
    let number = |value: &Value| {
        let Value::BulkString(digits) = value else { return None };
        std::str::from_utf8(digits).ok()?.parse::<i64>().ok()
    };
    let [seconds, rest] = parts.as_slice() else { return None };
    number(seconds)?.checked_mul(1_000_000)?.checked_add(number(rest)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, us: i64) -> Value {
        let text = |number: i64| Value::BulkString(number.to_string().into_bytes());
        Value::Array(vec![text(seconds), text(us)])
    }

    #[test]
    fn a_moment_is_told_by_the_clock_of_the_node() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let clock = Clock::read(&time(1_000, 500_000), start, start + ms(20)).unwrap();
        assert_eq!(clock.unix_ms(start + ms(10)), 1_000_500, "half of the way is the way back");
        assert_eq!(clock.unix_ms(start + ms(5_010)), 1_005_500);
        assert_eq!(clock.unix_ms(start), 1_000_490);
    }

    #[test]
    fn it_is_read_again_unless_that_takes_long() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut clock = Clock::read(&time(1_000, 0), start, start).unwrap();
        assert!(!clock.is_old(start + ms(5_000)) && clock.is_old(start + ms(5_001)));
        let later = start + ms(6_000);
        clock.read_again(&time(2_000, 0), later, later + ms(101));
        assert_eq!(clock.unix_ms(start), 1_000_000);
        clock.read_again(&time(2_000, 0), later, later + ms(100));
        assert_eq!(clock.unix_ms(later + ms(50)), 2_000_000, "it was set");
        assert!(!clock.is_old(later));
    }

    #[test]
    fn what_is_no_time_is_none() {
        let now = Instant::now();
        for bad in [Value::Nil, time(i64::MAX, 0), Value::Array(vec![Value::Int(1); 2])] {
            assert!(Clock::read(&bad, now, now).is_none(), "{bad:?}");
        }
    }
}
