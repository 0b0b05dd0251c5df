//! Reading a command's words: positional arguments first, then options in any order.
//!
//! The options that many commands share are read here once, so the same mistake gives the same
//! error everywhere.

use serde::{Deserialize, Serialize};

use super::error::Error;
use super::ids::{EventId, decimal};
use super::keys::parse_stream_key;
use super::limits::{MAX_DURATION_MS, MAX_TOKEN_BYTES, MAX_WEIGHT};
use super::name::Name;

/// The words of one command after its name, read from left to right.
#[derive(Debug)]
pub struct Words<'a> {
    words: &'a [&'a [u8]],
    command: &'static str,
}

impl<'a> Words<'a> {
    /// Starts before the first word. `command` is named in arity errors.
    #[must_use]
    pub fn new(command: &'static str, words: &'a [&'a [u8]]) -> Self {
        Self { words, command }
    }

    /// The next positional argument.
    ///
    /// # Errors
    /// [`Error::Arity`] if there is none.
    pub fn positional(&mut self) -> Result<&'a [u8], Error> {
        self.next().ok_or(Error::Arity(self.command))
    }

    /// The value that must follow the option `word`.
    ///
    /// # Errors
    /// [`Error::Syntax`] near `word` if nothing follows.
    pub fn value(&mut self, word: &[u8]) -> Result<&'a [u8], Error> {
        self.next().ok_or_else(|| Error::syntax(word))
    }

    /// The whole number that must follow the option `word`.
    ///
    /// # Errors
    /// [`Error::Syntax`] if nothing follows, [`Error::Number`] if it is no number in bounds.
    pub fn number(
        &mut self,
        word: &[u8],
        what: &'static str,
        min: i64,
        max: i64,
    ) -> Result<i64, Error> {
        number(self.value(word)?, what, min, max)
    }

    /// A duration in milliseconds, at least `min`.
    ///
    /// # Errors
    /// As [`Words::number`].
    pub fn duration_ms(&mut self, word: &[u8], what: &'static str, min: i64) -> Result<i64, Error> {
        self.number(word, what, min, MAX_DURATION_MS)
    }

    /// A count of at least 1; more than `max` is over a documented limit.
    ///
    /// # Errors
    /// As [`count`].
    pub fn count_after(&mut self, word: &[u8], what: &'static str, max: u64) -> Result<u64, Error> {
        count(self.value(word)?, what, max)
    }

    /// A count that may be 0; more than `max` is over a documented limit.
    ///
    /// # Errors
    /// As [`count`].
    pub fn count_from_zero(
        &mut self,
        word: &[u8],
        what: &'static str,
        max: u64,
    ) -> Result<u64, Error> {
        counted(self.value(word)?, what, 0, max)
    }

    /// The values of a column, which follow their number: one for each of `count`.
    ///
    /// # Errors
    /// [`Error::Number`] if it is another number, [`Error::Syntax`] if there are fewer.
    pub fn column(&mut self, word: &[u8], count: u64) -> Result<&'a [&'a [u8]], Error> {
        let count = count.cast_signed();
        self.number(word, "number of values (one for each event)", count, count)?;
        let values = self.words.split_at_checked(usize::try_from(count).unwrap_or(usize::MAX));
        let (values, rest) = values.ok_or_else(|| Error::syntax(word))?;
        self.words = rest;
        Ok(values)
    }

    /// Takes the next word if it is the keyword `name`; false if it is another.
    pub fn take_keyword(&mut self, name: &str) -> bool {
        let is_it = self.words.first().is_some_and(|word| is(word, name));
        if is_it {
            self.next();
        }
        is_it
    }

    /// The number of words left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.words.len()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// [`Error::Syntax`] near the first word that is left over.
    pub fn end(&self) -> Result<(), Error> {
        self.words.first().map_or(Ok(()), |word| Err(Error::syntax(word)))
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }
}

/// Whether `word` is the keyword `name` (given in upper case), in any case.
#[must_use]
pub fn is(word: &[u8], name: &str) -> bool {
    word.eq_ignore_ascii_case(name.as_bytes())
}

/// Fills an option's slot.
///
/// # Errors
/// [`Error::Syntax`] near `word` if the option was given before.
pub fn once<T>(slot: &mut Option<T>, word: &[u8], value: T) -> Result<(), Error> {
    if slot.is_some() {
        return Err(Error::syntax(word));
    }
    *slot = Some(value);
    Ok(())
}

/// A whole number in canonical decimal form within bounds.
///
/// # Errors
/// [`Error::Number`] otherwise.
pub fn number(text: &[u8], what: &'static str, min: i64, max: i64) -> Result<i64, Error> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    decimal(digits)
        .and_then(|magnitude| i64::try_from(magnitude).ok())
        .map(|magnitude| if negative { -magnitude } else { magnitude })
        .filter(|value| (min..=max).contains(value) && !(negative && *value == 0))
        .ok_or(Error::Number { what, min, max })
}

/// A count of at least 1.
///
/// # Errors
/// [`Error::Number`] if it is none, [`Error::Limit`] if it is more than `max`.
pub fn count(text: &[u8], what: &'static str, max: u64) -> Result<u64, Error> {
    counted(text, what, 1, max)
}

fn counted(text: &[u8], what: &'static str, min: i64, max: u64) -> Result<u64, Error> {
    match number(text, what, min, i64::MAX) {
        Ok(value) if value.unsigned_abs() <= max => Ok(value.unsigned_abs()),
        Ok(_) => Err(Error::Limit(what, max)),
        // What is no count at all is told the bound too.
        Err(_) => Err(Error::Number { what, min, max: i64::try_from(max).unwrap_or(i64::MAX) }),
    }
}

/// The weights of so many partitions.
///
/// # Errors
/// [`Error::Syntax`] if there are fewer; as [`count`].
pub fn weights_after(
    word: &[u8],
    words: &mut Words<'_>,
    partitions: u32,
) -> Result<Vec<u32>, Error> {
    let weight = |_| words.count_after(word, "weight of a partition", MAX_WEIGHT.into());
    (0..partitions).map(weight).map(|n| n.map(|n| u32::try_from(n).unwrap_or(MAX_WEIGHT))).collect()
}

/// An event id given by a client.
///
/// # Errors
/// [`Error::BadId`] if it is malformed.
pub fn event_id(text: &[u8]) -> Result<EventId, Error> {
    EventId::parse(text).ok_or(Error::BadId("an event id must be <milliseconds>-<sequence>"))
}

/// The token of UNIQUE.
///
/// # Errors
/// [`Error::Usage`] if it is empty, [`Error::Limit`] if it is too long.
pub fn token(text: &[u8]) -> Result<&[u8], Error> {
    if text.is_empty() {
        return Err(Error::Usage("a token must have at least one byte"));
    }
    if text.len() > MAX_TOKEN_BYTES {
        return Err(Error::Limit("bytes of a token", MAX_TOKEN_BYTES as u64));
    }
    Ok(text)
}

/// The option `RING ring`, alone.
///
/// # Errors
/// [`Error::Syntax`], [`Error::Name`].
pub fn only_ring(words: &mut Words<'_>) -> Result<Name, Error> {
    let mut ring = None;
    while let Some(word) = words.next() {
        if !is(word, "RING") {
            return Err(Error::syntax(word));
        }
        let name = Name::ring(words.value(word)?)?;
        once(&mut ring, word, name)?;
    }
    Ok(ring.unwrap_or_else(Name::default_name))
}

/// A partition as a client gives it: by number, or by its stream key, which names the ring too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartitionArg {
    /// A number within the ring that RING names, or the default ring.
    Number(u32),
    /// `evq:{<ring>:<p>}`.
    Key(Name, u32),
}

impl PartitionArg {
    /// Reads a partition argument.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is neither form.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if let Some((ring, partition)) = parse_stream_key(text) {
            return Ok(Self::Key(ring, partition));
        }
        match decimal(text) {
            // A number that no ring can have is still a number: the answer is EVQNOPARTITION.
            Some(n) => Ok(Self::Number(u32::try_from(n).unwrap_or(u32::MAX))),
            None => Err(Error::Usage("a partition must be a number or its stream key")),
        }
    }

    /// The ring and number meant, together with the `RING` option if it was given.
    ///
    /// # Errors
    /// [`Error::Usage`] if a stream key and `RING` name different rings.
    pub fn resolve(self, ring: Option<Name>) -> Result<(Name, u32), Error> {
        match (self, ring) {
            (Self::Number(n), ring) => Ok((ring.unwrap_or_else(Name::default_name), n)),
            (Self::Key(name, n), None) => Ok((name, n)),
            (Self::Key(name, n), Some(ring)) if name == ring => Ok((name, n)),
            (Self::Key(..), Some(_)) => {
                Err(Error::Usage("RING and the stream key name different rings"))
            }
        }
    }
}

/// A partition argument, or `*` for every partition of the ring.
///
/// # Errors
/// As [`PartitionArg::parse`] and [`PartitionArg::resolve`].
pub fn partition_or_all(text: &[u8], ring: Option<Name>) -> Result<(Name, Option<u32>), Error> {
    if text == b"*" {
        return Ok((ring.unwrap_or_else(Name::default_name), None));
    }
    let (ring, partition) = PartitionArg::parse(text)?.resolve(ring)?;
    Ok((ring, Some(partition)))
}

/// The form of a description in the reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As maps, arrays, numbers and strings of the protocol.
    #[default]
    Native,
    /// As one JSON document.
    Json,
}

impl Format {
    /// Takes `word` if it is `JSON`; false if it is another word.
    ///
    /// # Errors
    /// [`Error::Syntax`] if it was given before.
    pub fn take(slot: &mut Option<Self>, word: &[u8]) -> Result<bool, Error> {
        let taken = is(word, "JSON");
        if taken {
            once(slot, word, Self::Json)?;
        }
        Ok(taken)
    }
}

/// `[ring] [JSON]`: which ring, in which format. A single word JSON is the format; a ring of that
/// name is described by `json JSON`.
///
/// # Errors
/// [`Error::Name`], [`Error::Syntax`].
pub fn ring_and_format(command: &'static str, all: &[&[u8]]) -> Result<(Name, Format), Error> {
    let mut words = Words::new(command, all);
    let asked = match (words.next(), words.next()) {
        (None, _) => (Name::default_name(), Format::Native),
        (Some(word), None) if is(word, "JSON") => (Name::default_name(), Format::Json),
        (Some(name), None) => (Name::ring(name)?, Format::Native),
        (Some(name), Some(word)) if is(word, "JSON") => (Name::ring(name)?, Format::Json),
        (Some(_), Some(word)) => return Err(Error::syntax(word)),
    };
    words.end()?;
    Ok(asked)
}

/// The place where a group begins or goes on, as EVQ.GROUP and EVQ.SEEK take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// Before the first event that is retained.
    First,
    /// After the last event at this moment.
    Last,
    /// After this event, as XGROUP CREATE.
    After(EventId),
    /// With the first event of this unix time in ms or later.
    Time(u64),
}

impl Start {
    /// Reads `first`, `last`, `<ms>-<seq>` or `<unix ms>`.
    ///
    /// # Errors
    /// [`Error::BadId`] if it is none of them.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        if is(text, "FIRST") {
            Ok(Self::First)
        } else if is(text, "LAST") {
            Ok(Self::Last)
        } else if let Some(ms) = decimal(text) {
            Ok(Self::Time(ms))
        } else {
            EventId::parse(text)
                .map(Self::After)
                .ok_or(Error::BadId("a start must be first, last, an id or unix milliseconds"))
        }
    }

    /// The cursor it means in a partition whose last event is `last`. Nothing is skipped that has
    /// yet to come: a start in the future is the last event.
    #[must_use]
    pub fn cursor(self, last: EventId) -> EventId {
        let cursor = match self {
            Self::First => EventId::ZERO,
            Self::Last => last,
            Self::After(id) => id,
            Self::Time(ms) => {
                ms.checked_sub(1).map_or(EventId::ZERO, |ms| EventId { ms, seq: u64::MAX })
            }
        };
        cursor.min(last)
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
