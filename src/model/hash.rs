//! The ring's hash: MurmurHash3 x86 32-bit with seed 0 (Austin Appleby, public domain), the
//! `mmh3.hash` of Python. It is part of the contract: producers may compute it themselves.

/// Hashes any bytes. Signed, as `mmh3.hash` gives it and as the continuum is ordered.
/// O(length of `bytes`).
#[must_use]
pub fn hash(mut bytes: &[u8]) -> i32 {
    // Reading from a slice in memory cannot fail, so the error arm is never taken.
    murmur3::murmur3_32(&mut bytes, 0).unwrap_or(0).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn agrees_with_published_vectors() {
        assert_eq!(hash(b""), 0);
        assert_eq!(hash(b"hello"), 613_153_351);
        assert_eq!(hash(b"foo"), -156_908_512);
    }
}
