//! The shell of the simulation around the rules of delivery: one group in one partition of the
//! ring, and the barriers in front of it.

use super::truth::{Stage, Truth};
use super::world::{LEASE_MS, Logged, World, name};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::exceptions::Exceptions;
use crate::model::progress::lease::{Caller, Scene, Turn};
use crate::model::ring::group::Group;
use crate::model::ring::history::Upstream;
use crate::model::rules::answers::{Answered, Failed};
use crate::model::rules::drive::Delivery;
use crate::model::rules::failure::Refusal;
use crate::model::rules::gate::Gate;
use crate::model::rules::ready::{Passes, Ready, Taker};
use crate::model::rules::replay::{Allowance, Request};
use crate::model::rules::shell::{Acknowledged, Letter, Occurrence, Passed, Plain, Shell};
use crate::model::rules::tenure::{Arrival, Pull};
use crate::model::rules::{answers, drive, ready, replay, tenure};
use crate::model::saved::effect::{Change, Failure, Fate};
use crate::model::simulator::looks;
use crate::model::simulator::stream::{Event, Stream};

/// A shell in memory refuses nothing by itself.
const SOUND: &str = "everything is in memory";

/// A group in a partition, during one command.
pub(super) struct At<'w> {
    world: &'w mut World,
    p: u32,
    g: usize,
    group: Group,
    /// Whether the barriers were looked at, and the end of the first that is closed.
    looked: Option<Option<EventId>>,
}

impl Shell for At<'_> {
    type Entry = Event;
    type Stream<'a>
        = &'a Stream
    where
        Self: 'a;
    type Batch = Vec<Event>;

    fn now(&self) -> Now {
        self.world.now()
    }

    fn group(&self) -> &Group {
        &self.group
    }

    fn start(&self) -> EventId {
        self.group.start(self.p)
    }

    fn era(&self) -> u64 {
        self.world.era
    }

    fn scene(&self, _: Option<&Progress>) -> Scene {
        Scene { era: self.world.era, ..Scene::default() }
    }

    fn stream(&self) -> Result<Option<&Stream>, Error> {
        Ok(self.world.keys.get(&self.p).map(|keys| &keys.stream))
    }

    fn with<R>(
        &mut self,
        look: impl FnOnce(&Self, Option<&mut Progress>) -> R,
    ) -> Result<R, Error> {
        // What is looked at is taken out meanwhile, so that the rest of the world lies open.
        let mut progress = self.world.progress_mut(self.p, self.g).map(std::mem::take);
        let result = look(self, progress.as_mut());
        if let Some(progress) = progress {
            *self.world.progress_mut(self.p, self.g).expect("it was there") = progress;
        }
        Ok(result)
    }

    fn find_gate(&mut self) -> Result<(), Error> {
        if self.looked.is_none() {
            self.looked = Some(self.world.closed_after(self.p, self.g));
            self.world.keep_ends_for(self.p, self.g);
        }
        Ok(())
    }

    fn gate(&self) -> Result<Gate<'_>, Error> {
        let closed_after = self.looked.expect("the barriers were looked at");
        Ok(self.world.gate(self.p, self.g, closed_after))
    }

    fn look(&self, progress: &mut Progress, gate: &Gate<'_>) {
        looks::look(progress, gate, self.now());
    }

    fn pass_on(&self, plain: &Plain) -> Option<Passed<Vec<Event>>> {
        Passed::copied(self.world.stream(self.p), plain)
    }

    fn change(&mut self, change: Change) -> Result<(), Error> {
        let is_noted = matches!(change, Change::Failed(_) | Change::Replayed(..));
        if let Change::Replayed(_, events) = &change {
            self.world.truths[self.g].replay(self.p, events);
        }
        self.world.change(self.p, self.g, change);
        if is_noted {
            self.world.remember();
        }
        Ok(())
    }

    fn write_letter(&mut self, letter: &Letter<'_, Event>) -> Result<(), Error> {
        self.world.push(Logged::Letter(self.p, self.g, letter.event.id));
        Ok(())
    }

    fn acknowledged(&mut self, acknowledged: &Acknowledged) {
        self.world.log.push(Logged::Ack(self.p, self.g, acknowledged.id));
    }

    fn note(&mut self, occurrence: Occurrence<'_>) {
        if let Occurrence::Failed(failure) = occurrence {
            self.world.truths[self.g].fail(self.p, failure);
        }
    }
}

impl Truth {
    /// The handling of an event failed.
    fn fail(&mut self, p: u32, failure: &Failure) {
        let stage = match failure.fate {
            Fate::Retry(_) => Stage::Open,
            Fate::Dead => Stage::Dead,
            Fate::Skipped => Stage::Skipped,
        };
        self.again((p, failure.id));
        self.set((p, failure.id), stage);
        failure.held.iter().for_each(|held| self.again((p, *held)));
    }
}

impl World {
    fn at(&mut self, p: u32, g: usize) -> At<'_> {
        let group = self.ring.group(&name(g)).expect("the group exists").as_ref().clone();
        At { world: self, p, g, group, looked: None }
    }

    fn closed_after(&mut self, p: u32, g: usize) -> Option<EventId> {
        let (history, rules) = (self.history.take()?, self.rules);
        let mut passes = Passes::OF_A_COMMAND;
        let mut is_drained = |Upstream { partition, until }| {
            ready::drain(&mut self.at(partition, g), until, &mut passes).expect(SOUND)
        };
        let closed = if rules.transitive {
            history.closed_after(p, is_drained)
        } else {
            let mut are_drained = |step| {
                history.sources(p, step).iter().all(|source| {
                    let until = history.end(*source, step);
                    is_drained(Upstream { partition: *source, until })
                })
            };
            let mut barriers = history.barriers(p);
            barriers.find(|barrier| !are_drained(barrier.step)).map(|barrier| barrier.end)
        };
        self.history = Some(history);
        closed.filter(|_| rules.barriers)
    }

    fn gate(&self, p: u32, g: usize, closed_after: Option<EventId>) -> Gate<'_> {
        let Some(history) = &self.history else { return Gate::open() };
        let others = history.all_upstream(p).iter().copied();
        let others = others.filter(|other| *other != p && self.rules.elsewhere);
        let exceptions = |other| -> Option<(u32, &Exceptions)> {
            Some((other, self.progress(other, g)?.exceptions()))
        };
        Gate::new(history, p, closed_after, others.filter_map(exceptions).collect())
    }

    /// The exceptions of the partitions upstream are waited for from now on.
    fn keep_ends_for(&mut self, p: u32, g: usize) {
        let upstream = self.history.as_ref().map(|history| history.all_upstream(p).to_vec());
        for other in upstream.into_iter().flatten() {
            self.volatile(other, g, Progress::keep_ends);
        }
    }

    pub(super) fn turn(&mut self, p: u32, g: usize, caller: &Caller) -> Turn {
        tenure::turn(&mut self.at(p, g), caller, Arrival::New).expect(SOUND)
    }

    pub(super) fn prepare(&mut self, p: u32, g: usize, taker: Taker) -> Ready {
        ready::prepare(&mut self.at(p, g), taker).expect(SOUND)
    }

    pub(super) fn proceed(&mut self, p: u32, g: usize, caller: &Caller, pull: Pull) {
        tenure::proceed(&mut self.at(p, g), caller, pull).expect(SOUND);
    }

    pub(super) fn set_back(&mut self, p: u32, g: usize, caller: &Caller) -> bool {
        tenure::set_back(&mut self.at(p, g), caller).expect(SOUND)
    }

    /// What a pull gets; nothing may mean that a bounded number of steps was taken.
    pub(super) fn deliver(&mut self, p: u32, g: usize, count: u64) -> Vec<Event> {
        match drive::deliver(&mut self.at(p, g), count).expect(SOUND) {
            Delivery::Passed(passed) => passed.batch,
            Delivery::Fresh { events, .. } => events.into_iter().map(|shown| shown.event).collect(),
            Delivery::Again { event, .. } => {
                // It failed or was held.
                self.truths[g].again((p, event.id));
                vec![event]
            }
            Delivery::Nothing | Delivery::Later | Delivery::Closed => Vec::new(),
        }
    }

    pub(super) fn grant(&mut self, p: u32, g: usize, caller: &Caller, epoch: u64) {
        tenure::grant(&mut self.at(p, g), caller, epoch, LEASE_MS).expect(SOUND);
        self.truths[g].handed.remove(&p);
        self.remember();
    }

    pub(super) fn lose_lease(&mut self, p: u32, g: usize) {
        tenure::lose(&mut self.at(p, g)).expect(SOUND);
        self.truths[g].handed.remove(&p);
        self.remember();
    }

    pub(super) fn seek(&mut self, p: u32, g: usize, cursor: EventId) {
        tenure::seek(&mut self.at(p, g), cursor).expect(SOUND);
    }

    /// EVQ.REPLAY of a key in these partitions.
    pub(super) fn replay(
        &mut self,
        g: usize,
        homes: &[u32],
        request: Request<'_>,
    ) -> Result<Vec<(u32, EventId)>, Error> {
        let mut allowance = Allowance::default();
        let mut decided = Vec::new();
        for p in homes {
            decided.push((*p, replay::decide(&mut self.at(*p, g), request, &mut allowance)?));
        }
        for (p, events) in &decided {
            let mut shell = self.at(*p, g);
            replay::carry_out(&mut shell, request.key, events.clone()).expect(SOUND);
        }
        let all = decided.into_iter().flat_map(|(p, ids)| ids.into_iter().map(move |id| (p, id)));
        Ok(all.collect())
    }

    pub(super) fn acknowledge(
        &mut self,
        p: u32,
        g: usize,
        caller: &Caller,
        id: EventId,
    ) -> Result<Answered, Error> {
        answers::acknowledge(&mut self.at(p, g), caller, id)
    }

    pub(super) fn nack(
        &mut self,
        p: u32,
        g: usize,
        caller: &Caller,
        id: EventId,
        delay_ms: u64,
    ) -> Result<Failed, Error> {
        let refusal = Refusal { delay_ms: Some(delay_ms), ..Refusal::of(id) };
        answers::fail(&mut self.at(p, g), caller, &refusal)
    }

    /// Something was answered.
    pub(super) fn share(&mut self, p: u32, g: usize) {
        answers::share(&mut self.at(p, g)).expect(SOUND);
    }
}
