//! A ring that is resized again and again under load, while everything goes wrong that may: the
//! order of every key holds in every group, and nothing is missing.
//!
//! 17,193 real events of 627 keys, and on from the first: producers at full speed; a group with a
//! worker for each partition that there is at the moment, a slow group of workers on `*`, and one
//! of both kinds whose handlers fail, with dead letters under `hold` that an operator retries. The
//! server is killed right after a resize. In the end the leaving partitions are emptied and gone.
//!
//! All workers block without a limit: one that nobody wakes when a barrier opens, a partition comes
//! or a partition disappears would stand still, and the test with it.

mod crew;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{
    Conn, Endpoint, FileEvent, PATIENCE, Server, Value, args, each_binary, file_history_repeated,
    must,
};
use crate::order_book::OrderBook;
use crate::pull::say;
use crew::CREWS;

const EVENTS: usize = 22_000;
const PRODUCERS: usize = 4;
/// Commands that a producer has on their way.
const PIPELINE: usize = 64;
/// How far producers may get ahead of the story, which is told beside them.
const AHEAD: usize = 1500;
/// What is produced while the slow group holds still before a resize: more than it has in its
/// hands.
const BACKLOG: usize = 600;

/// What everybody sees.
struct Scene {
    endpoint: Endpoint,
    book: OrderBook,
    over: AtomicBool,
    produced: AtomicUsize,
    /// How many may be produced by now.
    paced: AtomicUsize,
    /// The slow group holds still.
    still: AtomicBool,
    /// The partitions that have a worker of their own, of each group.
    at_work: Mutex<BTreeSet<(&'static str, i64)>>,
    /// Events whose reply a producer lost.
    lost: AtomicUsize,
    /// Dead letters that the operator has retried.
    retried: AtomicU64,
    /// Whose worker was told that its partition has disappeared.
    gone: Mutex<BTreeSet<(&'static str, i64)>>,
}

fn last_numbers(events: &[FileEvent]) -> BTreeMap<&str, u64> {
    // The later one of a file wins.
    events.iter().map(|event| (&*event.file, event.n)).collect()
}

fn number(payload: &str) -> u64 {
    payload.split(' ').next().and_then(|n| n.parse().ok()).expect("a number")
}

impl Scene {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn produced(&self) -> usize {
        self.produced.load(Ordering::Relaxed)
    }

    /// A connection to the server once it is up and has loaded its data; none if all is over.
    fn connect(&self) -> Option<Conn> {
        while !self.is_over() {
            if let Ok(mut conn) = self.endpoint.try_connect()
                && conn.try_cmd(&["PING"]).is_ok_and(|reply| !reply.is_error())
            {
                return Some(conn);
            }
            sleep(Duration::from_millis(5));
        }
        None
    }

    /// Triggers events in order. Where replies were lost, it looks which events have arrived, and
    /// goes on behind them.
    fn produce(&self, events: &[&FileEvent]) {
        let trigger =
            |event: &&FileEvent| args!["EVQ.TRIGGER", event.file, event.line, "RING", "s"];
        let Some(mut conn) = self.connect() else { return };
        for batch in events.chunks(PIPELINE) {
            while self.produced() >= self.paced.load(Ordering::Relaxed) && !self.is_over() {
                sleep(Duration::from_millis(1));
            }
            let commands: Vec<_> = batch.iter().map(|event| trigger(event).to_vec()).collect();
            let mut done = 0;
            loop {
                let replies = conn.try_pipeline(&commands[done..]);
                if let Some(error) = replies.iter().find(|reply| reply.is_error()) {
                    return self.book.complain(format!("producer: {error:?}"));
                }
                done += replies.len();
                if done == batch.len() {
                    break;
                }
                self.lost.fetch_add(batch.len() - done, Ordering::Relaxed);
                let Some(again) = self.connect() else { return };
                conn = again;
                done += self.arrived(&mut conn, &batch[done..]);
            }
            self.produced.fetch_add(batch.len(), Ordering::Relaxed);
        }
    }

    /// How many of these events, whose outcome is unknown, are there: some first ones.
    fn arrived(&self, conn: &mut Conn, events: &[&FileEvent]) -> usize {
        let mut there = HashSet::new();
        for (_, stream) in partitions(&ring(conn)) {
            for entry in must!(conn, "XRANGE", stream, "-", "+").array() {
                let file = entry.at(1).get("key").str().to_owned();
                there.insert((file, number(entry.at(1).get("payload").str())));
            }
        }
        let is_there = |event: &&&FileEvent| there.contains(&(event.file.clone(), event.n));
        let arrived = events.iter().take_while(is_there).count();
        if events[arrived..].iter().any(|event| is_there(&event)) {
            self.book
                .complain("a producer's later event arrived without an earlier one".to_owned());
        }
        arrived
    }

    /// Waits for something; false if it does not come though nothing else happens either, or if
    /// something is wrong.
    fn wait(&self, conn: &mut Conn, mut what: impl FnMut(&mut Conn) -> bool) -> bool {
        let (mut begun, mut noted) = (Instant::now(), 0);
        while !what(conn) {
            if self.book.noted() > noted {
                (begun, noted) = (Instant::now(), self.book.noted());
            }
            if !self.book.is_right() {
                return false;
            }
            if begun.elapsed() > PATIENCE {
                self.book.complain(format!("waited in vain: {:?}", ring(conn)));
                return false;
            }
            sleep(Duration::from_millis(20));
        }
        true
    }
}

fn ring(conn: &mut Conn) -> serde_json::Value {
    serde_json::from_str(must!(conn, "EVQ.RING", "s", "JSON").str()).expect("JSON")
}

/// Numbers and stream keys.
fn partitions(ring: &serde_json::Value) -> Vec<(i64, String)> {
    let all = ring["partitions"].as_array().expect("partitions").iter();
    all.map(|p| (p["partition"].as_i64().unwrap(), p["key"].as_str().unwrap().to_owned())).collect()
}

fn is_finished(conn: &mut Conn) -> bool {
    let groups = say(conn, "EVQ.GROUPS RING s");
    groups.array().iter().all(|group| group.get("lag").int() == 0)
}

/// How many events of before the newest resize the slow group has before it.
fn left_to_the_slow(conn: &mut Conn) -> i64 {
    let ring = ring(conn);
    let mut groups = ring["resizing"]["groups"].as_array().expect("groups").iter();
    groups.find(|group| group["group"] == "slow").unwrap()["unfinished"].as_i64().unwrap()
}

/// The whole story; it ends early where something is wrong, which the book tells.
fn resize_under_load(server: &mut Server, scene: &Scene, events: &[FileEvent]) -> Option<()> {
    let mut conn = scene.connect()?;
    let weighted = "16 WEIGHTS 1 2 1 1 3 1 1 1 2 1 1 1 1 1 1 2";
    let steps = [(10, "12", false), (30, "5", true), (45, weighted, false), (60, "6", false)];
    for (generation, (percent, to, killed)) in (2..).zip(steps) {
        let due = EVENTS * percent / 100;
        scene.paced.store(due + AHEAD, Ordering::Relaxed);
        scene.wait(&mut conn, |_| scene.produced() >= due - BACKLOG).then_some(())?;
        scene.still.store(true, Ordering::Relaxed);
        scene.wait(&mut conn, |_| scene.produced() >= due).then_some(())?;
        assert_eq!(say(&mut conn, &format!("EVQ.RESIZE s {to}")), Value::Int(generation));
        if killed {
            server.kill9();
            server.restart();
            conn = scene.connect()?;
        }
        assert_eq!(ring(&mut conn)["generation"], generation);
        assert!(left_to_the_slow(&mut conn) > 0, "the resize came too late to matter");
        scene.still.store(false, Ordering::Relaxed);
        assert!(scene.produced() < EVENTS);
        // So that each worker of a partition is told in the end that it has disappeared.
        let each = |conn: &mut Conn| {
            let at_work = scene.at_work.lock().unwrap();
            let has = |group, p: &(i64, String)| at_work.contains(&(group, p.0));
            partitions(&ring(conn)).iter().all(|p| has("fast", p) && has("failing", p))
        };
        scene.wait(&mut conn, each).then_some(())?;
    }
    scene.paced.store(EVENTS, Ordering::Relaxed);
    scene.wait(&mut conn, |_| scene.produced() == EVENTS).then_some(())?;
    scene.wait(&mut conn, is_finished).then_some(())?;

    // All is finished. Once retention has emptied the partitions, those that leave are gone.
    for (_, stream) in partitions(&ring(&mut conn)) {
        must!(conn, "XTRIM", stream, "MAXLEN", 0);
    }
    scene.wait(&mut conn, |conn| ring(conn)["resizing"].is_null()).then_some(())?;
    assert_eq!(partitions(&ring(&mut conn)).len(), 6);
    let gone = |group| (6..16).map(move |p| (group, p));
    let expected: BTreeSet<_> = gone("fast").chain(gone("failing")).collect();
    scene.wait(&mut conn, |_| *scene.gone.lock().unwrap() == expected).then_some(())?;

    // And the ring goes on as any other.
    for (file, n) in last_numbers(events) {
        must!(conn, "EVQ.TRIGGER", file, format!("{} once more", n + 1), "RING", "s");
    }
    scene.wait(&mut conn, is_finished).then_some(())
}

fn play(mut server: Server) {
    let mut conn = server.connect();
    must!(conn, "EVQ.CREATE", "s", 8).ok();
    for group in ["fast", "slow", "failing MAXATTEMPTS 2 BACKOFF 1 5 ONDEAD hold"] {
        say(&mut conn, &format!("EVQ.GROUP {group} RING s FROM first")).ok();
    }
    let events = file_history_repeated(EVENTS);
    let scene = Scene {
        endpoint: server.endpoint(),
        book: OrderBook::default(),
        over: AtomicBool::new(false),
        produced: AtomicUsize::new(0),
        paced: AtomicUsize::new(0),
        still: AtomicBool::new(false),
        at_work: Mutex::default(),
        lost: AtomicUsize::new(0),
        retried: AtomicU64::new(0),
        gone: Mutex::default(),
    };
    std::thread::scope(|scope| {
        let scene = &scene;
        for crew in CREWS {
            for n in 1..=crew.any as u64 {
                scope.spawn(move || scene.work(crew, None, 0x9e37_79b9_7f4a_7c15 ^ n));
            }
            if crew.each {
                scope.spawn(move || scene.employ(scope, crew));
            }
        }
        scope.spawn(|| scene.operate());
        for number in 0..PRODUCERS {
            let is_mine = |event: &&FileEvent| {
                event.file.bytes().map(usize::from).sum::<usize>() % PRODUCERS == number
            };
            let mine: Vec<_> = events.iter().filter(is_mine).collect();
            scope.spawn(move || scene.produce(&mine));
        }
        // A failed assertion must not leave the others waiting for ever.
        let server = &mut server;
        let told = catch_unwind(AssertUnwindSafe(|| resize_under_load(server, scene, &events)));
        scene.over.store(true, Ordering::Relaxed);
        server.kill9();
        if let Err(panic) = told {
            resume_unwind(panic);
        }
    });
    let last = last_numbers(&events).into_iter().map(|(file, n)| (file, n + 1)).collect();
    scene.book.assert_complete(&CREWS.map(|crew| crew.group), &last);
    assert!(scene.lost.into_inner() > 0, "the kill hit no producer");
    assert!(scene.retried.into_inner() > 0, "nothing died");
}

#[test]
fn a_ring_that_is_resized_under_load_and_killed_keeps_every_key_in_order() {
    each_binary(|binary| {
        let config = ["appendonly yes", "appendfsync always"];
        play(Server::with(binary).config(&config).start());
    });
}
