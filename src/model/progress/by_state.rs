//! How many exceptions of a group wait for what: kept as they come and go, so that nobody has to
//! go through them to tell.

/// What an exception waits for, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Retry,
    Held,
    Dead,
    Finished,
}

/// How many exceptions are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByState {
    /// They wait for their time.
    pub retry: u32,
    /// An earlier event of their key comes first.
    pub held: u32,
    /// An operator decides.
    pub dead: u32,
    /// They only wait for the cursor.
    pub finished: u32,
}

impl ByState {
    /// Those that are not finished.
    #[must_use]
    pub fn unfinished(self) -> u64 {
        u64::from(self.retry) + u64::from(self.held) + u64::from(self.dead)
    }

    /// One more in this state.
    pub(super) fn add(&mut self, kind: Kind) {
        let count = self.of(kind);
        *count = count.saturating_add(1);
    }

    /// One fewer in this state.
    pub(super) fn remove(&mut self, kind: Kind) {
        let count = self.of(kind);
        *count = count.saturating_sub(1);
    }

    fn of(&mut self, kind: Kind) -> &mut u32 {
        match kind {
            Kind::Retry => &mut self.retry,
            Kind::Held => &mut self.held,
            Kind::Dead => &mut self.dead,
            Kind::Finished => &mut self.finished,
        }
    }
}
