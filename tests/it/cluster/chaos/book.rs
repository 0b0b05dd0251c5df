//! What producers and workers saw.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Stored;

/// What one group has made of one file.
#[derive(Default)]
struct Track {
    /// The numbers in the order in which each was handled well for the first time.
    first: Vec<u64>,
    handled: BTreeSet<u64>,
    /// What failed under which epoch, and has not come again since.
    failed: BTreeMap<u64, i64>,
}

/// The book. One lock: a worker notes an event before it tells the server anything about it.
#[derive(Default)]
pub(super) struct Book {
    tracks: HashMap<(&'static str, String), Track>,
    /// The newest epoch of each group's partitions: an older one handles nothing any more.
    newest: HashMap<(&'static str, i64), i64>,
    /// The life of a worker that each epoch was granted to.
    epochs: HashMap<(&'static str, i64, i64), u64>,
    lives: u64,
    /// A replica had these.
    pub(super) confirmed: Vec<(String, u64)>,
    problems: Vec<String>,
    happened: BTreeMap<String, u64>,
}

/// The lease under which an event was handed out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) group: &'static str,
    pub(super) partition: i64,
    pub(super) epoch: i64,
}

impl Book {
    /// A worker begins a life: an identity of its own.
    pub(super) fn life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    pub(super) fn count(&mut self, what: &str) {
        *self.happened.entry(what.to_owned()).or_default() += 1;
    }

    pub(super) fn complain(&mut self, problem: String) {
        self.problems.push(problem);
    }

    pub(super) fn is_right(&self) -> bool {
        self.problems.is_empty()
    }

    /// A worker was given something under this lease.
    pub(super) fn granted(&mut self, lease: Lease, life: u64) {
        let Lease { group, partition, epoch } = lease;
        let holder = *self.epochs.entry((group, partition, epoch)).or_insert(life);
        if holder != life {
            self.complain(format!("{lease:?} was granted twice"));
        }
    }

    /// An event is handled, well or not. False if another worker has the partition by now: then
    /// nothing is done with the event.
    pub(super) fn handle(&mut self, lease: Lease, file: &str, n: u64, well: bool) -> bool {
        let Lease { group, partition, epoch } = lease;
        let newest = self.newest.entry((group, partition)).or_insert(epoch);
        if epoch < *newest {
            return false;
        }
        *newest = epoch;
        let track = self.tracks.entry((group, file.to_owned())).or_default();
        // A failure that a new owner does not know of was lost with its node.
        let before = track.failed.range(..n).find(|(_, of)| **of == epoch).map(|(n, _)| *n);
        if well {
            track.failed.remove(&n);
            if track.handled.insert(n) {
                track.first.push(n);
            }
        } else {
            track.failed.insert(n, epoch);
        }
        if let Some(failed) = before {
            self.complain(format!("{file} #{n} came behind #{failed}, which failed: {lease:?}"));
        }
        true
    }

    /// How many of the stored events the group has not handled.
    pub(super) fn left(&self, group: &'static str, stored: &Stored) -> usize {
        let of_file = |(file, numbers): (&String, &Vec<u64>)| {
            let track = self.tracks.get(&(group, file.clone()));
            let missing = |n: &&u64| track.is_none_or(|track| !track.handled.contains(n));
            numbers.iter().filter(missing).count()
        };
        stored.iter().map(of_file).sum()
    }

    /// Fails unless the group has handled exactly what is stored, each file's in order. What was
    /// lost with a node may have been handled before.
    #[track_caller]
    pub(super) fn judge(&self, group: &'static str, stored: &Stored) {
        let first = &self.problems[..self.problems.len().min(5)];
        assert!(first.is_empty(), "{} problems: {first:#?}", self.problems.len());
        for (file, numbers) in stored {
            let track = &self.tracks[&(group, file.clone())];
            let kept = |n: &&u64| numbers.binary_search(n).is_ok();
            let handled: Vec<u64> = track.first.iter().filter(kept).copied().collect();
            assert_eq!(&handled, numbers, "{group}: {file}");
        }
    }

    /// Says what happened: a run in which nothing happens proves nothing.
    #[allow(clippy::print_stderr)]
    pub(super) fn tell(&self, stored: usize, seed: u64) {
        let happened = &self.happened;
        eprintln!("cluster: {stored} events, EVQ_SEED={seed}: {happened:?}");
        for what in ["kill -9", "slot moved", "failed"] {
            assert!(happened.contains_key(what), "no {what} in this run");
        }
    }
}
