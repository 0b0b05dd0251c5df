//! The 17,193 real events through a cluster whose slots move and whose masters die, by producers on
//! every node and workers of two groups whose handlers fail now and then.
//!
//! Who plays: `producer` threads that trigger or append, `worker` threads that pull by stream key
//! or from any partition of a shard. What happens to the nodes is [`Fate`]'s. Everybody notes in
//! the `book` what they saw; afterwards it is compared with what the nodes hold:
//!
//! - each file's events are stored in order, none twice, none missing that a replica had;
//! - each group has handled all that is stored, each file's in order, none behind one that failed;
//! - no epoch was issued to two workers;
//! - replicas are equal to their masters.
//!
//! `scripts/soak --cluster` runs it for long: `EVQ_SOAK_S` is for how many seconds, `EVQ_SEED` the
//! seed of the choices.

mod book;
mod fate;
mod producer;
mod worker;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::scene::{Mapping, PARTITIONS, RING, Scene, stream};
use crate::campaign::STRICT;
use crate::harness::{
    Binary, Cluster, ClusterClient, FileEvent, PATIENCE, Random, args, binaries, each_binary,
    file_history, must, seed, until,
};
use book::Book;
use fate::Fate;

/// The groups of the chaos.
const GROUPS: [&str; 2] = ["one", "two"];
/// Of each group, half by stream key and half from any.
const WORKERS: usize = 4;
const PRODUCERS: usize = 6;
/// One event in so many fails when it is handled.
const UNLUCKY: u64 = 40;

/// How producers send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Means {
    /// By EVQ.TRIGGER, to the node that has the slot of the event's key.
    Trigger,
    /// By EVQ.APPEND, straight to the partition.
    Append,
}

/// One run.
struct Chaos {
    seed: u64,
    /// The nodes' ports.
    ports: Vec<u16>,
    mapping: Mapping,
    book: Mutex<Book>,
    /// How many events have been stored.
    produced: AtomicUsize,
    /// Enough has been produced.
    enough: AtomicBool,
    /// The test has failed, or all is done.
    ending: AtomicBool,
    /// Nothing fails any more.
    draining: AtomicBool,
}

/// What is stored of each file, in order.
type Stored = BTreeMap<String, Vec<u64>>;

impl Chaos {
    fn client(&self) -> ClusterClient {
        ClusterClient::new(self.ports.clone())
    }

    fn is_over(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    fn book<T>(&self, note: impl FnOnce(&mut Book) -> T) -> T {
        note(&mut self.book.lock().unwrap())
    }

    /// Lets producers and workers play while `fate` acts; then lets the workers finish.
    #[track_caller]
    fn run(&self, means: &[Means], events: &[FileEvent], fate: impl FnOnce()) {
        scope(|threads| {
            // A thread that fails must not leave the others running for ever.
            let _guard = EndOnDrop(self);
            let mut random = Random::new(self.seed);
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|n| {
                    let own = events.iter().filter(|event| producer::of(&event.file) == n);
                    let (own, means) = (own.collect::<Vec<_>>(), means[n % means.len()]);
                    threads.spawn(move || producer::produce(self, means, &own))
                })
                .collect();
            for (group, name) in GROUPS.iter().enumerate() {
                for n in 0..WORKERS {
                    let random = Random::new(random.next() ^ (group as u64));
                    threads.spawn(move || worker::work(self, name, n, random));
                }
            }
            fate();
            for producer in producers {
                assert!(producer.join().is_ok(), "a producer failed, EVQ_SEED={}", self.seed);
            }
            self.draining.store(true, Ordering::Relaxed);
            let stored = self.stored();
            let mut left = (usize::MAX, Instant::now());
            while self.left(&stored) > 0 {
                // However much there is to do: it fails when nothing is done for long.
                if self.left(&stored) < left.0 {
                    left = (self.left(&stored), Instant::now());
                }
                let fine = left.1.elapsed() < PATIENCE && self.book(|book| book.is_right());
                assert!(fine, "{} are not handled, EVQ_SEED={}", left.0, self.seed);
                sleep(Duration::from_millis(50));
            }
        });
    }

    /// How many events are not handled by all groups.
    fn left(&self, stored: &Stored) -> usize {
        self.book(|book| GROUPS.iter().map(|group| book.left(group, stored)).sum())
    }

    /// What is stored, which fails unless each file is in order and has no event twice.
    #[track_caller]
    fn stored(&self) -> Stored {
        let (mut client, mut stored) = (self.client(), Stored::new());
        for p in 0..PARTITIONS {
            for entry in must!(client, "XRANGE", stream(p), "-", "+").array() {
                let file = entry.at(1).get("key").str().to_owned();
                assert_eq!(self.mapping.partition(&file), p, "{file}");
                let n = producer::number(entry.at(1).get("payload").str());
                let of_file = stored.entry(file.clone()).or_default();
                let last = of_file.last().copied().unwrap_or(0);
                assert!(n > last, "{file} #{n} is stored behind #{last}, EVQ_SEED={}", self.seed);
                of_file.push(n);
            }
        }
        stored
    }

    #[track_caller]
    fn judge(&self, events: &[FileEvent]) {
        let (stored, seed) = (self.stored(), self.seed);
        self.book(|book| {
            let there = |file: &str, n: u64| {
                stored.get(file).is_some_and(|numbers| numbers.binary_search(&n).is_ok())
            };
            let lost: Vec<_> =
                book.confirmed.iter().filter(|(file, n)| !there(file, *n)).take(5).collect();
            assert!(lost.is_empty(), "confirmed and lost: {lost:?}, EVQ_SEED={seed}");
            let all: usize = stored.values().map(Vec::len).sum();
            assert!(all <= events.len() && book.confirmed.len() > all / 2, "{all} events");
            GROUPS.iter().for_each(|group| book.judge(group, &stored));
            book.tell(all, seed);
        });
    }
}

struct EndOnDrop<'a>(&'a Chaos);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.ending.store(true, Ordering::Relaxed);
    }
}

/// How long the fate of a run lasts.
#[derive(Clone, Copy)]
enum Lasting {
    /// As long as the producers have something to send.
    Production,
    For(Duration),
}

/// One round on one kind of server.
#[track_caller]
#[allow(clippy::print_stderr, reason = "a long run says where it is")]
fn round(binary: &Binary, means: &[Means], events: &[FileEvent], lasting: Lasting, seed: u64) {
    eprintln!("cluster: {binary}, {means:?}, EVQ_SEED={seed}");
    let setup = Cluster::with(binary).replicas(1).config(&STRICT);
    let mut scene = Scene::without_ring(setup.config(&["repl-backlog-size 64mb"]));
    must!(scene.client, "EVQ.CREATE", RING, PARTITIONS).ok();
    for group in GROUPS {
        let mut words = args!["EVQ.GROUP", group, "RING", RING, "FROM", "first"].to_vec();
        words.extend(args!["MAXATTEMPTS", 1_000_000, "BACKOFF", 1, 20]);
        scene.client.must(&words).ok();
    }
    scene.cluster.assert_equal_replicas();
    let chaos = Chaos {
        seed,
        ports: (0..scene.cluster.len()).map(|n| scene.cluster.port(n)).collect(),
        mapping: Mapping::read(&must!(scene.client, "EVQ.POINTS", "RING", RING)),
        book: Mutex::default(),
        produced: AtomicUsize::new(0),
        enough: AtomicBool::new(false),
        ending: AtomicBool::new(false),
        draining: AtomicBool::new(false),
    };
    chaos.run(means, events, || Fate::new(&chaos, &mut scene.cluster, events.len()).act(lasting));
    scene.cluster.settle();
    chaos.judge(events);
    scene.cluster.assert_equal_replicas();
    scene.cluster.assert_healthy();
}

#[test]
fn direct_events_stay_in_order_while_slots_move_and_masters_die() {
    each_binary(|binary| {
        round(binary, &[Means::Append], file_history(), Lasting::Production, seed());
    });
}

#[test]
fn events_through_any_node_stay_in_order_while_slots_move_and_masters_die() {
    each_binary(|binary| {
        let means = [Means::Trigger, Means::Append];
        round(binary, &means, file_history(), Lasting::Production, seed());
    });
}

/// For `scripts/soak --cluster`; without `EVQ_SOAK_S` the two above are enough.
#[test]
fn a_long_run_stays_in_order() {
    let Ok(text) = std::env::var("EVQ_SOAK_S") else { return };
    let length = Duration::from_secs(text.parse().expect("EVQ_SOAK_S is a number"));
    let (end, mut seed) = (Instant::now() + length, seed());
    let means = [Means::Trigger, Means::Append];
    // No round is longer: what it has written must be read again in the end.
    let each = (length / u32::try_from(binaries().len()).unwrap()).min(Duration::from_secs(120));
    loop {
        for binary in binaries() {
            let events = crate::harness::file_history_repeated(100_000);
            round(binary, &means, &events, Lasting::For(each), seed);
        }
        seed = seed.wrapping_add(1);
        if Instant::now() + each > end {
            break;
        }
    }
}

/// The nodes promote a replica by themselves, and everybody goes on.
#[test]
fn a_cluster_that_heals_goes_on_by_itself() {
    each_binary(|binary| {
        let mut scene = Scene::by(Cluster::with(binary).replicas(1).heals());
        let (p, master) = scene.elsewhere();
        scene.append_all(p, 10);
        let pulled = must!(scene.client, "EVQ.CONSUME", stream(p), "GROUP", "g", "WORKER", "w");
        scene.cluster.assert_equal_replicas();
        let replicas = scene.cluster.replicas_of(master);
        scene.cluster.kill9(master);
        scene.cluster.until_healed(master, &replicas);
        scene.client.close();
        let again = must!(scene.client, "EVQ.CONSUME", stream(p), "GROUP", "g", "WORKER", "v");
        assert_eq!(again.at(2), pulled.at(2), "what was in flight comes again");
        assert!(again.at(1).int() > pulled.at(1).int(), "under a higher epoch");
        let id = pulled.at(2).at(0).at(0).str();
        let words = args!["EVQ.ACK", stream(p), id, "GROUP", "g", "EPOCH", pulled.at(1).int()];
        assert_eq!(scene.client.cmd(&words).err_code(), "EVQFENCED");
        must!(scene.client, "EVQ.RELEASE", stream(p), "GROUP", "g", "WORKER", "v").ok();
        scene.append(p, "10");
        assert_eq!(scene.consume_all(p, "g"), super::scene::numbers(0..11));
        scene.cluster.restart(master);
        until(PATIENCE, || scene.cluster.replicas_of(replicas[0]) == [master]);
        scene.cluster.assert_equal_replicas();
    });
}
