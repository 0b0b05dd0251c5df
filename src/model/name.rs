//! Names of rings, groups and workers: validated once, then trusted.
//!
//! Every command carries some and copies them for its lookups. Most are short and are kept in
//! place, so that neither reading nor copying one allocates.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::Error;
use super::limits::MAX_NAME_BYTES;
use super::memory::block;

/// A valid name: 1 to 128 bytes of `[A-Za-z0-9._-]`, or also `:` for groups and workers.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Storage);

/// Bytes of a name that is kept in place: as many as a pointer and a length leave room for. Saves
/// 11 % of an EVQ.ACK.
const SHORT: usize = 22;

/// A text of ASCII. One that fits is always short, so that equal ones are of the same kind.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Storage {
    /// The number of bytes; zeros follow them.
    Short(u8, [u8; SHORT]),
    Long(Box<str>),
}

/// The ring, and the group, of those who name none.
pub const DEFAULT: &str = "default";

impl Name {
    /// A ring's name.
    ///
    /// # Errors
    /// [`Error::Name`] if it is not one.
    pub fn ring(bytes: &[u8]) -> Result<Self, Error> {
        Self::checked(bytes, false).ok_or(Error::Name("ring"))
    }

    /// A group's name.
    ///
    /// # Errors
    /// [`Error::Name`] if it is not one.
    pub fn group(bytes: &[u8]) -> Result<Self, Error> {
        Self::checked(bytes, true).ok_or(Error::Name("group"))
    }

    /// A worker's name.
    ///
    /// # Errors
    /// [`Error::Name`] if it is not one.
    pub fn worker(bytes: &[u8]) -> Result<Self, Error> {
        Self::checked(bytes, true).ok_or(Error::Name("worker"))
    }

    /// The name `default`.
    #[must_use]
    pub fn default_name() -> Self {
        const { Self::short(DEFAULT.as_bytes()) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Storage::Short(..) => std::str::from_utf8(self.bytes()).unwrap_or_default(),
            Storage::Long(text) => text,
        }
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Storage::Short(..) => 0,
            Storage::Long(text) => block(text.len()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match &self.0 {
            Storage::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Storage::Long(text) => text.as_bytes(),
        }
    }

    /// A name of at most [`SHORT`] bytes, which are ASCII.
    const fn short(text: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        let (start, _) = bytes.split_at_mut(text.len());
        start.copy_from_slice(text);
        Self(Storage::Short(text.len() as u8, bytes))
    }

    fn checked(bytes: &[u8], colon: bool) -> Option<Self> {
        let good = |byte: &u8| match *byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => true,
            b':' => colon,
            _ => false,
        };
        if bytes.is_empty() || bytes.len() > MAX_NAME_BYTES || !bytes.iter().all(good) {
            return None;
        }
        if bytes.len() <= SHORT {
            return Some(Self::short(bytes));
        }
        std::str::from_utf8(bytes).ok().map(|name| Self(Storage::Long(name.into())))
    }
}

/// As their bytes.
impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            // No name has a zero in it, so the shorter of two that begin alike comes first.
            (Storage::Short(_, one), Storage::Short(_, other)) => one.cmp(other),
            _ => self.bytes().cmp(other.bytes()),
        }
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Name").field(&self.as_str()).finish()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Snapshots are hostile bytes, so a name read from one is checked like one from a client.
impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String>::deserialize(deserializer)?;
        Self::checked(text.as_bytes(), true).ok_or_else(|| serde::de::Error::custom("bad name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_and_characters() {
        assert!(Name::ring(b"a.B-9_").is_ok());
        assert!(Name::ring(&[b'x'; 128]).is_ok());
        assert!(Name::group(b"mail:v2").is_ok());
        for bad in
            [&b""[..], &[b'x'; 129], b"a b", b"a{b", b"a\0", b"\xff", b"a\n", "\u{e9}".as_bytes()]
        {
            assert_eq!(Name::ring(bad), Err(Error::Name("ring")));
            assert_eq!(Name::worker(bad), Err(Error::Name("worker")));
        }
        assert_eq!(Name::ring(b"a:b"), Err(Error::Name("ring")));
    }

    #[test]
    fn short_and_long_names_are_ordered_and_read_as_their_text() {
        let (x, y) = ("x".repeat(SHORT), "x".repeat(SHORT + 1));
        let texts = ["-", "a", "a.", "aa", "ab", "default", "default:1", &x, &y, "y"];
        let names = texts.map(|text| Name::group(text.as_bytes()).unwrap());
        assert_eq!(names[5], Name::default_name());
        for (one, text) in names.iter().zip(texts) {
            assert_eq!((one.as_str(), one.to_string().as_str()), (text, text));
            assert_eq!(one.heap_bytes() > 0, text.len() > SHORT, "{text}");
            for (other, than) in names.iter().zip(texts) {
                assert_eq!((one == other, one.cmp(other)), (text == than, text.cmp(than)));
            }
        }
        assert_eq!(size_of::<Name>(), size_of::<String>());
    }
}
