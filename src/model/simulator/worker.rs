//! The workers of the simulation and everything else that can happen to a server: what each does,
//! and what the contract says that it is answered.

use super::stream::Nature;
use super::truth::{Owner, Stage};
use super::world::{Waiting, World, saved};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::lease::{Caller, Pace, Turn};
use crate::model::ring::group::Group;
use crate::model::rules::answers::Failed;
use crate::model::rules::ready::{Ready, Taker};
use crate::model::rules::source::Source;
use crate::model::rules::tenure::{Arrival, Pull, Target};
use crate::model::saved::effect::Fate;

pub(super) const LEASE_MS: u64 = 100;

/// How a worker says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Connection,
    Name,
    /// The epoch it was given last, through its connection.
    Epoch,
    NameAndEpoch,
    /// The epoch, in a script.
    Script,
}

/// A CONSUME.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) g: usize,
    pub(super) by: By,
    pub(super) any: bool,
    pub(super) count: u64,
    pub(super) pace: Pace,
    pub(super) block: bool,
}

/// What a CONSUME comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Given,
    /// It has the lease, and there is nothing to give.
    Owns,
    NotItsTurn,
}

/// What a worker remembers of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    /// Its last grant, which it may have lost without knowing.
    pub(super) epoch: Option<u64>,
    /// What it was given under it and has not answered.
    pub(super) given: Vec<EventId>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Worker {
    pub(super) connection: u64,
    pub(super) memory: [Memory; 2],
}

pub(super) struct Simulation {
    pub(super) world: World,
    pub(super) workers: Vec<Worker>,
    pub(super) connections: u64,
    /// Connections of a pool that are open and not used now.
    pub(super) open: Vec<u64>,
    /// How often anybody was given anything.
    pub(super) replies: usize,
}

impl Simulation {
    pub(super) fn new(groups: Vec<Group>, workers: usize) -> Self {
        let workers = (1..=workers as u64)
            .map(|connection| Worker { connection, memory: Default::default() })
            .collect::<Vec<_>>();
        let connections = workers.len() as u64;
        let world = World::new(groups);
        Self { world, workers, connections, open: Vec::new(), replies: 0 }
    }

    pub(super) fn caller(&self, w: usize, g: usize, by: By) -> Caller {
        let me = &self.workers[w];
        let name = || Name::worker(format!("w{w}").as_bytes()).unwrap();
        Caller {
            worker: matches!(by, By::Name | By::NameAndEpoch).then(name),
            epoch: me.memory[g].epoch.filter(|_| !matches!(by, By::Connection | By::Name)),
            connection: (by != By::Script).then_some(me.connection),
        }
    }

    /// A client that waits does nothing else: its time is up first.
    pub(super) fn stop_waiting(&mut self, w: usize) {
        let (connection, now) = (self.workers[w].connection, self.world.now());
        for g in 0..self.world.sides.len() {
            let side = &mut self.world.sides[g];
            side.standbys.retain(|waiting| waiting.caller.connection != Some(connection));
            side.any_line.retain(|waiting| waiting.caller.connection != Some(connection));
            let waited = |waiting: &mut Waiting| waiting.caller.connection == Some(connection);
            if side.blocked.take_if(waited).is_some() {
                self.world.volatile(g, |progress| progress.renew_for(connection, now));
                self.renew_truth(g, Some(connection));
            }
        }
    }

    /// The owner, if it is at `connection`, gave a sign of life.
    fn renew_truth(&mut self, g: usize, connection: Option<u64>) {
        let now_ms = self.world.now_ms;
        if let Some(owner) = &mut self.world.sides[g].truth.owner
            && connection.is_none_or(|connection| connection == owner.connection)
        {
            owner.deadline_ms = now_ms + owner.lease_ms;
        }
    }

    pub(super) fn pull(&mut self, w: usize, wanted: Wanted) {
        let Wanted { g, by, any, count, pace, block } = wanted;
        let by = if by == By::Script { By::NameAndEpoch } else { by };
        self.stop_waiting(w);
        let caller = self.caller(w, g, by);
        let waiting = Waiting { worker: w, caller, count, any, pace };
        let outcome = self.serve(g, &waiting, false);
        if block {
            let side = &mut self.world.sides[g];
            match outcome {
                Outcome::Given => {}
                Outcome::Owns if !any => side.blocked = Some(waiting),
                Outcome::NotItsTurn if !any => side.standbys.push_back(waiting),
                Outcome::Owns | Outcome::NotItsTurn => side.any_line.push_back(waiting),
            }
        }
    }

    /// Runs a CONSUME, for the first time or when its turn has come.
    pub(super) fn serve(&mut self, g: usize, waiting: &Waiting, again: bool) -> Outcome {
        let Waiting { worker: w, caller, count, any, pace } = waiting.clone();
        let now = self.world.now();
        let arrival = if again && !any { Arrival::Called } else { Arrival::New };
        let turn = self.world.turn(g, &caller, arrival);
        match turn {
            Turn::Wait => {
                self.check_wait(g, self.world.scene(g).queue && arrival == Arrival::New);
                return Outcome::NotItsTurn;
            }
            Turn::Grant(_) | Turn::Claim(_)
                if (any || matches!(turn, Turn::Claim(_)))
                    && self.world.prepare(g, now, Taker::Next) != Ready::Work =>
            {
                return Outcome::NotItsTurn;
            }
            Turn::Grant(epoch) | Turn::Claim(epoch) => self.granted(w, g, &caller, epoch),
            Turn::Continue => {
                let owner = self.world.sides[g].truth.owner.as_ref().expect("an owner");
                assert_eq!(owner.worker, w, "nobody else can go on");
                self.world.sides[g]
                    .blocked
                    .take_if(|waiting| waiting.caller.connection != caller.connection);
            }
        }
        let target = if any { Target::Any } else { Target::One };
        let pull = Pull { target, pace: self.world.flaw.pace(pace), lease_ms: LEASE_MS };
        self.world.proceed(g, &caller, pull);
        self.world.plant_priority(g);
        let owner = self.world.sides[g].truth.owner.as_mut().expect("an owner");
        owner.connection = self.workers[w].connection;
        (owner.lease_ms, owner.shared, owner.gone) = (LEASE_MS, any, false);
        self.renew_truth(g, None);
        let ready = self.world.imagine(|world| world.prepare(g, now, Taker::Owner));
        let owed = self.world.owed(g, pace);
        let (given, cut) = self.world.deliver(g, count);
        if !cut && ready != Ready::Later {
            assert_eq!(ready == Ready::Work, !given.is_empty(), "{given:?}");
        }
        self.world.check_owed(g, &owed, &given, cut);
        self.world.check_given(g, &given, pace);
        if given.is_empty() && !cut {
            self.world.check_nothing_given(g);
            self.world.check_looks(g);
        }
        let memory = &mut self.workers[w].memory[g].given;
        for (event, _) in &given {
            memory.retain(|id| *id != event.id);
            memory.push(event.id);
        }
        self.replies += usize::from(!given.is_empty());
        if given.is_empty() { Outcome::Owns } else { Outcome::Given }
    }

    /// Whoever has the lease keeps it until its deadline; but it may be behind others.
    fn check_wait(&self, g: usize, queue: bool) {
        let side = &self.world.sides[g];
        // What was deleted in flight may count as answered or not.
        let in_flight = side.truth.in_flight(&side.group, &self.world.stream);
        let idle = side.truth.unanswered().is_empty();
        let kept = side.truth.owner.as_ref().is_some_and(|owner| {
            let waits = in_flight.is_empty() && side.blocked.is_some();
            let expired = self.world.now_ms >= owner.deadline_ms && !waits;
            let free = expired || owner.shared && idle || owner.gone && !owner.named;
            !free
        });
        assert!(kept || queue, "nobody has the lease, and yet {:?} waits", side.truth);
    }

    pub(super) fn granted(&mut self, w: usize, g: usize, caller: &Caller, epoch: u64) {
        let side = &self.world.sides[g];
        if let Some(owner) = &side.truth.owner {
            let own = owner.worker == w && owner.named && caller.worker.is_some();
            let idle = side.truth.in_flight(&side.group, &self.world.stream).is_empty();
            let waits = side.truth.unanswered().is_empty() && side.blocked.is_some();
            let expired = self.world.now_ms >= owner.deadline_ms && !waits;
            let free = expired || owner.gone && !owner.named || owner.shared && idle;
            assert!(own || free, "{owner:?} has the lease");
            // It is lost, unless its own worker asks again while its connection lives.
            if !idle {
                let (now, scene) = (self.world.now(), self.world.scene(g));
                let lost = self.world.progress(g).is_lost(caller, now, scene);
                assert_eq!(lost, !own || expired || owner.gone, "whether anybody is to blame");
            }
        }
        self.world.grant(g, caller, epoch, LEASE_MS);
        let connection = self.workers[w].connection;
        self.world.sides[g].truth.owner = Some(Owner {
            worker: w,
            named: caller.worker.is_some(),
            connection,
            deadline_ms: self.world.now_ms + LEASE_MS,
            lease_ms: LEASE_MS,
            shared: false,
            gone: false,
        });
        self.workers[w].memory[g] = Memory { epoch: Some(epoch), given: Vec::new() };
    }

    /// Whether the contract lets this worker act, saying this.
    pub(super) fn may(&self, w: usize, g: usize, caller: &Caller) -> bool {
        let truth = &self.world.sides[g].truth;
        let Some(owner) = truth.owner.as_ref().filter(|o| !o.gone || o.named) else { return false };
        match (caller.epoch, &caller.worker) {
            (Some(epoch), _) => epoch == truth.epoch && owner.worker == w,
            (None, Some(_)) => owner.named && owner.worker == w,
            (None, None) => caller.connection == Some(owner.connection),
        }
    }

    /// The `nth` of what the worker remembers, or the event after that.
    fn nth(&self, w: usize, g: usize, nth: usize) -> Option<EventId> {
        let mut ids = self.workers[w].memory[g].given.clone();
        let last = ids.last().copied().unwrap_or_default();
        ids.extend(self.world.stream.after(last).next().map(|event| event.id));
        ids.get(nth % ids.len().max(1)).copied()
    }

    pub(super) fn ack(&mut self, w: usize, g: usize, by: By, nth: usize) {
        self.stop_waiting(w);
        if let Some(id) = self.nth(w, g, nth) {
            self.ack_id(w, g, by, id);
        }
    }

    fn ack_id(&mut self, w: usize, g: usize, by: By, id: EventId) {
        let caller = self.caller(w, g, by);
        let (before, may) = (saved(&self.world.partition), self.may(w, g, &caller));
        let side = &self.world.sides[g];
        let in_flight = side.truth.in_flight(&side.group, &self.world.stream);
        let mut finished = side.truth.unanswered();
        finished.retain(|other| if side.truth.handed[other] { *other == id } else { *other <= id });
        let truly = !finished.is_disjoint(&in_flight);
        let known = side.truth.handed.contains_key(&id);
        match self.world.acknowledge(g, &caller, id) {
            Ok(answered) => {
                let reply = answered.finishes;
                assert!(may, "who lost the lease cannot acknowledge");
                assert!(reply || !truly, "{finished:?} are finished unsaid");
                let truth = &self.world.sides[g].truth;
                let unclear = self.world.stream.get(id).is_none() || truth.is_vague();
                assert!(!reply || unclear || !finished.is_empty(), "{id} finishes nothing");
                // Otherwise all of them were deleted, and they are passed by the next pull.
                for id in finished.into_iter().filter(|_| reply) {
                    self.world.sides[g].truth.finish(id);
                }
                self.renew_truth(g, None);
                self.world.remember();
                if answered.shared {
                    self.world.share(g);
                }
            }
            Err(error) => {
                match error {
                    Error::Fenced => assert!(!may, "the owner is fenced"),
                    Error::BadId(_) => assert!(may && !known, "{id} was handed out"),
                    error => panic!("{error}: what was given can be acknowledged"),
                }
                assert_eq!(before, saved(&self.world.partition), "a refusal changes nothing");
            }
        }
    }

    pub(super) fn nack(&mut self, w: usize, g: usize, by: By, nth: usize, delay_ms: Option<u64>) {
        self.stop_waiting(w);
        if let Some(id) = self.nth(w, g, nth) {
            self.nack_id(w, g, by, id, delay_ms);
        }
    }

    fn nack_id(&mut self, w: usize, g: usize, by: By, id: EventId, delay_ms: Option<u64>) {
        let caller = self.caller(w, g, by);
        let (before, may) = (saved(&self.world.partition), self.may(w, g, &caller));
        let side = &self.world.sides[g];
        let (stream, now_ms) = (&self.world.stream, self.world.now_ms);
        let in_flight = side.truth.in_flight(&side.group, stream).contains(&id);
        let deleted = stream.get(id).is_none();
        let event = stream.get(id);
        let later = event.map(|event| side.truth.later(&side.group, stream, &event));
        match self.world.nack(g, &caller, id, delay_ms) {
            Ok(Failed::Gone) => assert!(may && deleted),
            Ok(Failed::Repeated(held)) => {
                assert!(may, "who lost the lease cannot refuse an event");
                assert_eq!(self.world.sides[g].truth.refused.get(&id), Some(&held));
                assert_eq!(before, saved(&self.world.partition), "a repetition changes nothing");
                self.renew_truth(g, None);
            }
            Ok(Failed::Recorded(failure)) => {
                assert!(may, "who lost the lease cannot refuse an event");
                let side = &mut self.world.sides[g];
                assert!(in_flight || side.truth.is_vague(), "{id} is not in flight");
                side.truth.nack(&side.group, id, now_ms, delay_ms);
                let fact = side.truth.lasting.of(id);
                let fate = match failure.fate {
                    Fate::Retry(_) => Stage::Open,
                    Fate::Dead => Stage::Dead,
                    Fate::Skipped => Stage::Skipped,
                };
                assert_eq!((fate, failure.attempts), (fact.stage, fact.failures));
                let held = if fate == Stage::Skipped { Vec::new() } else { later.unwrap() };
                assert_eq!(failure.held, held, "exactly those in flight behind {id} are held");
                side.truth.refused.insert(id, held.clone());
                for id in held {
                    side.truth.hold(id);
                }
                self.renew_truth(g, None);
                self.world.remember();
                self.world.share(g);
            }
            Err(error) => {
                match error {
                    Error::Fenced => assert!(!may, "the owner is fenced"),
                    Error::BadId(_) => {
                        // A refusal is forgotten with an event that is deleted, or of a type that
                        // is not taken any more.
                        let truth = &self.world.sides[g].truth;
                        let forgotten = deleted || truth.lasting.of(id).vague;
                        let refused = truth.refused.contains_key(&id) && !forgotten;
                        assert!(may && !in_flight && !refused, "{id} is in flight");
                    }
                    Error::Limit(..) => self.world.check_full(g, later.map_or(0, |ids| ids.len())),
                    error => panic!("{error}"),
                }
                assert_eq!(before, saved(&self.world.partition), "a refusal changes nothing");
            }
        }
    }

    /// Handles what it has, one by one, as the events are: the first that kills ends it.
    pub(super) fn handle(&mut self, w: usize, g: usize, by: By) {
        self.stop_waiting(w);
        for id in self.workers[w].memory[g].given.clone() {
            let Some(event) = self.world.stream.get(id) else { continue };
            if !self.world.sides[g].truth.handed.contains_key(&id) {
                continue;
            }
            match event.nature {
                Nature::Healthy => self.ack_id(w, g, by, id),
                Nature::Fails => self.nack_id(w, g, by, id, None),
                Nature::Kills => return self.crash(w),
            }
        }
        self.workers[w].memory[g].given.clear();
    }

    pub(super) fn extend(&mut self, w: usize, g: usize, by: By, lease_ms: u64) {
        self.stop_waiting(w);
        let caller = self.caller(w, g, by);
        let allowed = self.world.progress(g).authorize(&caller, self.world.scene(g)).is_ok();
        assert_eq!(allowed, self.may(w, g, &caller), "who may renew");
        if allowed {
            let now = self.world.now();
            self.world.volatile(g, |progress| progress.extend(now, lease_ms));
            self.world.sides[g].truth.owner.as_mut().expect("an owner").lease_ms = lease_ms;
            self.renew_truth(g, None);
        }
    }
}
