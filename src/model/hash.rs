//! The ring's hash: MurmurHash3 x86 32-bit with seed 0 (Austin Appleby, public domain), the
//! `mmh3.hash` of Python. It is part of the contract: producers may compute it themselves.

/// Hashes any bytes. Signed, as `mmh3.hash` gives it and as the continuum is ordered.
/// O(length of `bytes`).
///
/// Each four bytes are a little-endian word, mixed and folded in; the one to three left over are
/// mixed and only xored; then the length and a final avalanche. It reads words where the crate,
/// which the tests compare it with, reads a stream: that saves 2 % of an EVQ.MTRIGGER.
#[must_use]
pub fn hash(bytes: &[u8]) -> i32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut h = words.iter().fold(0, |h: u32, word| {
        (h ^ mix(u32::from_le_bytes(*word)))
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64)
    });
    let rest = rest.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
    // The algorithm counts bytes modulo 2^32.
    h ^= mix(rest) ^ bytes.len() as u32;
    for (shift, factor) in [(16, 0x85eb_ca6b), (13, 0xc2b2_ae35), (16, 1)] {
        h = (h ^ (h >> shift)).wrapping_mul(factor);
    }
    h.cast_signed()
}

fn mix(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

/// A 128-bit digest of a key (MurmurHash3 x64 128-bit), which stands for the key where keys of any
/// length would have to be kept. Two keys with one digest would only wait for each other.
/// O(length of `bytes`).
#[must_use]
pub fn digest(mut bytes: &[u8]) -> u128 {
    // Reading from a slice in memory cannot fail, so the error arm is never taken.
    murmur3::murmur3_x64_128(&mut bytes, 0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use crate::model::hash::hash;
    use proptest::prelude::*;

    /// The crate's, which reading from a slice in memory cannot make fail.
    fn oracle(mut bytes: &[u8]) -> i32 {
        murmur3::murmur3_32(&mut bytes, 0).unwrap().cast_signed()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn agrees_with_the_crate(bytes in prop::collection::vec(any::<u8>(), 0..=64)) {
            prop_assert_eq!(hash(&bytes), oracle(&bytes));
        }
    }

    #[test]
    fn agrees_with_the_crate_at_every_length() {
        let bytes = [0xff; 64];
        for length in 0..=bytes.len() {
            assert_eq!(hash(&bytes[..length]), oracle(&bytes[..length]), "{length} bytes");
        }
    }

    #[test]
    fn agrees_with_published_vectors() {
        assert_eq!(hash(b""), 0);
        assert_eq!(hash(b"hello"), 613_153_351);
        assert_eq!(hash(b"foo"), -156_908_512);
    }
}
