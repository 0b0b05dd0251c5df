//! A campaign: producers, workers of several groups and an operator at work on one ring while
//! servers and connections end under them; afterwards, whether every promise was kept.
//!
//! Who plays: `producer` and `worker` threads that come, go and reconnect, and one `operator` who
//! does now and then what people do. What happens to the servers is the business of each test, by
//! [`Campaign::run`]; where clients find the primary, of [`Compass`]. All choices come from one
//! seed. Everybody notes in the `book` what they saw, and `verdict` compares the notes with what
//! the servers hold in the end:
//!
//! - per key and group: events handed out in order, none behind one that failed, none missing;
//! - no epoch for two workers; none accepted that is of before a crash or a change of role;
//! - what was acknowledged to producers is there as far as [`Promise`] goes, and what is lost of
//!   one server's life is lost from its end: no hole;
//! - MTRIGGER, MULTI and scripts whole or not at all; cursors within their streams; replicas equal.

mod book;
mod compass;
mod operator;
mod producer;
mod teeth;
mod verdict;
mod worker;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::scope;
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Random, Server, args, must};
use book::Book;
pub(crate) use compass::Compass;

/// The ring of all campaigns.
const RING: &str = "s";
/// Of this many partitions or fewer, whatever the operator resizes it to.
const MOST_PARTITIONS: u64 = 12;
const PRODUCERS: usize = 4;
const WORKERS_PER_GROUP: usize = 3;

/// A server that stops when it cannot apply what its primary or its own file says.
pub(crate) const STRICT: [&str; 1] = ["propagation-error-behavior panic"];

/// What is promised of an event that a producer has a reply for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It is there, and so is every acknowledgement and failure.
    All,
    /// It is there if WAIT confirmed it.
    Confirmed,
    /// It is there, or it and everything after it in its server's life is not.
    Prefix,
}

/// A group of the campaign.
#[derive(Clone, Copy, Debug)]
struct Group {
    name: &'static str,
    settings: &'static str,
    /// It takes events of this type only.
    only: Option<&'static str>,
    /// One in so many events is refused; 0 for none.
    nack_one_in: u64,
    /// A dead event holds its key.
    holds: bool,
    attempts: u64,
    /// It counts each event in the same server, effectively once, by a script.
    counts: bool,
}

const GROUPS: [Group; 4] = [
    // Replayed from an earlier place now and then.
    Group {
        name: "plain",
        settings: "MAXATTEMPTS 1000000",
        only: None,
        nack_one_in: 0,
        holds: false,
        attempts: 1_000_000,
        counts: false,
    },
    Group {
        name: "hold",
        settings: "MAXATTEMPTS 3 BACKOFF 5 50 ONDEAD hold",
        only: None,
        nack_one_in: 25,
        holds: true,
        attempts: 3,
        counts: false,
    },
    Group {
        name: "skip",
        settings: "TYPES 1 A MAXATTEMPTS 2 BACKOFF 5 50",
        only: Some("A"),
        nack_one_in: 25,
        holds: false,
        attempts: 2,
        counts: false,
    },
    Group {
        name: "once",
        settings: "MAXATTEMPTS 1000000",
        only: None,
        nack_one_in: 0,
        holds: false,
        attempts: 1_000_000,
        counts: true,
    },
];

/// One campaign, from its preparation to its verdict.
pub(crate) struct Campaign {
    seed: u64,
    promise: Promise,
    compass: Compass,
    book: Mutex<Book>,
    producing: AtomicBool,
    /// No more failures and deaths: what is left is to be finished.
    draining: AtomicBool,
    ending: AtomicBool,
}

impl Campaign {
    /// Makes a ring of a random size and the groups at the primary. Whoever calls this sees to it
    /// that they survive: they are what everything else stands on.
    pub(crate) fn prepare(seed: u64, promise: Promise, compass: Compass) -> Self {
        let partitions = 1 + Random::new(seed).below(MOST_PARTITIONS);
        let (mut conn, _) = compass.wait();
        must!(conn, "EVQ.CREATE", RING, partitions).ok();
        for group in GROUPS {
            let line = format!("EVQ.GROUP {} RING {RING} {}", group.name, group.settings);
            conn.must(&line.split(' ').collect::<Vec<_>>()).ok();
        }
        Self {
            seed,
            promise,
            compass,
            book: Mutex::new(Book::new(promise == Promise::All)),
            producing: AtomicBool::new(true),
            draining: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        }
    }

    /// Lets all play while `fate` does to the servers what it likes, then lets the workers finish
    /// what is there. Fails with the seed.
    pub(crate) fn run(&self, fate: impl FnOnce()) {
        let began = Instant::now();
        scope(|threads| {
            // A thread of the test that fails must not leave the others running for ever.
            let _guard = EndOnDrop(self);
            let mut random = Random::new(self.seed ^ 0x5eed);
            let mut fork = || Random::new(random.next());
            let mut producers = Vec::new();
            for n in 0..PRODUCERS {
                let random = fork();
                producers.push(threads.spawn(move || producer::produce(self, n, random)));
            }
            let mut others = Vec::new();
            for (g, _) in GROUPS.iter().enumerate() {
                for n in 0..WORKERS_PER_GROUP {
                    let random = fork();
                    others.push(threads.spawn(move || worker::work(self, g, n, random)));
                }
            }
            let random = fork();
            others.push(threads.spawn(move || operator::operate(self, random)));
            fate();
            self.producing.store(false, Ordering::Relaxed);
            for producer in producers {
                assert!(producer.join().is_ok(), "its complaint is above, EVQ_SEED={}", self.seed);
            }
            self.drain();
            self.ending.store(true, Ordering::Relaxed);
            for other in others {
                assert!(other.join().is_ok(), "its complaint is above, EVQ_SEED={}", self.seed);
            }
        });
        self.book.lock().unwrap().seconds = began.elapsed().as_secs();
    }

    /// Where its clients find the primary.
    pub(crate) fn compass(&self) -> &Compass {
        &self.compass
    }

    /// Notes that something happened, to be told in the end.
    pub(crate) fn count(&self, what: &'static str) {
        self.book.lock().unwrap().count(what);
    }

    /// Whether enough has happened for a verdict.
    pub(crate) fn is_eventful(&self) -> bool {
        verdict::is_eventful(&self.book.lock().unwrap())
    }

    /// Fails when nothing has been finished for long, not when there is much to finish: what was
    /// held behind a failure is handed out one event at a time.
    fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
        let (mut least, mut since) = (i64::MAX, Instant::now());
        loop {
            let (mut conn, _) = self.compass.wait();
            // Whatever is dead and holds its key gets another chance; nothing fails any more.
            must!(conn, "EVQ.DEAD", "hold", "RETRY", "*", "*", "RING", RING);
            let groups = conn.must(&args!["EVQ.GROUPS", "RING", RING]);
            let left = groups.array().iter().map(|group| group.get("lag").int()).sum();
            if left == 0 {
                return;
            }
            if left < least {
                (least, since) = (left, Instant::now());
            }
            let seed = self.seed;
            assert!(since.elapsed() < PATIENCE, "not finished: {groups:?}, EVQ_SEED={seed}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Compares what everybody saw with what `primary` and `replicas` hold.
    pub(crate) fn verdict(&self, primary: &Server, replicas: &[&Server]) {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            verdict::judge(self, primary, replicas);
        }));
        assert!(outcome.is_ok(), "EVQ_SEED={}", self.seed);
    }

    /// Fails if a cursor is beyond its stream, as after a start from files that do not agree.
    pub(crate) fn check_cursors(&self) {
        let (mut conn, _) = self.compass.wait();
        verdict::cursors(self, &mut conn);
    }

    fn stream(p: u64) -> String {
        format!("evq:{{{RING}:{p}}}")
    }
}

struct EndOnDrop<'a>(&'a Campaign);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.producing.store(false, Ordering::Relaxed);
        self.0.ending.store(true, Ordering::Relaxed);
    }
}
