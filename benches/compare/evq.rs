//! The job with EVQ.

use std::collections::VecDeque;

use crate::conn::Outcome;
use crate::job::{self, Given, Journal, Producer, Work, is_ending};
use crate::resp::encode;
use crate::{Conn, connect};

/// Batches that are under way while the next one is made.
const AHEAD: usize = 2;
/// Paced events that may be unconfirmed.
const UNCONFIRMED: usize = 1000;

pub(crate) fn set_up(given: &Given) -> Outcome<()> {
    let partitions = given.number("partitions", 8)?.to_string();
    let mut conn = connect(given)?;
    conn.call(&["FLUSHALL", "SYNC"])?;
    conn.call(&["EVQ.CREATE", "default", &partitions])?;
    conn.call(&["EVQ.GROUP", "default", "FROM", "first"]).map(drop)
}

pub(crate) fn resize(given: &Given) -> Outcome<()> {
    let partitions = given.number("partitions", 9)?.to_string();
    let mut conn = connect(given)?;
    job::wait_for_the_word()?;
    conn.call(&["EVQ.RESIZE", "default", &partitions]).map(drop)
}

/// Events in EVQ.MTRIGGERs of `batch` events, or in as many pipelined EVQ.TRIGGERs.
struct Triggers {
    conn: Conn,
    batch: usize,
    is_pipelined: bool,
    /// Key and payload of each event of the batch.
    words: Vec<Vec<u8>>,
    /// The replies that each batch under way will have.
    under_way: VecDeque<usize>,
    bytes: Vec<u8>,
}

impl Triggers {
    fn leave(&mut self, ahead: usize) -> Outcome<()> {
        let events = self.words.len() / 2;
        if events > 0 {
            let single = self.is_pipelined || events == 1;
            self.bytes.clear();
            if single {
                for event in self.words.chunks(2) {
                    let words = [&[b"EVQ.TRIGGER".to_vec()], event].concat();
                    encode(&mut self.bytes, &words);
                }
            } else {
                let head = [b"EVQ.MTRIGGER".to_vec(), events.to_string().into_bytes()];
                encode(&mut self.bytes, &[&head[..], &self.words].concat());
            }
            self.words.clear();
            self.conn.send(&self.bytes)?;
            self.under_way.push_back(if single { events } else { 1 });
        }
        while self.under_way.len() > ahead {
            self.conn.skip(self.under_way.pop_front().unwrap_or_default())?;
        }
        Ok(())
    }
}

impl Producer for Triggers {
    fn send(&mut self, key: &str, payload: &[u8], paced: bool) -> Outcome<()> {
        self.words.extend([key.as_bytes().to_vec(), payload.to_vec()]);
        if paced {
            self.leave(UNCONFIRMED)
        } else if self.words.len() / 2 == self.batch {
            self.leave(AHEAD)
        } else {
            Ok(())
        }
    }

    fn finish(&mut self) -> Outcome<()> {
        self.leave(0)
    }
}

pub(crate) fn produce(given: &Given) -> Outcome<()> {
    let is_pipelined = given.number("pipelined", 0)? > 0;
    job::produce(given, || {
        Ok(Triggers {
            conn: connect(given)?,
            batch: 100,
            is_pipelined,
            words: Vec::new(),
            under_way: VecDeque::new(),
            bytes: Vec::new(),
        })
    })
}

pub(crate) fn work(given: &Given) -> Outcome<()> {
    let work = Work::new(given)?;
    let lease = given.number("lease_ms", 30_000)?.to_string();
    // Any partition that has work, instead of one partition for each worker.
    let any = given.number("any", 0)? > 0;
    work.run(given.number("workers", 8)?, |nth, journal| {
        let mut worker = Worker { conn: connect(given)?, batch: Batch::default() };
        let partition = if any { "*".to_owned() } else { nth.to_string() };
        while !is_ending() {
            worker.pull(&partition, &lease)?;
            worker.handle(journal)?;
        }
        Ok(())
    })
}

/// What a reply has, and how far it is handled.
#[derive(Default)]
struct Batch {
    partition: usize,
    /// Ids and payloads.
    events: Vec<(Vec<u8>, Vec<u8>)>,
    /// The last event that was handled.
    done: Option<Vec<u8>>,
}

struct Worker {
    conn: Conn,
    batch: Batch,
}

impl Worker {
    /// Acknowledges what is handled and takes the next events.
    fn pull(&mut self, partition: &str, lease: &str) -> Outcome<()> {
        let number = self.batch.partition.to_string();
        let mut words =
            vec!["EVQ.CONSUME", partition, "COUNT", "100", "BLOCK", "100", "LEASE", lease]
                .into_iter()
                .map(str::as_bytes)
                .collect::<Vec<_>>();
        if let Some(id) = &self.batch.done {
            words.push(b"ACK");
            if partition == "*" {
                words.push(number.as_bytes());
            }
            words.push(id);
        }
        self.conn.ask(&words)?;
        let mut batch = Batch::default();
        self.conn.each(|element| match (element.depth, element.nth) {
            (1, 0) if element.is_number => {
                let digits = std::str::from_utf8(element.text).unwrap_or_default();
                batch.partition = digits.parse().unwrap_or_default();
            }
            (3, 0) => batch.events.push((element.text.to_vec(), Vec::new())),
            (4, 3) => {
                if let Some((_, payload)) = batch.events.last_mut() {
                    *payload = element.text.to_vec();
                }
            }
            _ => {}
        })?;
        self.batch = batch;
        Ok(())
    }

    fn handle(&mut self, journal: &mut Journal<'_>) -> Outcome<()> {
        let partition = self.batch.partition;
        let mut held: Vec<Vec<u8>> = Vec::new();
        for (id, payload) in std::mem::take(&mut self.batch.events) {
            if held.contains(&id) {
                continue;
            }
            if journal.handle(&payload, partition)? {
                self.batch.done = Some(id);
                continue;
            }
            let id = String::from_utf8(id)?;
            let delay = journal.work().delay_ms.to_string();
            self.conn.ask(&["EVQ.NACK", &partition.to_string(), &id, "DELAY", &delay])?;
            // Events of its key that this reply has too: they come again after it.
            self.conn.each(|element| held.push(element.text.to_vec()))?;
        }
        Ok(())
    }
}
