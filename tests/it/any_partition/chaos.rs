//! Twenty workers on `*` over eight partitions, some of which die or arrive at any moment: nothing
//! is lost, no key's order is broken, and no partition that has work waits for long.
//!
//! Twenty seconds; `EVQ_CHAOS_S` makes it longer.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Conn, Endpoint, PATIENCE, Server, args, each_server, must, until};

const WORKERS: usize = 20;
const PARTITIONS: usize = 8;
const KEYS: u64 = 200;
const LEASE_MS: u64 = 300;
/// A lease that has to expire, the sweep, and a machine that is busy with other tests.
const HAND_OVER: Duration = Duration::from_millis(LEASE_MS + 1200);

/// What may be behind: as much as the workers finish in a second or two.
const BACKLOG: u64 = 10_000;

/// What everybody sees.
struct Book {
    /// Per key, the epochs and numbers of what was acknowledged; those of one epoch, which one
    /// worker has, in the order in which it handled them.
    handled: Mutex<BTreeMap<String, Vec<(i64, u64)>>>,
    triggered: AtomicU64,
    done: AtomicU64,
    producing: AtomicBool,
    ending: AtomicBool,
    deaths: AtomicU64,
}

impl Book {
    /// Whether so much has happened that the test has shown something.
    fn is_enough(&self) -> bool {
        let triggered = self.triggered.load(Ordering::Relaxed);
        self.deaths.load(Ordering::Relaxed) > 10 && triggered > 20 * KEYS
    }
}

fn seconds() -> u64 {
    let given = std::env::var("EVQ_CHAOS_S").ok();
    given.map_or(20, |text| text.parse().expect("EVQ_CHAOS_S is a number"))
}

/// xorshift64.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}

/// Triggers number after number of each key until told to stop; gives the last number of each.
fn produce(mut conn: Conn, book: &Book) -> u64 {
    let mut n = 0;
    while book.producing.load(Ordering::Relaxed) {
        n += 1;
        let batch: Vec<_> =
            (0..KEYS).map(|key| args!["EVQ.TRIGGER", key, n, "RING", "s"].to_vec()).collect();
        for reply in conn.pipeline(&batch) {
            assert!(!reply.is_error(), "{reply:?}");
            book.triggered.fetch_add(1, Ordering::Relaxed);
        }
        std::thread::sleep(Duration::from_millis(20));
        let behind = || {
            book.triggered.load(Ordering::Relaxed).saturating_sub(book.done.load(Ordering::Relaxed))
        };
        while behind() > BACKLOG && book.producing.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    n
}

/// One worker after another in the same thread; each dies in its own way after a while.
fn work(endpoint: &Endpoint, book: &Book, mut seed: u64) {
    while !book.ending.load(Ordering::Relaxed) {
        let mut conn = endpoint.connect();
        let life = 1 + random(&mut seed) % 400;
        let name = random(&mut seed).is_multiple_of(2).then(|| format!("w{seed}"));
        let count = 1 + random(&mut seed) % 10;
        let mut pull = args!["EVQ.CONSUME", "*", "RING", "s", "BLOCK", 50].to_vec();
        pull.extend(args!["COUNT", count, "LEASE", LEASE_MS]);
        if let Some(name) = &name {
            pull.extend(args!["WORKER", name]);
        }
        let mut ack = Vec::new();
        for _ in 0..life {
            if book.ending.load(Ordering::Relaxed) {
                return;
            }
            let reply = conn.cmd(&[&pull[..], &ack[..]].concat());
            ack.clear();
            if reply.is_error() {
                // It was too slow and somebody else has the partition.
                assert_eq!(reply.err_code(), "EVQFENCED");
                continue;
            }
            if reply.is_null() {
                continue;
            }
            let (p, epoch) = (reply.at(0).int(), reply.at(1).int());
            let events = reply.at(2).array();
            if random(&mut seed).is_multiple_of(200) {
                // It dies with what it was given.
                book.deaths.fetch_add(1, Ordering::Relaxed);
                break;
            }
            let last = events[events.len() - 1].at(0).str().to_owned();
            // Handled is what was acknowledged: a worker that is fenced has handled nothing, so
            // that every event is handled exactly once in the book.
            let done = args!["EVQ.ACK", p, last, "RING", "s", "EPOCH", epoch];
            let answer = conn.cmd(&done);
            if answer.is_error() {
                assert_eq!(answer.err_code(), "EVQFENCED");
                continue;
            }
            assert_eq!(answer.int(), 1);
            let mut handled = book.handled.lock().unwrap();
            for event in events {
                let key = event.at(1).get("key").str().to_owned();
                let n = event.at(1).get("payload").str().parse().unwrap();
                handled.entry(key).or_default().push((epoch, n));
            }
            drop(handled);
            book.done.fetch_add(events.len() as u64, Ordering::Relaxed);
            // Sometimes acknowledged once more, as after a reply that got lost.
            if random(&mut seed).is_multiple_of(8) && name.is_some() {
                ack = args!["ACK", p, last].to_vec();
            }
        }
    }
}

/// How long any partition had work of which nothing was finished. Counted is what passes between
/// two looks, and no more than it meant to rest: nobody can help it if the server or the watcher
/// stands still.
fn watch(mut conn: Conn, book: &Book) -> (Duration, String) {
    let mut cursors = vec![(String::new(), Duration::ZERO); PARTITIONS];
    let mut longest = (Duration::ZERO, String::new());
    let (mut told, mut rest) = (Instant::now(), Duration::ZERO);
    while !book.ending.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let passed = (asked - told).min(rest + Duration::from_millis(20));
        let stats = must!(conn, "EVQ.STATS", "s");
        told = Instant::now();
        for (p, partition) in stats.get("partitions").array().iter().enumerate() {
            let group = partition.get("groups").at(0);
            let cursor = group.get("cursor").str();
            if group.get("lag").int() == 0 || cursor != cursors[p].0 {
                cursors[p] = (cursor.to_owned(), Duration::ZERO);
                continue;
            }
            cursors[p].1 += passed;
            if cursors[p].1 > longest.0 {
                longest = (cursors[p].1, format!("{p}: {group:?}"));
            }
        }
        // Counting what is behind takes the server's time. On a slow one that must leave the
        // workers enough, or their leases lapse, ever more is behind, and counting takes ever
        // longer.
        rest = Duration::from_millis(10).max((told - asked) * 3);
        std::thread::sleep(rest);
    }
    longest
}

fn lag(conn: &mut Conn) -> i64 {
    let stats = must!(conn, "EVQ.GROUPS", "RING", "s");
    stats.at(0).get("lag").int()
}

fn torment(server: &Server) {
    let mut conn = server.connect();
    must!(conn, "EVQ.CREATE", "s", PARTITIONS).ok();
    // Death is no failure here: nothing goes to the dead letters.
    must!(conn, "EVQ.GROUP", "default", "RING", "s", "MAXATTEMPTS", 1_000_000).ok();
    let book = Book {
        handled: Mutex::default(),
        triggered: AtomicU64::new(0),
        done: AtomicU64::new(0),
        producing: AtomicBool::new(true),
        ending: AtomicBool::new(false),
        deaths: AtomicU64::new(0),
    };
    let (last, longest) = std::thread::scope(|scope| {
        let (book, endpoint) = (&book, server.endpoint());
        let producer = scope.spawn(|| produce(server.connect(), book));
        let watcher = scope.spawn(|| watch(server.connect(), book));
        for n in 0..WORKERS as u64 {
            let endpoint = endpoint.clone();
            scope.spawn(move || work(&endpoint, book, 0x9e37_79b9_7f4a_7c15 ^ (n + 1)));
        }
        std::thread::sleep(Duration::from_secs(seconds()));
        // A busy machine gets there later.
        let begun = Instant::now();
        while !book.is_enough() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
        }
        book.producing.store(false, Ordering::Relaxed);
        let last = producer.join().expect("the producer");
        let drained = Instant::now();
        while lag(&mut conn) > 0 && drained.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
        }
        book.ending.store(true, Ordering::Relaxed);
        (last, watcher.join().expect("the watcher"))
    });
    assert_eq!(lag(&mut conn), 0);
    let deaths = book.deaths.load(Ordering::Relaxed);
    let handled = book.handled.into_inner().unwrap();
    assert_eq!(handled.len() as u64, KEYS);
    for (key, mut numbers) in handled {
        numbers.sort_by_key(|(epoch, _)| *epoch);
        assert!(numbers.iter().map(|(_, n)| *n).eq(1..=last), "{key}: {numbers:?}");
    }
    assert!(deaths > 10 && last > 20, "too little happened: {deaths} deaths, {last} of each key");
    assert!(longest.0 < HAND_OVER, "waited {longest:?}");
    until(PATIENCE, || conn.info("clients", "blocked_clients").as_deref() == Some("0"));
}

#[test]
fn twenty_workers_that_come_and_go_lose_nothing_and_leave_no_partition_waiting() {
    each_server(|server| torment(&server));
}
