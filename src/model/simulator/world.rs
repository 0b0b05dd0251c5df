//! The server of the simulation: one partition and its groups, everything lasting in a log of
//! effects from any prefix of which it can be rebuilt.

use std::collections::{BTreeSet, VecDeque};

use super::fairness::Flaw;
use super::stream::{Event, Nature, Stream};
use super::truth::{End, Lasting, Truth};
use crate::model::hash::digest;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::exceptions::State;
use crate::model::progress::lease::{Caller, Pace, Scene};
use crate::model::progress::partition::Partition;
use crate::model::ring::group::Group;
use crate::model::rules::source::Source;
use crate::model::saved::effect::{Change, Effect};

/// Something that lasts, as it is replicated.
#[derive(Clone, Debug)]
pub(super) enum Logged {
    Append(Event),
    Delete(EventId),
    Effect(Effect),
    Ack(usize, EventId),
    /// A dead letter with its number, and its end.
    Letter(usize, u64, EventId),
    LetterGone(usize, u64),
    Settings(usize, Group),
}

/// A client that waits in EVQ.CONSUME.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) worker: usize,
    pub(super) caller: Caller,
    pub(super) count: u64,
    pub(super) any: bool,
    pub(super) pace: Pace,
}

/// A group as the server knows it, and as it should be.
#[derive(Clone, Debug)]
pub(super) struct Side {
    pub(super) name: Name,
    pub(super) group: Group,
    pub(super) letters: Vec<(u64, EventId)>,
    pub(super) blocked: Option<Waiting>,
    pub(super) standbys: VecDeque<Waiting>,
    pub(super) any_line: VecDeque<Waiting>,
    pub(super) truth: Truth,
}

pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) earliest_ms: u64,
    pub(super) era: u64,
    pub(super) stream: Stream,
    pub(super) partition: Partition,
    beginning: Progress,
    pub(super) sides: Vec<Side>,
    /// Connections that closed and that no sweep has noticed.
    pub(super) gone: BTreeSet<u64>,
    pub(super) letters: u64,
    pub(super) flaw: Flaw,
    pub(super) log: Vec<Logged>,
    /// What the truth was after so many effects.
    history: Vec<(usize, Vec<Lasting>)>,
}

impl World {
    pub(super) fn new(groups: Vec<Group>) -> Self {
        let side = |n: usize| Side {
            name: Name::group(format!("g{n}").as_bytes()).unwrap(),
            group: Group::default(),
            letters: Vec::new(),
            blocked: None,
            standbys: VecDeque::new(),
            any_line: VecDeque::new(),
            truth: Truth::default(),
        };
        let mut world = Self {
            now_ms: 1_700_000_000_000,
            earliest_ms: 0,
            era: 0,
            stream: Stream::default(),
            partition: Partition::default(),
            beginning: Progress::default(),
            sides: (0..groups.len()).map(side).collect(),
            gone: BTreeSet::new(),
            letters: 0,
            flaw: Flaw::default(),
            log: Vec::new(),
            history: Vec::new(),
        };
        for (g, group) in groups.into_iter().enumerate() {
            world.push(Logged::Settings(g, group));
        }
        world.remember();
        world
    }

    pub(super) fn now(&self) -> Now {
        Now { unix_us: self.now_ms * 1000 }
    }

    pub(super) fn progress(&self, g: usize) -> &Progress {
        self.partition.get(&self.sides[g].name).unwrap_or(&self.beginning)
    }

    pub(super) fn group(&self, g: usize) -> &Group {
        &self.sides[g].group
    }

    pub(super) fn volatile(&mut self, g: usize, change: impl FnOnce(&mut Progress)) {
        if let Some(progress) = self.partition.get_mut(&self.sides[g].name) {
            change(progress);
        }
    }

    pub(super) fn scene(&self, g: usize) -> Scene {
        self.scene_of(g, self.partition.get(&self.sides[g].name))
    }

    pub(super) fn scene_of(&self, g: usize, progress: Option<&Progress>) -> Scene {
        let lease = progress.and_then(Progress::lease);
        let connection = lease.and_then(|lease| lease.connection);
        Scene {
            owner_waits: self.sides[g].blocked.is_some(),
            owner_gone: connection.is_some_and(|connection| self.gone.contains(&connection)),
            queue: !self.sides[g].standbys.is_empty(),
            era: self.era,
        }
    }

    /// Does something lasting and replicates it.
    pub(super) fn push(&mut self, logged: Logged) {
        self.log.push(logged.clone());
        self.apply(logged);
    }

    fn apply(&mut self, logged: Logged) {
        match logged {
            Logged::Append(event) => self.stream.append(event),
            Logged::Delete(id) => self.stream.delete(id),
            Logged::Effect(effect) => assert!(self.partition.apply(effect)),
            Logged::Ack(g, id) => self.partition.acknowledge(&self.sides[g].name, id),
            Logged::Letter(g, letter, id) => self.sides[g].letters.push((letter, id)),
            Logged::LetterGone(g, letter) => {
                self.sides[g].letters.retain(|(other, _)| *other != letter);
            }
            Logged::Settings(g, group) => self.sides[g].group = group,
        }
    }

    pub(super) fn change(&mut self, g: usize, change: Change) {
        self.push(Logged::Effect(Effect::Group(self.sides[g].name.clone(), change)));
    }

    /// What the truth is now belongs to the effects so far.
    pub(super) fn remember(&mut self) {
        let lasting = self.sides.iter().map(|side| side.truth.lasting.clone()).collect();
        self.history.push((self.log.len(), lasting));
    }

    /// The server dies and comes back with all but the last effects.
    pub(super) fn restart(&mut self, lost: usize) {
        let before = (self.partition.clone(), self.stream.events.clone());
        // The groups are older than all.
        let kept = self.log.len().saturating_sub(lost).max(self.sides.len());
        self.log.truncate(kept);
        (self.stream, self.partition) = (Stream::default(), Partition::default());
        self.sides.iter_mut().for_each(|side| side.letters.clear());
        for logged in self.log.clone() {
            self.apply(logged);
        }
        if lost == 0 {
            assert_eq!(saved(&before.0), saved(&self.partition), "a replay is a copy");
            assert_eq!(before.1, self.stream.events);
        }
        self.partition = crate::model::saved::snapshot::decode(&saved(&self.partition)).unwrap();
        self.history.retain(|(effects, _)| *effects <= kept);
        let (_, lasting) = self.history.last().cloned().expect("the beginning");
        for (side, lasting) in self.sides.iter_mut().zip(lasting) {
            let epoch = side.truth.epoch;
            side.truth = Truth { lasting, epoch, ..Truth::default() };
            side.blocked = None;
            side.standbys.clear();
            side.any_line.clear();
        }
        if lost > 0 {
            // The rule for epochs leans on this: the clock is past a grant that was lost, and is
            // not set back before it.
            let latest = self.sides.iter().map(|side| side.truth.epoch).max().unwrap_or_default();
            self.earliest_ms = latest / 1000 + 1;
            self.now_ms = self.now_ms.max(self.earliest_ms);
        }
        (self.gone, self.era) = (BTreeSet::new(), self.era + 1);
    }

    pub(super) fn trigger(&mut self, key: u8, kind: u8, nature: Nature) {
        let id = EventId { ms: self.now_ms, seq: 0 };
        let id = if id > self.stream.last { id } else { self.stream.last.next().unwrap() };
        self.push(Logged::Append(Event { id, key: [key], kind: [kind], nature }));
    }

    /// What would become of something, if it were done.
    pub(super) fn imagine<R>(&mut self, what: impl FnOnce(&mut Self) -> R) -> R {
        let partition = self.partition.clone();
        let (effects, remembered) = (self.log.len(), self.history.len());
        let result = what(self);
        self.partition = partition;
        self.log.truncate(effects);
        self.history.truncate(remembered);
        result
    }

    /// An epoch is issued, which ends the lease.
    pub(super) fn note_epoch(&mut self, g: usize, epoch: u64) {
        let side = &mut self.sides[g];
        assert!(epoch > side.truth.epoch, "epoch {epoch} after {}", side.truth.epoch);
        side.truth.epoch = epoch;
        side.truth.end_lease(&side.group, &self.stream, End::GivenUp);
    }

    /// Somebody else than the connection `but` got the lease.
    pub(super) fn fence_owner(&mut self, g: usize, but: Option<u64>) {
        self.sides[g].blocked.take_if(|waiting| waiting.caller.connection != but);
    }

    /// The dead events with their letters, and those that hold their key without one.
    fn dead_events(&self, g: usize) -> Vec<(EventId, Option<u64>)> {
        let letters = self.sides[g].letters.iter();
        let mut dead: Vec<_> = letters.map(|(letter, id)| (*id, Some(*letter))).collect();
        for (id, exception) in self.progress(g).exceptions().iter() {
            if exception.state == State::Dead && !dead.iter().any(|(other, _)| *other == id) {
                dead.push((id, None));
            }
        }
        dead.sort_unstable();
        dead
    }

    /// EVQ.DEAD RETRY or SKIP of the `nth` or of all. Answers the events it worked on.
    pub(super) fn resolve(&mut self, g: usize, nth: Option<usize>, retry: bool) -> Vec<EventId> {
        let mut done = Vec::new();
        let dead = self.dead_events(g);
        let only = nth.map(|nth| dead[nth % dead.len().max(1)..].first().map(|(id, _)| *id));
        for (id, letter) in dead {
            if only.is_some_and(|only| only != Some(id)) {
                continue;
            }
            let progress = self.progress(g);
            let change = match (retry, self.stream.get(id)) {
                (true, Some(event)) => match progress.retry(id, digest(&event.key)) {
                    Ok(change) => change,
                    Err(_) => return done,
                },
                (true, None) => continue,
                (false, _) => progress.skip(id),
            };
            if let Some(change) = change {
                self.change(g, change);
            }
            self.check_resolved(g, id, retry);
            if let Some(letter) = letter {
                self.push(Logged::LetterGone(g, letter));
            }
            done.push(id);
        }
        done
    }
}

/// What is saved of a partition.
pub(super) fn saved(partition: &Partition) -> Vec<u8> {
    crate::model::saved::snapshot::encode(partition).unwrap()
}
