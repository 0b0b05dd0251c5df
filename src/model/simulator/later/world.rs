//! The server of the simulation: a ring and its scheduled events, everything lasting in a log of
//! transactions.

use std::collections::BTreeMap;

use super::Action;
use crate::model::later::parts::Parts;
use crate::model::later::schedule::{Change, Place, Schedule, Scheduled};
use crate::model::ring::continuum::Continuum;
use crate::model::ring::{Ring, Shape};
use crate::model::saved::effect::Effect;
use crate::model::saved::schedule;
use crate::model::unique::tokens::Clock;

const VNODES: u32 = 4;
/// Enough for whatever a history schedules.
const ALL: u8 = u8::MAX;

/// Which of the rules hold: all, unless a test wants to see that it notices.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// An append and the end of its ticket are one transaction.
    pub(super) together: bool,
    /// A partition in which nothing waits keeps its last ticket.
    pub(super) keeps_last: bool,
    /// The ring keeps the last ticket of a partition that is gone.
    pub(super) ring_keeps_last: bool,
    /// A leaving partition hands its events over before it disappears.
    pub(super) hands_over: bool,
    /// What is due first in the whole ring is appended first.
    pub(super) merges: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            together: true,
            keeps_last: true,
            ring_keeps_last: true,
            hands_over: true,
            merges: true,
        }
    }
}

/// Something that lasts, as it is replicated.
#[derive(Clone, Debug)]
enum Logged {
    Later(u32, Change),
    Append(Place),
    Ring(Effect),
    Retired(u32),
}

/// What lasts.
#[derive(Debug)]
struct State {
    ring: Ring,
    schedules: BTreeMap<u32, Schedule>,
    /// What was appended, in order.
    appended: Vec<Place>,
}

impl State {
    fn new() -> Self {
        let ring = Ring::new(Shape::even(2, VNODES).unwrap());
        Self { ring, schedules: BTreeMap::new(), appended: Vec::new() }
    }

    fn apply(&mut self, logged: Logged) {
        match logged {
            Logged::Later(p, change) => self.schedules.entry(p).or_default().apply(change),
            Logged::Append(place) => self.appended.push(place),
            Logged::Ring(effect) => assert!(self.ring.apply(effect)),
            Logged::Retired(p) => {
                self.schedules.remove(&p);
                assert!(self.ring.apply(Effect::Retired(p)));
            }
        }
    }
}

pub(super) struct World {
    rules: Rules,
    now_us: u64,
    state: State,
    continuum: Continuum,
    log: Vec<Vec<Logged>>,
    /// The greatest ticket that this process has seen.
    last: u64,
    /// What was scheduled and not taken back, and how much was logged then.
    truth: BTreeMap<u64, (Place, usize)>,
    /// What was taken back, likewise.
    cancelled: BTreeMap<u64, (Place, usize, usize)>,
}

impl World {
    pub(super) fn new(rules: Rules) -> Self {
        let state = State::new();
        let continuum = state.ring.continuum();
        let (log, truth, cancelled) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { rules, now_us: 1_000_000, state, continuum, log, last: 0, truth, cancelled }
    }

    fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    fn commit(&mut self, transaction: Vec<Logged>) {
        for logged in &transaction {
            self.state.apply(logged.clone());
        }
        if self.rules.together {
            self.log.push(transaction);
        } else {
            self.log.extend(transaction.into_iter().map(|logged| vec![logged]));
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        self.now_us += 7;
        match action {
            Action::Schedule { key, in_ms } => self.schedule(key, in_ms),
            Action::Cancel(nth) => self.cancel(nth),
            Action::Sweep(most) => self.sweep(most),
            Action::Tidy => self.tidy(),
            Action::Resize(weights) => self.resize(weights),
            Action::Clock(ms) => {
                let us = i64::from(ms) * 1000;
                self.now_us = self.now_us.checked_add_signed(us).unwrap_or_default().max(1000);
            }
            Action::Crash(lost) => self.crash(lost.into()),
        }
    }

    fn schedule(&mut self, key: u8, in_ms: i16) {
        let ticket = (self.last + 1).max(self.now_us);
        self.last = ticket;
        let due_ms = self.now_ms().saturating_add_signed(in_ms.into());
        let place = Place { due_ms, ticket };
        let home = self.continuum.route(&[key]);
        let event = Scheduled { place, home, parts: Parts::new(None, &[key], b"", None, &[]) };
        self.commit(vec![Logged::Later(home, Change::Added(event, None))]);
        assert!(!self.cancelled.contains_key(&ticket), "a ticket is issued again");
        let twice = self.truth.insert(ticket, (place, self.log.len()));
        assert!(twice.is_none(), "a ticket is issued twice");
    }

    fn cancel(&mut self, nth: u8) {
        let waiting: Vec<_> = self.waiting().collect();
        let Some((p, place)) = waiting.get(usize::from(nth) % waiting.len().max(1)) else { return };
        self.commit(vec![Logged::Later(*p, Change::Removed(place.ticket))]);
        let (_, logged) = self.truth.remove(&place.ticket).unwrap();
        self.cancelled.insert(place.ticket, (*place, logged, self.log.len()));
    }

    fn waiting(&self) -> impl Iterator<Item = (u32, Place)> + '_ {
        let all = self.state.schedules.iter();
        all.flat_map(|(p, schedule)| schedule.iter().map(|event| (*p, event.place)))
    }

    /// The partition of which the first event is due first.
    fn first(&self) -> Option<(u32, Place)> {
        let firsts = self.state.schedules.iter();
        let mut firsts = firsts.filter_map(|(p, schedule)| Some((*p, schedule.first()?)));
        if self.rules.merges {
            firsts.min_by_key(|(_, place)| *place)
        } else {
            firsts.find(|(_, place)| place.due_ms <= self.now_ms())
        }
    }

    fn sweep(&mut self, most: u8) {
        let mut last = None;
        for _ in 0..most {
            let Some((p, place)) = self.first() else { break };
            if place.due_ms > self.now_ms() {
                break;
            }
            assert!(last < Some(place), "{place:?} comes after {last:?}");
            last = Some(place);
            let clock = Clock::new(self.now_ms(), 10);
            let end = Logged::Later(p, Change::Appended(clock, place.ticket));
            self.commit(vec![Logged::Append(place), end]);
        }
    }

    fn resize(&mut self, weights: Vec<u32>) {
        let forgotten = u32::from(self.state.ring.past().len() > 8);
        let Ok(Some(shape)) = self.state.ring.resize(weights, forgotten) else { return };
        let mut transaction = Vec::new();
        if forgotten > 0 {
            transaction.push(Logged::Ring(Effect::Forgotten(forgotten)));
        }
        let resized = Effect::Resized(shape.weights().to_vec(), BTreeMap::new(), self.now_ms());
        transaction.push(Logged::Ring(resized));
        self.commit(transaction);
        self.continuum = self.state.ring.continuum();
    }

    fn tidy(&mut self) {
        if self.rules.hands_over {
            let all: Vec<_> = self.waiting().collect();
            for (p, place) in all {
                let event =
                    self.state.schedules.get(&p).and_then(|known| known.get(place)).unwrap();
                let owner = self.continuum.route(event.parts.key());
                if owner != p {
                    let added = Logged::Later(owner, Change::Added(event, None));
                    let removed = Logged::Later(p, Change::Removed(place.ticket));
                    self.commit(vec![added, removed]);
                }
            }
        }
        let leaving: Vec<_> = self.state.ring.leaving().collect();
        for p in leaving {
            let known = self.state.schedules.get(&p);
            let last = known.map_or(0, Schedule::last_ticket);
            let mut transaction = Vec::new();
            if self.rules.ring_keeps_last {
                transaction.push(Logged::Ring(Effect::Ticketed(last)));
            }
            transaction.push(Logged::Retired(p));
            self.commit(transaction);
        }
    }

    /// The server comes back with all but its last transactions.
    fn crash(&mut self, lost: usize) {
        self.log.truncate(self.log.len().saturating_sub(lost));
        let logged = self.log.len();
        self.truth.retain(|_, (_, at)| *at <= logged);
        for (ticket, (place, made, ended)) in std::mem::take(&mut self.cancelled) {
            if ended <= logged {
                self.cancelled.insert(ticket, (place, made, ended));
            } else if made <= logged {
                self.truth.insert(ticket, (place, made));
            }
        }
        self.state = State::new();
        let log = self.log.clone();
        log.into_iter().flatten().for_each(|logged| self.state.apply(logged));
        self.continuum = self.state.ring.continuum();
        self.last = self.state.ring.last_ticket();
        for known in self.state.schedules.values() {
            let waiting = known.iter().map(|event| event.place.ticket).max().unwrap_or(0);
            let last = if self.rules.keeps_last { known.last_ticket() } else { waiting };
            self.last = self.last.max(last);
        }
    }

    pub(super) fn check(&self) {
        let mut all: Vec<Place> = self.waiting().map(|(_, place)| place).collect();
        all.extend(&self.state.appended);
        all.sort_by_key(|place| place.ticket);
        let wanted: Vec<Place> = self.truth.values().map(|(place, _)| *place).collect();
        assert_eq!(all, wanted, "each event waits or was appended, once");
        for known in self.state.schedules.values() {
            let mut pieces = Vec::new();
            schedule::save(known, |piece| pieces.push(piece.to_vec())).unwrap();
            let mut rest = pieces[1..].iter();
            let read = schedule::load(&pieces[0], || rest.next()).unwrap();
            assert!(read.iter().eq(known.iter()));
            assert_eq!(read.last_ticket(), known.last_ticket());
        }
    }

    /// When every time has come, everything is appended.
    pub(super) fn finish(&mut self) {
        self.now_us += 1_000_000_000;
        self.tidy();
        self.check();
        self.sweep(ALL);
        self.check();
        assert_eq!(self.waiting().count(), 0);
    }
}
