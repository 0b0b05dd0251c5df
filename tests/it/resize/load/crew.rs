//! Those who consume: the workers of each group, who gives a partition its worker, and the operator
//! who retries what is dead.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::Ordering;
use std::thread::{Scope, sleep};
use std::time::Duration;

use super::{Scene, number, partitions};
use crate::harness::{Conn, Value, args};
use crate::order_book::Under;
use crate::pull::words;

/// One event in so many fails, each time it is handed out.
const UNLUCKY: u64 = 18;
/// How a group works.
#[derive(Clone, Copy)]
pub(super) struct Crew {
    pub(super) group: &'static str,
    /// A worker for each partition of the ring.
    pub(super) each: bool,
    /// Workers on `*`.
    pub(super) any: usize,
    /// The most events of a pull.
    count: usize,
    /// What a pull's work takes.
    pause_ms: u64,
    fails: bool,
}

pub(super) const CREWS: [Crew; 3] = [
    Crew { group: "fast", each: true, any: 0, count: 50, pause_ms: 0, fails: false },
    Crew { group: "slow", each: false, any: 6, count: 20, pause_ms: 20, fails: false },
    Crew { group: "failing", each: true, any: 3, count: 20, pause_ms: 0, fails: true },
];

impl Scene {
    /// A worker: pulls from one partition or from any, over as many connections as it takes.
    pub(super) fn work(&self, crew: Crew, partition: Option<i64>, mut seed: u64) {
        while let Some(mut conn) = self.connect() {
            match self.pull(&mut conn, crew, partition, &mut seed) {
                // What was not acknowledged is handed out again.
                Err(_) => {}
                Ok(code) if code == "EVQNOPARTITION" && partition.is_some() => {
                    self.gone.lock().unwrap().extend(partition.map(|p| (crew.group, p)));
                    return;
                }
                Ok(code) => self.book.complain(format!("{}: {code}", crew.group)),
            }
        }
    }

    /// Works until the connection breaks or an error reply comes, whose code it returns.
    fn pull(
        &self,
        conn: &mut Conn,
        crew: Crew,
        partition: Option<i64>,
        seed: &mut u64,
    ) -> io::Result<String> {
        let source = partition.map_or("*".to_owned(), |p| p.to_string());
        let pull = args!["EVQ.CONSUME", source, "RING", "s", "GROUP", crew.group];
        let options = args!["COUNT", crew.count, "BLOCK", 0];
        let (mut ack, mut done) = (Vec::new(), Vec::new());
        loop {
            self.book.acknowledging(crew.group, &done);
            let reply = conn.try_cmd(&[&pull[..], &options, &ack].concat())?;
            if reply.is_error() {
                return Ok(reply.err_code().to_owned());
            }
            self.book.acknowledged(crew.group, &done);
            (done, ack) = (Vec::new(), Vec::new());
            if reply.is_null() && partition.is_none() {
                // Another worker was faster than the one that was called.
                continue;
            }
            done = self.handle(conn, crew, &reply, seed)?;
            if !done.is_empty() {
                let events = reply.at(2).array();
                let last = events[events.len() - 1].at(0).str();
                ack = match partition {
                    Some(_) => args!["ACK", last].to_vec(),
                    None => args!["ACK", reply.at(0).int(), last].to_vec(),
                };
            }
        }
    }

    /// Handles what one reply gave: what has gone well.
    fn handle(
        &self,
        conn: &mut Conn,
        crew: Crew,
        reply: &Value,
        seed: &mut u64,
    ) -> io::Result<Vec<(String, u64)>> {
        let under = Under { partition: reply.at(0).int(), epoch: reply.at(1).int() };
        let (mut held, mut done) = (HashSet::new(), Vec::new());
        sleep(Duration::from_millis(crew.pause_ms));
        while crew.pause_ms > 0 && self.still.load(Ordering::Relaxed) && !self.is_over() {
            sleep(Duration::from_millis(1));
        }
        for event in reply.at(2).array() {
            let (id, fields) = (event.at(0).str(), event.at(1));
            if held.contains(id) {
                continue;
            }
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            let well = !crew.fails || !(*seed >> 11).is_multiple_of(UNLUCKY);
            let one = (fields.get("key").str(), number(fields.get("payload").str()));
            if !self.book.note(crew.group, under, one, well) {
                break;
            }
            if well {
                done.push((one.0.to_owned(), one.1));
                continue;
            }
            let nack = args!["EVQ.NACK", under.partition, id, "RING", "s", "GROUP", crew.group];
            let reply = conn.try_cmd(&nack)?;
            if reply.is_error() {
                self.book.complain(format!("{}: {reply:?}", crew.group));
                break;
            }
            held.extend(reply.array().iter().map(|id| id.str().to_owned()));
        }
        Ok(done)
    }

    /// Sees to it that each partition of the ring has a worker.
    pub(super) fn employ<'s>(&'s self, scope: &'s Scope<'s, '_>, crew: Crew) {
        while let Some(mut conn) = self.connect() {
            // The server may be killed at any moment.
            while let Ok(reply) = conn.try_cmd(&["EVQ.RING", "s", "JSON"]) {
                for (p, _) in partitions(&serde_json::from_str(reply.str()).expect("JSON")) {
                    if self.at_work.lock().unwrap().insert((crew.group, p)) {
                        scope.spawn(move || {
                            self.work(crew, Some(p), 7 + p.unsigned_abs());
                            self.at_work.lock().unwrap().remove(&(crew.group, p));
                        });
                    }
                }
                sleep(Duration::from_millis(100));
            }
        }
    }

    /// The operator: looks at the dead letters now and then, and retries them all. Until then their
    /// keys stand still, also those that have moved.
    pub(super) fn operate(&self) {
        while let Some(mut conn) = self.connect() {
            while let Ok(retried) = conn.try_cmd(&words("EVQ.DEAD failing RETRY * * RING s")) {
                self.retried.fetch_add(retried.int().unsigned_abs(), Ordering::Relaxed);
                sleep(Duration::from_millis(500));
            }
        }
    }
}
