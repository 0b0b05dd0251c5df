//! A worker: one life after another, each with a way of its own to be given events and an end of
//! its own: it dies with what it has, stands still until its lease is over, or takes its leave.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::book::{Event, Lease};
use super::compass::Era;
use super::producer::AWAY;
use super::{Campaign, GROUPS, Group, MOST_PARTITIONS, RING};
use crate::harness::{Conn, Random, Value, args};

/// Acknowledges, and counts the event's key, both or neither.
const COUNT: &str = "if redis.call('EVQ.ACK', KEYS[1], ARGV[1], 'GROUP', 'once', 'EPOCH', ARGV[2]) \
                     == 1 then return redis.call('HINCRBY', KEYS[2], ARGV[3], 1) end return 0";

/// A lease that has just been: of no use to anybody in another era.
struct Memory {
    era: Era,
    p: i64,
    epoch: i64,
    id: String,
}

pub(super) fn work(campaign: &Campaign, group: usize, number: usize, mut random: Random) {
    let mut memory = None;
    while !campaign.ending.load(Ordering::Relaxed) {
        let Some((conn, era)) = campaign.compass.try_connect() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let life = campaign.book.lock().unwrap().life();
        let lease_ms = 200 + random.below(800);
        let source = match random.below(2) {
            1 if !campaign.draining.load(Ordering::Relaxed) => {
                random.below(MOST_PARTITIONS).to_string()
            }
            _ => "*".to_owned(),
        };
        // A name that no other worker has: two of one name would take each other's leases, and
        // that is no death.
        let named = random.one_in(2).then(|| format!("{number}-{life}"));
        let count = 1 + random.below(20);
        let mut it = Worker { campaign, group, conn, era, life, lease_ms, source, named, count };
        if let Some(memory) = memory.take() {
            it.try_what_is_over(&memory);
        }
        memory = it.live(&mut random);
    }
}

struct Worker<'a> {
    campaign: &'a Campaign,
    group: usize,
    conn: Conn,
    era: Era,
    life: u64,
    lease_ms: u64,
    source: String,
    named: Option<String>,
    count: u64,
}

/// What was pulled.
struct Hand {
    p: i64,
    epoch: i64,
    events: Vec<(String, Event, u64)>,
}

/// The connection is of no use any more.
struct Gone;

impl Worker<'_> {
    fn settings(&self) -> &'static Group {
        &GROUPS[self.group]
    }

    /// An epoch of another process is refused, whatever it is used for.
    fn try_what_is_over(&mut self, memory: &Memory) {
        if memory.era.run == self.era.run {
            return;
        }
        let (stream, group) = (Campaign::stream(memory.p.unsigned_abs()), self.settings().name);
        for head in
            [args!["EVQ.ACK", stream, memory.id].to_vec(), args!["EVQ.EXTEND", stream].to_vec()]
        {
            let words = [head, args!["GROUP", group, "EPOCH", memory.epoch].to_vec()].concat();
            if let Ok(reply) = self.conn.try_cmd(&words) {
                assert!(reply.is_error(), "an epoch of {:?} was taken: {reply:?}", memory.era);
                let code = reply.err_code().to_owned();
                if code == "EVQFENCED" {
                    self.campaign.book.lock().unwrap().count("fenced in another process");
                } else {
                    assert!(
                        AWAY.contains(&&*code) || code == "EVQNOPARTITION",
                        "an epoch of {:?} was taken: {reply:?}",
                        memory.era
                    );
                }
            }
        }
    }

    fn live(mut self, random: &mut Random) -> Option<Memory> {
        let mut memory = None;
        let mut ack = Vec::new();
        for _ in 0..1 + random.below(300) {
            if self.campaign.ending.load(Ordering::Relaxed) {
                break;
            }
            let Ok(hand) = self.pull(&ack) else { return memory };
            ack.clear();
            let draining = self.campaign.draining.load(Ordering::Relaxed);
            let Some(hand) = hand else {
                // What is left in the end lies elsewhere.
                if draining && self.source != "*" {
                    break;
                }
                continue;
            };
            let last = hand.events.last().expect("a pull has events").0.clone();
            memory = Some(Memory { era: self.era.clone(), p: hand.p, epoch: hand.epoch, id: last });
            if !draining && random.one_in(150) {
                self.count("died with events");
                return memory;
            }
            if !draining && random.one_in(200) {
                self.count("stood still");
                std::thread::sleep(Duration::from_millis(self.lease_ms + 100));
            }
            match self.handle(&hand, draining, random) {
                Ok(Some(id)) => ack = self.acknowledge(&hand, &id, random).ok()?,
                Ok(None) => {}
                Err(Gone) => return memory,
            }
        }
        memory
    }

    fn lease(&self, p: i64, epoch: i64) -> Lease {
        Lease { era: self.era.clone(), p, epoch }
    }

    fn count(&self, what: &'static str) {
        self.campaign.book.lock().unwrap().count(what);
    }

    /// Sends a command; a reply that says that the server is no primary any more ends the life.
    fn ask(&mut self, words: &[Vec<u8>]) -> Result<Value, Gone> {
        let reply = self.conn.try_cmd(words).map_err(|_| Gone)?;
        // A ring that was made smaller may have no such partition any more, or not yet.
        let gone = |code: &str| AWAY.contains(&code) || code == "EVQNOPARTITION";
        if reply.is_error() && gone(reply.err_code()) {
            return Err(Gone);
        }
        let fine = !reply.is_error() || reply.err_code() == "EVQFENCED";
        assert!(fine, "{} got {reply:?}", String::from_utf8_lossy(&words.join(&b' ')));
        Ok(reply)
    }

    fn pull(&mut self, ack: &[Vec<u8>]) -> Result<Option<Hand>, Gone> {
        let mut words = args!["EVQ.CONSUME", self.source, "RING", RING].to_vec();
        words.extend(args!["GROUP", self.settings().name, "LEASE", self.lease_ms]);
        words.extend(args!["COUNT", self.count, "BLOCK", 40]);
        if let Some(name) = &self.named {
            words.extend(args!["WORKER", name]);
        }
        words.extend_from_slice(ack);
        let reply = self.ask(&words)?;
        if reply.is_null() || reply.is_error() {
            return Ok(None);
        }
        let (p, epoch) = (reply.at(0).int(), reply.at(1).int());
        let events = reply.at(2).array().iter().map(|entry| {
            let fields = entry.at(1);
            let n = fields.get("payload").str().parse().expect("a number");
            let event = Event { key: fields.get("key").str().to_owned(), n };
            let attempt = fields.map().into_iter().find(|(name, _)| name.bytes() == b"attempt");
            let attempt = attempt.map_or(1, |(_, n)| n.str().parse().expect("a number"));
            (entry.at(0).str().to_owned(), event, attempt)
        });
        let hand = Hand { p, epoch, events: events.collect() };
        let mut book = self.campaign.book.lock().unwrap();
        book.epoch(self.group, p, epoch, self.life);
        for (_, event, _) in &hand.events {
            book.receive(self.group, event, &self.lease(p, epoch));
        }
        book.count("given");
        Ok(Some(hand))
    }

    /// Refuses some; gives the id to acknowledge, if there is one.
    fn handle(
        &mut self,
        hand: &Hand,
        draining: bool,
        random: &mut Random,
    ) -> Result<Option<String>, Gone> {
        let group = self.settings();
        if group.counts {
            self.count_once(hand)?;
            return Ok(None);
        }
        let mut held: Vec<String> = Vec::new();
        let mut done = None;
        for (id, event, attempt) in &hand.events {
            if held.contains(id) {
                continue;
            }
            if draining || !random.one_in(group.nack_one_in) {
                done = Some(id.clone());
                continue;
            }
            let stream = Campaign::stream(hand.p.unsigned_abs());
            let nack = args!["EVQ.NACK", stream, id, "GROUP", group.name, "EPOCH", hand.epoch];
            let dead = *attempt >= group.attempts;
            let comes_again = group.holds || !dead;
            let lease = self.lease(hand.p, hand.epoch);
            if comes_again {
                self.campaign.book.lock().unwrap().failed(self.group, event, &lease);
            }
            let reply = self.ask(&nack);
            let mut book = self.campaign.book.lock().unwrap();
            if !reply.as_ref().is_ok_and(|reply| !reply.is_error()) && comes_again {
                book.not_failed(self.group, event);
            }
            let reply = reply?;
            if reply.is_error() {
                return Ok(None);
            }
            book.surely_failed(self.group, event, &lease);
            book.count(if dead { "failed for the last time" } else { "failed" });
            held.extend(reply.array().iter().map(|id| id.str().to_owned()));
        }
        Ok(done)
    }

    fn count_once(&mut self, hand: &Hand) -> Result<(), Gone> {
        let stream = Campaign::stream(hand.p.unsigned_abs());
        for (id, event, _) in &hand.events {
            let words = args!["EVAL", COUNT, 2, stream, "once", id, hand.epoch, event.key];
            let reply = self.conn.try_cmd(&words).map_err(|_| Gone)?;
            if reply.is_error() {
                // A script's error has the code of the call in it, or the server's own in front.
                let text = reply.err();
                if text.contains("EVQFENCED") {
                    return Ok(());
                }
                assert!(AWAY.iter().any(|code| text.contains(code)), "{text}");
                return Err(Gone);
            }
        }
        Ok(())
    }

    /// Acknowledges now, or with the next pull, or by leaving; gives the words for that pull.
    fn acknowledge(
        &mut self,
        hand: &Hand,
        id: &str,
        random: &mut Random,
    ) -> Result<Vec<Vec<u8>>, Gone> {
        let group = self.settings().name;
        let stream = Campaign::stream(hand.p.unsigned_abs());
        let tail = args!["GROUP", group, "EPOCH", hand.epoch];
        let is_own = self.source == "*" || self.source == hand.p.to_string();
        match random.below(3) {
            0 if is_own && self.source == "*" => Ok(args!["ACK", hand.p, id].to_vec()),
            0 => Ok(args!["ACK", id].to_vec()),
            _ => {
                let ack = [&args!["EVQ.ACK", stream, id][..], &tail[..]].concat();
                self.ask(&ack)?;
                if random.one_in(30) {
                    let release = [&args!["EVQ.RELEASE", stream][..], &tail[..]].concat();
                    self.ask(&release)?;
                }
                Ok(Vec::new())
            }
        }
    }
}
