//! What happens to the nodes during a run.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{Chaos, Lasting};
use crate::cluster::scene::{PARTITIONS, slot_of};
use crate::harness::{Cluster, Random, must};

/// A blow, in a long run; a short one has only moves, and a kill at each third of its events.
#[derive(Clone, Copy)]
enum Blow {
    Move,
    Kill,
    FailOver,
    /// A node stands still: longer than clients wait, now and then.
    Freeze,
    KillClients,
    Reload,
}

/// Slots that move are what all this is about, so they move more often.
const BLOWS: [Blow; 10] = [
    Blow::Move,
    Blow::Move,
    Blow::Move,
    Blow::Move,
    Blow::Move,
    Blow::Kill,
    Blow::FailOver,
    Blow::Freeze,
    Blow::KillClients,
    Blow::Reload,
];

pub(super) struct Fate<'a> {
    chaos: &'a Chaos,
    cluster: &'a mut Cluster,
    random: Random,
    /// How many events the producers have.
    events: usize,
}

impl<'a> Fate<'a> {
    pub(super) fn new(chaos: &'a Chaos, cluster: &'a mut Cluster, events: usize) -> Self {
        Self { chaos, cluster, random: Random::new(chaos.seed ^ 0xfa7e), events }
    }

    pub(super) fn act(mut self, lasting: Lasting) {
        match lasting {
            Lasting::Production => {
                for part in 1..=3 {
                    self.move_until(self.events * part / 3);
                    if part < 3 && !self.chaos.is_over() {
                        self.strike(Blow::Kill);
                    }
                }
            }
            Lasting::For(time) => {
                let end = Instant::now() + time;
                self.strike(Blow::Kill);
                while Instant::now() < end && !self.is_done(self.events) {
                    sleep(Duration::from_millis(self.random.below(500)));
                    let blow = self.random.one_of(&BLOWS);
                    self.strike(blow);
                }
                self.chaos.enough.store(true, Ordering::Relaxed);
            }
        }
    }

    fn is_done(&self, events: usize) -> bool {
        self.chaos.produced.load(Ordering::Relaxed) >= events || self.chaos.is_over()
    }

    /// Moves slots until so many events are there.
    fn move_until(&mut self, events: usize) {
        while !self.is_done(events) {
            self.strike(Blow::Move);
            sleep(Duration::from_millis(20));
        }
    }

    fn count(&self, what: &str) {
        self.chaos.book(|book| book.count(what));
    }

    fn strike(&mut self, blow: Blow) {
        let masters = self.cluster.masters();
        let master = self.random.one_of(&masters);
        match blow {
            Blow::Move => self.move_one(&masters),
            Blow::Kill => {
                let replica = self.cluster.replica_of(master);
                self.cluster.kill9(master);
                self.cluster.take_over(replica);
                self.cluster.restart(master);
                self.count("kill -9");
            }
            Blow::FailOver => {
                self.cluster.fail_over(self.cluster.replica_of(master));
                self.count("CLUSTER FAILOVER");
            }
            Blow::Freeze => {
                self.cluster.pause(master);
                sleep(Duration::from_millis(100 + self.random.below(10_000)));
                self.cluster.resume(master);
                self.cluster.settle();
                self.count("stood still");
            }
            Blow::KillClients => {
                let mut conn = self.cluster.connect(master);
                must!(conn, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
                self.count("clients killed");
            }
            Blow::Reload => {
                must!(self.cluster.connect(master), "DEBUG", "RELOAD").ok();
                self.cluster.settle();
                self.count("DEBUG RELOAD");
            }
        }
    }

    fn move_one(&mut self, masters: &[usize]) {
        let p = u32::try_from(self.random.below(u64::from(PARTITIONS))).unwrap();
        let slot = slot_of(p);
        let owner = self.cluster.owner(slot);
        let others: Vec<_> = masters.iter().copied().filter(|n| *n != owner).collect();
        let to = self.random.one_of(&others);
        if self.cluster.moves_at_once() && self.random.one_in(2) {
            self.cluster.move_at_once(slot, to);
            self.count("slot moved at once");
        } else {
            self.cluster.move_slot(slot, to);
        }
        self.count("slot moved");
    }
}
