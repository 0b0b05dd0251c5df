//! The words of a scheduled event in one block of bytes: its token, its key, its payload, its type
//! and its headers, each after its length.
//!
//! The token comes first and is empty if there is none. After the payload an odd number of words
//! begins with the type; the rest are names and values of headers.

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::limits::{MAX_EVENT_BYTES, MAX_HEADERS, MAX_TOKEN_BYTES};

/// Words before the type and the headers: token, key, payload.
const HEAD: usize = 3;
/// Bytes of a length.
const LENGTH: usize = size_of::<u32>();

/// The words of one event.
#[derive(Clone, PartialEq, Eq)]
pub struct Parts(Box<[u8]>);

impl Parts {
    /// The words of an event. Their lengths are within the bound of an event.
    #[must_use]
    pub fn new(
        token: Option<&[u8]>,
        key: &[u8],
        payload: &[u8],
        kind: Option<&[u8]>,
        headers: &[(&[u8], &[u8])],
    ) -> Self {
        let head = [token.unwrap_or_default(), key, payload];
        let headers = headers.iter().flat_map(|(name, value)| [*name, *value]);
        let words: Vec<&[u8]> = head.into_iter().chain(kind).chain(headers).collect();
        let bytes = words.iter().map(|word| LENGTH + word.len()).sum();
        let mut all = Vec::with_capacity(bytes);
        for word in words {
            all.extend_from_slice(&u32::try_from(word.len()).unwrap_or_default().to_le_bytes());
            all.extend_from_slice(word);
        }
        Self(all.into())
    }

    fn words(&self) -> impl Iterator<Item = &[u8]> + Clone {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (word, after) = split(rest)?;
            rest = after;
            Some(word)
        })
    }

    fn word(&self, at: usize) -> &[u8] {
        self.words().nth(at).unwrap_or_default()
    }

    /// The token of UNIQUE, if it has one.
    #[must_use]
    pub fn token(&self) -> Option<&[u8]> {
        Some(self.word(0)).filter(|token| !token.is_empty())
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.word(1)
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.word(2)
    }

    /// The type, if it has one.
    #[must_use]
    pub fn kind(&self) -> Option<&[u8]> {
        self.has_kind().then(|| self.word(HEAD))
    }

    fn has_kind(&self) -> bool {
        self.words().count().is_multiple_of(2)
    }

    /// The names and values of the headers, in order.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.words().skip(HEAD + usize::from(self.has_kind()));
        std::iter::from_fn(move || Some((rest.next()?, rest.next()?)))
    }

    /// Bytes of the block.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no words; no event is like that.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Words from hostile bytes.
    fn checked(bytes: Box<[u8]>) -> Option<Self> {
        let most = HEAD + 1 + 2 * MAX_HEADERS;
        if bytes.len() > MAX_EVENT_BYTES + most * LENGTH {
            return None;
        }
        let (mut rest, mut count) = (&*bytes, 0);
        while !rest.is_empty() {
            let (word, after) = split(rest)?;
            if count == 0 && word.len() > MAX_TOKEN_BYTES {
                return None;
            }
            (rest, count) = (after, count + 1);
        }
        (HEAD..=most).contains(&count).then_some(Self(bytes))
    }
}

/// The first word, and what follows it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

impl std::fmt::Debug for Parts {
    /// Its key and its size: a payload may be large, and is nobody's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Parts({}, {} bytes)", self.key().escape_ascii(), self.len())
    }
}

impl Serialize for Parts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// Snapshots are hostile bytes.
impl<'de> Deserialize<'de> for Parts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Parts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the words of an event")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Parts, E> {
                Parts::checked(bytes.into()).ok_or_else(|| E::custom("bad words"))
            }
        }
        deserializer.deserialize_bytes(Bytes).map_err(|_| D::Error::custom("bad words"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..6)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn an_event_comes_out_as_it_went_in(
            token in prop::option::of(prop::collection::vec(any::<u8>(), 1..6)),
            key in words(),
            payload in words(),
            kind in prop::option::of(words()),
            headers in prop::collection::vec((words(), words()), 0..4),
        ) {
            let pairs: Vec<(&[u8], &[u8])> =
                headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            let parts = Parts::new(token.as_deref(), &key, &payload, kind.as_deref(), &pairs);
            let read = Parts::checked(parts.0.clone()).unwrap();
            prop_assert_eq!(read.token(), token.as_deref());
            prop_assert_eq!((read.key(), read.payload()), (&key[..], &payload[..]));
            prop_assert_eq!(read.kind(), kind.as_deref());
            prop_assert_eq!(read.headers().collect::<Vec<_>>(), pairs);
        }

        #[test]
        fn any_bytes_are_words_within_limits_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Some(parts) = Parts::checked(bytes.clone().into()) {
                prop_assert!(parts.words().count() >= HEAD);
                let words = parts.words().map(|word| LENGTH + word.len());
                prop_assert_eq!(words.sum::<usize>(), bytes.len());
            }
        }
    }

    #[test]
    fn too_few_too_many_and_half_a_word_are_refused() {
        let good = Parts::new(None, b"k", b"p", None, &[]);
        for cut in 0..good.len() {
            assert_eq!(Parts::checked(good.0[..cut].into()), None, "{cut}");
        }
        let headers = [(&b"a"[..], &b"b"[..]); MAX_HEADERS + 1];
        assert_eq!(Parts::checked(Parts::new(None, b"k", b"p", None, &headers).0), None);
        let token = [b'x'; MAX_TOKEN_BYTES + 1];
        assert_eq!(Parts::checked(Parts::new(Some(&token), b"k", b"p", None, &[]).0), None);
    }
}
