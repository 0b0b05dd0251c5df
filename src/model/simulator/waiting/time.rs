//! How time passes: the timer, the clients that the server unblocks, the time of those that block
//! on a stream.

use super::clients::{Blocked, CLIENTS, Play};
use super::flaws::Flaw;
use super::world::Hands;
use crate::model::deadlines::Reason;
use crate::model::waiting::sweep;
use crate::model::waiting::waiter::Cause;

impl Play {
    /// The server unblocks the parked clients that it was told to.
    pub(super) fn unblock(&mut self) {
        while let Some(id) = self.world.unblocked.pop_front() {
            if let Some(c) = self.index(id).filter(|c| self.clients[*c].blocked.is_some()) {
                self.wake(c, Cause::Woken);
            }
        }
        self.catch_up();
    }

    /// The timer fires if anything is due, and the clients that are told have yet to come.
    pub(super) fn fire_if_due(&mut self) {
        if self.world.next_ms(Hands::None).is_some_and(|at_ms| at_ms <= self.world.now_ms) {
            self.fire(Hands::None);
        }
    }

    /// The server stands still: it does nothing, and time passes.
    pub(super) fn stall(&mut self, ms: u64) {
        self.unblock();
        self.world.now_ms += ms;
    }

    /// The timer fires.
    fn fire(&mut self, hands: Hands) {
        let (now, due) = (self.world.now(), self.world.take_due(hands));
        self.world.firing = true;
        self.world.continued.clear();
        if self.world.has(Flaw::Shuffled) {
            self.world
                .lines
                .queues
                .values_mut()
                .for_each(|q| q.standbys.make_contiguous().reverse());
        }
        sweep::end_waits(&mut self.world, due, now);
        if self.world.paused {
            let again = |reason: &Reason| !matches!(reason, Reason::Release | Reason::WaitEnd);
            let at_ms = self.world.now_ms + 20;
            due.iter().filter(again).for_each(|reason| self.world.arm(reason, at_ms));
        } else {
            sweep::sweep(&mut self.world, due, now);
        }
        while let Some(id) = self.world.lines.next_to_tell().copied() {
            let c = self.index(id).expect("it is there");
            if self.clients[c].blocked.as_ref().is_some_and(|blocked| blocked.on_stream) {
                self.wake(c, Cause::TimedOut);
            } else {
                self.world.unblocked.push_back(id);
            }
        }
        self.world.firing = false;
    }

    /// Lets time pass, and whatever is due happen when it is. Returns how often the timer fired.
    pub(super) fn pass(&mut self, ms: u64, hands: Hands) -> usize {
        let end_ms = self.world.now_ms + ms;
        let mut firings = 0;
        loop {
            self.unblock();
            self.check();
            let ends = self.clients.iter().filter_map(|client| client.blocked.as_ref());
            let ends = ends.filter(|blocked| blocked.on_stream).filter_map(|b| b.ends_ms).min();
            let next_ms = self.world.next_ms(hands);
            let Some(at_ms) = ends.into_iter().chain(next_ms).min().filter(|at| *at <= end_ms)
            else {
                break;
            };
            self.world.now_ms = self.world.now_ms.max(at_ms);
            if ends == Some(at_ms) {
                self.end_on_streams();
            } else {
                self.fire(hands);
                firings += 1;
                assert!(firings < 100_000, "the timer never rests");
            }
        }
        self.world.now_ms = self.world.now_ms.max(end_ms);
        firings
    }

    fn end_on_streams(&mut self) {
        for c in 0..CLIENTS {
            let over = |blocked: &Blocked| {
                blocked.on_stream && blocked.ends_ms.is_some_and(|ms| ms <= self.world.now_ms)
            };
            if self.clients[c].blocked.as_ref().is_some_and(over) {
                self.wake(c, Cause::TimedOut);
            }
        }
    }
}
