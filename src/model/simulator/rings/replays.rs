//! EVQ.REPLAY of a key that may have lived in several partitions: everything of it that is retained
//! and was handed out comes again, wherever it lies.

use std::rc::Rc;

use super::play::Play;
use super::truth::{Stage, Truth};
use super::world::name;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::limits::{MAX_EXCEPTIONS, MAX_REPLAY, MAX_REPLAY_READ};
use crate::model::parse::Start;
use crate::model::ring::homes::Homes;
use crate::model::rules::replay::Request;
use crate::model::rules::source::Source;

impl Truth {
    /// These events of a partition begin anew. They are back in the order of their key.
    pub(super) fn replay(&mut self, p: u32, events: &[EventId]) {
        for id in events {
            self.again((p, *id));
            let fact = Rc::make_mut(&mut self.facts).entry((p, *id)).or_default();
            (fact.stage, fact.left) = (Stage::Open, false);
        }
    }
}

impl Play {
    pub(super) fn replay(&mut self, g: usize, key: u8) {
        if !self.world.has(g) {
            return;
        }
        let now = self.world.ring.continuum().route(&[key]);
        let mut homes = Homes::of(&self.world.ring).before(&self.world.ring, &[key], now);
        homes.retain(|p| self.world.live().contains(p));
        homes.push(now);
        let settings = self.world.ring.group(&name(g)).expect("it has it").clone();
        let truth = &self.world.truths[g];
        let of_key = self.world.triggered.iter().filter(|(p, event)| {
            event.key == [key]
                && settings.takes(&event.kind)
                && self.world.stream(*p).get(event.id).is_some()
        });
        let all: Vec<(u32, EventId)> = of_key.map(|(p, event)| (*p, event.id)).collect();
        let must_come = |at: &&(u32, EventId)| {
            truth.fact(**at).stage != Stage::Open
                || truth.again.contains(*at)
                || truth.is_handed(**at)
        };
        let must_come: Vec<(u32, EventId)> = all.iter().filter(must_come).copied().collect();
        let most = |p: &u32| self.world.progress(*p, g).map_or(0, |all| all.exceptions().len());
        let most = homes.iter().map(most).max().unwrap_or_default();
        let reads: usize = homes.iter().map(|p| self.world.stream(*p).events.len()).sum();
        match self.world.replay(g, &homes, Request { key: &[key], from: Start::First }) {
            Ok(events) => {
                assert!(events.iter().all(|at| all.contains(at)), "{events:?}");
                let missed = must_come.iter().find(|at| !events.contains(at));
                assert_eq!(missed, None, "what was handed out comes again: {events:?}");
            }
            Err(Error::Limit(..)) => {
                let full = most + all.len() > MAX_EXCEPTIONS;
                let many = all.len() > MAX_REPLAY || reads + most > MAX_REPLAY_READ;
                assert!(full || many, "there is room");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
