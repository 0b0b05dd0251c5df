//! What workers and operators do to the ring, and how it ends: a patient worker finishes
//! everything, and then nothing is left of any resize.

use std::collections::BTreeMap;

use super::action::Action;
use super::truth::Stage;
use super::world::{GROUPS, LEASE_MS, Logged, Rules, World, name};
use crate::model::error::Error;
use crate::model::hash::digest;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::progress::exceptions::{Exceptions, State};
use crate::model::progress::lease::{Caller, Pace, Turn};
use crate::model::rules::answers::Failed;
use crate::model::rules::ready::{Ready, Taker};
use crate::model::rules::source::Source;
use crate::model::rules::tenure::{Pull as TenurePull, Target};
use crate::model::saved::effect::{Change, Effect};
use crate::model::simulator::stream::{Event, Nature};

pub(super) const WORKERS: usize = 3;
/// Past every backoff and every lease.
const PATIENCE_MS: u64 = 10_000;

/// Runs a history to its end.
pub(super) fn run(actions: impl IntoIterator<Item = Action>, rules: Rules) {
    let mut play = Play::new(rules);
    for action in actions {
        play.act(action);
    }
    play.finish();
}

/// A worker remembers what it was given, per partition and group.
#[derive(Clone, Debug, Default)]
struct Worker {
    connection: u64,
    given: BTreeMap<(u32, usize), Vec<EventId>>,
}

pub(super) struct Play {
    pub(super) world: World,
    workers: Vec<Worker>,
    connections: u64,
}

impl Play {
    pub(super) fn new(rules: Rules) -> Self {
        let worker = |connection| Worker { connection, given: BTreeMap::new() };
        let workers = (0..WORKERS as u64).map(worker).collect();
        Self { world: World::new(rules), workers, connections: WORKERS as u64 }
    }

    pub(super) fn connect(&mut self, w: usize) {
        self.connections += 1;
        self.workers[w] = Worker { connection: self.connections, given: BTreeMap::new() };
    }

    fn caller(&self, w: usize) -> Caller {
        Caller { worker: None, epoch: None, connection: Some(self.workers[w].connection) }
    }

    /// The `nth` of the partitions that are there.
    fn partition(&self, nth: usize) -> u32 {
        let live = self.world.live();
        live[nth % live.len()]
    }

    pub(super) fn remembered(&self, w: usize, g: usize, nth: usize) -> Option<(u32, EventId)> {
        let given = self.workers[w].given.iter().filter(|((_, group), _)| *group == g);
        let all: Vec<_> = given.flat_map(|((p, _), ids)| ids.iter().map(|id| (*p, *id))).collect();
        all.get(nth % all.len().max(1)).copied()
    }

    /// EVQ.CONSUME. True if events were given.
    pub(super) fn pull(
        &mut self,
        w: usize,
        g: usize,
        nth: Option<usize>,
        count: u64,
        pace: Pace,
    ) -> bool {
        let any = nth.is_none();
        let mut targets = nth.map_or_else(|| self.world.live(), |nth| vec![self.partition(nth)]);
        let caller = self.caller(w);
        if any && pace == Pace::Steady {
            // What the worker has not finished comes first.
            for p in &targets {
                if self.world.set_back(*p, g, &caller) {
                    self.world.truths[g].latest.remove(p);
                }
            }
            targets.sort_by_key(|p| !self.world.set_back(*p, g, &caller));
        }
        for p in targets {
            match self.world.turn(p, g, &caller) {
                Turn::Wait => continue,
                Turn::Continue => {}
                Turn::Grant(epoch) | Turn::Claim(epoch) => {
                    if any && self.world.prepare(p, g, Taker::Next) != Ready::Work {
                        continue;
                    }
                    self.world.grant(p, g, &caller, epoch);
                    self.workers.iter_mut().for_each(|other| drop(other.given.remove(&(p, g))));
                }
            }
            let target = if any { Target::Any } else { Target::One };
            let pull = TenurePull { target, pace, lease_ms: LEASE_MS };
            self.world.proceed(p, g, &caller, pull);
            if pace == Pace::Steady {
                self.world.truths[g].latest.remove(&p);
            }
            let ready = self.world.prepare(p, g, Taker::Owner);
            let events = self.world.deliver(p, g, count);
            // Where a barrier was closed, or the look cut short, the next command may get further.
            let more_steps = matches!(ready, Ready::Later | Ready::Closed);
            assert!(more_steps || (ready == Ready::Work) != events.is_empty(), "{events:?}");
            if events.is_empty() {
                continue;
            }
            for event in &events {
                self.world.check_given(p, g, event, pace);
                self.world.truths[g].give((p, event.id));
                self.workers[w].given.entry((p, g)).or_default().push(event.id);
            }
            let last = events.last().map(|event| event.id).unwrap_or_default();
            self.world.truths[g].latest.insert(p, last);
            self.world.remember();
            return true;
        }
        false
    }

    pub(super) fn ack(&mut self, w: usize, p: u32, g: usize, id: EventId) {
        if !self.world.has(g) {
            return;
        }
        let finished = self.world.truths[g].acknowledged(p, id);
        match self.world.acknowledge(p, g, &self.caller(w), id) {
            Ok(answered) => {
                if answered.finishes {
                    for finished in finished {
                        self.world.truths[g].set((p, finished), Stage::Finished);
                    }
                    self.world.remember();
                }
                if answered.shared {
                    self.world.share(p, g);
                }
            }
            Err(Error::Fenced | Error::BadId(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    pub(super) fn nack(&mut self, w: usize, p: u32, g: usize, id: EventId, delay_ms: u64) {
        if !self.world.has(g) {
            return;
        }
        match self.world.nack(p, g, &self.caller(w), id, delay_ms) {
            Ok(Failed::Recorded(_)) => self.world.share(p, g),
            Ok(Failed::Gone | Failed::Repeated(_))
            | Err(Error::Fenced | Error::BadId(_) | Error::Limit(..)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Handles all it has of a group, one by one.
    pub(super) fn handle(&mut self, w: usize, g: usize) {
        let given = self.workers[w].given.clone();
        for ((p, _), ids) in given.into_iter().filter(|((_, group), _)| *group == g) {
            for id in ids {
                let Some(event) = self.world.stream(p).get(id) else { continue };
                if !self.world.truths[g].is_handed((p, id)) {
                    continue;
                }
                match event.nature {
                    Nature::Healthy | Nature::Kills => self.ack(w, p, g, id),
                    Nature::Fails => self.nack(w, p, g, id, 0),
                }
            }
            self.workers[w].given.remove(&(p, g));
        }
    }

    /// The worker's process dies.
    pub(super) fn crash(&mut self, w: usize) {
        let connection = self.workers[w].connection;
        for p in self.world.live() {
            for g in 0..GROUPS {
                let lease = self.world.progress(p, g).and_then(Progress::lease);
                if lease.is_some_and(|lease| lease.connection == Some(connection)) {
                    self.world.lose_lease(p, g);
                }
            }
        }
        self.connect(w);
    }

    pub(super) fn seek(&mut self, g: usize, nth: Option<usize>, event: usize) {
        if !self.world.has(g) {
            return;
        }
        for p in nth.map_or_else(|| self.world.live(), |nth| vec![self.partition(nth)]) {
            let stream = self.world.stream(p).clone();
            let at = event.checked_rem(stream.events.len() + 1).and_then(|at| at.checked_sub(1));
            let cursor = at.map_or(EventId::ZERO, |at| stream.events[at].id);
            self.world.seek(p, g, cursor);
            self.world.truths[g].seek(p, &stream, cursor);
            self.world.remember();
        }
    }

    pub(super) fn delete_group(&mut self, g: usize) {
        if !self.world.has(g) {
            return;
        }
        self.world.push(Logged::Ring(Effect::GroupGone(name(g))));
        for p in self.world.live() {
            if self.world.progress(p, g).is_some() {
                self.world.push(Logged::Partition(p, Effect::GroupGone(name(g))));
            }
            self.world.truths[g].forget(p);
            self.world.remember();
            for letter in self.letters(p, g) {
                self.world.push(Logged::LetterGone(p, g, letter));
            }
        }
    }

    fn letters(&self, p: u32, g: usize) -> Vec<EventId> {
        let letters = self.world.keys.get(&p).into_iter().flat_map(|keys| &keys.letters);
        letters.filter(|(group, _)| *group == g).map(|(_, id)| *id).collect()
    }

    /// EVQ.DEAD RETRY or SKIP of all.
    pub(super) fn resolve(&mut self, g: usize, retry: bool) {
        for p in self.world.live() {
            let stream = self.world.stream(p).clone();
            for id in self.letters(p, g) {
                let beginning = Progress::default();
                let progress = self.world.progress(p, g).unwrap_or(&beginning);
                let change = match (retry, stream.get(id)) {
                    (true, Some(event)) => match progress.retry(id, digest(&event.key)) {
                        Ok(change) => change,
                        Err(_) => return,
                    },
                    (true, None) => continue,
                    (false, _) => progress.skip(id),
                };
                let truth = &mut self.world.truths[g];
                match (change.is_some(), retry) {
                    (true, true) => {
                        truth.set((p, id), Stage::Open);
                        truth.again((p, id));
                    }
                    (true, false) => truth.set((p, id), Stage::Finished),
                    (false, _) => {}
                }
                if let Some(change) = change {
                    self.world.change(p, g, change);
                    self.world.remember();
                }
                self.world.push(Logged::LetterGone(p, g, id));
            }
        }
    }

    pub(super) fn trim(&mut self, nth: usize, count: usize, by_hand: bool) {
        let p = self.partition(nth);
        for event in self.world.stream(p).events.clone().into_iter().take(count) {
            let finished = |g: usize| {
                let settings = self.world.ring.group(&name(g));
                let takes = settings.is_some_and(|settings| settings.takes(&event.kind));
                let stage = self.world.truths[g].fact((p, event.id)).stage;
                !takes || matches!(stage, Stage::Finished | Stage::Skipped)
            };
            let all_finished = (0..GROUPS).all(finished);
            assert_eq!(self.world.needs_first(p), !all_finished, "{event:?} of {p}");
            if !by_hand && !all_finished {
                break;
            }
            self.world.push(Logged::Delete(p, event.id));
        }
        self.world.remember();
    }

    pub(super) fn copy(&mut self, nth: usize) {
        let p = self.partition(nth);
        if let Some(keys) = self.world.keys.get_mut(&p) {
            keys.state = keys.state.clone();
        }
    }

    /// Whoever comes last finishes everything; then nothing is left of any resize.
    pub(super) fn finish(&mut self) {
        (0..WORKERS).for_each(|w| self.crash(w));
        for g in 0..GROUPS {
            self.drain(g);
            // What is dead may fill the room for what waits: each round makes some.
            while (0..).take(50).any(|_| !self.is_done(g)) {
                self.resolve(g, true);
                self.resolve(g, false);
                self.drop_deleted_dead(g);
                self.drain(g);
            }
        }
        for p in self.world.live() {
            for event in self.world.stream(p).events.clone() {
                self.world.push(Logged::Delete(p, event.id));
            }
        }
        (0..GROUPS).for_each(|g| self.resolve(g, false));
        self.world.tidy();
        assert_eq!(self.world.ring.leaving().count(), 0, "all that leave are gone");
        assert!(self.world.ring.past().is_empty(), "all is forgotten");
    }

    /// Whether everything that is there is over for the group.
    pub(super) fn is_done(&self, g: usize) -> bool {
        self.open_events(g).is_empty()
    }

    /// What the group has not finished.
    pub(super) fn open_events(&self, g: usize) -> Vec<(u32, Event)> {
        let Some(settings) = self.world.ring.group(&name(g)) else { return Vec::new() };
        let open = |(p, event): &&(u32, Event)| {
            let stage = self.world.truths[g].fact((*p, event.id)).stage;
            let there = self.world.stream(*p).get(event.id).is_some();
            there && settings.takes(&event.kind) && matches!(stage, Stage::Open | Stage::Dead)
        };
        self.world.triggered.iter().filter(open).copied().collect()
    }

    /// An operator gives up on what is dead and was deleted: it holds its key.
    fn drop_deleted_dead(&mut self, g: usize) {
        for p in self.world.live() {
            let stream = self.world.stream(p).clone();
            let exceptions = self.world.progress(p, g).map(|p| p.exceptions().clone());
            for (id, exception) in exceptions.iter().flat_map(Exceptions::iter) {
                if exception.state == State::Dead && stream.get(id).is_none() {
                    self.world.change(p, g, Change::Dropped(id));
                }
            }
        }
    }

    /// A worker that always succeeds pulls until there is nothing for it in any partition.
    pub(super) fn drain(&mut self, g: usize) {
        if !self.world.has(g) {
            return;
        }
        let mut idle = 0;
        for round in 0.. {
            assert!(round < 3000, "an endless ring");
            self.world.now_ms += PATIENCE_MS;
            let before = self.world.log.len();
            let mut given = false;
            for nth in 0..self.world.live().len() {
                given |= self.pull(0, g, Some(nth), 3, Pace::Steady);
                for ((p, _), ids) in std::mem::take(&mut self.workers[0].given) {
                    for id in ids {
                        if self.world.truths[g].is_handed((p, id)) {
                            self.ack(0, p, g, id);
                        }
                    }
                }
            }
            self.world.check_state();
            idle = if given || self.world.log.len() > before { 0 } else { idle + 1 };
            if idle > 1 {
                return;
            }
        }
    }
}
