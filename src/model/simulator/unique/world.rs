//! The server of the simulation: a ring, its streams and its tokens, everything lasting in a log of
//! effects.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Action;
use crate::model::ids::EventId;
use crate::model::limits::MAX_RESIZES;
use crate::model::ring::continuum::Continuum;
use crate::model::ring::history::End;
use crate::model::ring::homes::Homes;
use crate::model::ring::{Payload, Ring, Shape};
use crate::model::saved::effect::Effect;
use crate::model::saved::pieces;
use crate::model::saved::snapshot::{decode, encode};
use crate::model::unique::tokens::{Change, Clock, Tokens};

const WINDOW_MS: u64 = 100;
const VNODES: u32 = 4;

/// Which of the rules hold: all, unless a test wants to see that it notices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// A key is looked for where it lived before.
    pub(super) looks_back: bool,
    /// A generation is remembered while a token of it counts.
    pub(super) generations_wait: bool,
    /// A leaving partition stays while a token of it counts.
    pub(super) partitions_wait: bool,
    /// An event and its token are one effect.
    pub(super) together: bool,
    /// Before a resize the tokens hear of a clock that went back.
    pub(super) heard_first: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            looks_back: true,
            generations_wait: true,
            partitions_wait: true,
            together: true,
            heard_first: true,
        }
    }
}

/// Something that lasts, as it is replicated. What one command does is one.
#[derive(Clone, Debug)]
enum Logged {
    Tokens(u32, Change),
    Append(u32, EventId),
    Together(Vec<(u32, EventId)>, Vec<(u32, Change)>),
    Delete(u32, EventId),
    /// The tokens of a partition are gone with their key.
    Unlinked(u32),
    Ring(Effect),
    Retired(u32),
}

/// An event that was appended, in the truth.
#[derive(Clone, Copy, Debug)]
struct Came {
    p: u32,
    id: EventId,
    key: u8,
    token: u8,
    /// When it came; where the clock went back since, then.
    at_ms: u64,
    /// How much was logged when it was.
    logged: usize,
    /// Its window was over once: if the clock goes back then, it may count or not.
    over: bool,
}

#[derive(Debug, Default)]
struct Keys {
    /// The last id, and the events that are there.
    last: EventId,
    events: Vec<EventId>,
    tokens: Option<Tokens>,
}

pub(super) struct World {
    rules: Rules,
    now_ms: u64,
    secrets: u64,
    ring: Ring,
    continuum: Continuum,
    homes: Homes,
    keys: BTreeMap<u32, Keys>,
    came: Vec<Came>,
    log: Vec<Logged>,
}

impl World {
    pub(super) fn new(rules: Rules) -> Self {
        let ring = Ring::new(Shape::new(vec![1; 2], VNODES, Payload::Any).unwrap());
        Self {
            rules,
            now_ms: 1_700_000_000_000,
            secrets: 0,
            continuum: ring.continuum(),
            homes: Homes::of(&ring),
            ring,
            keys: BTreeMap::new(),
            came: Vec::new(),
            log: Vec::new(),
        }
    }

    fn clock(&self) -> Clock {
        Clock::new(self.now_ms, WINDOW_MS)
    }

    fn push(&mut self, logged: Logged) {
        self.log.push(logged.clone());
        self.apply(logged);
    }

    fn apply(&mut self, logged: Logged) {
        match logged {
            Logged::Tokens(p, change) => {
                self.keys.entry(p).or_default().tokens.get_or_insert_default().apply(change);
            }
            Logged::Append(p, id) => {
                let keys = self.keys.entry(p).or_default();
                keys.events.push(id);
                keys.last = id;
            }
            Logged::Together(events, tokens) => {
                events.into_iter().for_each(|(p, id)| self.apply(Logged::Append(p, id)));
                tokens.into_iter().for_each(|(p, change)| self.apply(Logged::Tokens(p, change)));
            }
            Logged::Delete(p, id) => {
                self.keys.entry(p).or_default().events.retain(|other| *other != id);
            }
            Logged::Unlinked(p) => self.keys.entry(p).or_default().tokens = None,
            Logged::Retired(p) => {
                self.keys.remove(&p);
                assert!(self.ring.apply(Effect::Retired(p)));
            }
            Logged::Ring(effect) => {
                match effect {
                    Effect::Forgotten(generations) => self.homes.forget(generations),
                    _ => self.homes.ended(Arc::new(self.ring.continuum())),
                }
                assert!(self.ring.apply(effect));
                self.continuum = self.ring.continuum();
            }
        }
    }

    /// What a key and a token are known as.
    fn judge(&self, key: u8, token: u8) -> Option<(u32, EventId)> {
        let p = self.continuum.route(&[key]);
        let found = self.homes.find(&self.ring, &[key], p, |home| -> Result<_, ()> {
            let tokens = self.keys.get(&home).and_then(|keys| keys.tokens.as_ref());
            let tokens = tokens.filter(|_| home == p || self.rules.looks_back);
            Ok(tokens.and_then(|all| all.find(all.hash(&[key], &[token]), self.clock())))
        });
        found.unwrap()
    }

    /// One command with these events; what is replied.
    fn trigger(&mut self, pairs: &[(u8, u8)]) -> Vec<(u32, EventId)> {
        let (mut replies, mut events, mut changes) = (Vec::new(), Vec::new(), Vec::new());
        let mut new: Vec<(u8, u8, (u32, EventId))> = Vec::new();
        for (key, token) in pairs {
            let same = new.iter().find(|(k, t, _)| (k, t) == (key, token)).map(|(.., at)| *at);
            if let Some(at) = same.or_else(|| self.judge(*key, *token)) {
                replies.push(at);
                continue;
            }
            let twice = self.came.iter().find(|c| (c.key, c.token) == (*key, *token) && !c.over);
            assert!(twice.is_none(), "appended again at {}: {twice:?}", self.now_ms);
            let p = self.continuum.route(&[*key]);
            self.begin(p);
            let mut here = new.iter().map(|(.., at)| *at).filter(|(other, _)| *other == p);
            let last = here.next_back().map_or(self.keys[&p].last, |(_, id)| id);
            let id = EventId { ms: self.now_ms, seq: 0 }.max(last.next().unwrap());
            let hash = self.keys[&p].tokens.as_ref().unwrap().hash(&[*key], &[*token]);
            events.push((p, id));
            changes.push((p, Change::Remembered(self.clock(), vec![(hash, id)])));
            new.push((*key, *token, (p, id)));
            replies.push((p, id));
        }
        if self.rules.together {
            self.push(Logged::Together(events, changes));
        } else {
            changes.into_iter().for_each(|(p, change)| self.push(Logged::Tokens(p, change)));
            events.into_iter().for_each(|(p, id)| self.push(Logged::Append(p, id)));
        }
        let (at_ms, logged) = (self.now_ms, self.log.len());
        self.came.extend(new.into_iter().map(|(key, token, (p, id))| {
            let over = false;
            Came { p, id, key, token, at_ms, logged, over }
        }));
        replies
    }

    /// Tokens of a partition begin under a secret of their own.
    fn begin(&mut self, p: u32) {
        if self.keys.get(&p).is_none_or(|keys| keys.tokens.is_none()) {
            self.secrets += 1;
            self.push(Logged::Tokens(p, Change::Begun([self.secrets, 7])));
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Trigger { key, token, lost, pause_ms } => {
                let first = self.trigger(&[(key, token)]);
                for _ in 0..lost {
                    self.pass(i64::from(pause_ms));
                    let again = self.trigger(&[(key, token)]);
                    let is_over = |c: &Came| (c.key, c.token) == (key, token) && c.over;
                    let over = self.came.iter().any(is_over);
                    assert!(again == first || over, "{key} {token}: {again:?} {first:?}");
                }
            }
            Action::Batch(pairs) => {
                let first = self.trigger(&pairs);
                assert_eq!(self.trigger(&pairs), first, "the same batch again");
            }
            Action::Resize(weights) => self.resize(weights),
            Action::Sweep => self.sweep(),
            Action::Trim { nth, count } => self.trim(nth, count),
            Action::Clock(ms) => self.pass(ms.into()),
            Action::Crash(lost) => self.crash(lost.into()),
        }
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms = self.now_ms.saturating_add_signed(ms);
        for came in &mut self.came {
            // What came in the future came now.
            came.at_ms = came.at_ms.min(self.now_ms);
            came.over |= came.at_ms + WINDOW_MS <= self.now_ms;
        }
    }

    fn resize(&mut self, weights: Vec<u32>) {
        let Ok(decided) = self.ring.resize(weights, 0) else {
            assert!(self.ring.past().len() >= MAX_RESIZES);
            return;
        };
        if let Some(shape) = decided {
            let end = |keys: &Keys| keys.events.last().map(|last| End { last: *last, added: 0 });
            let ends = self.keys.iter().filter_map(|(p, keys)| Some((*p, end(keys)?))).collect();
            let weights = shape.weights().to_vec();
            if self.rules.heard_first {
                let clock = self.clock();
                let hear = |keys: &Keys| keys.tokens.as_ref()?.before_an_end(clock);
                let ahead = self.keys.iter().filter_map(|(p, keys)| Some((*p, hear(keys)?)));
                for (p, change) in ahead.collect::<Vec<_>>() {
                    self.push(Logged::Tokens(p, change));
                }
            }
            self.push(Logged::Ring(Effect::Resized(weights, ends, self.now_ms)));
        }
    }

    fn sweep(&mut self) {
        let clock = self.clock();
        for p in self.keys.keys().copied().collect::<Vec<_>>() {
            let Some(tokens) = &self.keys[&p].tokens else { continue };
            match tokens.forgettable(3, clock) {
                old if old.unwrap_or_default() as usize == tokens.len() => {
                    self.push(Logged::Unlinked(p));
                }
                Some(old) => self.push(Logged::Tokens(p, Change::Forgot(clock, old))),
                None => {}
            }
        }
        let lives = |keys: Option<&Keys>, until_ms| {
            let tokens = keys.and_then(|keys| keys.tokens.as_ref());
            tokens.is_some_and(|tokens| tokens.lives_since(until_ms, clock))
        };
        for p in self.ring.leaving().collect::<Vec<_>>() {
            let keys = self.keys.get(&p);
            let empty = keys.is_none_or(|keys| keys.events.is_empty());
            if empty && !(self.rules.partitions_wait && lives(keys, u64::MAX)) {
                self.push(Logged::Retired(p));
            }
        }
        let first = |p| self.keys.get(&p)?.events.first().copied();
        let waits = self.rules.generations_wait;
        let any = |until_ms| waits && self.keys.values().any(|keys| lives(Some(keys), until_ms));
        let forgotten = self.ring.forgettable(first, any);
        if forgotten > 0 {
            self.push(Logged::Ring(Effect::Forgotten(forgotten)));
        }
    }

    fn trim(&mut self, nth: u8, count: u8) {
        let Some((p, keys)) = self.keys.iter().nth(usize::from(nth) % self.keys.len().max(1))
        else {
            return;
        };
        let (p, gone) = (*p, keys.events.iter().take(count.into()).copied().collect::<Vec<_>>());
        gone.into_iter().for_each(|id| self.push(Logged::Delete(p, id)));
    }

    fn crash(&mut self, lost: usize) {
        let kept = self.log.len().saturating_sub(lost);
        self.log.truncate(kept);
        let new = Self::new(self.rules);
        (self.ring, self.continuum, self.homes) = (new.ring, new.continuum, new.homes);
        self.keys.clear();
        for logged in self.log.clone() {
            self.apply(logged);
        }
        self.came.retain(|came| came.logged <= kept);
        // As a reload finds it.
        self.ring = decode(&encode(&self.ring).unwrap()).unwrap();
        self.homes = Homes::of(&self.ring);
        for tokens in self.keys.values_mut().filter_map(|keys| keys.tokens.as_mut()) {
            let mut saved = Vec::new();
            pieces::save(tokens, |piece| saved.push(piece.to_vec())).unwrap();
            let mut rest = saved[1..].iter();
            *tokens = pieces::load(&saved[0], || rest.next()).unwrap();
        }
    }

    /// Of each key and token whose window lasts the event is there exactly once, and is what is
    /// told.
    pub(super) fn check(&self) {
        for came in self.came.iter().filter(|came| !came.over) {
            let told = self.judge(came.key, came.token);
            // Where the clock went back, one of before may count again: of this token all the same.
            let old = self.came.iter().any(|c| {
                c.over && (c.key, c.token, Some((c.p, c.id))) == (came.key, came.token, told)
            });
            let same = told == Some((came.p, came.id));
            assert!(same || old, "{came:?} at {}: told {told:?}", self.now_ms);
        }
        // And nothing is told of an event that did not come.
        for (key, token) in (0..12).flat_map(|key| (0..4).map(move |token| (key, token))) {
            if let Some(told) = self.judge(key, token) {
                let came =
                    |came: &Came| (came.key, came.token, (came.p, came.id)) == (key, token, told);
                assert!(self.came.iter().any(came), "{key} {token} is told {told:?}");
            }
        }
    }

    /// When all windows are over, nothing is left of tokens and of resizes.
    pub(super) fn finish(&mut self) {
        let last_ms = self.ring.past().iter().map(|past| past.ended_ms).max().unwrap_or(0);
        self.now_ms = self.now_ms.max(last_ms) + 2 * WINDOW_MS;
        for p in self.keys.keys().copied().collect::<Vec<_>>() {
            for id in std::mem::take(&mut self.keys.get_mut(&p).unwrap().events) {
                self.push(Logged::Delete(p, id));
            }
        }
        // What came in the future counts from the first of these on.
        (0..200).for_each(|_| self.sweep());
        self.now_ms += 2 * WINDOW_MS;
        (0..200).for_each(|_| self.sweep());
        assert!(self.keys.values().all(|keys| keys.tokens.as_ref().is_none_or(Tokens::is_empty)));
        assert!(!self.ring.is_changing(), "all is forgotten");
    }
}
