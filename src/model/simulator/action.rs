//! One step of a history: what happens next, as proptest makes it up and prints it.

use proptest::prelude::*;

use super::stream::Nature;
use super::worker::{By, Simulation, Wanted};
use crate::model::progress::lease::Pace;
use crate::model::ring::group::OnDead;

pub(super) const WORKERS: usize = 4;

#[derive(Clone, Debug)]
pub(super) enum Action {
    Trigger {
        key: u8,
        kind: u8,
        nature: Nature,
        count: u8,
    },
    Pull {
        w: usize,
        g: usize,
        by: By,
        any: bool,
        count: u8,
        pace: Pace,
        block: bool,
    },
    Ack {
        w: usize,
        g: usize,
        by: By,
        nth: usize,
    },
    Nack {
        w: usize,
        g: usize,
        by: By,
        nth: usize,
        delay_ms: Option<u64>,
    },
    /// The worker handles all it has, as the events are.
    Handle {
        w: usize,
        g: usize,
        by: By,
    },
    Extend {
        w: usize,
        g: usize,
        by: By,
        lease_ms: u64,
    },
    Release {
        w: usize,
        g: usize,
        by: By,
    },
    Crash(usize),
    Disconnect(usize),
    Switch(usize),
    CloseIdle(usize),
    Sweep,
    Clock(i64),
    Delete {
        nth: usize,
        all_before: bool,
    },
    Attempts {
        g: usize,
        max: u32,
    },
    Backoff {
        g: usize,
        min_ms: u64,
    },
    OnDead {
        g: usize,
        policy: OnDead,
    },
    Types {
        g: usize,
        kinds: Vec<u8>,
    },
    Seek {
        g: usize,
        nth: usize,
    },
    /// EVQ.DEAD RETRY or SKIP, of one or of all.
    Dead {
        g: usize,
        nth: Option<usize>,
        retry: bool,
    },
    /// EVQ.REPLAY, from the beginning or after the `nth` event.
    Replay {
        g: usize,
        key: u8,
        nth: Option<usize>,
    },
    Restart {
        lost: usize,
    },
    NewEra,
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![
        3 => Just(By::Connection),
        3 => Just(By::Name),
        3 => Just(By::Epoch),
        1 => Just(By::NameAndEpoch),
        1 => Just(By::Script),
    ]
}

pub(super) fn pace() -> impl Strategy<Value = Pace> {
    prop_oneof![Just(Pace::Ahead), Just(Pace::Steady)]
}

/// A worker and a group. Few, so that they meet.
fn who() -> impl Strategy<Value = (usize, usize, By)> {
    (prop_oneof![3 => Just(0), 2 => Just(1), 1 => 2..WORKERS], 0..2usize, by())
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    let nature = prop_oneof![
        6 => Just(Nature::Healthy),
        1 => Just(Nature::Fails),
        1 => Just(Nature::Kills)
    ];
    let delay_ms = prop::option::of(prop_oneof![Just(0), 1..200u64]);
    let count = prop_oneof![2 => Just(1u8), 3 => 2..7u8];
    prop_oneof![
        40 => (0..3u8, 0..3u8, nature, 1..4u8)
            .prop_map(|(key, kind, nature, count)| Action::Trigger { key, kind, nature, count }),
        60 => (who(), any::<bool>(), count, pace(), any::<bool>()).prop_map(
            |((w, g, by), any, count, pace, block)| {
                Action::Pull { w, g, by, any, count, pace, block }
            }
        ),
        50 => (who(), 0..8usize).prop_map(|((w, g, by), nth)| Action::Ack { w, g, by, nth }),
        40 => (who(), 0..8usize, delay_ms).prop_map(
            |((w, g, by), nth, delay_ms)| Action::Nack { w, g, by, nth, delay_ms }
        ),
        25 => who().prop_map(|(w, g, by)| Action::Handle { w, g, by }),
        3 => (who(), 1..200u64)
            .prop_map(|((w, g, by), lease_ms)| Action::Extend { w, g, by, lease_ms }),
        6 => who().prop_map(|(w, g, by)| Action::Release { w, g, by }),
        12 => (0..WORKERS).prop_map(Action::Crash),
        6 => (0..WORKERS).prop_map(Action::Disconnect),
        4 => (0..WORKERS).prop_map(Action::Switch),
        3 => (0..4usize).prop_map(Action::CloseIdle),
        25 => Just(Action::Sweep),
        25 => (-150..300i64).prop_map(Action::Clock),
        6 => (0..40usize, prop::bool::weighted(0.2))
            .prop_map(|(nth, all_before)| Action::Delete { nth, all_before }),
        2 => (0..2usize, 1..5u32).prop_map(|(g, max)| Action::Attempts { g, max }),
        2 => (0..2usize, 0..100u64).prop_map(|(g, min_ms)| Action::Backoff { g, min_ms }),
        2 => (0..2usize, prop_oneof![Just(OnDead::Skip), Just(OnDead::Hold)])
            .prop_map(|(g, policy)| Action::OnDead { g, policy }),
        2 => (0..2usize, prop::sample::subsequence(vec![0u8, 1, 2], 0..3))
            .prop_map(|(g, kinds)| Action::Types { g, kinds }),
        3 => (0..2usize, 0..40usize).prop_map(|(g, nth)| Action::Seek { g, nth }),
        10 => (0..2usize, prop::option::of(0..8usize), any::<bool>())
            .prop_map(|(g, nth, retry)| Action::Dead { g, nth, retry }),
        6 => (0..2usize, 0..3u8, prop::option::weighted(0.3, 0..40usize))
            .prop_map(|(g, key, nth)| Action::Replay { g, key, nth }),
        6 => (0..6usize).prop_map(|lost| Action::Restart { lost }),
        2 => Just(Action::NewEra),
    ]
}

impl Simulation {
    pub(super) fn act(&mut self, action: Action) {
        let cursors = |simulation: &Self| [0, 1].map(|g| simulation.world.progress(g).cursor());
        let before = cursors(self);
        let goes_back = matches!(action, Action::Seek { .. } | Action::Restart { .. });
        match action {
            Action::Trigger { key, kind, nature, count } => {
                (0..count).for_each(|_| self.world.trigger(key, kind, nature));
            }
            Action::Pull { w, g, by, any, count, pace, block } => {
                self.pull(w, Wanted { g, by, any, count: count.into(), pace, block });
            }
            Action::Ack { w, g, by, nth } => self.ack(w, g, by, nth),
            Action::Nack { w, g, by, nth, delay_ms } => self.nack(w, g, by, nth, delay_ms),
            Action::Handle { w, g, by } => self.handle(w, g, by),
            Action::Extend { w, g, by, lease_ms } => self.extend(w, g, by, lease_ms),
            Action::Release { w, g, by } => self.release(w, g, by),
            Action::Crash(w) => self.crash(w),
            Action::Disconnect(w) => self.disconnect(w),
            Action::Switch(w) => self.switch(w),
            Action::CloseIdle(nth) => self.close_idle(nth),
            Action::Sweep => self.sweep(),
            Action::Clock(ms) => self.clock(ms),
            Action::Delete { nth, all_before } => self.delete(nth, all_before),
            Action::Attempts { g, max } => self.set_group(g, |group| group.max_attempts = max),
            Action::Backoff { g, min_ms } => self.set_group(g, |group| {
                (group.backoff_min_ms, group.backoff_max_ms) = (min_ms, min_ms * 4);
            }),
            Action::OnDead { g, policy } => self.set_group(g, |group| group.on_dead = policy),
            Action::Types { g, kinds } => self.set_group(g, |group| {
                group.types = kinds.iter().map(|kind| Box::from([*kind])).collect();
            }),
            Action::Seek { g, nth } => self.seek(g, nth),
            Action::Dead { g, nth, retry } => drop(self.world.resolve(g, nth, retry)),
            Action::Replay { g, key, nth } => self.replay(g, key, nth),
            Action::Restart { lost } => self.restart(lost),
            Action::NewEra => self.new_era(),
        }
        self.world.check_state();
        let after = cursors(self);
        assert!(goes_back || before[0] <= after[0] && before[1] <= after[1], "a cursor goes back");
    }
}
