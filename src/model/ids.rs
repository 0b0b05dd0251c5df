//! Event ids: ordinary Redis stream ids, `<unix ms>-<sequence>`, ordered by both parts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The id of an event in its partition's stream.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct EventId {
    /// The server's clock in unix milliseconds when the event was appended.
    pub ms: u64,
    /// Tells apart the events of one millisecond.
    pub seq: u64,
}

impl EventId {
    /// Below every event: the cursor of a group that has finished nothing.
    pub const ZERO: Self = Self { ms: 0, seq: 0 };
    /// Above every event.
    pub const MAX: Self = Self { ms: u64::MAX, seq: u64::MAX };

    /// The smallest id greater than this one; none after [`EventId::MAX`].
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(Self { seq, ..self }),
            None => self.ms.checked_add(1).map(|ms| Self { ms, seq: 0 }),
        }
    }

    /// Reads `<ms>-<seq>`, or `<ms>` alone for `<ms>-0`, as XRANGE does: decimal digits only.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        match text.iter().position(|&b| b == b'-') {
            None => Some(Self { ms: decimal(text)?, seq: 0 }),
            Some(dash) => {
                Some(Self { ms: decimal(text.get(..dash)?)?, seq: decimal(text.get(dash + 1..)?)? })
            }
        }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

/// Reads an unsigned number in its canonical decimal form: no sign, no blanks, no leading zero.
#[must_use]
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 || (text.len() > 1 && text.first() == Some(&b'0')) {
        return None;
    }
    text.iter().try_fold(0u64, |sum, &b| {
        let digit = u64::from(b.checked_sub(b'0').filter(|d| *d <= 9)?);
        sum.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for id in [EventId::ZERO, EventId::MAX, EventId { ms: 1_700_000_000_000, seq: 7 }] {
            assert_eq!(EventId::parse(id.to_string().as_bytes()), Some(id));
        }
        assert_eq!(EventId::parse(b"5"), Some(EventId { ms: 5, seq: 0 }));
    }

    #[test]
    fn refuses_what_is_not_an_id() {
        for text in ["", "-", "1-", "-1", "1-2-3", "+1-0", " 1-0", "1-0\n", "01-0", "1-00", "a-b"] {
            assert_eq!(EventId::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(EventId::parse(b"18446744073709551616-0"), None);
        assert_eq!(EventId::parse(b"1\0-0"), None);
    }

    #[test]
    fn next_carries_and_ends() {
        assert_eq!(EventId { ms: 1, seq: u64::MAX }.next(), Some(EventId { ms: 2, seq: 0 }));
        assert_eq!(EventId::MAX.next(), None);
    }
}
