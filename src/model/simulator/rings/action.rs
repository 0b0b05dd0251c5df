//! One step of a history, as proptest makes it up and prints it, and what it does.

use proptest::prelude::*;

use super::play::{Play, WORKERS};
use super::world::GROUPS;
use crate::model::progress::lease::Pace;
use crate::model::simulator::action::pace;
use crate::model::simulator::stream::Nature;

#[derive(Clone, Debug)]
pub(super) enum Action {
    Trigger {
        key: u8,
        kind: u8,
        nature: Nature,
        count: u8,
    },
    Resize(Vec<u32>),
    /// From the `nth` partition, or from any.
    Pull {
        w: usize,
        g: usize,
        nth: Option<usize>,
        count: u64,
        pace: Pace,
    },
    Ack {
        w: usize,
        g: usize,
        nth: usize,
    },
    Nack {
        w: usize,
        g: usize,
        nth: usize,
        delay_ms: u64,
    },
    /// The worker handles all it has, as the events are.
    Handle {
        w: usize,
        g: usize,
    },
    Crash(usize),
    Clock(i64),
    /// The group goes back or ahead in the `nth` partition, or in all.
    Seek {
        g: usize,
        nth: Option<usize>,
        event: usize,
    },
    /// EVQ.DEAD RETRY or SKIP of all.
    Dead {
        g: usize,
        retry: bool,
    },
    /// EVQ.REPLAY of a key.
    Replay {
        g: usize,
        key: u8,
    },
    /// The oldest events of a partition go: those that all have finished, or whatever they are.
    Trim {
        nth: usize,
        count: usize,
        by_hand: bool,
    },
    Tidy,
    /// The delivery state of a partition is replaced by its copy, as by COPY and RENAME.
    Copy(usize),
    DeleteGroup(usize),
    Restart {
        lost: usize,
    },
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    let nature = prop_oneof![8 => Just(Nature::Healthy), 1 => Just(Nature::Fails)];
    let who = (0..WORKERS, prop_oneof![3 => Just(0), 3 => Just(1), 1 => Just(2usize)]);
    let some = || prop::option::of(0..6usize);
    prop_oneof![
        40 => (0..8u8, 0..3u8, nature, 1..4u8)
            .prop_map(|(key, kind, nature, count)| Action::Trigger { key, kind, nature, count }),
        12 => prop::collection::vec(1..3u32, 1..6).prop_map(Action::Resize),
        60 => (who.clone(), some(), 1..5u64, pace())
            .prop_map(|((w, g), nth, count, pace)| Action::Pull { w, g, nth, count, pace }),
        30 => (who.clone(), 0..8usize).prop_map(|((w, g), nth)| Action::Ack { w, g, nth }),
        20 => (who.clone(), 0..8usize, prop_oneof![Just(0), 1..200u64])
            .prop_map(|((w, g), nth, delay_ms)| Action::Nack { w, g, nth, delay_ms }),
        30 => who.prop_map(|(w, g)| Action::Handle { w, g }),
        6 => (0..WORKERS).prop_map(Action::Crash),
        12 => (-50..300i64).prop_map(Action::Clock),
        4 => (0..GROUPS, some(), 0..20usize)
            .prop_map(|(g, nth, event)| Action::Seek { g, nth, event }),
        5 => (0..GROUPS, any::<bool>()).prop_map(|(g, retry)| Action::Dead { g, retry }),
        6 => (0..GROUPS, 0..8u8).prop_map(|(g, key)| Action::Replay { g, key }),
        8 => (0..6usize, 1..6usize, prop::bool::weighted(0.2))
            .prop_map(|(nth, count, by_hand)| Action::Trim { nth, count, by_hand }),
        8 => Just(Action::Tidy),
        2 => (0..6usize).prop_map(Action::Copy),
        1 => (0..GROUPS).prop_map(Action::DeleteGroup),
        4 => (0..6usize).prop_map(|lost| Action::Restart { lost }),
    ]
}

impl Play {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Trigger { key, kind, nature, count } => {
                (0..count).for_each(|_| self.world.trigger(key, kind, nature));
            }
            Action::Resize(weights) => drop(self.world.resize(weights)),
            Action::Pull { w, g, nth, count, pace } => {
                self.world.join(g);
                self.pull(w, g, nth, count, pace);
            }
            Action::Ack { w, g, nth } => {
                if let Some((p, id)) = self.remembered(w, g, nth) {
                    self.ack(w, p, g, id);
                }
            }
            Action::Nack { w, g, nth, delay_ms } => {
                if let Some((p, id)) = self.remembered(w, g, nth) {
                    self.nack(w, p, g, id, delay_ms);
                }
            }
            Action::Handle { w, g } => self.handle(w, g),
            Action::Crash(w) => self.crash(w),
            Action::Clock(ms) => {
                self.world.now_ms = self.world.now_ms.saturating_add_signed(ms);
            }
            Action::Seek { g, nth, event } => self.seek(g, nth, event),
            Action::Dead { g, retry } => self.resolve(g, retry),
            Action::Replay { g, key } => self.replay(g, key),
            Action::Trim { nth, count, by_hand } => self.trim(nth, count, by_hand),
            Action::Tidy => self.world.tidy(),
            Action::Copy(nth) => self.copy(nth),
            Action::DeleteGroup(g) => self.delete_group(g),
            Action::Restart { lost } => {
                self.world.restart(lost);
                (0..WORKERS).for_each(|w| self.connect(w));
            }
        }
        self.world.check_state();
    }
}
