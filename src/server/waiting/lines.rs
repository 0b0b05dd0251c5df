//! The lines of this server. Everything runs on the server's main thread.

use std::cell::{Cell, RefCell};

use super::waiter::Client;
use crate::model::progress::Progress;
use crate::model::progress::lease::Scene;
use crate::model::waiting::line::Line;
use crate::model::waiting::lines::Lines;

thread_local! {
    static LINES: RefCell<Lines<Client>> = RefCell::default();
    /// [`Lines::awaits_appends`], the one thing EVQ.TRIGGER reads.
    static AWAITS_APPENDS: Cell<bool> = const { Cell::new(false) };
}

/// Reads the lines.
#[inline]
pub(crate) fn read<R>(answer: impl FnOnce(&Lines<Client>) -> R) -> R {
    LINES.with_borrow(answer)
}

/// Changes the lines. `act` must not call the server: it may call back.
#[inline]
pub(crate) fn change<R>(act: impl FnOnce(&mut Lines<Client>) -> R) -> R {
    LINES.with_borrow_mut(|lines| {
        let result = act(lines);
        AWAITS_APPENDS.set(lines.awaits_appends());
        result
    })
}

/// Whether an append may concern anybody whom the stream key does not wake.
#[inline]
pub(crate) fn awaits_appends() -> bool {
    AWAITS_APPENDS.get()
}

/// The current era: see [`Scene::era`].
#[inline]
pub(crate) fn era() -> u64 {
    read(Lines::era)
}

/// What is known about a line beside its saved progress.
#[inline]
pub(crate) fn scene(line: &Line, progress: Option<&Progress>) -> Scene {
    read(|lines| lines.scene(line, progress))
}

/// The same but for who waits: enough to tell whether a lease stands.
pub(crate) fn scene_of_lease(progress: &Progress) -> Scene {
    read(|lines| lines.scene_of_lease(Some(progress)))
}
