//! The shell of the simulation around the rules of delivery, and what a command comes to in it.

use super::looks;
use super::stream::{Event, Stream};
use super::world::{Logged, World};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::{Caller, Scene, Turn};
use crate::model::ring::group::Group;
use crate::model::rules::answers::{Answered, Failed};
use crate::model::rules::drive::Delivery;
use crate::model::rules::failure::Refusal;
use crate::model::rules::gate::Gate;
use crate::model::rules::ready::{Ready, Taker};
use crate::model::rules::replay::{Allowance, Request};
use crate::model::rules::shell::{Acknowledged, Letter, Occurrence, Passed, Plain, Shell};
use crate::model::rules::source::Source;
use crate::model::rules::tenure::{Arrival, Pull};
use crate::model::rules::{answers, drive, ready, removed, replay, tenure};
use crate::model::saved::effect::Change;

/// What a reply gives: events, each with the attempt that it shows.
pub(super) type Given = Vec<(Event, Option<u32>)>;

/// A group of the simulated partition, at a moment.
pub(super) struct At<'w> {
    world: &'w mut World,
    g: usize,
    now: Now,
}

impl Shell for At<'_> {
    type Entry = Event;
    type Stream<'a>
        = &'a Stream
    where
        Self: 'a;
    type Batch = Vec<Event>;

    fn now(&self) -> Now {
        self.now
    }

    fn group(&self) -> &Group {
        self.world.group(self.g)
    }

    fn start(&self) -> EventId {
        EventId::ZERO
    }

    fn era(&self) -> u64 {
        self.world.era
    }

    fn scene(&self, progress: Option<&Progress>) -> Scene {
        self.world.scene_of(self.g, progress)
    }

    fn stream(&self) -> Result<Option<&Stream>, Error> {
        Ok(Some(&self.world.stream))
    }

    fn with<R>(
        &mut self,
        look: impl FnOnce(&Self, Option<&mut Progress>) -> R,
    ) -> Result<R, Error> {
        // What is looked at is taken out meanwhile, so that the rest of the world lies open.
        let name = self.world.sides[self.g].name.clone();
        let mut progress = self.world.partition.get_mut(&name).map(std::mem::take);
        let result = look(self, progress.as_mut());
        if let Some(progress) = progress {
            *self.world.partition.get_mut(&name).expect("it was there") = progress;
        }
        Ok(result)
    }

    fn look(&self, progress: &mut Progress, gate: &Gate<'_>) {
        looks::look(progress, gate, self.now);
    }

    fn pass_on(&self, plain: &Plain) -> Option<Passed<Vec<Event>>> {
        Passed::copied(&self.world.stream, plain)
    }

    fn change(&mut self, change: Change) -> Result<(), Error> {
        // What the truth is now belongs to the effects up to the one that it comes from.
        let is_of_a_lease =
            matches!(change, Change::Epoch { .. } | Change::Failed(_) | Change::Suspected(..));
        match change {
            Change::Epoch { epoch, .. } if epoch > 0 => self.world.note_epoch(self.g, epoch),
            _ => {}
        }
        let is_replay = matches!(change, Change::Replayed(..));
        if let Change::Replayed(_, events) = &change {
            self.world.sides[self.g].truth.replay(events);
        }
        self.world.change(self.g, change);
        if is_of_a_lease || is_replay {
            self.world.remember();
        }
        Ok(())
    }

    fn write_letter(&mut self, letter: &Letter<'_, Event>) -> Result<(), Error> {
        self.world.letters += 1;
        self.world.push(Logged::Letter(self.g, self.world.letters, letter.event.id));
        Ok(())
    }

    fn acknowledged(&mut self, acknowledged: &Acknowledged) {
        self.world.log.push(Logged::Ack(self.g, acknowledged.id));
    }

    fn note(&mut self, occurrence: Occurrence<'_>) {
        if let Occurrence::LeaseLost { blamed, .. } = occurrence {
            self.world.check_loss(self.g, blamed);
        }
    }
}

/// A shell in memory refuses nothing by itself.
const SOUND: &str = "everything is in memory";

impl World {
    pub(super) fn at(&mut self, g: usize, now: Now) -> At<'_> {
        At { world: self, g, now }
    }

    fn here(&mut self, g: usize) -> At<'_> {
        let now = self.now();
        self.at(g, now)
    }

    /// Finds out whether there is anything to hand out, and applies what has to be before.
    pub(super) fn prepare(&mut self, g: usize, now: Now, taker: Taker) -> Ready {
        ready::prepare(&mut self.at(g, now), taker).expect(SOUND)
    }

    /// Finishes what waits and was deleted, in steps of `most` exceptions.
    pub(super) fn finish_removed(&mut self, g: usize, most: usize) {
        let mut after = Some(EventId::ZERO);
        while let Some(id) = after {
            let searched = removed::finish_removed(&mut self.here(g), id, most).expect(SOUND);
            after = searched.until;
        }
    }

    /// What waits though it was deleted: whatever comes after it is held behind nothing.
    pub(super) fn held_behind_nothing(&self, g: usize) -> Vec<EventId> {
        let progress = self.progress(g);
        let in_flight = |id| progress.lease().is_some_and(|l| l.redelivering.contains(&id));
        let all = progress.exceptions().unfinished_after(EventId::ZERO);
        all.filter(|id| self.stream.get(*id).is_none() && !in_flight(*id)).collect()
    }

    /// Hands out under the lease; also returns whether the look was cut short.
    pub(super) fn deliver(&mut self, g: usize, count: u64) -> (Given, bool) {
        match drive::deliver(&mut self.here(g), count).expect(SOUND) {
            Delivery::Passed(passed) => {
                (passed.batch.into_iter().map(|event| (event, None)).collect(), false)
            }
            Delivery::Fresh { events, .. } => {
                (events.into_iter().map(|shown| (shown.event, shown.attempt)).collect(), false)
            }
            Delivery::Again { event, attempt, .. } => (vec![(event, Some(attempt))], false),
            Delivery::Nothing => (Vec::new(), false),
            Delivery::Later => (Vec::new(), true),
            Delivery::Closed => panic!("a barrier where no key has moved"),
        }
    }

    pub(super) fn turn(&mut self, g: usize, caller: &Caller, arrival: Arrival) -> Turn {
        tenure::turn(&mut self.here(g), caller, arrival).expect(SOUND)
    }

    pub(super) fn grant(&mut self, g: usize, caller: &Caller, epoch: u64, lease_ms: u64) {
        tenure::grant(&mut self.here(g), caller, epoch, lease_ms).expect(SOUND);
        self.fence_owner(g, caller.connection);
    }

    pub(super) fn proceed(&mut self, g: usize, caller: &Caller, pull: Pull) {
        tenure::proceed(&mut self.here(g), caller, pull).expect(SOUND);
    }

    pub(super) fn lose_lease(&mut self, g: usize) {
        tenure::lose(&mut self.here(g)).expect(SOUND);
        self.remember();
    }

    pub(super) fn release(&mut self, g: usize, caller: &Caller) -> Result<(), Error> {
        tenure::release(&mut self.here(g), caller)?;
        self.fence_owner(g, None);
        Ok(())
    }

    pub(super) fn seek(&mut self, g: usize, cursor: EventId) {
        tenure::seek(&mut self.here(g), cursor).expect(SOUND);
    }

    /// EVQ.REPLAY of a key.
    pub(super) fn replay(&mut self, g: usize, request: Request<'_>) -> Result<Vec<EventId>, Error> {
        let events = replay::decide(&mut self.here(g), request, &mut Allowance::default())?;
        replay::carry_out(&mut self.here(g), request.key, events.clone()).expect(SOUND);
        Ok(events)
    }

    pub(super) fn acknowledge(
        &mut self,
        g: usize,
        caller: &Caller,
        id: EventId,
    ) -> Result<Answered, Error> {
        answers::acknowledge(&mut self.here(g), caller, id)
    }

    pub(super) fn nack(
        &mut self,
        g: usize,
        caller: &Caller,
        id: EventId,
        delay_ms: Option<u64>,
    ) -> Result<Failed, Error> {
        answers::fail(&mut self.here(g), caller, &Refusal { delay_ms, ..Refusal::of(id) })
    }

    /// Something was answered: a lease that EVQ.CONSUME * took is anybody's with nothing in flight.
    pub(super) fn share(&mut self, g: usize) {
        answers::share(&mut self.here(g)).expect(SOUND);
    }
}
