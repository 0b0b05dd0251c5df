//! What the contract says must be, kept by watching requests and replies only: it knows nothing of
//! cursors, exceptions or suspects.

use std::collections::{BTreeMap, BTreeSet};

use super::stream::{Event, Stream};
use crate::model::ids::EventId;
use crate::model::ring::group::{Group, OnDead};
use crate::model::rules::source::Source;

/// Where an event stands for a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has to be handed out, or is in flight.
    #[default]
    Open,
    Finished,
    /// Dead, and an operator decides.
    Dead,
    /// Dead, and its key went on.
    Skipped,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fact {
    pub(super) stage: Stage,
    /// It was skipped as dead once, or finished and began anew: it left the order of its key.
    pub(super) left: bool,
    /// How often its handling has failed.
    pub(super) failures: u32,
    /// It is not handed out before.
    pub(super) not_before_ms: u64,
    /// It is handed out then, if nothing is in the way.
    pub(super) due_ms: u64,
    /// It comes again, alone, and only its own acknowledgement finishes it: it was refused, or
    /// held behind one that was.
    pub(super) again: bool,
    /// TYPES changed over it: it may be finished or not.
    pub(super) vague: bool,
}

/// What outlives a restart: rolled back with the effects that are lost.
#[derive(Clone, Debug, Default)]
pub(super) struct Lasting {
    pub(super) facts: BTreeMap<EventId, Fact>,
    /// In flight when a lease ended: may be handed out one at a time until it is finished.
    pub(super) may_be_careful: BTreeSet<EventId>,
}

impl Lasting {
    pub(super) fn of(&self, id: EventId) -> Fact {
        self.facts.get(&id).copied().unwrap_or_default()
    }

    pub(super) fn fact(&mut self, id: EventId) -> &mut Fact {
        self.facts.entry(id).or_default()
    }
}

/// How a lease ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By its owner, by the owner's name or by an operator.
    GivenUp,
    /// By a closed connection or by expiry.
    Lost,
    /// With the server's role.
    Dropped,
}

/// Who has the lease.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) worker: usize,
    pub(super) named: bool,
    pub(super) connection: u64,
    pub(super) deadline_ms: u64,
    pub(super) lease_ms: u64,
    pub(super) shared: bool,
    /// The connection closed.
    pub(super) gone: bool,
}

/// One group's truth.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    pub(super) lasting: Lasting,
    pub(super) owner: Option<Owner>,
    /// The last epoch that was issued.
    pub(super) epoch: u64,
    /// Handed out under it, and not failed or held since; and whether as a redelivery.
    pub(super) handed: BTreeMap<EventId, bool>,
    /// Refused under it and not handed out since, with what each holds.
    pub(super) refused: BTreeMap<EventId, Vec<EventId>>,
    /// The last fresh event of the latest reply.
    pub(super) latest: EventId,
    /// Whether the last reply with something new handed out an event again.
    pub(super) redelivered_last: bool,
    /// How many other redeliveries were given while one was due.
    pub(super) passed_over: BTreeMap<EventId, usize>,
    /// In flight when a lease was lost: must be handed out one at a time until it is handled.
    pub(super) must_be_careful: BTreeSet<EventId>,
}

impl Truth {
    /// Whether the event has yet to be finished: if not, it is of no concern any more.
    pub(super) fn is_open(&self, group: &Group, event: &Event) -> bool {
        self.lasting.of(event.id).stage == Stage::Open && group.takes(&event.kind)
    }

    /// What the owner has been given and not answered.
    pub(super) fn in_flight(&self, group: &Group, stream: &Stream) -> BTreeSet<EventId> {
        let handed = self.handed.keys().filter_map(|id| stream.get(*id));
        handed.filter(|event| self.is_open(group, event)).map(|event| event.id).collect()
    }

    /// The same with events that were deleted by hand: who has them does not know.
    pub(super) fn unanswered(&self) -> BTreeSet<EventId> {
        let open = |id: &&EventId| self.lasting.of(**id).stage == Stage::Open;
        self.handed.keys().filter(open).copied().collect()
    }

    /// Whether TYPES changed under the lease so that nobody can say what is in flight.
    pub(super) fn is_vague(&self) -> bool {
        self.lasting.facts.values().any(|fact| fact.vague)
    }

    /// Nobody is to be handed events one at a time because of this one.
    fn calm(&mut self, id: EventId) {
        self.must_be_careful.remove(&id);
        self.lasting.may_be_careful.remove(&id);
    }

    pub(super) fn finish(&mut self, id: EventId) {
        self.lasting.fact(id).stage = Stage::Finished;
        self.calm(id);
    }

    /// Its handling failed.
    fn fail(&mut self, group: &Group, id: EventId) {
        self.handed.remove(&id);
        let fact = self.lasting.fact(id);
        fact.failures += 1;
        if fact.failures >= group.max_attempts {
            fact.stage = match group.on_dead {
                OnDead::Hold => Stage::Dead,
                OnDead::Skip => Stage::Skipped,
            };
            fact.left |= group.on_dead == OnDead::Skip;
            self.calm(id);
        }
    }

    /// The worker refused it: so it does not kill.
    pub(super) fn nack(&mut self, group: &Group, id: EventId, now_ms: u64, delay_ms: Option<u64>) {
        self.must_be_careful.remove(&id);
        self.fail(group, id);
        let fact = self.lasting.fact(id);
        fact.again = true;
        let delay_ms = delay_ms.unwrap_or_else(|| group.backoff_ms(fact.failures));
        fact.due_ms = now_ms + delay_ms;
        fact.not_before_ms = fact.due_ms;
    }

    /// It was alone in flight when the lease was lost.
    pub(super) fn blame(&mut self, group: &Group, id: EventId, now_ms: u64) {
        self.fail(group, id);
        let fact = self.lasting.fact(id);
        (fact.due_ms, fact.not_before_ms) = (now_ms, 0);
    }

    /// It is held behind one that failed.
    pub(super) fn hold(&mut self, id: EventId) {
        self.handed.remove(&id);
        self.must_be_careful.remove(&id);
        self.lasting.fact(id).again = true;
    }

    /// The lease is over.
    pub(super) fn end_lease(&mut self, group: &Group, stream: &Stream, end: End) {
        let in_flight = self.in_flight(group, stream);
        if end == End::Lost {
            self.must_be_careful.extend(&in_flight);
        }
        if end != End::GivenUp {
            self.lasting.may_be_careful.extend(self.unanswered());
        }
        self.owner = None;
        self.handed.clear();
        self.refused.clear();
        self.latest = EventId::ZERO;
    }

    /// Later events of the key that are in flight for the first time: a failure holds them.
    pub(super) fn later(&self, group: &Group, stream: &Stream, event: &Event) -> Vec<EventId> {
        let in_flight = self.in_flight(group, stream);
        let later = stream.after(event.id).filter(|other| other.key == event.key);
        later
            .map(|other| other.id)
            .filter(|id| in_flight.contains(id) && !self.handed[id])
            .collect()
    }

    /// The group goes on after `cursor`.
    pub(super) fn seek(&mut self, stream: &Stream, cursor: EventId) {
        self.lasting = Lasting::default();
        for event in stream.events.iter().filter(|event| event.id <= cursor) {
            self.lasting.fact(event.id).stage = Stage::Finished;
        }
        self.must_be_careful.clear();
        self.owner = None;
        self.handed.clear();
        self.refused.clear();
        self.latest = EventId::ZERO;
    }

    /// An operator lets a dead event start again.
    pub(super) fn revive(&mut self, id: EventId) {
        self.handed.remove(&id);
        let fact = self.lasting.fact(id);
        // What is finished does not hold its key, which went on.
        let left = fact.left || fact.stage == Stage::Finished;
        *fact = Fact { left, again: true, ..Fact::default() };
    }

    /// TYPES changed: what is taken differently now is finished or not, nobody can say.
    pub(super) fn change_types(&mut self, stream: &Stream, old: &Group, new: &Group) {
        for event in &stream.events {
            if old.takes(&event.kind) != new.takes(&event.kind) {
                self.lasting.fact(event.id).vague = true;
            }
        }
    }

    /// An earlier event of its key that is not finished and for which `event` may have to wait.
    pub(super) fn earlier<'a>(
        &'a self,
        group: &'a Group,
        stream: &'a Stream,
        event: &'a Event,
    ) -> impl Iterator<Item = (&'a Event, Fact)> {
        let before = stream.events.iter().take_while(|other| other.id < event.id);
        before
            .filter(|other| other.key == event.key && group.takes(&other.kind))
            .map(|other| (other, self.lasting.of(other.id)))
            .filter(|(_, fact)| matches!(fact.stage, Stage::Open | Stage::Dead))
    }
}
