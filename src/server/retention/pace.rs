//! How much one step removes: less where that takes long, as with large events.

use std::time::Duration;

/// How long one sweep removes: the longest that clients wait for it, but for its last step.
pub(super) const SLICE: Duration = Duration::from_millis(1);

/// Entries that one step removes at most.
pub(super) const MOST: u64 = 1000;
/// Entries that the first step removes.
const FIRST: u64 = 100;

/// The size of the next step. It grows and shrinks with the time that the last one took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace(u64);

impl Pace {
    pub(super) const fn new() -> Self {
        Self(FIRST)
    }

    /// Entries that the next step removes at most.
    pub(super) fn step(self) -> u64 {
        self.0
    }

    /// A whole step took so long.
    pub(super) fn took(&mut self, time: Duration) {
        if time < SLICE / 8 {
            self.0 = (self.0 * 2).min(MOST);
        } else if time > SLICE / 4 {
            self.0 = (self.0 / 2).max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_grow_while_they_are_short_and_shrink_where_they_are_long() {
        let mut pace = Pace::new();
        (0..9).for_each(|_| pace.took(SLICE / 10));
        assert_eq!(pace.step(), MOST);
        pace.took(SLICE / 5);
        assert_eq!(pace.step(), MOST);
        (0..99).for_each(|_| pace.took(SLICE));
        assert_eq!(pace.step(), 1);
    }
}
