//! The naive reference of delivery: what a group is owed, kept by watching requests and replies
//! only. It knows nothing of cursors, exceptions or suspects, and is slow and plain on purpose.

use std::collections::{BTreeMap, BTreeSet};

use evq::model::ids::EventId;
use evq::model::ring::group::{Group, OnDead};

use super::shell::{Event, Given, Stream};

/// Where an event stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// It is owed, or in flight.
    #[default]
    Open,
    /// It was acknowledged, or sought over.
    Finished,
    /// It is dead, and its key waits for an operator.
    Dead,
    /// It is dead, and its key went on.
    Skipped,
}

/// What is known of an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fact {
    /// Where it stands.
    pub stage: Stage,
    failures: u32,
    not_before_ms: u64,
    /// It was refused, or held behind one that was: it comes again alone.
    again: bool,
    /// It was skipped as dead once, and so left the order of its key.
    left: bool,
}

/// Who has the lease.
#[derive(Clone, Debug)]
pub struct Owner {
    /// Which worker it is.
    pub worker: usize,
    /// It gave its name.
    pub named: bool,
    /// Until when nobody else gets the lease.
    pub deadline_ms: u64,
}

/// What the group is owed.
#[derive(Debug, Default)]
pub struct Ledger {
    facts: BTreeMap<EventId, Fact>,
    /// Who may acknowledge.
    pub owner: Option<Owner>,
    /// The last epoch.
    pub epoch: u64,
    /// Handed out under it and neither refused nor held since; and whether as a redelivery.
    handed: BTreeMap<EventId, bool>,
    /// In flight when a lease was lost: comes one at a time until it is handled.
    careful: BTreeSet<EventId>,
}

impl Ledger {
    /// What is known of an event.
    pub fn of(&self, id: EventId) -> Fact {
        self.facts.get(&id).copied().unwrap_or_default()
    }

    fn fact(&mut self, id: EventId) -> &mut Fact {
        self.facts.entry(id).or_default()
    }

    /// Whether it was handed out under this epoch.
    pub fn was_handed(&self, id: EventId) -> bool {
        self.handed.contains_key(&id)
    }

    /// Handed out, there, and not answered.
    pub fn in_flight(&self, stream: &Stream) -> Vec<EventId> {
        let open = |event: &&Event| self.of(event.id).stage == Stage::Open;
        let handed = stream.events.iter().filter(|event| self.was_handed(event.id));
        handed.filter(open).map(|event| event.id).collect()
    }

    /// The events of a type that the group takes and that are not finished.
    pub fn owed<'a>(&'a self, group: &'a Group, stream: &'a Stream) -> impl Iterator<Item = Event> {
        let taken = stream.events.iter().filter(|event| group.takes(&event.kind));
        taken.filter(|e| matches!(self.of(e.id).stage, Stage::Open | Stage::Dead)).copied()
    }

    /// The first event that is dead and holds its key.
    pub fn first_dead(&self) -> Option<EventId> {
        let dead = |(id, fact): (&EventId, &Fact)| (fact.stage == Stage::Dead).then_some(*id);
        self.facts.iter().find_map(dead)
    }

    /// The server hands these out now, having been asked for `count`.
    pub fn give(&mut self, group: &Group, stream: &Stream, now_ms: u64, given: &Given, count: u64) {
        assert!(given.len() as u64 <= count, "more than was asked for");
        assert!(given.is_sorted_by_key(|(event, _)| event.id), "not in order");
        for (event, attempt) in given {
            let (id, fact) = (event.id, self.of(event.id));
            assert!(stream.events.contains(event), "{id} is not there");
            assert!(group.takes(&event.kind), "{id} is of a type that is not taken");
            assert_eq!(fact.stage, Stage::Open, "{id} is given");
            assert!(!self.was_handed(id), "{id} is given twice under one epoch");
            assert!(fact.not_before_ms <= now_ms, "{id} is given before its delay is over");
            if fact.again || fact.failures > 0 {
                assert_eq!(given.len(), 1, "the redelivered {id} does not come alone");
                assert_eq!(*attempt, Some(fact.failures + 1), "the attempt of {id}");
            } else {
                assert!(attempt.is_none_or(|attempt| attempt == 1 && given.len() == 1));
            }
            if !fact.left {
                let earlier = self.owed(group, stream).filter(|other| {
                    other.id < id && other.key == event.key && !self.was_handed(other.id)
                });
                // What was skipped as dead and revived by an operator comes late.
                let late = earlier.filter(|other| !self.of(other.id).left);
                let late: Vec<EventId> = late.map(|other| other.id).collect();
                assert!(late.is_empty(), "{id} is given before {late:?} of its key");
            }
            // Held without having been given before: only the server knew.
            self.fact(id).again |= *attempt == Some(1);
            self.handed.insert(id, self.of(id).again);
        }
        let in_flight = self.in_flight(stream);
        let careful = in_flight.iter().any(|id| self.careful.contains(id));
        assert!(!careful || in_flight.len() == 1, "what was in flight at a loss comes alone");
    }

    /// What an acknowledgement of `id` finishes.
    pub fn finished_by(&self, id: EventId) -> Vec<EventId> {
        let open = self.handed.iter().filter(|(id, _)| self.of(**id).stage == Stage::Open);
        let meant =
            open.filter(|(other, again)| if **again { **other == id } else { **other <= id });
        meant.map(|(id, _)| *id).collect()
    }

    /// These are finished.
    pub fn finish(&mut self, ids: &[EventId]) {
        for id in ids {
            self.fact(*id).stage = Stage::Finished;
            self.careful.remove(id);
        }
    }

    fn fail(&mut self, group: &Group, id: EventId) {
        self.handed.remove(&id);
        let fact = self.fact(id);
        fact.failures += 1;
        if fact.failures >= group.max_attempts {
            let skip = group.on_dead == OnDead::Skip;
            fact.stage = if skip { Stage::Skipped } else { Stage::Dead };
            fact.left |= skip;
            self.careful.remove(&id);
        }
    }

    /// The later events of its key that a failure of `id` holds, if it does.
    pub fn behind(&self, group: &Group, stream: &Stream, event: &Event) -> Vec<EventId> {
        if self.of(event.id).failures + 1 >= group.max_attempts && group.on_dead == OnDead::Skip {
            return Vec::new();
        }
        let in_flight = self.in_flight(stream);
        let later = stream.events.iter().filter(|e| e.id > event.id && e.key == event.key);
        later.map(|e| e.id).filter(|id| in_flight.contains(id) && !self.handed[id]).collect()
    }

    /// A worker refused it; what is held behind it is not in flight any more.
    pub fn refuse(&mut self, group: &Group, id: EventId, due_ms: u64, held: &[EventId]) {
        self.careful.remove(&id);
        self.fail(group, id);
        let fact = self.fact(id);
        (fact.again, fact.not_before_ms) = (true, due_ms);
        for id in held {
            self.handed.remove(id);
            self.careful.remove(id);
            self.fact(*id).again = true;
        }
    }

    /// The lease is over, by a loss or given up.
    pub fn end_lease(&mut self, stream: &Stream, lost: bool) {
        if lost {
            self.careful.extend(self.in_flight(stream));
        }
        self.owner = None;
        self.handed.clear();
    }

    /// It was alone in flight when a lease was lost.
    pub fn blame(&mut self, group: &Group, id: EventId) {
        self.fail(group, id);
        self.fact(id).not_before_ms = 0;
    }

    /// The server restarts: what was in flight is owed again, and nobody is to be careful.
    pub fn restart(&mut self) {
        self.owner = None;
        self.handed.clear();
        self.careful.clear();
    }

    /// The group goes on after `cursor`.
    pub fn seek(&mut self, stream: &Stream, cursor: EventId) {
        *self = Self { epoch: self.epoch, ..Self::default() };
        for event in stream.events.iter().filter(|event| event.id <= cursor) {
            self.fact(event.id).stage = Stage::Finished;
        }
    }

    /// An operator lets it start again.
    pub fn revive(&mut self, id: EventId) {
        self.handed.remove(&id);
        let left = self.of(id).left || self.of(id).stage == Stage::Finished;
        *self.fact(id) = Fact { again: true, left, ..Fact::default() };
    }
}
