//! The server of the simulation: rings, their partitions and groups, the lines in front of them and
//! the one timer. Answers the state machine as `src/server/dispatch/partitions.rs` does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::flaws::Flaw;
use super::side::{Side, Stream};
use crate::model::deadlines::{Deadlines, Due, Reason};
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::{Caller, Scene, Turn};
use crate::model::rules::ready::{Ready, Taker};
use crate::model::waiting::connections::Departure;
use crate::model::waiting::line::Line;
use crate::model::waiting::lines::Lines;
use crate::model::waiting::partitions::{Found, Grant, Partitions, Tenure};

pub(super) const RINGS: usize = 2;
pub(super) const PARTITIONS: u32 = 2;
pub(super) const GROUPS: usize = 2;
/// The database of all rings.
pub(super) const DB: i32 = 3;

pub(super) fn ring_name(ring: usize) -> Name {
    Name::ring(format!("r{ring}").as_bytes()).expect("a name")
}

pub(super) fn group_name(group: usize) -> Name {
    Name::group(format!("g{group}").as_bytes()).expect("a name")
}

/// A partition and a group of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) ring: usize,
    pub(super) partition: u32,
    pub(super) group: usize,
}

impl At {
    pub(super) fn line(self) -> Line {
        let (ring, group) = (ring_name(self.ring), group_name(self.group));
        Line { db: DB, ring, partition: self.partition, group }
    }

    pub(super) fn of(line: &Line) -> Self {
        let ring = (0..RINGS).find(|ring| ring_name(*ring) == line.ring).expect("a ring");
        let group = (0..GROUPS).find(|group| group_name(*group) == line.group).expect("a group");
        Self { ring, partition: line.partition, group }
    }
}

/// A ring's value: the groups that it knows.
#[derive(Clone, Debug, Default)]
pub(super) struct Ring {
    pub(super) groups: BTreeSet<usize>,
}

pub(super) struct World {
    pub(super) now_ms: u64,
    pub(super) lines: Lines<u64>,
    pub(super) deadlines: Deadlines,
    /// A sweep is under way.
    pub(super) firing: bool,
    pub(super) rings: BTreeMap<usize, Ring>,
    pub(super) streams: BTreeMap<(usize, u32), Stream>,
    pub(super) sides: BTreeMap<At, Side>,
    /// Parked clients that the server was told to unblock, until it does.
    pub(super) unblocked: VecDeque<u64>,
    /// The server wants no writes.
    pub(super) paused: bool,
    /// The standbys of each line in the order in which they came.
    pub(super) arrivals: BTreeMap<At, VecDeque<u64>>,
    /// Whose lease went on, of those that were asked in this sweep.
    pub(super) continued: BTreeSet<(At, u64)>,
    pub(super) flaw: Option<Flaw>,
}

impl World {
    pub(super) fn new(flaw: Option<Flaw>) -> Self {
        let mut world = Self {
            now_ms: 1_700_000_000_000,
            lines: Lines::default(),
            deadlines: Deadlines::default(),
            firing: false,
            rings: BTreeMap::new(),
            streams: BTreeMap::new(),
            sides: BTreeMap::new(),
            unblocked: VecDeque::new(),
            paused: false,
            arrivals: BTreeMap::new(),
            continued: BTreeSet::new(),
            flaw,
        };
        (0..RINGS).for_each(|ring| drop(world.rings.insert(ring, Ring::default())));
        world
    }

    pub(super) fn now(&self) -> Now {
        Now { unix_us: self.now_ms * 1000 }
    }

    pub(super) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    pub(super) fn side(&mut self, at: At) -> &mut Side {
        self.sides.entry(at).or_default()
    }

    pub(super) fn stream(&self, at: At) -> Stream {
        self.streams.get(&(at.ring, at.partition)).cloned().unwrap_or_default()
    }

    fn progress(&self, at: At) -> Progress {
        self.sides.get(&at).map(|side| side.progress.clone()).unwrap_or_default()
    }

    fn scene(&self, at: At) -> Scene {
        self.lines.scene(&at.line(), self.sides.get(&at).map(|side| &side.progress))
    }

    /// Whether the ring and its group exist.
    pub(super) fn exists(&self, at: At) -> bool {
        self.rings.get(&at.ring).is_some_and(|ring| ring.groups.contains(&at.group))
    }

    pub(super) fn tenure_of(&self, at: At) -> Tenure {
        Tenure::of(&self.progress(at), self.scene(at), self.now())
    }

    pub(super) fn turn_of(&self, at: At, caller: &Caller, scene: Scene) -> Turn {
        self.progress(at).turn(caller, self.now(), scene)
    }

    pub(super) fn scene_of(&self, at: At) -> Scene {
        self.scene(at)
    }

    pub(super) fn ready(&self, at: At, taker: Taker) -> Ready {
        let side = self.sides.get(&at).cloned().unwrap_or_default();
        side.ready(&self.stream(at), taker, self.lines.era(), self.now())
    }

    pub(super) fn grant_lease(&mut self, at: At, grant: Grant<'_>) {
        let Grant { caller, epoch, lease_ms } = grant;
        let (now, era, scene) = (self.now(), self.lines.era(), self.scene(at));
        if self.progress(at).is_lost(caller, now, scene) {
            self.lose_lease(at);
        }
        self.side(at).grant(caller, epoch, lease_ms, era, now);
        if !self.has(Flaw::NobodyFenced) {
            self.fence_owner(at, caller.connection);
        }
    }

    pub(super) fn fence_owner(&mut self, at: At, but: Option<u64>) {
        if self.lines.fence_owner(&at.line(), but) {
            self.tell_soon();
        }
    }

    pub(super) fn lose_lease(&mut self, at: At) {
        let (stream, era) = (self.stream(at), self.lines.era());
        self.side(at).lose(&stream, era);
        self.look_again(at);
    }

    /// As `release::look_again` of the server.
    pub(super) fn look_again(&mut self, at: At) {
        if self.lines.watch(&at.line()) {
            self.arm(Reason::Watch, 0);
        }
    }

    pub(super) fn tell_soon(&mut self) {
        if !self.firing {
            self.arm(Reason::Release, 0);
        }
    }

    pub(super) fn arm(&mut self, reason: Reason, at_ms: u64) {
        if self.flaw != Some(Flaw::Forgets(reason)) {
            self.deadlines.put(reason, at_ms);
        }
    }

    /// The next moment of the timer. What is done by itself must not lean on the check of
    /// everything, which is for changes by hand.
    pub(super) fn next_ms(&self, hands: Hands) -> Option<u64> {
        let counts = |reason: &Reason| hands == Hands::Any || *reason != Reason::Recheck;
        let moments = Reason::ALL.into_iter().filter(counts);
        moments.filter_map(|reason| self.deadlines.of(reason)).min()
    }

    /// Takes what is due now.
    pub(super) fn take_due(&mut self, hands: Hands) -> Due {
        let due = self.deadlines.take_due(self.now_ms);
        due.iter().filter(|reason| hands == Hands::Any || *reason != Reason::Recheck).collect()
    }
}

/// Whether anybody may have changed keys by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hands {
    None,
    Any,
}

impl Partitions for World {
    type Handle = u64;
    type Place = At;

    fn lines<R>(&mut self, act: impl FnOnce(&mut Lines<u64>) -> R) -> R {
        act(&mut self.lines)
    }

    fn wake_at(&mut self, reason: Reason, at_ms: u64) {
        self.arm(reason, at_ms);
    }

    fn wake_soon(&mut self, reason: Reason) {
        match reason {
            Reason::Release => self.tell_soon(),
            reason => self.arm(reason, 0),
        }
    }

    fn find(&mut self, line: &Line) -> Result<Found<At>, Error> {
        let at = At::of(line);
        Ok(match self.rings.get(&at.ring) {
            Some(ring) if ring.groups.contains(&at.group) => Found::Place(at),
            Some(_) if !self.stream(at).events.is_empty() => Found::Orphaned,
            Some(_) | None => Found::Missing,
        })
    }

    fn of_ring(&mut self, any: &Line) -> Option<Vec<u32>> {
        self.rings.get(&At::of(any).ring).map(|_| (0..PARTITIONS).collect())
    }

    fn tenure(&mut self, at: &At, now: Now) -> Result<Tenure, Error> {
        let tenure = self.tenure_of(*at);
        Ok(match tenure {
            // As it was once: a lease that does not lapse though its deadline has passed.
            Tenure::Held { by, lapses_ms } if self.has(Flaw::Hectic) && lapses_ms <= now.ms() => {
                Tenure::Held { by, lapses_ms: now.ms() + 1 }
            }
            tenure => tenure,
        })
    }

    fn turn(&mut self, at: &At, caller: &Caller, _now: Now) -> Result<Turn, Error> {
        let turn = self.turn_of(*at, caller, self.scene(*at));
        if turn == Turn::Continue {
            self.continued.extend(caller.connection.map(|client| (*at, client)));
        }
        Ok(turn)
    }

    fn is_plain(&mut self, at: &At) -> Result<bool, Error> {
        Ok(self.side(*at).is_plain())
    }

    fn search(&mut self, at: &At, taker: Taker, now: Now) -> Result<Ready, Error> {
        let (stream, era) = (self.stream(*at), self.lines.era());
        if self.has(Flaw::Hopeful) && !stream.events.is_empty() {
            return Ok(Ready::Work);
        }
        Ok(self.side(*at).search(&stream, taker, era, now))
    }

    fn next_retry_ms(&mut self, at: &At, now: Now) -> Result<Option<u64>, Error> {
        Ok(self.side(*at).next_retry_ms(now))
    }

    fn has_in_flight(&mut self, at: &At) -> Result<bool, Error> {
        Ok(self.side(*at).has_in_flight())
    }

    fn grant(&mut self, at: &At, grant: Grant<'_>, _now: Now) -> Result<(), Error> {
        self.check_order(*at, grant.caller);
        self.grant_lease(*at, grant);
        Ok(())
    }

    fn lose(&mut self, at: &At, _now: Now) -> Result<(), Error> {
        self.lose_lease(*at);
        Ok(())
    }

    fn keep(&mut self, at: &At, caller: &Caller, lease_ms: u64, now: Now) -> Result<(), Error> {
        let unprotected = self.has(Flaw::Unprotected);
        let progress = &mut self.side(*at).progress;
        progress.continue_lease(caller.connection, now, lease_ms);
        if unprotected {
            progress.share_lease(true);
        } else {
            progress.call_owner();
        }
        Ok(())
    }

    fn call_off(&mut self, client: u64, line: &Line) {
        if !self.has(Flaw::NeverCalledOff) {
            self.side(At::of(line)).progress.call_off(client);
        }
    }

    fn departure(&mut self, at: &At, client: u64) -> Result<Departure, Error> {
        Ok(Departure::of(client, self.progress(*at).lease()))
    }

    fn abandon(&mut self, at: &At) -> Result<(), Error> {
        self.side(*at).progress.abandon_lease();
        Ok(())
    }
}
