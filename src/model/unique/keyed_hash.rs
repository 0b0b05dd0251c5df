//! SipHash with 128 bits (Aumasson and Bernstein, public domain): a hash under a secret key. It
//! mixes each word once and the end three times, as the hash tables of Rust and Python do.
//!
//! The secret is random and saved with what is hashed, so nobody who does not read the data can
//! make two inputs collide, and by chance it happens once in 2^64 inputs.

/// A secret of 128 bits.
pub type Secret = [u64; 2];

#[derive(Clone, Copy)]
struct State([u64; 4]);

impl State {
    #[inline]
    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }

    #[inline]
    fn take<const C: u8>(&mut self, word: u64) {
        self.0[3] ^= word;
        (0..C).for_each(|_| self.round());
        self.0[0] ^= word;
    }

    #[inline]
    fn half<const D: u8>(&mut self) -> u64 {
        (0..D).for_each(|_| self.round());
        let [a, b, c, d] = self.0;
        a ^ b ^ c ^ d
    }
}

/// Bytes on their way into a hash.
#[derive(Clone, Copy)]
struct Pending {
    state: State,
    /// The bytes that are no whole word yet, the first the lowest.
    word: u64,
    bytes: usize,
}

impl Pending {
    #[inline]
    fn take<const C: u8>(&mut self, mut bytes: &[u8]) {
        let part = self.bytes % 8;
        self.bytes += bytes.len();
        if part > 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(8 - part));
            self.word |= low_word(head) << (8 * part);
            if part + head.len() < 8 {
                return;
            }
            self.state.take::<C>(self.word);
            bytes = rest;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.state.take::<C>(u64::from_le_bytes(*word)));
        self.word = low_word(rest);
    }
}

/// Fewer than eight bytes as the low ones of a word.
fn low_word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Hashes the parts one after the other, as one text. O(bytes).
#[must_use]
pub fn keyed_hash(secret: Secret, parts: &[&[u8]]) -> u128 {
    siphash::<1, 3>(secret, parts)
}

/// SipHash-C-D.
#[inline]
fn siphash<const C: u8, const D: u8>(secret: Secret, parts: &[&[u8]]) -> u128 {
    let [k0, k1] = secret;
    let state = State([
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ]);
    let mut pending = Pending { state, word: 0, bytes: 0 };
    parts.iter().for_each(|part| pending.take::<C>(part));
    let mut state = pending.state;
    // The last word has the length, modulo 256, as its highest byte.
    state.take::<C>(pending.word | (pending.bytes as u64) << 56);
    state.0[2] ^= 0xee;
    let low = state.half::<D>();
    state.0[1] ^= 0xdd;
    u128::from(low) | u128::from(state.half::<D>()) << 64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and the inputs of the authors' test vectors: bytes that count up.
    fn secret() -> Secret {
        let bytes: Vec<u8> = (0..16).collect();
        [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()))
    }

    #[test]
    fn agrees_with_the_authors_vectors_of_siphash_2_4() {
        for (length, hash) in [
            (0, "a3817f04ba25a8e66df67214c7550293"),
            (1, "da87c1d86b99af44347659119b22fc45"),
            (2, "8177228da4a45dc7fca38bdef60affe4"),
        ] {
            let input: Vec<u8> = (0..length).collect();
            let bytes = siphash::<2, 4>(secret(), &[&input]).to_le_bytes();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, hash, "{length} bytes");
        }
    }

    #[test]
    fn is_the_same_however_the_text_is_cut() {
        let text: Vec<u8> = (0..40).collect();
        let whole = keyed_hash(secret(), &[&text]);
        for one in 0..=text.len() {
            for two in one..=text.len() {
                let parts = [&text[..one], &text[one..two], &text[two..]];
                assert_eq!(keyed_hash(secret(), &parts), whole, "{one} {two}");
            }
        }
    }

    #[test]
    fn depends_on_every_bit_of_secret_and_text() {
        let mut seen = std::collections::HashSet::new();
        let text = [7; 24];
        seen.insert(keyed_hash([1, 2], &[&text]));
        for bit in 0..64 {
            assert!(seen.insert(keyed_hash([1 ^ 1 << bit, 2], &[&text])));
            assert!(seen.insert(keyed_hash([1, 2 ^ 1 << bit], &[&text])));
        }
        for bit in 0..24 * 8 {
            let mut text = text;
            text[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(keyed_hash([1, 2], &[&text])));
        }
    }
}
