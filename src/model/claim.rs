//! A claim: which lease a command is about, and by what right. The commands that act on leases
//! share its options.

use super::error::Error;
use super::name::Name;
use super::parse::{Words, is, once};

/// A lease and the right to act under it: the options `RING`, `GROUP`,
/// `WORKER` and `EPOCH` that CONSUME, ACK, NACK, EXTEND and RELEASE share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// `RING ring`.
    pub ring: Option<Name>,
    /// `GROUP group`.
    pub group: Option<Name>,
    /// `WORKER name`.
    pub worker: Option<Name>,
    /// `EPOCH epoch`.
    pub epoch: Option<u64>,
}

impl Claim {
    /// Takes `word` and its value if it is one of the shared options; false if it is another word.
    ///
    /// # Errors
    /// [`Error::Syntax`], [`Error::Name`], [`Error::Number`].
    pub fn take(&mut self, word: &[u8], words: &mut Words<'_>) -> Result<bool, Error> {
        if is(word, "RING") {
            once(&mut self.ring, word, Name::ring(words.value(word)?)?)?;
        } else if is(word, "GROUP") {
            once(&mut self.group, word, Name::group(words.value(word)?)?)?;
        } else if is(word, "WORKER") {
            once(&mut self.worker, word, Name::worker(words.value(word)?)?)?;
        } else if is(word, "EPOCH") {
            let epoch = words.number(word, "EPOCH", 0, i64::MAX)?;
            once(&mut self.epoch, word, epoch.unsigned_abs())?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// The group meant: `default` if none is named.
    #[must_use]
    pub fn group(&self) -> Name {
        self.group.clone().unwrap_or_else(Name::default_name)
    }
}
