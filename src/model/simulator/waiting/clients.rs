//! Clients, and how the server blocks and unblocks them: as `src/server/dispatch/block.rs` and
//! `pull.rs` do it.

use super::flaws::Flaw;
use super::replies::{self, Missed};
use super::world::{At, Hands, PARTITIONS, World};
use crate::model::deadlines::Reason;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::lease::{Caller, Pace, Scene, Turn};
use crate::model::rules::ready::{Ready, Taker};
use crate::model::waiting::line::{ANY, Line};
use crate::model::waiting::partitions::{Grant, Partitions, Tenure};
use crate::model::waiting::waiter::{Answer, Cause, Left, Outcome, Wait};

pub(super) const CLIENTS: usize = 6;

/// An EVQ.CONSUME.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pull {
    pub(super) ring: usize,
    /// None: any.
    pub(super) partition: Option<u32>,
    pub(super) group: usize,
    pub(super) count: usize,
    /// None: it does not wait. 0: for ever.
    pub(super) block_ms: Option<u64>,
    pub(super) lease_ms: u64,
    pub(super) pace: Pace,
}

impl Pull {
    pub(super) fn at(&self, partition: u32) -> At {
        At { ring: self.ring, partition, group: self.group }
    }
}

/// A client that is blocked.
#[derive(Clone, Debug)]
pub(super) struct Blocked {
    pub(super) pull: Pull,
    /// On its stream key; else it is parked.
    pub(super) on_stream: bool,
    /// When the server ends the wait of one that blocks on a stream.
    pub(super) ends_ms: Option<u64>,
    /// The client does not read the reply.
    pub(super) given_up: bool,
    /// Hands, or the worker's own name elsewhere, took what it may have been called for.
    pub(super) excused: bool,
}

/// What a client was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Events(At, Vec<EventId>),
    Null,
    Error,
}

#[derive(Clone, Debug)]
pub(super) struct Client {
    /// The connection, which is another after each end.
    pub(super) id: u64,
    pub(super) name: Option<Name>,
    pub(super) blocked: Option<Blocked>,
    /// What it was given and has not answered.
    pub(super) holds: Vec<(At, EventId)>,
    /// What it was given and has not seen.
    pub(super) missed: Vec<Missed>,
    /// What it has sent behind the command that it waits in.
    pub(super) resent: Option<Pull>,
    /// What it answered last.
    pub(super) answer: Option<replies::Answer>,
}

impl Client {
    pub(super) fn caller(&self) -> Caller {
        Caller { worker: self.name.clone(), epoch: None, connection: Some(self.id) }
    }
}

/// Whether this is the client's call, or its turn after it has waited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    First,
    Again,
}

/// The world with its clients.
pub(super) struct Play {
    pub(super) world: World,
    pub(super) clients: Vec<Client>,
    connections: u64,
    /// Whether keys were changed by hand since the last rest.
    pub(super) hands: Hands,
}

impl Play {
    pub(super) fn new(flaw: Option<Flaw>) -> Self {
        let worker = |name: &str| Name::worker(name.as_bytes()).expect("a name");
        // Two of the same name, one of another, and those that have none.
        let name = |n: usize| [Some("a"), Some("a"), Some("b")].get(n).copied().flatten();
        let client = |n: usize| Client {
            id: n as u64 + 1,
            name: name(n).map(worker),
            blocked: None,
            holds: Vec::new(),
            missed: Vec::new(),
            resent: None,
            answer: None,
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { world: World::new(flaw), clients, connections: CLIENTS as u64, hands: Hands::None }
    }

    pub(super) fn index(&self, id: u64) -> Option<usize> {
        self.clients.iter().position(|client| client.id == id)
    }

    /// EVQ.CONSUME of a client that is not blocked.
    pub(super) fn pull(&mut self, c: usize, pull: Pull) {
        if self.clients[c].blocked.is_none()
            && let Some(reply) = self.first(c, pull)
        {
            self.note(c, &reply);
        }
    }

    /// An EVQ.CONSUME arrives. None if the client waits now.
    pub(super) fn first(&mut self, c: usize, pull: Pull) -> Option<Reply> {
        self.serve(c, pull, Visit::First, None)
    }

    /// None if the client waits now.
    fn serve(&mut self, c: usize, pull: Pull, visit: Visit, called: Option<u32>) -> Option<Reply> {
        let Some(ring) = self.world.rings.get_mut(&pull.ring) else { return Some(Reply::Error) };
        let (is_new, any) = (ring.groups.insert(pull.group), pull.at(ANY).line());
        let same = |line: &Line| (&line.ring, &line.group) == (&any.ring, &any.group);
        if is_new && self.world.lines.lines_with_standbys().iter().any(same) {
            // Hands took the group from those who wait for it. That it is back they see when
            // everything is checked.
            self.hands = Hands::Any;
        }
        let mut owns = false;
        for partition in self.in_turn(c, &pull, called) {
            let at = pull.at(partition);
            if !self.take(c, &pull, at, visit) {
                continue;
            }
            owns = true;
            let (now, stream) = (self.world.now(), self.world.stream(at));
            let given = self.world.side(at).hand_out(&stream, pull.count, now);
            self.check_missed(c, &pull, at, &given);
            if !given.is_empty() {
                if pull.partition.is_none() {
                    self.world.lines.end_round(&any, partition);
                }
                return Some(Reply::Events(at, given));
            }
            if pull.partition.is_none() {
                // That it shares its idle lease now is seen when everything is checked.
                self.hands = Hands::Any;
            }
        }
        if called.is_some() {
            return self.serve(c, pull, visit, None);
        }
        if visit == Visit::First && pull.block_ms.is_some() {
            let on_stream = owns || self.world.has(Flaw::Crowded);
            self.block(c, pull, on_stream && pull.partition.is_some());
            return None;
        }
        if let (true, Some(partition)) = (owns, pull.partition) {
            let caller = self.clients[c].caller();
            self.world.side(pull.at(partition)).progress.tell_nothing(&caller);
            if self.world.scene_of(pull.at(partition)).queue {
                self.world.arm(Reason::Lease, self.world.now_ms + 1);
            }
        }
        Some(Reply::Null)
    }

    fn in_turn(&mut self, c: usize, pull: &Pull, called: Option<u32>) -> Vec<u32> {
        if let Some(partition) = pull.partition {
            return vec![partition];
        }
        let unfinished = self.set_back(c, pull);
        if let Some(partition) = called {
            return vec![partition];
        }
        let begin = self.world.lines.round_begins_at(&pull.at(ANY).line());
        let mut all: Vec<u32> = (0..PARTITIONS).collect();
        let first = all.iter().position(|partition| *partition >= begin).unwrap_or(0);
        all.rotate_left(first);
        // What the worker has not finished comes first.
        all.sort_by_key(|partition| !unfinished.contains(partition));
        all
    }

    /// Without AHEAD a pull from any partition goes on after what is acknowledged in each that the
    /// worker holds. Returns those where something is in flight.
    fn set_back(&mut self, c: usize, pull: &Pull) -> Vec<u32> {
        let caller = self.clients[c].caller();
        let goes_on = |world: &World, at: At| {
            world.turn_of(at, &caller, world.scene_of(at)) == Turn::Continue
        };
        let all = (0..PARTITIONS).filter(|_| pull.pace == Pace::Steady);
        let mine: Vec<u32> = all.filter(|p| goes_on(&self.world, pull.at(*p))).collect();
        let old = self.world.has(Flaw::OldPull);
        let in_flight = |partition: &u32| {
            let side = self.world.side(pull.at(*partition));
            if !old {
                side.progress.set_pace(Pace::Steady);
            }
            side.has_in_flight()
        };
        mine.into_iter().filter(in_flight).collect()
    }

    fn take(&mut self, c: usize, pull: &Pull, at: At, visit: Visit) -> bool {
        let (caller, any) = (self.clients[c].caller(), pull.partition.is_none());
        let (mut scene, now_ms) = (self.world.scene_of(at), self.world.now_ms);
        let lease = self.world.sides.get(&at).and_then(|side| side.progress.lease());
        let cut_short = lease.is_some_and(|lease| lease.deadline_ms > now_ms + pull.lease_ms);
        if visit == Visit::Again && !any {
            scene = Scene { queue: false, ..scene };
        }
        let turn = self.world.turn_of(at, &caller, scene);
        match turn {
            Turn::Wait => return false,
            Turn::Grant(_) | Turn::Claim(_)
                if (any || matches!(turn, Turn::Claim(_)))
                    && self.world.ready(at, Taker::Next) != Ready::Work =>
            {
                return false;
            }
            Turn::Grant(epoch) | Turn::Claim(epoch) => {
                if let Tenure::Held { .. } = self.world.tenure_of(at) {
                    // By its name, wherever else that is at work.
                    self.excuse(at.ring);
                }
                let lease_ms = pull.lease_ms;
                self.world.grant_lease(at, Grant { caller: &caller, epoch, lease_ms });
            }
            Turn::Continue => {
                if self.world.lines.move_wait(&at.line(), self.clients[c].id) {
                    self.world.tell_soon();
                }
            }
        }
        if cut_short {
            // Those that wait for it see that when everything is checked.
            self.hands = Hands::Any;
        }
        let now = self.world.now();
        let pace = if self.world.has(Flaw::OldPull) { Pace::Ahead } else { pull.pace };
        let progress = &mut self.world.side(at).progress;
        progress.continue_lease(caller.connection, now, pull.lease_ms);
        progress.share_lease(any);
        progress.set_pace(pace);
        self.world.lines.note_owner(&at.line(), &caller);
        true
    }

    fn block(&mut self, c: usize, pull: Pull, as_owner: bool) {
        let (now_ms, client) = (self.world.now_ms, &self.clients[c]);
        let id = client.id;
        let at = pull.at(pull.partition.unwrap_or(0));
        let side = self.world.sides.get(&at).cloned().unwrap_or_default();
        let lease = side.progress.lease();
        let wait = Wait {
            line: pull.at(pull.partition.unwrap_or(ANY)).line(),
            caller: client.caller(),
            lease_ms: pull.lease_ms,
            position: lease.map_or(side.progress.cursor(), |lease| lease.position),
            plain: side.is_plain(),
        };
        let timeout_ms = pull.block_ms.filter(|ms| *ms > 0);
        let ends_ms = timeout_ms.map(|ms| now_ms + ms);
        self.clients[c].blocked =
            Some(Blocked { pull, on_stream: as_owner, ends_ms, given_up: false, excused: false });
        if as_owner {
            let plain = wait.plain;
            self.world.lines.wait_as_owner(id, wait, id);
            if !plain {
                self.world.arm(Reason::Watch, now_ms);
            }
            return;
        }
        self.world.arrivals.entry(At::of(&wait.line)).or_default().push_back(id);
        self.world.lines.wait_in_line(id, wait, id, ends_ms);
        if let Some(ends_ms) = ends_ms {
            self.world.arm(Reason::WaitEnd, ends_ms);
        }
        if pull.partition.is_none() {
            self.world.arm(Reason::AnyPartition, now_ms + 1);
        } else {
            let kept = lease.filter(|lease| !lease.told_nothing);
            let lapses_ms = kept.map_or(0, |lease| lease.deadline_ms);
            self.world.arm(Reason::Lease, lapses_ms.max(now_ms + 1));
        }
    }

    /// The key of a partition is ready: the server wakes those that block on it.
    pub(super) fn ready(&mut self, ring: usize, partition: u32) {
        for c in 0..CLIENTS {
            let on_it = |blocked: &&Blocked| {
                let Pull { ring: of, partition: p, .. } = blocked.pull;
                blocked.on_stream && (of, p) == (ring, Some(partition))
            };
            let Some(blocked) = self.clients[c].blocked.as_ref().filter(on_it) else { continue };
            let (at, id) = (blocked.pull.at(partition), self.clients[c].id);
            let (_, awaited) = self.world.lines.awaited(id).expect("it waits");
            let Some(next) = self.world.stream(at).after(awaited.position).next() else { continue };
            if awaited.plain {
                self.wake(c, Cause::Woken);
            } else {
                self.world.lines.move_on(id, next);
                self.world.arm(Reason::Watch, 0);
            }
        }
    }

    /// The server runs a callback of a blocked client.
    pub(super) fn wake(&mut self, c: usize, cause: Cause) {
        let id = self.clients[c].id;
        let left = self.world.lines.leave(id, cause).expect("it waits");
        let blocked = self.clients[c].blocked.take().expect("it is blocked");
        self.world.forget_arrival(&left.wait.line, id);
        assert!(cause != Cause::Woken || !left.is_untold, "nobody is woken untold");
        self.world.unblocked.retain(|other| *other != id);
        let reply = match left.outcome {
            Outcome::Serve if !self.world.paused => {
                let reply = self.serve(c, blocked.pull, Visit::Again, left.called);
                self.check_service(&left, reply.as_ref(), blocked.excused);
                reply.expect("it does not wait again")
            }
            Outcome::Serve | Outcome::Nothing => self.give_nothing(&left, id),
            Outcome::Refuse(_) => Reply::Error,
        };
        let answer =
            if matches!(reply, Reply::Events(..)) { Answer::Events } else { Answer::Other };
        if let Some(after_ms) = left.lease_check_in_ms(answer)
            && !self.world.has(Flaw::Unfollowed)
        {
            self.world.arm(Reason::Lease, self.world.now_ms + after_ms);
        }
        if let (Some(partition), Answer::Other) = (left.called, answer) {
            self.world.call_off(id, &left.wait.line.at(partition));
            self.world.arm(Reason::Departure, 0);
        }
        if blocked.given_up {
            self.miss(c, &reply);
        } else {
            self.note(c, &reply);
        }
    }

    fn give_nothing(&mut self, left: &Left<u64>, id: u64) -> Reply {
        if left.as_owner {
            let now = self.world.now();
            let side = self.world.side(At::of(&left.wait.line));
            side.progress.renew_for(id, now);
            side.progress.tell_nothing(&left.wait.caller);
        }
        Reply::Null
    }

    /// The client is gone, in whichever state, and comes back as another.
    pub(super) fn vanish(&mut self, c: usize) {
        let id = self.clients[c].id;
        if self.clients[c].blocked.take().is_some() && !self.world.has(Flaw::Forgotten) {
            let left = self.world.lines.leave(id, Cause::Vanished).expect("it waits");
            self.world.forget_arrival(&left.wait.line, id);
            self.world.unblocked.retain(|other| *other != id);
            if left.called.is_some() {
                self.world.arm(Reason::Departure, 0);
            }
        }
        if self.world.lines.connection_closed(id) {
            self.world.arm(Reason::Departure, 0);
        }
        self.connections += 1;
        self.clients[c].id = self.connections;
        let client = &mut self.clients[c];
        client.holds.clear();
        client.missed.clear();
        (client.resent, client.answer) = (None, None);
    }
}
