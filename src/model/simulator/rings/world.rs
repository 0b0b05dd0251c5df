//! The server of the simulation: a ring, its partitions and groups, everything lasting in a log of
//! effects.

use std::collections::BTreeMap;

use super::truth::Truth;
use crate::model::ids::EventId;
use crate::model::limits::MAX_RESIZES;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::partition::Partition;
use crate::model::ring::continuum::Continuum;
use crate::model::ring::group::{Group, OnDead};
use crate::model::ring::history::{End, History};
use crate::model::ring::{Payload, Ring, Shape};
use crate::model::rules::needs::Front;
use crate::model::rules::needs::tests::Listed;
use crate::model::rules::source::Source;
use crate::model::saved::effect::{Change, Effect};
use crate::model::simulator::stream::{Event, Nature, Stream};

pub(super) const GROUPS: usize = 3;
pub(super) const LEASE_MS: u64 = 100;
const VNODES: u32 = 4;

/// Which of the rules hold: all, unless a test wants to see that it notices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) barriers: bool,
    /// A barrier also waits for what its sources wait for.
    pub(super) transitive: bool,
    /// A key waits for its exceptions in other partitions.
    pub(super) elsewhere: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { barriers: true, transitive: true, elsewhere: true }
    }
}

/// Something that lasts, as it is replicated.
#[derive(Clone, Debug)]
pub(super) enum Logged {
    Append(u32, Event),
    Delete(u32, EventId),
    Ring(Effect),
    Partition(u32, Effect),
    Ack(u32, usize, EventId),
    Letter(u32, usize, EventId),
    LetterGone(u32, usize, EventId),
    /// All keys of a partition are gone.
    Unlink(u32),
}

/// The keys of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    pub(super) stream: Stream,
    pub(super) state: Partition,
    /// Dead letters: the group and the event of each.
    pub(super) letters: Vec<(usize, EventId)>,
}

pub(super) struct World {
    pub(super) rules: Rules,
    pub(super) now_ms: u64,
    pub(super) ring: Ring,
    continuum: Continuum,
    pub(super) history: Option<History>,
    pub(super) keys: BTreeMap<u32, Keys>,
    no_stream: Stream,
    pub(super) truths: Vec<Truth>,
    /// Every event in the order in which it was triggered.
    pub(super) triggered: Vec<(u32, Event)>,
    pub(super) era: u64,
    pub(super) log: Vec<Logged>,
    /// What the truth was after so many effects.
    remembered: Vec<(usize, Vec<Truth>)>,
}

pub(super) fn name(g: usize) -> Name {
    Name::group(format!("g{g}").as_bytes()).unwrap()
}

/// Three that differ: one skips what is dead, one holds it, one takes some types only and is made
/// later.
fn group(g: usize) -> Group {
    let quick = Group { max_attempts: 2, backoff_min_ms: 0, backoff_max_ms: 0, ..Group::default() };
    match g {
        0 => quick,
        1 => Group { on_dead: OnDead::Hold, ..quick },
        _ => Group { types: vec![Box::from([0]), Box::from([1])], ..quick },
    }
}

fn new_ring() -> Ring {
    Ring::new(Shape::new(vec![1; 2], VNODES, Payload::Any).unwrap())
}

impl World {
    pub(super) fn new(rules: Rules) -> Self {
        let ring = new_ring();
        let mut world = Self {
            rules,
            now_ms: 1_700_000_000_000,
            continuum: ring.continuum(),
            history: None,
            ring,
            keys: BTreeMap::new(),
            no_stream: Stream::default(),
            truths: vec![Truth::default(); GROUPS],
            triggered: Vec::new(),
            era: 0,
            log: Vec::new(),
            remembered: Vec::new(),
        };
        world.join(0);
        world.join(1);
        world
    }

    pub(super) fn now(&self) -> Now {
        Now { unix_us: self.now_ms * 1000 }
    }

    /// Makes a group if it is missing.
    pub(super) fn join(&mut self, g: usize) {
        if self.ring.group(&name(g)).is_none() {
            self.push(Logged::Ring(Effect::GroupSet(name(g), group(g))));
            self.remember();
        }
    }

    pub(super) fn has(&self, g: usize) -> bool {
        self.ring.group(&name(g)).is_some()
    }

    /// The partitions that are there.
    pub(super) fn live(&self) -> Vec<u32> {
        self.ring.nodes().map(|node| node.partition).collect()
    }

    pub(super) fn stream(&self, p: u32) -> &Stream {
        self.keys.get(&p).map_or(&self.no_stream, |keys| &keys.stream)
    }

    /// Whether some group still needs the first event of a partition, as retention sees it.
    pub(super) fn needs_first(&self, p: u32) -> bool {
        let (stream, keys) = (self.stream(p), self.keys.get(&p));
        let exists = |id| stream.get(id).is_some();
        let needs = self.ring.needs(p, keys.map(|keys| &keys.state), exists);
        let events = stream.events.iter().map(|event| (event.id, event.kind[0]));
        let mut front = Listed::new(events);
        front.next_id().is_some_and(|id| needs.of(id, &mut front, &mut 0).is_some())
    }

    pub(super) fn progress(&self, p: u32, g: usize) -> Option<&Progress> {
        self.keys.get(&p).and_then(|keys| keys.state.get(&name(g)))
    }

    pub(super) fn progress_mut(&mut self, p: u32, g: usize) -> Option<&mut Progress> {
        self.keys.get_mut(&p).and_then(|keys| keys.state.get_mut(&name(g)))
    }

    pub(super) fn volatile(&mut self, p: u32, g: usize, change: impl FnOnce(&mut Progress)) {
        if let Some(progress) = self.progress_mut(p, g) {
            change(progress);
        }
    }

    /// Does something lasting and replicates it.
    pub(super) fn push(&mut self, logged: Logged) {
        self.log.push(logged.clone());
        self.apply(logged);
    }

    pub(super) fn change(&mut self, p: u32, g: usize, change: Change) {
        self.push(Logged::Partition(p, Effect::Group(name(g), change)));
    }

    fn apply(&mut self, logged: Logged) {
        match logged {
            Logged::Append(p, event) => self.of(p).stream.append(event),
            Logged::Delete(p, id) => self.of(p).stream.delete(id),
            Logged::Partition(p, effect) => assert!(self.of(p).state.apply(effect)),
            Logged::Ack(p, g, id) => self.of(p).state.acknowledge(&name(g), id),
            Logged::Letter(p, g, id) => self.of(p).letters.push((g, id)),
            Logged::LetterGone(p, g, id) => {
                self.of(p).letters.retain(|letter| *letter != (g, id));
            }
            Logged::Unlink(p) => drop(self.keys.remove(&p)),
            Logged::Ring(effect) => self.apply_to_ring(effect),
        }
    }

    fn apply_to_ring(&mut self, effect: Effect) {
        if let Effect::Forgotten(generations) = effect {
            self.history = self.history.take().and_then(|all| all.without(generations));
        }
        let resizes = matches!(effect, Effect::Resized(..));
        assert!(self.ring.apply(effect));
        if resizes {
            let now = self.ring.continuum();
            let past = self.ring.past().last().unwrap();
            self.history = Some(History::next(self.history.as_ref(), past, &self.continuum, &now));
            self.continuum = now;
        }
    }

    fn of(&mut self, p: u32) -> &mut Keys {
        self.keys.entry(p).or_default()
    }

    /// What the truth is now belongs to the effects so far.
    pub(super) fn remember(&mut self) {
        let lasting = |truth: &Truth| Truth { handed: BTreeMap::new(), ..truth.clone() };
        self.remembered.push((self.log.len(), self.truths.iter().map(lasting).collect()));
    }

    /// The server dies and comes back with all but the last effects.
    pub(super) fn restart(&mut self, lost: usize) {
        let saved = crate::model::saved::snapshot::encode(&self.ring);
        // The first two groups are older than all.
        let kept = self.log.len().saturating_sub(lost).max(2);
        self.log.truncate(kept);
        (self.ring, self.keys) = (new_ring(), BTreeMap::new());
        (self.continuum, self.history) = (self.ring.continuum(), None);
        for logged in self.log.clone() {
            self.apply(logged);
        }
        if lost == 0 {
            assert_eq!(
                saved,
                crate::model::saved::snapshot::encode(&self.ring),
                "a replay is a copy"
            );
        }
        let events = |p: &u32, event: &Event| {
            self.log.iter().any(|l| matches!(l, Logged::Append(q, e) if (q, e) == (p, event)))
        };
        self.triggered.retain(|(p, event)| events(p, event));
        self.remembered.retain(|(effects, _)| *effects <= kept);
        (_, self.truths) = self.remembered.last().cloned().expect("the beginning");
        // As a reload finds it, all at once.
        self.history = self.ring.history(&self.continuum);
        self.era += 1;
        // The rule for epochs leans on this: the clock is past a grant that was lost.
        self.now_ms += 10_000;
    }

    pub(super) fn trigger(&mut self, key: u8, kind: u8, nature: Nature) {
        let p = self.continuum.route(&[key]);
        let keys = self.keys.entry(p).or_default();
        // A stream that is made anew begins above what its partition had before.
        let floor = keys.stream.last.max(keys.state.floor()).max(self.ring.floor(p));
        // The truth goes by partitions and ids, also where the number of a partition is reused.
        let before = self.triggered.iter().filter(|(other, _)| *other == p);
        let floor = floor.max(before.map(|(_, event)| event.id).max().unwrap_or_default());
        let id = EventId { ms: self.now_ms, seq: 0 };
        let id = if id > floor { id } else { floor.next().unwrap() };
        let event = Event { id, key: [key], kind: [kind], nature };
        self.push(Logged::Append(p, event));
        self.triggered.push((p, event));
    }

    /// EVQ.RESIZE; false if it is refused.
    pub(super) fn resize(&mut self, weights: Vec<u32>) -> bool {
        let Ok(decided) = self.ring.resize(weights, 0) else {
            assert!(self.ring.past().len() >= MAX_RESIZES);
            return false;
        };
        if let Some(shape) = decided {
            let mut ends = BTreeMap::new();
            for p in self.live() {
                let stream = self.stream(p);
                if let Some(last) = stream.events.last() {
                    ends.insert(p, End { last: last.id, added: stream.added });
                }
            }
            self.push(Logged::Ring(Effect::Resized(shape.weights().to_vec(), ends, self.now_ms)));
        }
        true
    }

    /// Leaving partitions that nobody needs disappear, and what is of no concern is forgotten.
    pub(super) fn tidy(&mut self) {
        for p in self.ring.leaving().collect::<Vec<_>>() {
            let gone = self
                .keys
                .get(&p)
                .is_none_or(|keys| keys.stream.events.is_empty() && keys.letters.is_empty());
            if gone {
                self.push(Logged::Unlink(p));
                self.push(Logged::Ring(Effect::Retired(p)));
                self.truths.iter_mut().for_each(|truth| drop(truth.handed.remove(&p)));
            }
        }
        let first = |p| self.stream(p).events.first().map(|event| event.id);
        let generations = self.ring.forgettable(first, |_| false);
        if generations > 0 {
            self.push(Logged::Ring(Effect::Forgotten(generations)));
        }
        self.remember();
    }
}
