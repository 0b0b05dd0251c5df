//! Bytes for values and effects: `EVQ`, a format version, then bincode 1.3 with fixed-width
//! integers. The only file that knows bincode, so that it can be replaced.
//!
//! Reading is for hostile bytes (RESTORE is a client command): the length is bounded, a count is
//! never trusted for an allocation beyond the bytes that are there, trailing bytes and unknown
//! versions are refused, and what was read is checked against the limits.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::effect::Effect;
use crate::model::error::Error;
use crate::model::later::schedule::check_ticket;
use crate::model::limits::{MAX_EXCEPTIONS, MAX_GROUPS, MAX_SNAPSHOT_BYTES};
use crate::model::progress::partition::Partition;
use crate::model::ring::Ring;
use crate::model::ring::definition::Definition;

const MAGIC: &[u8; 3] = b"EVQ";
/// The format version that is written. Raised when a reader of the version before could not read
/// what is written now. [`decode`] then reads the older one as a type of its own and makes today's
/// value of it, and `scripts/fixtures` keeps files of the new one, which every later version reads.
pub const VERSION: u8 = 1;

/// Bytes of one exception in a snapshot.
const EXCEPTION_BYTES: usize = 56;

// What could be saved and not read back would be lost: the largest partition must fit, with an
// eighth to spare for names, cursors and epochs.
const _: () = assert!(
    (MAX_GROUPS * 3 * MAX_EXCEPTIONS * EXCEPTION_BYTES / 8 * 9) as u64 <= MAX_SNAPSHOT_BYTES
);

/// Why bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corrupt {
    /// They do not begin as EVQ's do.
    NotEvq,
    /// Written by a version that this one cannot read.
    Version(u8),
    /// Too short, too long, or not what the version says.
    Malformed,
    /// Well formed, but beyond EVQ's limits.
    OutOfBounds,
}

impl std::fmt::Display for Corrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotEvq => write!(f, "not written by EVQ"),
            Self::Version(version) => {
                write!(f, "format version {version}, this EVQ reads version {VERSION}")
            }
            Self::Malformed => write!(f, "malformed"),
            Self::OutOfBounds => write!(f, "beyond EVQ's limits"),
        }
    }
}

/// A value that can be written and read back.
pub trait Snapshot: Serialize + DeserializeOwned {
    /// Refuses what EVQ could not have written.
    ///
    /// # Errors
    /// The limit that is exceeded.
    fn check(&self) -> Result<(), Error>;
}

impl Snapshot for Ring {
    fn check(&self) -> Result<(), Error> {
        Self::check(self)
    }
}

impl Snapshot for Definition {
    fn check(&self) -> Result<(), Error> {
        Self::check(self)
    }
}

impl Snapshot for Partition {
    fn check(&self) -> Result<(), Error> {
        Self::check(self)
    }
}

impl Snapshot for Effect {
    fn check(&self) -> Result<(), Error> {
        match self {
            Self::Ring(ring) => ring.check(),
            Self::Partition(partition) => partition.check(),
            Self::GroupSet(_, group) => group.check(),
            Self::Unique(change) => change.check(),
            Self::Later(change) => change.check(),
            Self::Ticketed(ticket) => check_ticket(*ticket),
            Self::Defined(definition) => definition.check(),
            Self::GroupGone(_)
            | Self::Group(..)
            | Self::Resized(..)
            | Self::Retired(_)
            | Self::Forgotten(_)
            | Self::Tick(_) => Ok(()),
        }
    }
}

fn format() -> impl Options {
    bincode::DefaultOptions::new()
        .with_fixint_encoding()
        .with_limit(MAX_SNAPSHOT_BYTES)
        .reject_trailing_bytes()
}

/// Writes a value.
///
/// # Errors
/// [`Error::Limit`] if it is larger than what would be read back.
pub fn encode<T: Snapshot>(value: &T) -> Result<Vec<u8>, Error> {
    // Most effects fit, so that one of them is one allocation.
    let mut bytes = Vec::with_capacity(128);
    bytes.extend_from_slice(MAGIC);
    bytes.push(VERSION);
    match format().serialize_into(&mut bytes, value) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(Error::Limit("bytes of a saved value", MAX_SNAPSHOT_BYTES)),
    }
}

/// Reads a value back.
///
/// # Errors
/// [`Corrupt`], whatever the bytes are.
pub fn decode<T: Snapshot>(bytes: &[u8]) -> Result<T, Corrupt> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(Corrupt::NotEvq)?;
    let (version, body) = rest.split_first().ok_or(Corrupt::Malformed)?;
    let value: T = match *version {
        VERSION => format().deserialize(body).map_err(|_| Corrupt::Malformed)?,
        other => return Err(Corrupt::Version(other)),
    };
    value.check().map_err(|_| Corrupt::OutOfBounds)?;
    Ok(value)
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
