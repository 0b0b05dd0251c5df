//! What must hold after each thing that happens: the guarantees, by watching what the server gives
//! and comparing what it saved with the truth.

use super::shell::Given;
use super::stream::Event;
use super::truth::{End, Stage};
use super::world::World;
use crate::model::hash::digest;
use crate::model::ids::EventId;
use crate::model::limits::MAX_EXCEPTIONS;
use crate::model::now::Now;
use crate::model::progress::exceptions::State;
use crate::model::progress::lease::Pace;
use crate::model::rules::ready::{Ready, Taker};
use crate::model::rules::source::Source;

impl World {
    /// The server hands events out under the lease.
    pub(super) fn check_given(&mut self, g: usize, given: &Given, pace: Pace) {
        for (event, attempt) in given {
            let truth = &self.sides[g].truth;
            let once =
                truth.handed.get(&event.id).is_some_and(|again| *again || event.id <= truth.latest);
            assert!(!once || pace == Pace::Steady, "{} is given twice", event.id);
            self.check_event_given(g, event, *attempt, given.len() == 1);
            let truth = &mut self.sides[g].truth;
            let fact = truth.lasting.fact(event.id);
            fact.vague = false;
            // Held without ever having been given: only the server knew.
            fact.again |= *attempt == Some(1);
            truth.refused.remove(&event.id);
            truth.handed.insert(event.id, fact.again);
        }
        let truth = &mut self.sides[g].truth;
        if pace == Pace::Steady {
            truth.latest = EventId::ZERO;
        }
        let fresh = given.last().filter(|(event, _)| !truth.handed[&event.id]);
        truth.latest = fresh.map_or(truth.latest, |(event, _)| event.id);
        let (side, stream) = (&self.sides[g], &self.stream);
        let in_flight = side.truth.in_flight(&side.group, stream);
        if !in_flight.is_disjoint(&side.truth.must_be_careful) {
            assert_eq!(in_flight.len(), 1, "what was in flight at a loss comes one at a time");
        }
    }

    fn check_event_given(&self, g: usize, event: &Event, attempt: Option<u32>, alone: bool) {
        let (truth, group) = (&self.sides[g].truth, self.group(g));
        let (id, fact) = (event.id, truth.lasting.of(event.id));
        assert!(truth.owner.is_some(), "only an owner is given events");
        assert!(group.takes(&event.kind), "{id} is of a type that is not taken");
        assert!(fact.vague || fact.stage == Stage::Open, "{id} is given though {fact:?}");
        let repeats = truth.handed.contains_key(&id);
        let is_due = repeats || fact.not_before_ms <= self.now_ms;
        assert!(is_due, "{id} is given before its delay is over");
        if fact.again || fact.failures > 0 {
            assert!(alone, "the redelivered {id} does not come alone");
            assert_eq!(attempt, Some(fact.failures + 1), "attempts of {id}: {fact:?}");
        } else {
            assert!(attempt.is_none() || attempt == Some(1) && alone, "{id}: attempt {attempt:?}");
        }
        // Guarantee 1, word for word.
        if !fact.left {
            for (earlier, fact) in truth.earlier(group, &self.stream, event) {
                let here = truth.handed.contains_key(&earlier.id);
                assert!(
                    here || fact.left || fact.vague,
                    "order: {id} is given before {} is finished: {fact:?}",
                    earlier.id
                );
            }
        }
    }

    /// The server has nothing to give to the owner: nothing that could be given may be there.
    pub(super) fn check_nothing_given(&self, g: usize) {
        let (truth, group, progress) = (&self.sides[g].truth, self.group(g), self.progress(g));
        let in_flight = truth.unanswered();
        let careful = truth.lasting.may_be_careful.iter().any(|id| {
            let event = self.stream.get(*id);
            let open =
                event.is_some_and(|e| truth.lasting.of(*id).vague || truth.is_open(group, &e));
            // That it was deleted is only seen when the cursor passes it, or it is due.
            let unseen = *id > progress.cursor() || progress.exceptions().get(*id).is_some();
            open || event.is_none() && (truth.handed.contains_key(id) || unseen)
        });
        let full = progress.exceptions().len() >= MAX_EXCEPTIONS;
        for event in &self.stream.events {
            let fact = truth.lasting.of(event.id);
            if fact.vague || !truth.is_open(group, event) || in_flight.contains(&event.id) {
                continue;
            }
            let again =
                fact.again || fact.failures > 0 || progress.exceptions().get(event.id).is_some();
            let waits = fact.due_ms > self.now_ms
                || (again || careful) && !in_flight.is_empty()
                || full && progress.exceptions().get(event.id).is_none()
                || self.waits_for_nobody(g, event)
                || truth.earlier(group, &self.stream, event).any(|(earlier, fact)| {
                    fact.vague || !in_flight.contains(&earlier.id) || again || fact.again
                });
            assert!(waits, "{} is withheld: {fact:?}, {progress:?}", event.id);
        }
    }

    /// Whether an earlier event of its key was deleted by hand, or is not taken any more, while it
    /// was dead or waited for its retry: the key goes on when an operator skips it, or when it is
    /// due.
    fn waits_for_nobody(&self, g: usize, event: &Event) -> bool {
        let progress = self.progress(g);
        let mut earlier = progress.exceptions().iter().take_while(|(id, _)| *id < event.id);
        earlier.any(|(id, exception)| {
            let later = match exception.state {
                State::Dead => true,
                State::Retry(due_ms) => due_ms > self.now_ms,
                State::Held | State::Finished => false,
            };
            let meant = self.stream.get(id).is_some_and(|other| self.group(g).takes(&other.kind));
            later && exception.key == digest(&event.key) && !meant
        })
    }

    /// The lease of a group is lost now, and the server blames this event.
    pub(super) fn check_loss(&mut self, g: usize, blamed: Option<EventId>) {
        let now_ms = self.now_ms;
        let side = &mut self.sides[g];
        if let Some(owner) = &side.truth.owner {
            let idle = side.truth.in_flight(&side.group, &self.stream).is_empty();
            let waits = side.truth.unanswered().is_empty() && side.blocked.is_some();
            let expired = now_ms >= owner.deadline_ms && !waits;
            assert!(owner.gone || expired || idle && owner.shared, "a lease is lost for nothing");
        }
        let mut in_flight = side.truth.in_flight(&side.group, &self.stream).into_iter();
        let only = in_flight.next().filter(|_| in_flight.next().is_none());
        let vague = side.truth.is_vague();
        assert!(only == blamed || vague, "{blamed:?} is blamed for {only:?}");
        side.truth.end_lease(&side.group, &self.stream, End::Lost);
        if let Some(id) = blamed {
            side.truth.blame(&side.group, id, now_ms);
        }
    }

    /// An operator's decision was carried out.
    pub(super) fn check_resolved(&mut self, g: usize, id: EventId, retry: bool) {
        let truth = &mut self.sides[g].truth;
        match (truth.lasting.of(id).stage, retry) {
            (Stage::Dead | Stage::Skipped | Stage::Finished, true) => truth.revive(id),
            (Stage::Dead, false) => {
                truth.finish(id);
                // The operator has decided: a refusal that comes again has nothing to repeat.
                truth.refused.remove(&id);
            }
            _ => {}
        }
        self.remember();
    }

    /// What is saved is the truth: nothing is dropped, nothing finished comes back.
    pub(super) fn check_state(&self) {
        for g in 0..self.sides.len() {
            let (truth, group, progress) = (&self.sides[g].truth, self.group(g), self.progress(g));
            assert!(progress.exceptions().len() <= 2 * MAX_EXCEPTIONS + 1);
            self.partition.check().unwrap();
            let mut lag = 0;
            for event in &self.stream.events {
                let fact = truth.lasting.of(event.id);
                let exception = progress.exceptions().get(event.id);
                let open = match exception {
                    Some(exception) => exception.state != State::Finished,
                    None => event.id > progress.cursor() && group.takes(&event.kind),
                };
                lag += u64::from(open);
                if fact.vague || !group.takes(&event.kind) {
                    continue;
                }
                let truly = matches!(fact.stage, Stage::Open | Stage::Dead);
                assert_eq!(open, truly, "{} in {g}: {fact:?}, {progress:?}", event.id);
                let dead = exception.is_some_and(|exception| exception.state == State::Dead);
                assert_eq!(dead, fact.stage == Stage::Dead, "{}: {fact:?}", event.id);
            }
            let _ = lag;
        }
    }

    /// A worker that waits is looked after at the right moments: a look finds what a pull would
    /// be given, and the next look is made when a retry is due.
    pub(super) fn check_looks(&mut self, g: usize) {
        let now_ms = self.now_ms;
        self.imagine(|world| {
            let at = |ms: u64| Now { unix_us: ms * 1000 };
            let mut at_ms = now_ms;
            while let Some(next_ms) = world.progress(g).next_due_ms(at(at_ms)) {
                let before = world.prepare(g, at(next_ms - 1), Taker::Owner);
                assert_ne!(before, Ready::Work, "nobody looks before {next_ms}");
                at_ms = next_ms;
                if world.prepare(g, at(at_ms), Taker::Owner) != Ready::Nothing {
                    return;
                }
            }
            let one_day = world.prepare(g, at(now_ms + 1_000_000_000), Taker::Owner);
            assert_ne!(one_day, Ready::Work, "nobody looks for what is due one day");
        });
    }

    /// An EVQ.NACK that would hold so many later events was refused for lack of room.
    pub(super) fn check_full(&self, g: usize, later: usize) {
        assert!(self.progress(g).exceptions().len() + later + 1 > MAX_EXCEPTIONS);
    }
}
