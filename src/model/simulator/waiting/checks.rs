//! What holds at every moment, and what holds at rest: when everything that the state machine asked
//! for has been done.

use super::clients::{Blocked, Play, Reply};
use super::commands::all_places;
use super::world::{At, Hands, World};
use crate::model::deadlines::{RECHECK_MS, Reason};
use crate::model::progress::lease::{Caller, Turn};
use crate::model::rules::ready::{Ready, Taker};
use crate::model::waiting::line::{ANY, Line};
use crate::model::waiting::owners::PARKED_MS;
use crate::model::waiting::partitions::Tenure;
use crate::model::waiting::waiter::{Left, Outcome, Stage};

/// How long a rest lasts: more than any moment that the state machine may wait by itself.
const REST_MS: u64 = 300;
/// How often the timer fires at most in a rest: parked owners and workers that take any partition
/// are checked 30 times each.
const MOST_FIRINGS: usize = 120;

impl World {
    /// A worker that came first is served first; those of one partition come before those of any.
    pub(super) fn check_order(&mut self, at: At, caller: &Caller) {
        let client = caller.connection.expect("a connection");
        let any = At { partition: ANY, ..at };
        if !self.is_next(at, client) {
            assert_eq!(self.standing(at), Vec::<u64>::new(), "they came for this partition");
            for earlier in self.standing(any).into_iter().take_while(|other| *other != client) {
                let goes_on = self.continued.contains(&(at, earlier));
                assert!(goes_on, "{earlier} came before {client}");
            }
        }
    }

    /// Whether `client` is first of those that wait in a line.
    fn is_next(&self, at: At, client: u64) -> bool {
        self.standing(at).first() == Some(&client)
    }

    /// Those who wait in a line and are not released, in the order in which they came.
    fn standing(&self, at: At) -> Vec<u64> {
        let line = at.line();
        let here = |client: &u64| {
            self.lines.stands_in(*client, &line) && self.lines.waiting_owner(&line) != Some(*client)
        };
        self.arrivals.get(&at).into_iter().flatten().copied().filter(here).collect()
    }

    pub(super) fn forget_arrival(&mut self, line: &Line, client: u64) {
        if let Some(arrivals) = self.arrivals.get_mut(&At::of(line)) {
            arrivals.retain(|other| *other != client);
        }
    }
}

impl Play {
    /// What holds at every moment.
    pub(super) fn check(&self) {
        let blocked = self.clients.iter().filter(|client| client.blocked.is_some()).count();
        assert_eq!(self.world.lines.waiters.len(), blocked, "those who wait are those who block");
        let mut on_the_way = Vec::new();
        for (client, waiter) in &self.world.lines.waiters {
            let served = [Stage::Released(Outcome::Serve), Stage::Told(Outcome::Serve)];
            let partition = waiter.called.unwrap_or(waiter.wait.line.partition);
            let line = waiter.wait.line.at(partition);
            let excused = self.blocked(*client).is_some_and(|blocked| blocked.excused);
            if served.contains(&waiter.stage) && !excused {
                assert!(!on_the_way.contains(&line), "two are on the way to {line:?}");
                on_the_way.push(line);
            }
        }
    }

    fn blocked(&self, id: u64) -> Option<&Blocked> {
        self.index(id).and_then(|c| self.clients[c].blocked.as_ref())
    }

    /// An append wakes at most one client of each group by the stream key.
    pub(super) fn check_nobody_else_wakes(&self, ring: usize, partition: u32) {
        let mut woken = Vec::new();
        for client in self.clients.iter() {
            let Some(blocked) = client.blocked.as_ref().filter(|blocked| blocked.on_stream) else {
                continue;
            };
            let at = blocked.pull.at(blocked.pull.partition.expect("one partition"));
            let waits = self.world.lines.stands_in(client.id, &at.line());
            if waits && (at.ring, at.partition) == (ring, partition) {
                assert!(!woken.contains(&at.group), "two of a group are woken by one append");
                woken.push(at.group);
            }
        }
    }

    /// No worker is woken for nothing.
    pub(super) fn check_service(&self, left: &Left<u64>, reply: Option<&Reply>, excused: bool) {
        let served = matches!(reply, Some(Reply::Events(..)));
        assert!(served || excused, "{} was woken for nothing: {:?}", left.handle, left.wait);
    }

    /// Lets everything that the state machine has asked for happen, and checks what holds then.
    pub(super) fn rest(&mut self) {
        self.world.paused = false;
        loop {
            let firings = self.pass(REST_MS, Hands::None);
            assert!(firings <= MOST_FIRINGS, "{firings} firings in {REST_MS} ms");
            if self.hands == Hands::None {
                break;
            }
            self.hands = Hands::None;
            self.world.deadlines.put(Reason::Recheck, self.world.now_ms + RECHECK_MS);
            self.pass(RECHECK_MS, Hands::Any);
        }
        self.check_rest();
        for client in &mut self.clients {
            if let Some(blocked) = &mut client.blocked {
                blocked.excused = false;
            }
        }
    }

    fn check_rest(&mut self) {
        let lines = &self.world.lines;
        for (client, waiter) in &lines.waiters {
            assert_eq!(waiter.stage, Stage::Waiting, "{client} is released and still here");
        }
        assert!(lines.next_end().is_none_or(|end_ms| end_ms > self.world.now_ms), "time is up");
        for at in all_places() {
            self.check_place(at);
        }
    }

    /// No lease is free while a worker waits for it, and no work is left while a worker that may
    /// have it waits.
    fn check_place(&mut self, at: At) {
        if !self.world.exists(at) {
            return;
        }
        let (line, any) = (at.line(), At { partition: ANY, ..at }.line());
        let side = self.world.side(at).clone();
        let lines = &self.world.lines;
        let waits_for_any = |n| lines.nth_standby(&any, n);
        match self.world.tenure_of(at) {
            Tenure::Free { .. } => {
                assert!(!lines.has_standbys(&line), "a standby waits for a free lease: {at:?}");
                // Workers that take any partition see a lease lapse when they are checked next.
                let lapsed_ms = side.progress.lease().map_or(0, |lease| lease.deadline_ms);
                let just_now = lapsed_ms + PARKED_MS > self.world.now_ms;
                if just_now || self.world.ready(at, Taker::Next) != Ready::Work {
                    return;
                }
                for worker in (0..).map_while(waits_for_any) {
                    let scene = self.world.scene_of(at);
                    let turn = self.world.turn_of(at, &worker.wait.caller, scene);
                    let goes_on = self.world.ready(at, Taker::Owner) == Ready::Work;
                    assert!(turn == Turn::Continue && !goes_on, "{worker:?} idles, work in {at:?}");
                }
            }
            Tenure::Claimable { .. } => {
                // An append by hand reaches a standby when everything is checked.
                let work = self.world.ready(at, Taker::Next) == Ready::Work;
                assert!(!work || !lines.has_standbys(&line), "a standby waits, work in {at:?}");
            }
            Tenure::Held { .. } => {
                let lease = side.progress.lease().expect("a lease");
                assert!(!lease.called, "nobody comes to {at:?}");
                let client = lease.connection.expect("a connection");
                let alive = self.index(client).is_some();
                assert!(alive || lease.worker.is_some(), "a closed connection has {at:?}");
                if self.world.ready(at, Taker::Owner) == Ready::Work {
                    assert!(!lines.stands_in(client, &line), "its owner waits, work in {at:?}");
                    let waits = lines.wait_of(client).filter(|wait| wait.line == any);
                    let scene = self.world.scene_of(at);
                    let goes_on = waits.is_some_and(|wait| {
                        self.world.turn_of(at, &wait.caller, scene) == Turn::Continue
                    });
                    assert!(!goes_on, "its owner waits for any, work in {at:?}");
                }
            }
        }
    }

    /// From rest, an event is handed out at once if anybody may have it.
    pub(super) fn check_prompt(&mut self, ring: usize, partition: u32) {
        self.rest();
        self.append(ring, partition, false, false);
        self.pass(0, Hands::None);
        for at in all_places() {
            let side = self.world.sides.get(&at);
            let stops = side.is_some_and(|side| side.stops > 0);
            if (at.ring, at.partition) == (ring, partition) && !stops {
                self.check_place(at);
            }
        }
    }

    /// Everybody vanishes as they are, and nothing is left behind.
    pub(super) fn finish(&mut self) {
        (0..self.clients.len()).for_each(|c| self.vanish(c));
        self.hands = Hands::Any;
        self.rest();
        for _ in 0..100 {
            let Some(at_ms) = self.world.next_ms(Hands::Any) else { break };
            self.pass(at_ms.saturating_sub(self.world.now_ms), Hands::Any);
        }
        assert_eq!(self.world.next_ms(Hands::Any), None, "nobody waits, and the timer goes on");
        assert!(self.world.lines.is_empty(), "{:?}", self.world.lines);
        (0..super::world::RINGS).for_each(|ring| self.dismiss(ring, None));
        assert!(self.world.lines.is_bare(), "{:?}", self.world.lines);
    }
}
