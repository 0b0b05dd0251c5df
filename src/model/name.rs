//! Names of rings, groups and workers: validated once, then trusted.

use std::borrow::{Borrow, Cow};
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::error::Error;
use super::limits::MAX_NAME_BYTES;

/// A valid name: 1 to 128 bytes of `[A-Za-z0-9._-]`, or also `:` for groups and workers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Name(Cow<'static, str>);

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
        // Every command that names no ring or group asks for it: nothing is allocated.
        Self(Cow::Borrowed(DEFAULT))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn checked(bytes: &[u8], colon: bool) -> Option<Self> {
        let good = |b: &u8| b.is_ascii_alphanumeric() || b"._-".contains(b) || colon && *b == b':';
        if bytes.is_empty() || bytes.len() > MAX_NAME_BYTES || !bytes.iter().all(good) {
            return None;
        }
        std::str::from_utf8(bytes).ok().map(|name| Self(Cow::Owned(name.to_owned())))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
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
}
