//! The two lanes to a node, and the bounds of what may wait in them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most bytes that wait for one node in the data lane.
pub const DATA_BYTES: usize = 64 << 20;

/// The most bytes that wait for one node in the control lane.
pub const CONTROL_BYTES: usize = 8 << 20;

/// What a command is for. Each lane to a node has a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Events and what workers do with them.
    Data,
    /// Rings and groups: not to be held up by data.
    Control,
}

impl Lane {
    fn most(self) -> usize {
        match self {
            Self::Data => DATA_BYTES,
            Self::Control => CONTROL_BYTES,
        }
    }
}

/// The bytes that wait in one lane to one node.
#[derive(Debug, Default)]
pub(crate) struct Load(AtomicUsize);

impl Load {
    /// Room for `bytes`, until it is dropped; nothing if too much waits. What is larger than the
    /// bound is let through alone.
    pub(crate) fn enter(self: &Arc<Self>, lane: Lane, bytes: usize) -> Option<Room> {
        let fits = |waiting: usize| {
            let after = waiting.saturating_add(bytes);
            (waiting == 0 || after <= lane.most()).then_some(after)
        };
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Room { load: Arc::clone(self), bytes })
    }
}

/// Room in a lane.
#[derive(Debug)]
pub(crate) struct Room {
    load: Arc<Load>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.load.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Locks what no panic leaves half done: no code between locking and unlocking can fail.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
