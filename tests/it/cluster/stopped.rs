//! A shard that stands still for a while in the middle of everything, as a stopped virtual machine
//! does: what it is needed for is refused in time, everything else goes on, and nothing of it is
//! lost, late or out of order when it goes on.
//!
//! `EVQ_STOP_S` is for how many seconds, by default until everybody who needs it was refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use super::passing::{Fate, fate, judge, stored};
use super::scene::{RING, Scene, stream};
use crate::harness::{Conn, PATIENCE, args, cmd, each_binary, until};

/// How long the shard stands still at least.
fn stop_time() -> Duration {
    let text = std::env::var("EVQ_STOP_S").unwrap_or_else(|_| "0".to_owned());
    Duration::from_secs(text.parse().expect("EVQ_STOP_S is a number"))
}

/// An event as a worker sees it: its key and its number.
type Event = (String, u64);

/// Everybody's notes.
#[derive(Default)]
struct Run {
    enough: AtomicBool,
    /// All is handled.
    done: AtomicBool,
    /// What was handled, in its order; the first time only.
    handled: Mutex<Vec<Event>>,
    seen: Mutex<BTreeSet<Event>>,
}

impl Run {
    fn handle(&self, event: Event) {
        if self.seen.lock().unwrap().insert(event.clone()) {
            self.handled.lock().unwrap().push(event);
        }
    }

    fn handled(&self) -> BTreeMap<String, Vec<u64>> {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for (key, n) in self.handled.lock().unwrap().iter() {
            all.entry(key.clone()).or_default().push(*n);
        }
        all
    }
}

/// Ends everybody when this drops, whatever happens.
struct End<'a>(&'a Run);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.enough.store(true, Ordering::Relaxed);
        self.0.done.store(true, Ordering::Relaxed);
    }
}

/// Where a producer sends its events, and which.
struct Producer {
    key: String,
    /// The node that it is connected to, and that of the partition.
    ends: (usize, usize),
    /// By EVQ.APPEND to this partition.
    direct: Option<u32>,
    stored: AtomicUsize,
    refused: AtomicUsize,
}

impl Producer {
    fn new(ends: (usize, usize), key: String, direct: Option<u32>) -> Self {
        Self { key, ends, direct, stored: AtomicUsize::new(0), refused: AtomicUsize::new(0) }
    }

    fn stored(&self) -> usize {
        self.stored.load(Ordering::Relaxed)
    }

    /// Sends 0, 1, 2 ... one after another.
    fn run(&self, run: &Run, conn: &mut Conn) -> (String, Vec<Fate>) {
        let mut fates = Vec::new();
        while !run.enough.load(Ordering::Relaxed) {
            let words = match self.direct {
                Some(p) => args!["EVQ.APPEND", stream(p), self.key, fates.len()].to_vec(),
                None => args!["EVQ.TRIGGER", self.key, fates.len(), "RING", RING].to_vec(),
            };
            let fate = fate(&conn.cmd(&words));
            fates.push(fate);
            let count = if fate == Fate::Stored { &self.stored } else { &self.refused };
            count.fetch_add(1, Ordering::Relaxed);
            // Workers keep up, in a debug build too.
            sleep(Duration::from_millis(2));
        }
        (self.key.clone(), fates)
    }
}

/// Producers through each node that goes on to each node, and straight to each.
#[track_caller]
fn producers(scene: &mut Scene, stopped: usize) -> Vec<Producer> {
    let masters = scene.cluster.masters();
    let mut all = Vec::new();
    for owner in &masters {
        let partitions = scene.partitions_at(*owner);
        let mut partitions = partitions.iter().copied().cycle();
        for n in masters.iter().filter(|n| **n != stopped) {
            let key = scene.key_at(*n, partitions.next().unwrap());
            all.push(Producer::new((*n, *owner), key, None));
        }
        let p = partitions.next().unwrap();
        // None of the first keys, which others have.
        let key = scene.mapping.key_in(p, 50);
        all.push(Producer::new((*owner, *owner), key, Some(p)));
    }
    all
}

/// Handles and acknowledges whatever there is at one shard.
fn work(run: &Run, conn: &mut Conn, p: u32) {
    let mut done: Option<(i64, String)> = None;
    while !run.done.load(Ordering::Relaxed) {
        let mut words = args!["EVQ.CONSUME", stream(p), "ANY", "GROUP", "g"].to_vec();
        words.extend(args!["COUNT", 20, "BLOCK", 100]);
        if let Some((p, id)) = done.take() {
            words.extend(args!["ACK", stream(p.try_into().unwrap()), id]);
        }
        let reply = conn.must(&words);
        if !reply.is_null() {
            for event in reply.at(2).array() {
                let field = |name| event.at(1).get(name).str().to_owned();
                run.handle((field("key"), field("payload").parse().unwrap()));
                done = Some((reply.at(0).int(), event.at(0).str().to_owned()));
            }
        }
    }
}

/// What concerns the stopped shard is refused while it stands still, what does not goes on.
#[track_caller]
fn assert_refused_in_time(all: &[Producer], stopped: usize) {
    let before: Vec<_> = all.iter().map(Producer::stored).collect();
    until(PATIENCE, || {
        all.iter().zip(&before).all(|(producer, before)| match producer.ends {
            (_, owner) if owner != stopped => producer.stored() > before + 100,
            // It waits at the stopped node itself.
            (n, _) if n == stopped => true,
            _ => producer.refused.load(Ordering::Relaxed) > 2,
        })
    });
}

/// Other commands that need the stopped shard; `lost` is a partition there, `address` its node.
#[track_caller]
fn assert_named(scene: &mut Scene, here: usize, lost: u32, address: &str) {
    let key = scene.key_at(here, lost);
    let commands = [
        args!["EVQ.MTRIGGER", 1, key, 0, "RING", RING].to_vec(),
        args!["EVQ.SCHEDULE", key, 0, "IN", 1, "RING", RING].to_vec(),
        args!["EVQ.GROUP", "late", "RING", RING, "FROM", "first"].to_vec(),
        args!["EVQ.DELGROUP", "g", "RING", RING].to_vec(),
        args!["EVQ.STATS", RING].to_vec(),
        args!["EVQ.GROUPS", "RING", RING].to_vec(),
    ];
    let replies = commands.iter().map(|words| {
        // To the node that the server leaves it to, if that is up.
        let mut conn = scene.cluster.connect(here);
        let reply = conn.cmd(words);
        (words, reply)
    });
    for (words, reply) in replies.collect::<Vec<_>>() {
        let shown = format!("{}: {reply:?}", String::from_utf8_lossy(&words.join(&b' ')));
        let is_moved = reply.is_error() && reply.err_code() == "MOVED";
        assert!(is_moved || format!("{reply:?}").contains(address), "{shown}");
        let is_told = |code: &str| format!("{reply:?}").contains(code);
        let is_listing = ["EVQ.STATS", "EVQ.GROUPS"].map(str::as_bytes).contains(&&words[0][..]);
        let fine = is_listing || is_told("EVQUNREACHABLE") || is_told("EVQUNKNOWN");
        assert!(is_moved || fine, "{shown}");
    }
}

#[test]
fn a_shard_that_stands_still_holds_nobody_for_ever_and_loses_nothing() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        let (lost, stopped) = scene.elsewhere();
        let here = scene.authority();
        let address = format!("127.0.0.1:{}", scene.cluster.port(stopped));
        let all = producers(&mut scene, stopped);
        let mut conns: Vec<_> = all.iter().map(|it| scene.cluster.connect(it.ends.0)).collect();
        let masters = scene.cluster.masters();
        let ends = masters.iter().map(|n| (scene.cluster.connect(*n), scene.partitions_at(*n)[0]));
        let mut workers: Vec<_> = ends.collect();
        let run = Run::default();
        let sent = scope(|threads| {
            let end = End(&run);
            let run = &run;
            for (conn, p) in &mut workers {
                threads.spawn(move || work(run, conn, *p));
            }
            let running: Vec<_> = all
                .iter()
                .zip(&mut conns)
                .map(|(producer, conn)| threads.spawn(move || producer.run(run, conn)))
                .collect();
            until(PATIENCE, || all.iter().all(|producer| producer.stored() > 20));
            let start = Instant::now();
            scene.cluster.pause(stopped);
            assert_refused_in_time(&all, stopped);
            assert_named(&mut scene, here, lost, &address);
            sleep(stop_time().saturating_sub(start.elapsed()));
            scene.cluster.resume(stopped);
            scene.cluster.settle();
            let before: Vec<_> = all.iter().map(Producer::stored).collect();
            let goes_on = |(it, before): (&Producer, &usize)| it.stored() > before + 20;
            until(PATIENCE, || all.iter().zip(&before).all(goes_on));
            run.enough.store(true, Ordering::Relaxed);
            let sent = running.into_iter().map(|producer| producer.join().unwrap()).collect();
            let stored = stored(&mut scene.client);
            until(PATIENCE, || run.handled() == stored);
            drop(end);
            sent
        });
        let sent: BTreeMap<String, Vec<Fate>> = sent;
        judge(&sent, &stored(&mut scene.client));
        let last = |fates: &Vec<Fate>| fates.last() == Some(&Fate::Stored);
        assert!(sent.values().all(last), "all is well again");
        until(PATIENCE, || {
            let reply = cmd!(scene.client, "EVQ.GROUP", "late", "RING", RING, "FROM", "first");
            !reply.is_error()
        });
        scene.cluster.assert_healthy();
    });
}
