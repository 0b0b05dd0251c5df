//! What the server does around the rules of delivery, in its order and by its effects: one partition,
//! one group, a replica that applies what is replicated, and a stream in memory.

use evq::model::error::Error;
use evq::model::hash::digest;
use evq::model::ids::EventId;
use evq::model::name::Name;
use evq::model::now::Now;
use evq::model::progress::Progress;
use evq::model::progress::lease::{Caller, Scene, Turn};
use evq::model::progress::partition::Partition;
use evq::model::ring::group::Group;
use evq::model::rules::delivery;
use evq::model::rules::delivery::{Step, step, step_unowned};
use evq::model::rules::gate::Gate;
use evq::model::rules::rights::Ack;
use evq::model::rules::source::{Entry, Source};
use evq::model::saved::effect::Failure;
use evq::model::saved::effect::{Change, Effect};
use evq::model::saved::snapshot::{decode, encode};

/// How long a lease lasts here.
pub const LEASE_MS: u64 = 100;
/// Steps that one command takes at most, as in the server.
const MAX_STEPS: usize = 8;

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

/// The server.
#[derive(Debug)]
pub struct Shell {
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
}

impl Shell {
    /// An empty partition.
    pub fn new(group: Group) -> Self {
        Self {
            stream: Stream::default(),
            group,
            now_ms: 1_700_000_000_000,
            owner_gone: false,
            name: Name::default_name(),
            beginning: Progress::default(),
            partition: Partition::default(),
            replica: Partition::default(),
        }
    }

    /// How far the group is.
    pub fn progress(&self) -> &Progress {
        self.partition.get(&self.name).unwrap_or(&self.beginning)
    }

    fn now(&self) -> Now {
        Now { unix_us: self.now_ms * 1000 }
    }

    fn scene(&self) -> Scene {
        Scene { owner_gone: self.owner_gone, ..Scene::default() }
    }

    fn volatile(&mut self, change: impl FnOnce(&mut Progress)) {
        if let Some(progress) = self.partition.get_mut(&self.name) {
            change(progress);
        }
    }

    /// Applies a change here, and on the replica what has travelled there.
    fn change(&mut self, change: Change) {
        let effect = Effect::Group(self.name.clone(), change);
        let travelled = encode(&effect).expect("an effect is small");
        assert!(self.partition.apply(effect));
        assert!(self.replica.apply(decode(&travelled).expect("an effect arrives")));
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
    pub fn turn(&self, caller: &Caller) -> Turn {
        self.progress().turn(caller, self.now(), self.scene())
    }

    /// Grants the lease; answers whether the lease before was lost, and who is blamed for it.
    pub fn grant(&mut self, caller: &Caller, epoch: u64) -> (bool, Option<EventId>) {
        let (now, mut blamed) = (self.now(), None);
        let lost = self.progress().is_lost(caller, now, self.scene());
        if lost {
            if let Some((event, change)) =
                delivery::loss(self.progress(), &self.group, &self.stream, now)
            {
                blamed = Some(event.id);
                self.change(change);
            }
            self.volatile(|progress| progress.lose_lease(blamed));
        }
        self.change(Change::Epoch { epoch, start: EventId::ZERO });
        self.volatile(|progress| progress.begin_lease(caller, now, LEASE_MS, 0));
        self.owner_gone = false;
        (lost, blamed)
    }

    /// Hands out to the owner, which is `caller`.
    pub fn pull(&mut self, caller: &Caller, count: u64) -> Given {
        let (now, group) = (self.now(), self.group.clone());
        self.volatile(|progress| progress.continue_lease(caller.connection, now, LEASE_MS));
        self.owner_gone = false;
        if self.progress().is_plain(&group) {
            let progress = self.progress();
            let after = progress.lease().expect("a lease").position.max(progress.cursor());
            let count = usize::try_from(count).expect("a small count");
            let events: Vec<Event> = self.stream.after(after).take(count).collect();
            let first = events.first().map(|event| event.id);
            if let Some(last) = events.last() {
                let given = events.len() as u64;
                self.volatile(|progress| progress.hand_out(first, last.id, given, given, now));
            }
            return events.into_iter().map(|event| (event, None)).collect();
        }
        for _ in 0..MAX_STEPS {
            self.volatile(|progress| progress.look(&Gate::open(), now));
            let progress = self.progress();
            match step(progress, &group, &Gate::open(), &self.stream, now, count).expect("a lease")
            {
                Step::Change(change) => self.change(change),
                Step::Redeliver(event, attempt) => {
                    self.volatile(|progress| progress.redeliver(event.id, now));
                    return vec![(event, Some(attempt))];
                }
                Step::Give(events, last, scanned) => {
                    let attempt = |event: &Event| {
                        let attempts = progress.attempts(event.id);
                        progress.is_suspect(event.id).then(|| attempts.saturating_add(1))
                    };
                    let shown = events.iter().map(|event| (*event, attempt(event))).collect();
                    let (first, given) = (events.first().map(|e| e.id), events.len() as u64);
                    self.volatile(|progress| progress.hand_out(first, last, scanned, given, now));
                    return shown;
                }
                Step::Nothing(last, scanned) => {
                    self.volatile(|progress| progress.hand_out(None, last, scanned, 0, now));
                    return Vec::new();
                }
            }
        }
        Vec::new()
    }

    /// Whether the next owner would be given anything; applies what has to be applied before.
    pub fn has_work(&mut self) -> bool {
        for _ in 0..MAX_STEPS {
            let now = self.now();
            self.volatile(|progress| progress.look(&Gate::open(), now));
            let progress = self.progress();
            match step_unowned(progress, &self.group, &Gate::open(), &self.stream, now) {
                Step::Redeliver(..) | Step::Give(..) => return true,
                Step::Nothing(..) => return false,
                Step::Change(change) => {
                    if self.partition.get(&self.name).is_none() {
                        self.change(Change::Epoch { epoch: 0, start: EventId::ZERO });
                    }
                    self.change(change);
                }
            }
        }
        false
    }

    /// EVQ.ACK: whether it finishes anything.
    ///
    /// # Errors
    /// As [`delivery::ack`].
    pub fn ack(&mut self, caller: &Caller, id: EventId) -> Result<bool, Error> {
        let (progress, scene, now) = (self.progress(), self.scene(), self.now());
        let ack = delivery::ack(progress, &self.group, &self.stream, caller, scene, id)?;
        if ack == Ack::Finishes {
            // It travels as the command that it was.
            self.partition.acknowledge(&self.name, id);
            self.replica.acknowledge(&self.name, id);
        }
        self.volatile(|progress| progress.renew(now));
        Ok(ack == Ack::Finishes)
    }

    /// EVQ.NACK: what the failure does; none if the entry is gone.
    ///
    /// # Errors
    /// As [`delivery::nack`].
    pub fn nack(
        &mut self,
        caller: &Caller,
        id: EventId,
        delay_ms: Option<u64>,
    ) -> Result<Option<Failure>, Error> {
        let (progress, scene, now) = (self.progress(), self.scene(), self.now());
        let lease = progress.authorize(caller, scene)?;
        progress.check_in_flight(lease, id)?;
        let decided = delivery::nack(progress, &self.group, &self.stream, now, id, delay_ms)?;
        let Some((_, failure)) = decided else {
            if progress.exceptions().get(id).is_some() {
                self.change(Change::Dropped(id));
            }
            return Ok(None);
        };
        self.change(Change::Failed(failure.clone()));
        self.volatile(|progress| progress.renew(now));
        Ok(Some(failure))
    }

    /// EVQ.RELEASE: the lease ends, and nobody is to blame.
    ///
    /// # Errors
    /// As [`Progress::authorize`].
    pub fn release(&mut self, caller: &Caller) -> Result<(), Error> {
        self.progress().authorize(caller, self.scene())?;
        let epoch = self.progress().next_epoch(self.now());
        self.change(Change::Epoch { epoch, start: EventId::ZERO });
        Ok(())
    }

    /// EVQ.SEEK.
    pub fn seek(&mut self, cursor: EventId) {
        let epoch = self.progress().next_epoch(self.now());
        self.change(Change::Sought { cursor, epoch });
    }

    /// EVQ.DEAD RETRY of an event: whether it starts again.
    ///
    /// # Errors
    /// As [`Progress::retry`].
    pub fn revive(&mut self, event: &Event) -> Result<bool, Error> {
        let change = self.progress().retry(event.id, digest(&event.key))?;
        let starts = change.is_some();
        if let Some(change) = change {
            self.change(change);
        }
        Ok(starts)
    }

    /// EVQ.DEAD SKIP of an event: whether it was dead and held its key.
    pub fn skip(&mut self, id: EventId) -> bool {
        let change = self.progress().skip(id);
        let was_dead = change.is_some();
        if let Some(change) = change {
            self.change(change);
        }
        was_dead
    }
}
