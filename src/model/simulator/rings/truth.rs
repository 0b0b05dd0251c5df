//! What the contract says must be, for one group, kept by watching requests and replies: it knows
//! which event was triggered before which, and nothing of what a resize means.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::model::ids::EventId;
use crate::model::simulator::stream::Stream;
pub(super) use crate::model::simulator::truth::Stage;

/// An event by its partition and id.
pub(super) type At = (u32, EventId);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fact {
    pub(super) stage: Stage,
    /// It was skipped as dead once, or finished and began anew: it left the order of its key.
    pub(super) left: bool,
}

/// One group's truth.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    /// What outlives a restart: rolled back with the effects that are lost. Shared with what is
    /// remembered of it until it changes.
    pub(super) facts: Rc<BTreeMap<At, Fact>>,
    /// Per partition, what was handed out under the lease there and has not failed since; and
    /// whether as a redelivery.
    pub(super) handed: BTreeMap<u32, BTreeMap<EventId, bool>>,
    /// The last event of the latest reply from each partition.
    pub(super) latest: BTreeMap<u32, EventId>,
    /// Failed, or held behind one that did: comes again, and only its own ACK finishes it.
    pub(super) again: Rc<BTreeSet<At>>,
}

impl Truth {
    pub(super) fn fact(&self, at: At) -> Fact {
        self.facts.get(&at).copied().unwrap_or_default()
    }

    pub(super) fn set(&mut self, at: At, stage: Stage) {
        let fact = Rc::make_mut(&mut self.facts).entry(at).or_default();
        fact.left |=
            stage == Stage::Skipped || (fact.stage, stage) == (Stage::Finished, Stage::Open);
        fact.stage = stage;
        if stage != Stage::Open && self.again.contains(&at) {
            Rc::make_mut(&mut self.again).remove(&at);
        }
    }

    pub(super) fn is_handed(&self, (p, id): At) -> bool {
        self.handed.get(&p).is_some_and(|handed| handed.contains_key(&id))
    }

    /// Handed out in a partition and not answered.
    pub(super) fn in_flight(&self, p: u32) -> Vec<EventId> {
        let handed = self.handed.get(&p).into_iter().flat_map(BTreeMap::keys);
        handed.copied().filter(|id| self.fact((p, *id)).stage == Stage::Open).collect()
    }

    pub(super) fn give(&mut self, at: At) {
        let again = self.again.contains(&at);
        self.handed.entry(at.0).or_default().insert(at.1, again);
    }

    /// What an ACK of `id` finishes.
    pub(super) fn acknowledged(&self, p: u32, id: EventId) -> Vec<EventId> {
        let redelivered = |other: &EventId| self.handed[&p][other];
        let finished =
            |other: &EventId| if redelivered(other) { *other == id } else { *other <= id };
        self.in_flight(p).into_iter().filter(finished).collect()
    }

    /// The group begins anew in a partition.
    pub(super) fn forget(&mut self, p: u32) {
        Rc::make_mut(&mut self.facts).retain(|(other, _), _| *other != p);
        Rc::make_mut(&mut self.again).retain(|(other, _)| *other != p);
        self.handed.remove(&p);
    }

    /// The group goes on after `cursor` in a partition.
    pub(super) fn seek(&mut self, p: u32, stream: &Stream, cursor: EventId) {
        self.forget(p);
        for event in stream.events.iter().filter(|event| event.id <= cursor) {
            self.set((p, event.id), Stage::Finished);
        }
    }

    pub(super) fn again(&mut self, at: At) {
        if let Some(handed) = self.handed.get_mut(&at.0) {
            handed.remove(&at.1);
        }
        Rc::make_mut(&mut self.again).insert(at);
    }
}
