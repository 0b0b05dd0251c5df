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
        let (ms, rest) = leading(text)?;
        match rest.split_first() {
            None => Some(Self { ms, seq: 0 }),
            Some((b'-', seq)) => Some(Self { ms, seq: decimal(seq)? }),
            Some(_) => None,
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
    leading(text).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

/// Reads the number that `text` begins with, in its canonical decimal form; returns the rest too.
#[must_use]
pub fn leading(text: &[u8]) -> Option<(u64, &[u8])> {
    let (mut sum, mut length) = (0u64, 0);
    // Nineteen digits always fit, and every command has some, so nothing is checked.
    for byte in text.iter().take(MAX_DIGITS + 1) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        sum = sum.wrapping_mul(10).wrapping_add(digit.into());
        length += 1;
    }
    let (digits, rest) = text.split_at_checked(length)?;
    let canonical = length == 1 || length > 1 && digits.first() != Some(&b'0');
    match length {
        _ if !canonical => None,
        MAX_DIGITS => {
            let add = |sum: u64, b: &u8| sum.checked_mul(10)?.checked_add((b & 0xf).into());
            Some((digits.iter().try_fold(0, add)?, rest))
        }
        length => (length < MAX_DIGITS).then_some((sum, rest)),
    }
}

/// Digits of the greatest number there is.
const MAX_DIGITS: usize = 20;

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
