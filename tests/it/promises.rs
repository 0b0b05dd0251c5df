//! The guarantees of the contract, each by its name, with 17,193 real events: 627 files, each with
//! its changes numbered 1, 2, 3 ... Whoever handles a number that is not the next one, and was not
//! handled before, has found a broken order.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::harness::{
    Conn, Endpoint, PATIENCE, Server, Value, args, cmd, each_binary, each_server, file_history,
    must, until,
};
use crate::pull::{P, pull, ring, take, trigger, words};

const PRODUCERS: usize = 4;
const PARTITIONS: usize = 8;

/// What the workers have handled: every worker writes each event in when it handles it.
struct Book {
    /// When an event was handled that had not been before.
    moved: Mutex<Instant>,
    /// By file: the last number, which was reached without a gap.
    handled: Mutex<HashMap<String, u64>>,
    /// Different events.
    fresh: AtomicUsize,
    /// Repeated ones.
    repeated: AtomicUsize,
}

impl Book {
    fn new() -> Self {
        let (handled, fresh, repeated) = Default::default();
        Self { moved: Mutex::new(Instant::now()), handled, fresh, repeated }
    }

    /// Writes one event in; a number that skips ahead fails the test.
    fn write(&self, fields: &Value) {
        let payload = fields.get("payload").bytes();
        let json: serde_json::Value = serde_json::from_slice(payload).unwrap();
        let (file, n) = (json["file"].as_str().unwrap(), json["n"].as_u64().unwrap());
        assert_eq!(fields.get("key").bytes(), file.as_bytes());
        let mut handled = self.handled.lock().unwrap();
        let last = handled.entry(file.to_owned()).or_default();
        assert!(n <= *last + 1, "{file}: {n} after {last}");
        if n == *last + 1 {
            *last = n;
            *self.moved.lock().unwrap() = Instant::now();
            self.fresh.fetch_add(1, Ordering::Relaxed);
        } else {
            self.repeated.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether everything was handled. Also ends a test in which nothing moves any more.
    fn is_full(&self) -> bool {
        let fresh = self.fresh.load(Ordering::Relaxed);
        let still = self.moved.lock().unwrap().elapsed();
        assert!(still < PATIENCE, "nothing moves after {fresh} events");
        fresh == file_history().len()
    }

    /// Every number of every file was handled.
    fn assert_complete(&self) {
        let last = file_history().iter().map(|event| (event.file.clone(), event.n));
        // Later entries of a file replace earlier ones.
        assert_eq!(*self.handled.lock().unwrap(), last.collect());
    }
}

/// Sends the events of every file of this producer in their order, until all are acknowledged: in
/// batches, and after a lost connection again from the first event whose outcome is unknown.
fn produce(endpoint: &Endpoint, producer: usize) {
    const BATCH: usize = 50;
    let owner = |file: &str| file.bytes().map(usize::from).sum::<usize>() % PRODUCERS;
    let events = file_history().iter().filter(|event| owner(&event.file) == producer);
    let commands: Vec<_> = events.map(|e| args!["EVQ.TRIGGER", e.file, e.line]).collect();
    let mut conn = connect(endpoint);
    for mut batch in commands.chunks(BATCH) {
        while !batch.is_empty() {
            let replies = conn.try_pipeline(batch);
            replies.iter().for_each(|reply| assert_eq!(reply.array().len(), 2));
            batch = &batch[replies.len()..];
            if !batch.is_empty() {
                conn = connect(endpoint);
            }
        }
    }
}

/// A connection to a server that may be away for a while.
fn connect(endpoint: &Endpoint) -> Conn {
    let start = Instant::now();
    loop {
        if let Ok(mut conn) = endpoint.try_connect()
            && conn.try_cmd(&["PING"]).is_ok_and(|reply| !reply.is_error())
        {
            return conn;
        }
        assert!(start.elapsed() < PATIENCE, "the server does not come back");
        sleep(Duration::from_millis(2));
    }
}

/// How a worker's life ended.
#[derive(Debug, PartialEq)]
enum End {
    /// All events of the test are handled.
    Done,
    /// It has lost its connection or its lease.
    Lost,
    /// It has used up its pulls, and dies with events in flight.
    Died,
}

/// Pulls partition `p` as the worker that `who` says, at most `pulls` times.
fn work(conn: &mut Conn, p: usize, who: &str, pulls: usize, book: &Book) -> End {
    let mut ack = String::new();
    for _ in 0..pulls {
        if book.is_full() {
            return End::Done;
        }
        let line = format!("EVQ.CONSUME {p} COUNT 16 BLOCK 50 {who} {ack}");
        let Ok(reply) = conn.try_cmd(&words(&line)) else { return End::Lost };
        if reply.is_error() {
            assert_eq!(reply.err_code(), "EVQFENCED");
            return End::Lost;
        }
        ack.clear();
        if !reply.is_null() {
            for event in reply.at(2).array() {
                book.write(event.at(1));
                ack = format!("ACK {}", event.at(0).str());
            }
        }
    }
    End::Died
}

#[test]
fn order_every_file_arrives_as_1_2_3_from_4_producers_at_8_workers() {
    each_server(|server| {
        let (book, endpoint) = (&Book::new(), &server.endpoint());
        must!(server.connect(), "EVQ.CREATE", "default", PARTITIONS).ok();
        scope(|threads| {
            for producer in 0..PRODUCERS {
                threads.spawn(move || produce(endpoint, producer));
            }
            for p in 0..PARTITIONS {
                threads.spawn(move || {
                    let end = work(&mut connect(endpoint), p, "", usize::MAX, book);
                    assert_eq!(end, End::Done);
                });
            }
        });
        book.assert_complete();
        assert_eq!(book.repeated.load(Ordering::Relaxed), 0, "no worker has failed");
    });
}

#[test]
fn order_and_at_least_once_hold_while_workers_die_and_are_taken_over() {
    each_server(|server| {
        let (book, endpoint) = (&Book::new(), &server.endpoint());
        let deaths = &AtomicUsize::new(0);
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "default", PARTITIONS).ok();
        must!(conn, "EVQ.GROUP", "default", "MAXATTEMPTS", 1_000_000).ok();
        scope(|threads| {
            for producer in 0..PRODUCERS {
                threads.spawn(move || produce(endpoint, producer));
            }
            // Two for each partition: one is at work, one stands by or has just been born.
            for seat in 0..2 * PARTITIONS {
                threads.spawn(move || {
                    let mut silent = Vec::new();
                    for life in 0.. {
                        let named = (seat + life) % 2 == 0;
                        let name = format!("WORKER w{seat}-{life} LEASE 60");
                        let who = if named { &name } else { "LEASE 60000" };
                        let mut conn = connect(endpoint);
                        let pulls = 3 + (seat * 7 + life * 5) % 9;
                        match work(&mut conn, seat / 2, who, pulls, book) {
                            End::Done => break,
                            // A named one only falls silent; another's connection is cut.
                            _ if named => silent.push(conn),
                            _ => drop(conn),
                        }
                        deaths.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        book.assert_complete();
        let (deaths, repeated) = (deaths.load(Ordering::Relaxed), &book.repeated);
        assert!(deaths > 50, "{deaths} deaths are too few to prove anything");
        assert!(repeated.load(Ordering::Relaxed) > 50, "what was in flight came again");
    });
}

#[test]
fn durability_nothing_acknowledged_is_lost_and_order_holds_over_kill_9() {
    each_binary(|binary| {
        let config = ["appendonly yes", "appendfsync always"];
        let mut server = Server::with(binary).config(&config).start();
        let (book, endpoint) = (&Book::new(), &server.endpoint());
        must!(server.connect(), "EVQ.CREATE", "default", PARTITIONS).ok();
        scope(|threads| {
            for producer in 0..PRODUCERS {
                threads.spawn(move || produce(endpoint, producer));
            }
            for p in 0..PARTITIONS {
                let who = if p % 2 == 0 { "WORKER w" } else { "" };
                threads.spawn(move || {
                    while work(&mut connect(endpoint), p, who, usize::MAX, book) != End::Done {}
                });
            }
            for kill in 1..4 {
                let enough = file_history().len() * kill / 4;
                until(PATIENCE, || book.fresh.load(Ordering::Relaxed) >= enough);
                server.kill9();
                server.restart();
            }
        });
        book.assert_complete();
    });
}

#[test]
fn at_least_once_is_effectively_once_for_state_in_the_same_server() {
    const HANDLE: &str = "if redis.call('EVQ.ACK', ARGV[1], ARGV[2], 'EPOCH', ARGV[3]) == 1 then \
                          return redis.call('INCR', 'handled') end return 'seen'";
    each_server(|server| {
        let mut conn = ring(&server);
        let mut other = server.connect();
        for n in 1..=50 {
            trigger(&mut conn, &["a"]);
            let lost = take(&mut conn, "LEASE 1");
            let mut won = None;
            until(PATIENCE, || {
                won = pull(&mut other, "NOBLOCK LEASE 60000");
                won.is_some()
            });
            let won = won.unwrap();
            assert_eq!(won.ids, lost.ids, "both were given the event");
            let reply = cmd!(conn, "EVAL", HANDLE, 0, P, lost.last(), lost.epoch);
            assert!(reply.err().contains("EVQFENCED"), "{reply:?}");
            assert_eq!(must!(other, "EVAL", HANDLE, 0, P, won.last(), won.epoch).int(), n);
            assert_eq!(must!(other, "EVAL", HANDLE, 0, P, won.last(), won.epoch).str(), "seen");
            must!(other, "EVQ.RELEASE", P).ok();
        }
        assert_eq!(must!(conn, "GET", "handled").str(), "50");
    });
}
