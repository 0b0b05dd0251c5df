//! A process-unique id of a value, so that facts remembered about it never apply to another one,
//! however equal, nor to one that lies in the same place later.

use std::sync::atomic::{AtomicU64, Ordering};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A number that no other value of this process has or had. A copy is another value and may change
/// in another way, so it gets another number. It only decides whether facts have to be found out
/// again.
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
