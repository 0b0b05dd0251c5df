//! What happens to workers and to the server from outside: connections that close, time, operators,
//! hands in the stream, crashes. And how it ends: a patient worker finishes everything.

use super::truth::{End, Stage};
use super::worker::{By, LEASE_MS, Memory, Simulation, Wanted};
use super::world::Logged;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::progress::lease::Pace;
use crate::model::ring::group::Group;
use crate::model::rules::ready::{Ready, Taker};

/// How long everybody's patience lasts: past every backoff.
const PATIENCE_MS: u64 = 1_000_000;

thread_local! {
    /// A planted flaw: nobody looks for what waits and was deleted.
    pub(super) static BLIND: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl Simulation {
    pub(super) fn release(&mut self, w: usize, g: usize, by: By) {
        self.stop_waiting(w);
        let caller = self.caller(w, g, by);
        let may = self.may(w, g, &caller);
        let released = self.world.release(g, &caller);
        assert_eq!(released.is_ok(), may, "who may release");
        if may {
            self.hand_over(g);
        }
    }

    /// The worker's process dies: its connection closes, and it forgets what it was given.
    pub(super) fn crash(&mut self, w: usize) {
        self.disconnect(w);
        self.workers[w].memory = Default::default();
    }

    /// Its connection closes; it comes back through another one.
    pub(super) fn disconnect(&mut self, w: usize) {
        self.close(self.workers[w].connection);
        self.connect(w);
    }

    /// It goes on through another connection of its pool.
    pub(super) fn switch(&mut self, w: usize) {
        self.stop_waiting(w);
        self.open.push(self.workers[w].connection);
        self.connect(w);
    }

    /// One of the idle connections of the pools closes.
    pub(super) fn close_idle(&mut self, nth: usize) {
        if !self.open.is_empty() {
            let connection = self.open.remove(nth % self.open.len());
            self.close(connection);
        }
    }

    fn connect(&mut self, w: usize) {
        self.connections += 1;
        self.workers[w].connection = self.connections;
    }

    fn close(&mut self, connection: u64) {
        self.world.gone.insert(connection);
        for side in &mut self.world.sides {
            side.blocked.take_if(|waiting| waiting.caller.connection == Some(connection));
            side.standbys.retain(|waiting| waiting.caller.connection != Some(connection));
            side.any_line.retain(|waiting| waiting.caller.connection != Some(connection));
            if let Some(owner) = &mut side.truth.owner
                && owner.connection == connection
            {
                owner.gone = true;
            }
        }
    }

    pub(super) fn sweep(&mut self) {
        for connection in std::mem::take(&mut self.world.gone) {
            for g in 0..self.world.sides.len() {
                let progress = self.world.progress(g);
                let lease = progress.lease().filter(|l| l.connection == Some(connection));
                match lease.map(|lease| lease.worker.is_some()) {
                    None => {}
                    Some(true) => self.world.volatile(g, Progress::abandon_lease),
                    Some(false) => self.world.lose_lease(g),
                }
            }
        }
        for g in 0..self.world.sides.len() {
            if !BLIND.get() {
                self.world.finish_removed(g, 3);
            }
            let held = self.world.held_behind_nothing(g);
            assert!(held.is_empty(), "{held:?} were deleted and hold their keys");
            self.hand_over(g);
            self.call(g);
            self.look_for(g);
        }
    }

    /// Gives a free lease to the first in line.
    pub(super) fn hand_over(&mut self, g: usize) {
        let (now, scene, progress) =
            (self.world.now(), self.world.scene(g), self.world.progress(g));
        if !progress.is_free(now, scene) {
            return;
        }
        let epoch = progress.next_epoch(now);
        if let Some(waiting) = self.world.sides[g].standbys.pop_front() {
            self.granted(waiting.worker, g, &waiting.caller, epoch);
            self.world.sides[g].blocked = Some(waiting);
            self.look_for(g);
        }
    }

    /// Calls a worker that takes any partition.
    fn call(&mut self, g: usize) {
        let (now, scene, progress) =
            (self.world.now(), self.world.scene(g), self.world.progress(g));
        if scene.queue || !progress.is_free(now, scene) {
            return;
        }
        if self.world.prepare(g, now, Taker::Next) == Ready::Work
            && let Some(waiting) = self.world.sides[g].any_line.pop_front()
        {
            self.serve(g, &waiting, true);
        }
    }

    /// Serves the owner that waits, if there is anything for it.
    pub(super) fn look_for(&mut self, g: usize) {
        let Some(waiting) = self.world.sides[g].blocked.clone() else { return };
        if self.world.prepare(g, self.world.now(), Taker::Owner) == Ready::Work {
            self.world.sides[g].blocked = None;
            self.serve(g, &waiting, true);
        }
    }

    pub(super) fn clock(&mut self, ms: i64) {
        let moved = self.world.now_ms.saturating_add_signed(ms);
        self.world.now_ms = moved.max(self.world.earliest_ms);
    }

    /// The server changes its role and back: every lease is over, nothing is lost.
    pub(super) fn new_era(&mut self) {
        self.world.era += 1;
        self.world.gone.clear();
        for side in &mut self.world.sides {
            side.truth.end_lease(&side.group, &self.world.stream, End::Dropped);
            side.blocked = None;
        }
    }

    /// Somebody deletes the `nth` event by hand, or all up to it.
    pub(super) fn delete(&mut self, nth: usize, all_before: bool) {
        let ids: Vec<EventId> = self.world.stream.events.iter().map(|event| event.id).collect();
        let Some(at) = nth.checked_rem(ids.len()) else { return };
        for id in if all_before { &ids[..=at] } else { &ids[at..=at] } {
            self.world.push(Logged::Delete(*id));
        }
    }

    /// EVQ.GROUP. TYPES changes only where nothing is in flight: what is, is anybody's guess.
    pub(super) fn set_group(&mut self, g: usize, change: impl FnOnce(&mut Group)) {
        let side = &mut self.world.sides[g];
        let mut group = side.group.clone();
        change(&mut group);
        if side.group.types != group.types {
            if side.truth.in_flight(&side.group, &self.world.stream).is_empty() {
                side.truth.change_types(&self.world.stream, &side.group, &group);
            } else {
                group.types.clone_from(&side.group.types);
            }
        }
        self.world.push(Logged::Settings(g, group));
        self.world.remember();
    }

    /// EVQ.SEEK behind the `nth` event; behind none to the beginning.
    pub(super) fn seek(&mut self, g: usize, nth: usize) {
        let events = &self.world.stream.events;
        let cursor = match (nth % (events.len() + 1)).checked_sub(1) {
            Some(at) => events[at].id,
            None => EventId::ZERO,
        };
        self.world.seek(g, cursor);
        let epoch = self.world.progress(g).epoch();
        let truth = &mut self.world.sides[g].truth;
        assert!(epoch > truth.epoch);
        truth.epoch = epoch;
        truth.seek(&self.world.stream, cursor);
        self.world.remember();
        self.world.fence_owner(g, None);
        self.hand_over(g);
    }

    pub(super) fn restart(&mut self, lost: usize) {
        self.world.restart(lost);
        self.open.clear();
        (0..self.workers.len()).for_each(|w| self.connect(w));
    }

    /// Whoever comes last finishes everything that is not dead; after an operator's RETRY that too.
    pub(super) fn finish(&mut self) {
        for w in 0..self.workers.len() {
            self.crash(w);
        }
        self.sweep();
        for g in 0..self.world.sides.len() {
            // What is dead may fill the room for what waits: each round makes some.
            for _ in 0..100 {
                self.drain(g);
                // What is dead and was deleted cannot start again.
                let retried = self.world.resolve(g, None, true).is_empty();
                if retried && self.world.resolve(g, None, false).is_empty() {
                    break;
                }
            }
            let side = &self.world.sides[g];
            for event in &self.world.stream.events {
                let fact = side.truth.lasting.of(event.id);
                let over = matches!(fact.stage, Stage::Finished | Stage::Skipped);
                assert!(
                    over || fact.vague || !side.group.takes(&event.kind),
                    "{} is never finished: {fact:?}, {:?}",
                    event.id,
                    self.world.progress(g)
                );
            }
        }
    }

    /// A worker that always succeeds, until there is nothing for it.
    fn drain(&mut self, g: usize) {
        let events = self.world.stream.events.len();
        self.world.now_ms += PATIENCE_MS;
        for _ in 0..=3 * events + 3 {
            self.clock(i64::try_from(LEASE_MS).unwrap());
            // A null may also mean that a bounded step was taken.
            let state = |simulation: &Self| {
                let progress = simulation.world.progress(g);
                (progress.cursor(), progress.exceptions().clone())
            };
            let before = state(self);
            let (by, pace) = (By::Connection, Pace::Steady);
            self.pull(0, Wanted { g, by, any: false, count: 3, pace, block: false });
            let given = std::mem::take(&mut self.workers[0].memory[g].given);
            if given.is_empty() && before == state(self) {
                let memory = Memory { epoch: Some(self.world.sides[g].truth.epoch), given };
                self.workers[0].memory[g] = memory;
                return;
            }
            for id in given {
                self.workers[0].memory[g].given = vec![id];
                self.ack(0, g, By::Epoch, 0);
            }
            self.workers[0].memory[g].given.clear();
            self.world.check_state();
        }
        panic!("an endless stream: {:?}", self.world.progress(g));
    }
}
