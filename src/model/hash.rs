//! The ring's hash: MurmurHash3 x86 32-bit with seed 0 (Austin Appleby, public domain), the
//! `mmh3.hash` of Python. It is part of the contract: producers may compute it themselves.

/// Hashes any bytes. Signed, as `mmh3.hash` gives it and as the continuum is ordered.
/// O(length of `bytes`).
#[must_use]
pub fn hash(mut bytes: &[u8]) -> i32 {
    // Reading from a slice in memory cannot fail, so the error arm is never taken.
    murmur3::murmur3_32(&mut bytes, 0).unwrap_or(0).cast_signed()
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
    use super::hash;
    use proptest::prelude::*;

    /// The algorithm once more, on a slice and without the crate: each four bytes are a
    /// little-endian word, mixed and folded in; the one to three left over are mixed and only
    /// xored; then the length and a final avalanche.
    fn oracle(bytes: &[u8]) -> i32 {
        let word =
            |four: &[u8]| four.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte));
        let mix = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        let words = bytes.chunks_exact(4);
        let rest = mix(word(words.remainder()));
        let fold = |h: u32, four| {
            (h ^ mix(word(four))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
        };
        let mut h = words.fold(0, fold) ^ rest ^ u32::try_from(bytes.len()).unwrap();
        for (shift, factor) in [(16, 0x85eb_ca6b), (13, 0xc2b2_ae35), (16, 1)] {
            h = (h ^ (h >> shift)).wrapping_mul(factor);
        }
        h.cast_signed()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn agrees_with_the_algorithm(bytes in prop::collection::vec(any::<u8>(), 0..=64)) {
            prop_assert_eq!(hash(&bytes), oracle(&bytes));
        }
    }

    #[test]
    fn agrees_with_the_algorithm_at_every_length() {
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
