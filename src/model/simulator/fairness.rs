//! What a pull owes: first what is in flight and not answered, then whatever waits longest. Kept by
//! watching replies; and rules that are left out on purpose, which the checks have to notice.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};

use super::action::{WORKERS, action};
use super::groups;
use super::shell::Given;
use super::truth::Stage;
use super::worker::Simulation;
use super::world::World;
use crate::model::ids::EventId;
use crate::model::limits::MAX_EXCEPTIONS;
use crate::model::progress::Source as Turn;
use crate::model::progress::exceptions::State;
use crate::model::progress::lease::Pace;
use crate::model::rules::source::Source;

/// A rule that is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Flaw {
    #[default]
    None,
    /// Every pull goes on after what was handed out.
    OldPull,
    /// What is due comes before everything fresh.
    OldPriority,
}

impl Flaw {
    pub(super) fn pace(self, pace: Pace) -> Pace {
        if self == Self::OldPull { Pace::Ahead } else { pace }
    }
}

/// What a pull has to give.
#[derive(Clone, Debug, Default)]
pub(super) struct Owed {
    /// It is in flight, and comes first.
    again: Option<EventId>,
    /// There is something fresh that nothing holds up.
    fresh: bool,
    /// These are due, and nothing holds them up.
    due: BTreeSet<EventId>,
}

impl World {
    /// Takes the turn away from what is fresh, if that is the flaw.
    pub(super) fn plant_priority(&mut self, g: usize) {
        if self.flaw == Flaw::OldPriority {
            self.volatile(g, |progress| progress.turn = Turn::Redeliveries);
        }
    }

    /// What the pull that comes now has to give. Where anything is not plain to see, nothing.
    pub(super) fn owed(&self, g: usize, pace: Pace) -> Owed {
        let (truth, group, progress) = (&self.sides[g].truth, self.group(g), self.progress(g));
        if truth.is_vague() || self.stream.events.iter().any(|e| !group.takes(&e.kind)) {
            return Owed::default();
        }
        let in_flight = truth.in_flight(group, &self.stream);
        if !in_flight.is_empty() {
            let again = in_flight.iter().find(|id| truth.handed[id]);
            let again = again.or(in_flight.first()).copied();
            return Owed { again: again.filter(|_| pace == Pace::Steady), ..Owed::default() };
        }
        if !truth.lasting.may_be_careful.is_empty()
            || !truth.unanswered().is_empty()
            || progress.exceptions().len() + self.stream.events.len() >= MAX_EXCEPTIONS
        {
            return Owed::default();
        }
        let first = |id: EventId| {
            let event = self.stream.get(id);
            event.is_some_and(|e| truth.earlier(group, &self.stream, &e).next().is_none())
        };
        let is_due = |id: EventId| {
            let state = progress.exceptions().get(id).map(|exception| exception.state);
            matches!(state, Some(State::Retry(due_ms)) if due_ms <= self.now_ms)
                && truth.lasting.of(id).stage == Stage::Open
                && id <= progress.cursor()
                // One that was deleted holds its key until that is found.
                && progress.exceptions().get(id).is_some_and(|e| {
                    progress.exceptions().holder(e.key, id).is_none()
                })
        };
        let exceptions = progress.exceptions().iter().map(|(id, _)| id);
        let fresh = self.stream.events.iter().any(|event| {
            let fact = truth.lasting.of(event.id);
            fact.stage == Stage::Open
                && !fact.again
                && fact.failures == 0
                && event.id > progress.cursor()
                && progress.exceptions().get(event.id).is_none()
                && !progress
                    .exceptions()
                    .iter()
                    .any(|(_, e)| e.key == crate::model::hash::digest(&event.key))
                && first(event.id)
        });
        Owed {
            again: None,
            fresh,
            due: exceptions.filter(|id| is_due(*id) && first(*id)).collect(),
        }
    }

    /// A reply gives what is owed: what is in flight first; then what is fresh and what is due take
    /// turns, and no redelivery is passed over for ever.
    pub(super) fn check_owed(&mut self, g: usize, owed: &Owed, given: &Given, cut: bool) {
        let again = |id: EventId| self.progress(g).exceptions().get(id).is_some();
        let redelivers = given.iter().any(|(event, _)| again(event.id));
        let truth = &mut self.sides[g].truth;
        let ids: Vec<EventId> = given.iter().map(|(event, _)| event.id).collect();
        if let Some(again) = owed.again.filter(|_| !cut) {
            assert_eq!(ids.first(), Some(&again), "{again} is in flight and not given again");
        }
        let Some(id) = ids.iter().find(|id| !truth.handed.contains_key(id)).copied() else {
            return;
        };
        let due = !owed.due.is_empty();
        if owed.again.is_none() && (owed.fresh && due) {
            assert_eq!(
                redelivers, !truth.redelivered_last,
                "{id} is given out of turn: {owed:?} {given:?}"
            );
        }
        truth.redelivered_last = redelivers;
        truth.passed_over.retain(|other, _| owed.due.contains(other) && *other != id);
        if redelivers {
            for other in owed.due.iter().filter(|other| **other != id) {
                let passed_over = truth.passed_over.entry(*other).or_default();
                *passed_over += 1;
                assert!(*passed_over <= MAX_EXCEPTIONS, "{other} is passed over for ever");
            }
        }
    }
}

/// Whether the usual histories notice that a rule is left out.
fn is_noticed(flaw: Flaw) -> bool {
    let config = Config {
        cases: 2000,
        rng_algorithm: RngAlgorithm::XorShift,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let histories = prop::collection::vec(action(), 1..120);
    let ran = TestRunner::new(config).run(&histories, |actions| {
        let mut simulation = Simulation::new(groups(), WORKERS);
        simulation.world.flaw = flaw;
        actions.into_iter().for_each(|action| simulation.act(action));
        simulation.finish();
        Ok(())
    });
    ran.is_err()
}

#[test]
fn a_pull_that_goes_on_after_what_was_sent_is_noticed() {
    assert!(is_noticed(Flaw::OldPull));
}

#[test]
fn redeliveries_that_come_before_everything_are_noticed() {
    assert!(is_noticed(Flaw::OldPriority));
}
