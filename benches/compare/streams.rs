//! The job with streams by hand: a stream for each partition, chosen by the producer from the key's
//! hash, a consumer group on each, and a lock that says which worker has it.

use std::collections::VecDeque;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::conn::Outcome;
use crate::job::{self, Given, Journal, Producer, Work, is_ending};
use crate::resp::encode;
use crate::{Conn, connect};

/// Pipelines that are under way while the next one is made.
const AHEAD: usize = 2;
/// Paced events that may be unconfirmed.
const UNCONFIRMED: usize = 1000;
const PIPELINE: usize = 100;
/// How long a worker without the lock waits before it tries again.
const RETRY: Duration = Duration::from_millis(50);
/// Renews a lock that is still the caller's.
const RENEW: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then \
                     return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0";

fn stream(partition: usize) -> String {
    format!("s:{partition}")
}

pub(crate) fn set_up(given: &Given) -> Outcome<()> {
    connect(given)?.call(&["FLUSHALL", "SYNC"]).map(drop)
}

/// Pipelined XADDs.
struct Xadds {
    conn: Conn,
    partitions: usize,
    bytes: Vec<u8>,
    events: usize,
    under_way: VecDeque<usize>,
}

impl Xadds {
    fn leave(&mut self, ahead: usize) -> Outcome<()> {
        if self.events > 0 {
            self.conn.send(&self.bytes)?;
            self.bytes.clear();
            self.under_way.push_back(std::mem::take(&mut self.events));
        }
        while self.under_way.len() > ahead {
            self.conn.skip(self.under_way.pop_front().unwrap_or_default())?;
        }
        Ok(())
    }
}

impl Producer for Xadds {
    fn send(&mut self, key: &str, payload: &[u8], paced: bool) -> Outcome<()> {
        let stream = stream(fnv1a(key) as usize % self.partitions);
        let words: [&[u8]; 7] =
            [b"XADD", stream.as_bytes(), b"*", b"key", key.as_bytes(), b"payload", payload];
        encode(&mut self.bytes, &words);
        self.events += 1;
        if paced {
            self.leave(UNCONFIRMED)
        } else if self.events == PIPELINE {
            self.leave(AHEAD)
        } else {
            Ok(())
        }
    }

    fn finish(&mut self) -> Outcome<()> {
        self.leave(0)
    }

    fn partitions(&mut self, count: usize) {
        self.partitions = count;
    }
}

/// A hash of the key that any language has in three lines.
fn fnv1a(key: &str) -> u32 {
    key.bytes()
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

pub(crate) fn produce(given: &Given) -> Outcome<()> {
    let partitions = given.number("partitions", 8)?;
    job::produce(given, || {
        let (conn, under_way) = (connect(given)?, VecDeque::new());
        Ok(Xadds { conn, partitions, bytes: Vec::new(), events: 0, under_way })
    })
}

pub(crate) fn work(given: &Given) -> Outcome<()> {
    let work = Work::new(given)?;
    let lease = given.number("lease_ms", 30_000)?;
    let name = std::process::id().to_string();
    work.run(given.number("workers", 8)?, |partition, journal| {
        let conn = connect(given)?;
        let stream = stream(partition);
        let lock = format!("lock:{partition}");
        let mut worker = Worker { conn, stream, partition, lock, name: &name, lease };
        worker.make_group()?;
        while !is_ending() {
            if worker.lock()? {
                worker.own(journal)?;
            } else {
                sleep(RETRY);
            }
        }
        Ok(())
    })
}

struct Worker<'a> {
    conn: Conn,
    stream: String,
    partition: usize,
    lock: String,
    name: &'a str,
    lease: usize,
}

impl Worker<'_> {
    /// For a partition that is added.
    fn make_group(&mut self) -> Outcome<()> {
        match self.conn.call(&["XGROUP", "CREATE", &self.stream, "g", "0", "MKSTREAM"]) {
            Err(error) if !error.to_string().starts_with("-BUSYGROUP") => Err(error),
            _ => Ok(()),
        }
    }

    fn lock(&mut self) -> Outcome<bool> {
        let lease = self.lease.to_string();
        let reply = self.conn.call(&["SET", &self.lock, self.name, "NX", "PX", &lease])?;
        Ok(reply.starts_with(b"+"))
    }

    /// Reads and handles as long as the lock holds: first what an earlier owner has left.
    fn own(&mut self, journal: &mut Journal<'_>) -> Outcome<()> {
        let lease = self.lease.to_string();
        let (mut from, mut acks) = ("0", Vec::new());
        let mut renewed = Instant::now();
        while !is_ending() {
            let events = self.read(from, &mut acks)?;
            if events.is_empty() {
                from = ">";
            }
            for (id, payload) in events {
                // In place: an event that waits in the pending list would be overtaken.
                journal.insist(&payload, self.partition)?;
                acks.push(id);
            }
            if renewed.elapsed().as_millis() as usize > self.lease / 4 {
                renewed = Instant::now();
                let words = ["EVAL", RENEW, "1", &self.lock, self.name, &lease];
                if self.conn.call(&words)?.starts_with(b":0") {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Acknowledges what is handled and takes the next events, in one go.
    fn read(&mut self, from: &str, acks: &mut Vec<Vec<u8>>) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut bytes = Vec::new();
        if !acks.is_empty() {
            let head = [b"XACK".to_vec(), self.stream.clone().into_bytes(), b"g".to_vec()];
            encode(&mut bytes, &[&head[..], acks].concat());
        }
        let words = ["XREADGROUP", "GROUP", "g", "w", "COUNT", "100", "BLOCK", "100", "STREAMS"];
        encode(&mut bytes, &[&words[..], &[&self.stream, from]].concat());
        self.conn.send(&bytes)?;
        self.conn.skip(usize::from(!acks.is_empty()))?;
        acks.clear();
        let mut events: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        self.conn.each(|element| match (element.depth, element.nth) {
            (4, 0) => events.push((element.text.to_vec(), Vec::new())),
            (5, 3) => {
                if let Some((_, payload)) = events.last_mut() {
                    *payload = element.text.to_vec();
                }
            }
            _ => {}
        })?;
        Ok(events)
    }
}
