//! Retention settings of a ring: how many events its partitions keep, and for how long.
//!
//! Under [`Trim::Finished`] an event may go once every group of the ring has finished it; a ring
//! without groups needs none of its events. MAXLEN and MAXAGE are applied in the background, in
//! bounded steps. MAXDEPTH is a bound on the stream itself: at it finished events go early, and if
//! that does not make room producers are refused. What follows from the settings at one moment is
//! in [`crate::model::rules::trim`].

use serde::{Deserialize, Serialize};

use crate::model::error::Error;
use crate::model::limits::{MAX_DURATION_MS, MAX_KEPT_EVENTS};

/// The events that MAXLEN and MAXAGE may remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trim {
    /// Only events that every group has finished.
    #[default]
    Finished,
    /// The oldest, finished or not.
    Any,
}

impl Trim {
    /// As EVQ.CREATE takes it and EVQ.RING shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Any => "any",
        }
    }
}

/// A ring's settings about how long its events are kept, each for one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// Entries the stream may have before producers are pushed back.
    pub max_depth: Option<u64>,
    /// Entries to keep.
    pub max_len: Option<u64>,
    /// The age up to which entries are kept; 0 is for ever, none the server's setting.
    pub max_age_ms: Option<u64>,
    /// The events that the two above may remove.
    pub trim: Trim,
}

impl Retention {
    /// Refuses what no EVQ.CREATE could have made: a snapshot is hostile bytes.
    ///
    /// # Errors
    /// The limit that is exceeded.
    pub fn check(&self) -> Result<(), Error> {
        let counts = [self.max_depth, self.max_len];
        if counts.contains(&Some(0)) {
            return Err(Error::Usage("MAXDEPTH and MAXLEN must be at least 1"));
        }
        if counts.iter().flatten().any(|count| *count > MAX_KEPT_EVENTS) {
            return Err(Error::Limit("events to keep in a partition", MAX_KEPT_EVENTS));
        }
        if self.max_age_ms.is_some_and(|ms| ms > MAX_DURATION_MS.unsigned_abs()) {
            return Err(Error::Limit("MAXAGE in milliseconds", MAX_DURATION_MS.unsigned_abs()));
        }
        Ok(())
    }

    /// The age up to which entries are kept, where the server's setting is `default_ms`; none for
    /// ever.
    #[must_use]
    pub fn age_ms(&self, default_ms: u64) -> Option<u64> {
        Some(self.max_age_ms.unwrap_or(default_ms)).filter(|ms| *ms > 0)
    }

    /// The settings for a partition that takes no new events. MAXLEN alone would keep its last
    /// events for ever, as nothing comes that pushes them out; so there it keeps nothing that is
    /// finished.
    #[must_use]
    pub fn of_leaving(self, default_ms: u64) -> Self {
        let alone = self.max_len.is_some() && self.age_ms(default_ms).is_none();
        Self { max_depth: if alone { Some(0) } else { self.max_depth }, ..self }
    }
}
