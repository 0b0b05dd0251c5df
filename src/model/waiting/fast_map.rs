//! Maps for who waits, which is read several times for each command.
//!
//! The standard library's hash withstands keys that are chosen to collide, and costs more than all
//! else that is done with such a map. The keys here are client ids and the lines of groups: both
//! are few, bounded and made by whoever may make groups, and a collision only costs time.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A map with the quick hash.
pub type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;
/// A set with the quick hash.
pub type QuickSet<K> = HashSet<K, BuildHasherDefault<Quick>>;

/// Folds in a word at a time by a rotation, an exclusive or and a multiplication.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quick(u64);

impl Quick {
    fn fold(&mut self, word: u64) {
        // An odd number without a pattern in its bits: 2^64 divided by the golden ratio.
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Quick {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.fold(u64::from_le_bytes(*word)));
        if !rest.is_empty() {
            self.fold(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.fold(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.fold(number.into());
    }

    fn write_i32(&mut self, number: i32) {
        self.fold(number.cast_unsigned().into());
    }

    fn write_u64(&mut self, number: u64) {
        self.fold(number);
    }

    fn finish(&self) -> u64 {
        // A multiplication carries upwards only, and a map looks at the low bits too.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, Hash};

    use super::*;

    fn hash(key: impl Hash) -> u64 {
        BuildHasherDefault::<Quick>::default().hash_one(key)
    }

    #[test]
    fn different_keys_have_different_hashes() {
        let numbers: HashSet<u64> = (0..10_000u64).map(hash).collect();
        let low: HashSet<u64> = numbers.iter().map(|hash| hash % 16_384).collect();
        assert_eq!(numbers.len(), 10_000);
        // Chance alone would leave about 7,500 of the 16,384 places in use.
        assert!(low.len() > 6000, "{}", low.len());
        let names: HashSet<u64> = (0..10_000).map(|n| hash((0, format!("group:{n}"), 7))).collect();
        assert_eq!(names.len(), 10_000);
    }
}
