//! Which one of several values it is, however equal they are: for what is remembered of a value and
//! must never be taken for another one's, not even one that lies in the same place later.

use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A number that no other value of this process has or had. A copy is another value, which may
/// change in another way, so it has another number. Nothing is decided by it: only whether something
/// has to be looked at again.
#[derive(Debug)]
pub(in crate::model) struct Identity(u64);

impl Identity {
    /// The number.
    pub(in crate::model) fn number(&self) -> u64 {
        self.0
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self::default()
    }
}
