//! A shell around the rules of delivery: one partition, one group, a replica that applies what is
//! replicated, and a stream in memory.

use evq::model::error::Error;
use evq::model::hash::digest;
use evq::model::ids::EventId;
use evq::model::name::Name;
use evq::model::now::Now;
use evq::model::progress::Progress;
use evq::model::progress::lease::Pace;
use evq::model::progress::lease::{Caller, Scene, Turn};
use evq::model::progress::partition::Partition;
use evq::model::ring::group::Group;
use evq::model::rules::answers::Failed;
use evq::model::rules::drive::Delivery;
use evq::model::rules::failure::Refusal;
use evq::model::rules::ready::{Ready, Taker};
use evq::model::rules::shell::{Acknowledged, Letter, Occurrence, Passed, Plain, Shell};
use evq::model::rules::source::{Entry, Source};
use evq::model::rules::tenure::{Arrival, Pull, Target};
use evq::model::rules::{answers, drive, ready, tenure};
use evq::model::saved::effect::{Change, Effect, Failure};
use evq::model::saved::snapshot::{decode, encode};

/// What is answered here to an EVQ.NACK that repeats one: nothing is in flight, but it renews.
pub const REPEATED: &str = "it was refused before";
/// How long a lease lasts here.
pub const LEASE_MS: u64 = 100;
/// A shell in memory refuses nothing by itself.
const SOUND: &str = "everything is in memory";

/// An entry of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Its key.
    pub key: [u8; 1],
    /// Its type.
    pub kind: [u8; 1],
}

impl Entry for Event {
    fn id(&self) -> EventId {
        self.id
    }

    fn key(&self) -> &[u8] {
        &self.key
    }

    fn kind(&self) -> &[u8] {
        &self.kind
    }
}

/// The entries in the order of their ids.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// What it holds.
    pub events: Vec<Event>,
    /// The last id that it gave.
    pub last: EventId,
}

impl Source for Stream {
    type Entry = Event;

    fn after(&self, after: EventId) -> impl Iterator<Item = Event> {
        self.events.iter().filter(move |event| event.id > after).copied()
    }

    fn get(&self, id: EventId) -> Option<Event> {
        self.events.iter().find(|event| event.id == id).copied()
    }
}

/// What a pull gives: events, each with the attempt that it shows.
pub type Given = Vec<(Event, Option<u32>)>;

/// How a lease was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The event that was alone in flight.
    pub blamed: Option<EventId>,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    /// The events.
    pub stream: Stream,
    /// The group's settings.
    pub group: Group,
    /// The clock.
    pub now_ms: u64,
    /// The connection of the lease's owner has closed.
    pub owner_gone: bool,
    name: Name,
    beginning: Progress,
    partition: Partition,
    replica: Partition,
    /// The last lease that was lost.
    loss: Option<Loss>,
}

impl Shell for Server {
    type Entry = Event;
    type Stream<'a> = &'a Stream;
    type Batch = Vec<Event>;

    fn now(&self) -> Now {
        Now { unix_us: self.now_ms.saturating_mul(1000) }
    }

    fn group(&self) -> &Group {
        &self.group
    }

    fn start(&self) -> EventId {
        EventId::ZERO
    }

    fn era(&self) -> u64 {
        0
    }

    fn scene(&self, _: Option<&Progress>) -> Scene {
        Scene { owner_gone: self.owner_gone, ..Scene::default() }
    }

    fn stream(&self) -> Result<Option<&Stream>, Error> {
        Ok(Some(&self.stream))
    }

    fn with<R>(
        &mut self,
        look: impl FnOnce(&Self, Option<&mut Progress>) -> R,
    ) -> Result<R, Error> {
        // What is looked at is taken out meanwhile, so that the rest lies open.
        let mut progress = self.partition.get_mut(&self.name).map(std::mem::take);
        let result = look(self, progress.as_mut());
        if let Some(progress) = progress {
            *self.partition.get_mut(&self.name).expect("it was there") = progress;
        }
        Ok(result)
    }

    fn pass_on(&self, plain: &Plain) -> Option<Passed<Vec<Event>>> {
        Passed::copied(&self.stream, plain)
    }

    /// Applies a change here, and on the replica what has travelled there.
    fn change(&mut self, change: Change) -> Result<(), Error> {
        let effect = Effect::Group(self.name.clone(), change);
        let travelled = encode(&effect).expect("an effect is small");
        assert!(self.partition.apply(effect));
        assert!(self.replica.apply(decode(&travelled).expect("an effect arrives")));
        Ok(())
    }

    fn write_letter(&mut self, _: &Letter<'_, Event>) -> Result<(), Error> {
        Ok(())
    }

    fn acknowledged(&mut self, acknowledged: &Acknowledged) {
        // It travels as the command that it was.
        self.replica.acknowledge(&self.name, acknowledged.id);
    }

    fn note(&mut self, occurrence: Occurrence<'_>) {
        if let Occurrence::LeaseLost { blamed, .. } = occurrence {
            self.loss = Some(Loss { blamed });
        }
    }
}

impl Server {
    /// An empty partition.
    pub fn new(group: Group) -> Self {
        Self::over(Partition::default(), Name::default_name(), Stream::default(), group)
    }

    /// A group of a partition that was loaded.
    pub fn over(partition: Partition, name: Name, stream: Stream, group: Group) -> Self {
        Self {
            stream,
            group,
            now_ms: 1_700_000_000_000,
            owner_gone: false,
            name,
            beginning: Progress::default(),
            replica: partition.clone(),
            partition,
            loss: None,
        }
    }

    /// How far the group is.
    pub fn progress(&self) -> &Progress {
        self.partition.get(&self.name).unwrap_or(&self.beginning)
    }

    /// The replica is a copy, and what is saved can be loaded.
    pub fn check(&self) {
        self.partition.check().expect("the limits hold");
        assert_eq!(encode(&self.partition), encode(&self.replica), "the replica is a copy");
    }

    /// The server starts again from what is saved, or the replica takes over.
    pub fn restart(&mut self) {
        let saved = encode(&self.replica).expect("it can be saved");
        self.partition = decode(&saved).expect("what is saved can be loaded");
        self.owner_gone = false;
    }

    /// Appends an event.
    pub fn trigger(&mut self, key: u8, kind: u8) {
        let id = EventId { ms: self.now_ms, seq: 0 };
        let id = if id > self.stream.last { id } else { self.stream.last.next().expect("an id") };
        self.stream.last = id;
        self.stream.events.push(Event { id, key: [key], kind: [kind] });
    }

    /// Whether a CONSUME goes on, is granted the lease, or waits.
    pub fn turn(&mut self, caller: &Caller) -> Turn {
        tenure::turn(self, caller, Arrival::New).expect(SOUND)
    }

    /// Grants the lease; returns how the lease before was lost, if it was.
    pub fn grant(&mut self, caller: &Caller, epoch: u64) -> Option<Loss> {
        self.loss = None;
        tenure::grant(self, caller, epoch, LEASE_MS).expect(SOUND);
        self.owner_gone = false;
        self.loss
    }

    /// Hands out to the owner, which is `caller`.
    pub fn pull(&mut self, caller: &Caller, count: u64) -> Given {
        let pull = Pull { target: Target::One, pace: Pace::Ahead, lease_ms: LEASE_MS };
        tenure::proceed(self, caller, pull).expect(SOUND);
        self.owner_gone = false;
        match drive::deliver(self, count).expect(SOUND) {
            Delivery::Passed(passed) => {
                passed.batch.into_iter().map(|event| (event, None)).collect()
            }
            Delivery::Fresh { events, .. } => {
                events.into_iter().map(|shown| (shown.event, shown.attempt)).collect()
            }
            Delivery::Again { event, attempt, .. } => vec![(event, Some(attempt))],
            Delivery::Nothing | Delivery::Later => Vec::new(),
            Delivery::Closed => panic!("a barrier where no key has moved"),
        }
    }

    /// Whether the next owner would be given anything; applies what has to be applied before.
    pub fn has_work(&mut self) -> bool {
        ready::prepare(self, Taker::Next).expect(SOUND) == Ready::Work
    }

    /// EVQ.ACK: whether it finishes anything.
    ///
    /// # Errors
    /// As [`answers::acknowledge`].
    pub fn ack(&mut self, caller: &Caller, id: EventId) -> Result<bool, Error> {
        let answered = answers::acknowledge(self, caller, id)?;
        if answered.shared {
            answers::share(self)?;
        }
        Ok(answered.finishes)
    }

    /// EVQ.NACK: what the failure does; none if the entry is gone.
    ///
    /// # Errors
    /// As [`answers::fail`].
    pub fn nack(
        &mut self,
        caller: &Caller,
        id: EventId,
        delay_ms: Option<u64>,
    ) -> Result<Option<Failure>, Error> {
        match answers::fail(self, caller, &Refusal { delay_ms, ..Refusal::of(id) })? {
            Failed::Gone => Ok(None),
            // For the ledger it is not in flight any more.
            Failed::Repeated(_) => Err(Error::BadId(REPEATED)),
            Failed::Recorded(failure) => {
                answers::share(self)?;
                Ok(Some(failure))
            }
        }
    }

    /// The lease is lost.
    pub fn lose(&mut self) {
        tenure::lose(self).expect(SOUND);
    }

    /// EVQ.RELEASE: the lease ends, and nobody is to blame.
    ///
    /// # Errors
    /// As [`tenure::release`].
    pub fn release(&mut self, caller: &Caller) -> Result<(), Error> {
        tenure::release(self, caller)
    }

    /// EVQ.SEEK.
    pub fn seek(&mut self, cursor: EventId) {
        tenure::seek(self, cursor).expect(SOUND);
    }

    /// EVQ.DEAD RETRY of an event: whether it starts again.
    ///
    /// # Errors
    /// As [`Progress::retry`].
    pub fn revive(&mut self, event: &Event) -> Result<bool, Error> {
        let change = self.progress().retry(event.id, digest(&event.key))?;
        let starts = change.is_some();
        change.into_iter().try_for_each(|change| self.change(change))?;
        Ok(starts)
    }

    /// EVQ.DEAD SKIP of an event: whether it was dead and held its key.
    pub fn skip(&mut self, id: EventId) -> bool {
        let change = self.progress().skip(id);
        let was_dead = change.is_some();
        change.into_iter().try_for_each(|change| self.change(change)).expect(SOUND);
        was_dead
    }
}
