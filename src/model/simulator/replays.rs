//! EVQ.REPLAY in the simulation, and what the contract says of it: what of the key was handed out
//! and is retained comes again, from its beginning, and nothing else.

use std::collections::BTreeSet;

use super::truth::{Fact, Stage, Truth};
use super::worker::Simulation;
use super::world::saved;
use crate::model::error::Error;
use crate::model::hash::digest;
use crate::model::ids::EventId;
use crate::model::limits::{MAX_EXCEPTIONS, MAX_REPLAY, MAX_REPLAY_READ};
use crate::model::parse::Start;
use crate::model::rules::replay::Request;

impl Truth {
    /// These events begin anew. They are back in the order of their key.
    pub(super) fn replay(&mut self, events: &[EventId]) {
        for id in events {
            self.handed.remove(id);
            self.refused.remove(id);
            *self.lasting.fact(*id) = Fact { again: true, ..Fact::default() };
        }
    }

    /// Whether a replay from after `from` must bring the event.
    fn comes_again(&self, id: EventId, from: EventId) -> bool {
        let fact = self.lasting.of(id);
        match fact.stage {
            Stage::Open => fact.again || self.handed.contains_key(&id),
            Stage::Dead => true,
            Stage::Finished | Stage::Skipped => id > from,
        }
    }
}

impl Simulation {
    /// EVQ.REPLAY after the `nth` event; without it from the first.
    pub(super) fn replay(&mut self, g: usize, key: u8, nth: Option<usize>) {
        let ids: Vec<EventId> = self.world.stream.events.iter().map(|event| event.id).collect();
        let after = nth.and_then(|nth| ids.get(nth % ids.len().max(1)).copied());
        let (side, from) = (&self.world.sides[g], after.unwrap_or_default());
        let of_key = self.world.stream.events.iter().filter(|event| event.key == [key]);
        let taken: Vec<EventId> =
            of_key.filter(|event| side.group.takes(&event.kind)).map(|event| event.id).collect();
        let is_vague = |id: &EventId| side.truth.lasting.of(*id).vague;
        let wanted: BTreeSet<EventId> =
            taken.iter().copied().filter(|id| side.truth.comes_again(*id, from)).collect();
        let exceptions = self.world.progress(g).exceptions();
        // One of the key that was skipped was handed out too.
        let last = wanted.iter().copied().chain(exceptions.last_of_key(digest(&[key]))).max();
        let may_come: BTreeSet<EventId> = taken
            .iter()
            .copied()
            .filter(|id| {
                let open = side.truth.lasting.of(*id).stage == Stage::Open;
                wanted.contains(id) || is_vague(id) || open && Some(*id) <= last
            })
            .collect();
        let must_come: Vec<EventId> = wanted.into_iter().filter(|id| !is_vague(id)).collect();
        let (before, exceptions) = (saved(&self.world.partition), exceptions.len());
        let request = Request { key: &[key], from: after.map_or(Start::First, Start::After) };
        match self.world.replay(g, request) {
            Ok(events) => {
                assert!(events.is_sorted());
                assert!(events.iter().all(|id| may_come.contains(id)), "{events:?}, {may_come:?}");
                let missed = must_come.iter().find(|id| !events.contains(id));
                assert_eq!(missed, None, "what was handed out comes again: {events:?}");
                assert!(events.len() <= MAX_REPLAY);
                // As EVQ.REPLAY does: whoever waits hears of it.
                self.hand_over(g);
                self.look_for(g);
            }
            Err(Error::Limit(..)) => {
                let reads = ids.len() + exceptions > MAX_REPLAY_READ;
                let full = exceptions + may_come.len() > MAX_EXCEPTIONS;
                assert!(reads || full || may_come.len() > MAX_REPLAY, "there is room");
                assert_eq!(before, saved(&self.world.partition), "a refusal changes nothing");
            }
            Err(error) => panic!("{error}"),
        }
    }
}
