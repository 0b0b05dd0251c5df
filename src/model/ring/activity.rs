//! The last request of a group's workers. Volatile: after a start, a load or a change of role it is
//! not known, and the time without workers is counted from there.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::now::Now;

/// The last time, in unix ms; 0 is not known. Shared by all who hold the group's settings, and
/// written by the server's main thread only.
#[derive(Debug, Default)]
pub struct Activity(AtomicU64);

impl Activity {
    /// A worker asks.
    pub fn note(&self, now: Now) {
        self.0.store(now.ms(), Ordering::Relaxed);
    }

    /// The last time, in unix ms; 0 is not known.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// For how long no worker has asked, as far back as `since_ms`. Where it is not known, the
    /// time begins now.
    pub fn idle_ms(&self, now: Now, since_ms: u64) -> u64 {
        if self.last_ms() == 0 {
            self.note(now);
        }
        now.ms().saturating_sub(self.last_ms().max(since_ms))
    }
}

impl Clone for Activity {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.last_ms()))
    }
}

/// It is no part of what a group is.
impl PartialEq for Activity {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for Activity {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_begins_with_the_last_request_or_when_it_is_first_looked_at() {
        let at = |ms: u64| Now { unix_us: ms * 1000 };
        let activity = Activity::default();
        assert_eq!(activity.idle_ms(at(500), 0), 0);
        assert_eq!(activity.idle_ms(at(700), 0), 200);
        activity.note(at(900));
        assert_eq!(activity.idle_ms(at(1000), 0), 100);
        assert_eq!(activity.idle_ms(at(1000), 970), 30);
        assert_eq!(activity.idle_ms(at(100), 0), 0);
    }
}
