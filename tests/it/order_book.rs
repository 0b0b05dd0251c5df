//! What the groups of a test have handled, judged event by event as it happens.
//!
//! The events of a key carry 1, 2, 3 ... in the order in which they were triggered. For each group
//! and key an event is handed out rightly if it is the next under the same lease; or, under another
//! lease, if everything before it was acknowledged before, and it itself was not. So an event may
//! come again after a crash, and never ahead of one that is not finished. Failed events come again
//! until they are handled; nobody notes them as handled before.
//!
//! A worker that has lost its lease may still be at work on what it was given. The book does what
//! the README asks of other systems: it refuses an epoch that is lower than one it has seen.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

/// The partition and the epoch under which an event was handed out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Under {
    pub(crate) partition: i64,
    pub(crate) epoch: i64,
}

/// One key of one group.
#[derive(Default)]
struct Track {
    /// The number handled last, and under which lease.
    last: u64,
    under: Option<Under>,
    /// Up to here an acknowledgement was sent.
    sent: u64,
    /// Up to here the server has said that it has it.
    confirmed: u64,
}

#[derive(Default)]
struct Group {
    tracks: HashMap<String, Track>,
    /// The newest epoch of each partition.
    newest: BTreeMap<i64, i64>,
}

/// The books of all groups, and what is wrong in them.
#[derive(Default)]
pub(crate) struct OrderBook {
    groups: Mutex<BTreeMap<&'static str, Group>>,
    problems: Mutex<Vec<String>>,
    /// How many events were handed out.
    noted: AtomicUsize,
}

impl OrderBook {
    /// An event was handed out, and its handling has gone well or not. False if the worker is to
    /// leave it and all behind it alone: somebody else has the partition.
    pub(crate) fn note(
        &self,
        group: &'static str,
        under: Under,
        (key, n): (&str, u64),
        well: bool,
    ) -> bool {
        self.noted.fetch_add(1, Ordering::Relaxed);
        let mut groups = self.groups();
        let group_book = groups.entry(group).or_default();
        let newest = group_book.newest.entry(under.partition).or_insert(under.epoch);
        if under.epoch < *newest {
            return false;
        }
        *newest = under.epoch;
        let track = group_book.tracks.entry(key.to_owned()).or_default();
        let right = if track.under == Some(under) {
            n == track.last + 1
        } else {
            n <= track.sent + 1 && n > track.confirmed
        };
        if !right {
            self.complain(format!(
                "{group}: {key} #{n} under {under:?}, after #{} under {:?}; acknowledged: #{} ({})",
                track.last, track.under, track.confirmed, track.sent
            ));
        }
        if well {
            (track.last, track.under) = (n, Some(under));
        }
        true
    }

    /// How many events were handed out so far.
    pub(crate) fn noted(&self) -> usize {
        self.noted.load(Ordering::Relaxed)
    }

    /// These events are about to be acknowledged.
    pub(crate) fn acknowledging(&self, group: &'static str, events: &[(String, u64)]) {
        self.each_track(group, events, |track, n| track.sent = n.max(track.sent));
    }

    /// The server has replied that they are.
    pub(crate) fn acknowledged(&self, group: &'static str, events: &[(String, u64)]) {
        self.each_track(group, events, |track, n| track.confirmed = n.max(track.confirmed));
    }

    /// Something is wrong.
    pub(crate) fn complain(&self, problem: String) {
        self.problems.lock().unwrap().push(problem);
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_right(&self) -> bool {
        self.problems.lock().unwrap().is_empty()
    }

    /// Fails unless nothing was wrong, and each of these groups has handled and acknowledged each
    /// key's events up to its last.
    #[track_caller]
    pub(crate) fn assert_complete(&self, groups: &[&'static str], last: &BTreeMap<&str, u64>) {
        let problems = self.problems.lock().unwrap();
        let first = &problems[..problems.len().min(10)];
        assert!(problems.is_empty(), "{} problems: {first:#?}", problems.len());
        let books = self.groups();
        for name in groups {
            let group = &books[name];
            for (key, n) in last {
                let track = group.tracks.get(*key).unwrap_or_else(|| panic!("{name}: no {key}"));
                assert_eq!((track.last, track.sent), (*n, *n), "{name}: {key}");
            }
            assert_eq!(group.tracks.len(), last.len(), "{name}: keys");
        }
    }

    fn each_track(
        &self,
        group: &'static str,
        events: &[(String, u64)],
        mut change: impl FnMut(&mut Track, u64),
    ) {
        let mut groups = self.groups();
        let group = groups.entry(group).or_default();
        for (key, n) in events {
            change(group.tracks.entry(key.clone()).or_default(), *n);
        }
    }

    fn groups(&self) -> MutexGuard<'_, BTreeMap<&'static str, Group>> {
        self.groups.lock().unwrap()
    }
}
