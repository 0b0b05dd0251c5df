//! The slots of a cluster: which of the 16384 a key belongs to, as the servers compute it.

use std::fmt;

/// How many slots every cluster has.
pub const SLOTS: u16 = 16_384;

/// A slot of a cluster, below [`SLOTS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot of a key: of its hash tag if it has one, and of the whole key otherwise. The tag is
    /// what stands between the first `{` and the first `}` after it, unless that is empty.
    /// O(length of `key`).
    #[must_use]
    pub fn of(key: &[u8]) -> Self {
        Self(crc16(hashed(key)) % SLOTS)
    }

    /// The slot of this number, or nothing if there is none.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// Its number, as the place in a table of all slots.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of a key that decides its slot.
fn hashed(key: &[u8]) -> &[u8] {
    let tag = |key: &[u8]| {
        let open = key.iter().position(|byte| *byte == b'{')?;
        let (_, rest) = key.split_at_checked(open + 1)?;
        let close = rest.iter().position(|byte| *byte == b'}')?;
        Some(open + 1..open + 1 + close).filter(|tag| !tag.is_empty())
    };
    tag(key).and_then(|tag| key.get(tag)).unwrap_or(key)
}

/// CRC-16/XMODEM: polynomial 0x1021, initial value 0, nothing reflected.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        let [high, _] = crc.to_be_bytes();
        // A byte is always inside a table of 256.
        crc << 8 ^ CRC16.get(usize::from(high ^ byte)).copied().unwrap_or(0)
    })
}

/// What each leading byte adds to a checksum.
const CRC16: [u16; 256] = crc16_table();

#[allow(clippy::indexing_slicing)] // Checked by the compiler: the table is a constant.
const fn crc16_table() -> [u16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut crc = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use crate::model::slots::{SLOTS, Slot, crc16, hashed};

    #[test]
    fn the_checksum_has_the_published_value() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b""), 0);
    }

    /// As CLUSTER KEYSLOT replies.
    #[test]
    fn slots_are_those_of_the_servers() {
        for (key, slot) in [
            ("", 0),
            ("123456789", 12_739),
            ("foo", 12_182),
            ("bar", 5_061),
            ("{user1000}.following", 3_443),
            ("evq:{orders}", 105),
            ("evq:{orders:0}", 8_578),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("{open", 7_674),
        ] {
            assert_eq!(Slot::of(key.as_bytes()).number(), slot, "{key}");
        }
    }

    #[test]
    fn the_tag_is_the_first_that_is_not_empty() {
        for (key, part) in [
            ("{user1000}.following", "user1000"),
            ("evq:{orders:3}:groups", "orders:3"),
            ("foo{}{bar}", "foo{}{bar}"),
            ("foo{{bar}}zap", "{bar"),
            ("foo{bar}{zap}", "bar"),
            ("}a{b}", "b"),
            ("no{end", "no{end"),
            ("no}begin", "no}begin"),
            ("last{", "last{"),
        ] {
            assert_eq!(hashed(key.as_bytes()), part.as_bytes(), "{key}");
        }
    }

    #[test]
    fn a_number_beyond_the_last_is_no_slot() {
        assert_eq!(Slot::new(SLOTS), None);
        assert_eq!(Slot::new(SLOTS - 1).map(Slot::index), Some(16_383));
    }
}
