//! Delivery against its guarantees, in a simulated partition: workers that pull, acknowledge,
//! release, fall silent, come back with old epochs or leave; a clock that jumps; a server that
//! crashes and is rebuilt from any prefix of the effects. The seed of a failing run is in
//! proptest's message.
//!
//! The simulation knows what the contract promises and nothing of how it is kept:
//!
//! 1. Order: every grant begins right above the cursor, and goes on without a gap.
//! 2. At least once: the cursor passes no event that was not handed out under the lease that
//!    finished it; and whoever comes last can finish everything.
//! 3. Fencing: only the owner under the last epoch can move the cursor, renew or release.
//! 4. Epochs grow over everything; cursors never go back, except over a crash that lost effects.

use proptest::prelude::*;

use super::*;
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::progress::lease::{Caller, Scene, Turn};
use crate::model::progress::partition::Partition;
use crate::model::progress::volatile::HandedOut;
use crate::model::rules::rights::Ack;
use crate::model::saved::effect::{Change, Effect};

/// An effect of the log: as replicated, or an acknowledgement, which travels as the command.
#[derive(Clone, Debug)]
enum Logged {
    Effect(Effect),
    Ack(EventId),
}

#[derive(Clone, Debug)]
enum Step {
    /// So many new events.
    Trigger(u8),
    /// A worker consumes: by name or as its connection, with its last epoch or without.
    Consume {
        worker: usize,
        named: bool,
        epoch: bool,
        count: u8,
    },
    /// It acknowledges the n-th event of what it was given last.
    Ack {
        worker: usize,
        named: bool,
        epoch: bool,
        nth: u8,
    },
    Extend {
        worker: usize,
        lease_ms: u8,
    },
    Release {
        worker: usize,
        named: bool,
        epoch: bool,
    },
    /// Its connection closes; it comes back through another one.
    Disconnect(usize),
    /// It blocks, or stops to.
    Block(bool),
    /// The clock moves by so many ms, back too.
    Clock(i16),
    /// Role change: every lease is over, nothing is lost.
    NewEra,
    /// The server dies and comes back with all but the last effects.
    Crash {
        lost: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let worker = 0..WORKERS;
    prop_oneof![
        4 => (1..6u8).prop_map(Step::Trigger),
        8 => (worker.clone(), any::<bool>(), any::<bool>(), 1..5u8).prop_map(
            |(worker, named, epoch, count)| Step::Consume { worker, named, epoch, count }
        ),
        8 => (worker.clone(), any::<bool>(), any::<bool>(), 0..8u8).prop_map(
            |(worker, named, epoch, nth)| Step::Ack { worker, named, epoch, nth }
        ),
        1 => (worker.clone(), 1..100u8)
            .prop_map(|(worker, lease_ms)| Step::Extend { worker, lease_ms }),
        1 => (worker.clone(), any::<bool>(), any::<bool>())
            .prop_map(|(worker, named, epoch)| Step::Release { worker, named, epoch }),
        1 => worker.prop_map(Step::Disconnect),
        1 => any::<bool>().prop_map(Step::Block),
        3 => (-300..500i16).prop_map(Step::Clock),
        1 => Just(Step::NewEra),
        1 => (0..4u8).prop_map(|lost| Step::Crash { lost }),
    ]
}

const WORKERS: usize = 4;
const LEASE_MS: u64 = 100;

/// What a worker remembers.
#[derive(Clone, Debug, Default)]
struct Worker {
    connection: u64,
    /// Its last grant, which it may have lost without knowing.
    epoch: Option<u64>,
    /// What it was given under it.
    given: Vec<EventId>,
}

struct World {
    now_ms: u64,
    earliest_ms: u64,
    era: u64,
    stream: Vec<EventId>,
    partition: Partition,
    group: Name,
    workers: Vec<Worker>,
    connections: u64,
    blocked: bool,
    log: Vec<Logged>,
    /// The latest epoch ever issued, and who got it, if it is a worker's and was not lost.
    latest: u64,
    owner: Option<usize>,
    /// Whether it was granted to a name, through which connection it last came, and until when
    /// nobody may take over.
    named: bool,
    connection: u64,
    deadline_ms: u64,
    lease_ms: u64,
    /// What was handed out under it.
    handed: Vec<EventId>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            now_ms: 1_700_000_000_000,
            earliest_ms: 0,
            era: 0,
            stream: Vec::new(),
            partition: Partition::default(),
            group: Name::default_name(),
            workers: vec![Worker::default(); WORKERS],
            connections: 0,
            blocked: false,
            log: Vec::new(),
            latest: 0,
            owner: None,
            named: false,
            connection: 0,
            deadline_ms: 0,
            lease_ms: LEASE_MS,
            handed: Vec::new(),
        };
        (0..WORKERS).for_each(|worker| world.connect(worker));
        world
    }

    fn connect(&mut self, worker: usize) {
        self.connections += 1;
        self.workers[worker].connection = self.connections;
    }

    fn now(&self) -> Now {
        Now { unix_us: self.now_ms * 1000 }
    }

    fn scene(&self) -> Scene {
        Scene { owner_waits: self.blocked, era: self.era, ..Scene::default() }
    }

    fn caller(&self, worker: usize, named: bool, epoch: bool) -> Caller {
        let me = &self.workers[worker];
        Caller {
            worker: named.then(|| Name::worker(format!("w{worker}").as_bytes()).unwrap()),
            epoch: me.epoch.filter(|_| epoch),
            connection: Some(me.connection),
        }
    }

    fn progress(&self) -> Progress {
        self.partition.get(&self.group).cloned().unwrap_or_default()
    }

    fn volatile(&mut self, change: impl FnOnce(&mut Progress)) {
        if let Some(progress) = self.partition.get_mut(&self.group) {
            change(progress);
        }
    }

    fn issue(&mut self, epoch: u64) {
        assert!(epoch > self.latest, "epoch {epoch} after {}", self.latest);
        self.latest = epoch;
        self.owner = None;
        self.handed.clear();
        let start = EventId::ZERO;
        let effect = Effect::Group(self.group.clone(), Change::Epoch { epoch, start });
        assert!(self.partition.apply(effect.clone()));
        self.log.push(Logged::Effect(effect));
    }

    fn consume(&mut self, worker: usize, named: bool, epoch: bool, count: u8) {
        let (caller, now) = (self.caller(worker, named, epoch), self.now());
        let idle = self.blocked && self.handed.iter().all(|id| *id <= self.progress().cursor());
        match self.progress().turn(&caller, now, self.scene()) {
            Turn::Wait | Turn::Claim(_) => return,
            Turn::Continue => {
                assert_eq!(self.owner, Some(worker), "nobody else can go on");
                let me = &self.workers[worker];
                assert!(self.connection == me.connection || epoch && me.epoch == Some(self.latest));
                self.volatile(|p| p.continue_lease(caller.connection, now, LEASE_MS));
            }
            Turn::Grant(epoch) => {
                // Whoever has a lease keeps it until its deadline, but for its own name.
                assert!(
                    self.owner.is_none()
                        || self.owner == Some(worker) && self.named && named
                        || self.now_ms >= self.deadline_ms && !idle
                );
                self.issue(epoch);
                (self.owner, self.named, self.blocked) = (Some(worker), named, false);
                let era = self.era;
                self.volatile(|p| p.begin_lease(&caller, now, LEASE_MS, era));
                self.workers[worker].epoch = Some(epoch);
                self.workers[worker].given.clear();
            }
        }
        self.connection = self.workers[worker].connection;
        self.deadline_ms = self.now_ms + LEASE_MS;
        self.lease_ms = LEASE_MS;
        let progress = self.progress();
        let position = progress.lease().expect("a lease").position;
        // Order: right above the cursor at first, then right above what was given before.
        assert_eq!(
            position,
            self.handed.last().copied().unwrap_or_default().max(progress.cursor())
        );
        let events: Vec<_> =
            self.stream.iter().filter(|id| **id > position).take(count.into()).copied().collect();
        if let Some(last) = events.last() {
            let (first, last, given) = (events.first().copied(), *last, events.len() as u64);
            let handed_out = HandedOut { first, last, entries: given, given };
            self.volatile(|p| p.hand_out(handed_out, now));
        }
        self.handed.extend(&events);
        self.workers[worker].given.extend(&events);
    }

    fn ack(&mut self, worker: usize, named: bool, epoch: bool, nth: u8) {
        // Also the event after those that it was given.
        let mut ids = self.workers[worker].given.clone();
        ids.extend(self.stream.iter().find(|id| ids.last().is_none_or(|last| *id > last)));
        let Some(id) = ids.get(usize::from(nth) % ids.len().max(1)).copied() else { return };
        let before = self.progress().cursor();
        let decided = self.progress().ack(&self.caller(worker, named, epoch), self.scene(), id);
        match decided {
            Ok(outcome) => {
                let finishes = outcome == Ack::Finishes;
                assert_eq!(self.owner, Some(worker), "who lost the lease cannot acknowledge");
                assert_eq!(finishes, id > before);
                let passed = self.stream.iter().filter(|event| **event > before && **event <= id);
                assert!(passed.clone().all(|event| self.handed.contains(event)), "a gap");
                if finishes {
                    self.partition.acknowledge(&self.group, id);
                    self.log.push(Logged::Ack(id));
                }
                let now = self.now();
                self.volatile(|progress| progress.renew(now));
                self.deadline_ms = self.now_ms + self.lease_ms;
            }
            // A worker that has the lease is refused only where it does not say who it is.
            Err(Error::Fenced) => assert!(self.owner != Some(worker) || !epoch),
            Err(Error::BadId(_)) => {
                assert_eq!(self.owner, Some(worker));
                assert!(!self.handed.contains(&id));
            }
            Err(error) => panic!("{error}: what was given can be acknowledged"),
        }
        assert!(self.progress().cursor() >= before);
    }

    fn release(&mut self, worker: usize, named: bool, epoch: bool) {
        let progress = self.progress();
        if progress.authorize(&self.caller(worker, named, epoch), self.scene()).is_ok() {
            assert_eq!(self.owner, Some(worker), "who lost the lease cannot release");
            self.issue(progress.next_epoch(self.now()));
        }
    }

    fn crash(&mut self, lost: u8) {
        let kept = self.log.len().saturating_sub(lost.into());
        self.log.truncate(kept);
        self.partition = Partition::default();
        for logged in self.log.clone() {
            match logged {
                Logged::Effect(effect) => assert!(self.partition.apply(effect)),
                Logged::Ack(id) => self.partition.acknowledge(&self.group, id),
            }
        }
        if lost > 0 {
            // The rule for epochs leans on this: the clock is past a grant that was lost, and is
            // not set back before it.
            self.earliest_ms = self.latest / 1000 + 1;
            self.now_ms = self.now_ms.max(self.earliest_ms);
        }
        assert!(self.partition.iter().all(|(_, progress)| progress.lease().is_none()));
        self.owner = None;
        self.handed.clear();
        (self.blocked, self.era) = (false, self.era + 1);
        (0..WORKERS).for_each(|worker| self.connect(worker));
    }

    fn take(&mut self, step: Step) {
        let before = self.progress();
        let crashes = matches!(step, Step::Crash { .. });
        match step {
            Step::Trigger(count) => (0..count).for_each(|_| {
                let last = self.stream.last().copied().unwrap_or_default();
                let id = EventId { ms: self.now_ms, seq: 0 };
                self.stream.push(if id > last { id } else { last.next().unwrap() });
            }),
            Step::Consume { worker, named, epoch, count } => {
                self.consume(worker, named, epoch, count);
            }
            Step::Ack { worker, named, epoch, nth } => self.ack(worker, named, epoch, nth),
            Step::Extend { worker, lease_ms } => {
                let caller = self.caller(worker, false, true);
                if self.progress().authorize(&caller, self.scene()).is_ok() {
                    assert_eq!(self.owner, Some(worker), "who lost the lease cannot renew it");
                    let now = self.now();
                    self.volatile(|progress| progress.extend(now, lease_ms.into()));
                    self.lease_ms = lease_ms.into();
                    self.deadline_ms = self.now_ms + self.lease_ms;
                }
            }
            Step::Release { worker, named, epoch } => self.release(worker, named, epoch),
            Step::Disconnect(worker) => {
                let connection = self.workers[worker].connection;
                let own =
                    |lease: &Lease| lease.worker.is_none() && lease.connection == Some(connection);
                if self.progress().lease().is_some_and(own) {
                    self.volatile(|progress| progress.lose_lease(None));
                }
                if !self.named && self.connection == connection {
                    self.owner = None;
                }
                self.connect(worker);
            }
            Step::Block(blocks) => self.blocked = blocks && self.owner.is_some(),
            Step::Clock(ms) => {
                let moved = self.now_ms.saturating_add_signed(ms.into());
                self.now_ms = moved.max(self.earliest_ms);
            }
            Step::NewEra => (self.era, self.owner, self.blocked) = (self.era + 1, None, false),
            Step::Crash { lost } => self.crash(lost),
        }
        let after = self.progress();
        assert!(crashes || after.cursor() >= before.cursor() && after.epoch() >= before.epoch());
    }

    /// Whoever comes last can finish everything.
    fn finish(&mut self) {
        self.blocked = false;
        self.now_ms = self.now_ms.max(self.progress().lease().map_or(0, |lease| lease.deadline_ms));
        let (rest, start) = (self.stream.clone(), self.progress().cursor());
        for _ in 0..=rest.len() {
            self.consume(0, false, false, 255);
            let given = self.workers[0].given.len();
            self.ack(0, false, true, u8::try_from(given.saturating_sub(1)).unwrap_or(u8::MAX));
            if self.progress().cursor() == rest.last().copied().unwrap_or(start).max(start) {
                return;
            }
        }
        panic!("{:?} of {rest:?}", self.progress());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn order_fencing_and_epochs_hold_whatever_happens(
        steps in prop::collection::vec(step(), 1..150)
    ) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.take(step));
        world.finish();
    }
}
