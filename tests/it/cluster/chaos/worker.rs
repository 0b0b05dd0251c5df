//! A worker: one life after another, by stream key over some partitions, or from any partition of
//! one shard after the other.

use std::sync::atomic::Ordering;

use super::book::Lease;
use super::{Chaos, UNLUCKY, WORKERS, producer};
use crate::cluster::scene::{PARTITIONS, stream};
use crate::harness::{ClusterClient, Random, Value, args};

/// How a worker pulls.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// From one partition after the other.
    Own,
    /// From any, one shard after the other.
    Any,
}

struct Worker<'a> {
    chaos: &'a Chaos,
    group: &'static str,
    form: Form,
    client: ClusterClient,
    life: u64,
    /// A name, or none: then the connection is the worker.
    name: Option<String>,
}

/// What is to be acknowledged along with the next pull.
struct Done {
    partition: i64,
    id: String,
}

pub(super) fn work(chaos: &Chaos, group: &'static str, number: usize, mut random: Random) {
    let form = if number < WORKERS / 2 { Form::Own } else { Form::Any };
    while !chaos.is_over() {
        let life = chaos.book(super::book::Book::life);
        let name = random.one_in(2).then(|| format!("w{life}"));
        let client = chaos.client();
        Worker { chaos, group, form, client, life, name }.live(&mut random);
    }
}

impl Worker<'_> {
    fn live(mut self, random: &mut Random) {
        for _ in 0..200 {
            let p = u32::try_from(random.below(u64::from(PARTITIONS))).unwrap();
            // Some pulls in a row, and then elsewhere.
            let mut done: Option<Done> = None;
            for _ in 0..10 {
                if self.chaos.is_over() {
                    return;
                }
                let Some(reply) = self.pull(p, done.take(), random) else { return };
                if reply.is_null() {
                    break;
                }
                if random.one_in(300) {
                    self.chaos.book(|book| book.count("died with events"));
                    return;
                }
                match self.handle(&reply, random) {
                    Ok(last) => done = last,
                    Err(Gone) => return,
                }
            }
            if let Some(Done { partition, id }) = done.take() {
                let words = self.with(&args!["EVQ.ACK", stream_of(partition), id]);
                let _ = self.ask(&words);
            }
            // One that leaves with events in its hands would keep its partition until its lease
            // is over.
            let words = self.with(&args!["EVQ.RELEASE", stream(p)]);
            if self.ask(&words).is_err() {
                return;
            }
        }
    }

    fn with(&self, words: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut words = [words, &args!["GROUP", self.group]].concat();
        if let Some(name) = &self.name {
            words.extend(args!["WORKER", name]);
        }
        words
    }

    /// Sends a command; an error that a worker has to bear is null.
    fn ask(&mut self, words: &[Vec<u8>]) -> Result<Value, Gone> {
        let Ok(reply) = self.client.try_cmd(words) else {
            self.chaos.book(|book| book.count("a worker's connection broke"));
            return Err(Gone);
        };
        if !reply.is_error() {
            return Ok(reply);
        }
        let code = reply.err_code().to_owned();
        let borne = ["EVQFENCED", "UNBLOCKED", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "EVQBADID"];
        self.chaos.book(|book| {
            book.count(&format!("worker: {code}"));
            if !borne.contains(&&*code) {
                let words = String::from_utf8_lossy(&words.join(&b' ')).into_owned();
                book.complain(format!("{words} got {reply:?}"));
            }
        });
        Ok(Value::Null)
    }

    fn pull(&mut self, p: u32, done: Option<Done>, random: &mut Random) -> Option<Value> {
        let mut words = args!["EVQ.CONSUME", stream(p)].to_vec();
        if self.form == Form::Any {
            words.extend(args!["ANY"]);
        }
        let mut words = self.with(&words);
        words.extend(args!["COUNT", 1 + random.below(20), "BLOCK", 20, "LEASE", 2000]);
        if let Some(Done { partition, id }) = done {
            words.extend(match self.form {
                Form::Own => args!["ACK", id].to_vec(),
                Form::Any => args!["ACK", stream_of(partition), id].to_vec(),
            });
        }
        self.ask(&words).ok()
    }

    /// Handles what one reply has; returns the last id if it may be acknowledged.
    fn handle(&mut self, reply: &Value, random: &mut Random) -> Result<Option<Done>, Gone> {
        let (partition, epoch) = (reply.at(0).int(), reply.at(1).int());
        let lease = Lease { group: self.group, partition, epoch };
        self.chaos.book(|book| book.granted(lease, self.life));
        let mut held = Vec::new();
        let mut last = None;
        for event in reply.at(2).array() {
            let (id, fields) = (event.at(0).str().to_owned(), event.at(1));
            if held.contains(&id) {
                continue;
            }
            let n = producer::number(fields.get("payload").str());
            let well = self.chaos.draining.load(Ordering::Relaxed) || !random.one_in(UNLUCKY);
            let file = fields.get("key").str();
            if !self.chaos.book(|book| book.handle(lease, file, n, well)) {
                self.chaos.book(|book| book.count("fenced outside"));
                return Ok(None);
            }
            if well {
                last = Some(Done { partition, id });
                continue;
            }
            self.chaos.book(|book| book.count("failed"));
            let words = self.with(&args!["EVQ.NACK", stream_of(partition), id]);
            let reply = self.ask(&words)?;
            if reply.is_null() {
                // The lease is over: what is left here is somebody else's.
                return Ok(None);
            }
            held.extend(reply.array().iter().map(|id| id.str().to_owned()));
        }
        Ok(last)
    }
}

/// The connection is of no use any more.
struct Gone;

fn stream_of(partition: i64) -> String {
    stream(partition.try_into().expect("a partition"))
}
