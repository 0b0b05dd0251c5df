//! What everybody saw.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::GROUPS;
use super::compass::Era;

/// Number `n` of `key`; every key belongs to one producer, who counts up and repeats none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Event {
    pub(super) key: String,
    pub(super) n: u64,
}

/// What a producer knows of what it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No reply: it may be there or not.
    Unknown,
    /// An error: it is not there.
    Refused,
    Acknowledged,
    /// And so many replicas as asked for had it.
    Confirmed,
}

/// One command of a producer: its events are there together or not at all.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) era: Era,
    pub(super) events: Vec<Event>,
    pub(super) outcome: Outcome,
    /// In a transaction with INCR of the producer's counter.
    pub(super) counted: bool,
}

/// What one group was given of one key.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// In the order in which each number came for the first time.
    pub(super) first: Vec<u64>,
    known: HashSet<u64>,
    /// What failed and has not come again since: nothing later may come before it.
    failed: BTreeMap<u64, Failed>,
}

/// An event that somebody refuses.
#[derive(Debug)]
struct Failed {
    under: Lease,
    /// The server has said so. Until then it may be that the lease is over and others go on.
    surely: bool,
}

/// Under what something was given or failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) era: Era,
    pub(super) p: i64,
    pub(super) epoch: i64,
}

/// The book. One lock: a worker notes what it was given before it does anything with it.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Failures outlive a crash, so they are not forgotten with their era.
    durable: bool,
    pub(super) sent: BTreeMap<usize, Vec<Sent>>,
    pub(super) given: HashMap<(usize, String), Given>,
    /// Per group, partition and epoch: the worker's life that it was given to.
    epochs: HashMap<(usize, i64, i64), u64>,
    lives: u64,
    pub(super) seconds: u64,
    /// How often each thing happened: a campaign in which nothing happens proves nothing.
    pub(super) happened: BTreeMap<&'static str, u64>,
}

impl Book {
    pub(super) fn new(durable: bool) -> Self {
        Self { durable, ..Self::default() }
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.happened.entry(what).or_default() += 1;
    }

    /// A worker begins a life: a connection of its own.
    pub(super) fn life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    pub(super) fn epoch(&mut self, group: usize, p: i64, epoch: i64, life: u64) {
        let holder = *self.epochs.entry((group, p, epoch)).or_insert(life);
        assert_eq!(holder, life, "epoch {epoch} of partition {p} was issued twice");
    }

    /// `group` was given `event`.
    pub(super) fn receive(&mut self, group: usize, event: &Event, under: &Lease) {
        let durable = self.durable;
        let given = self.given.entry((group, event.key.clone())).or_default();
        let counts = |failed: &Failed| {
            let of = &failed.under;
            if of.p == under.p && of.epoch > under.epoch {
                // The group was sought back and has failed since; this reply was read late.
                false
            } else if GROUPS[group].holds && failed.surely {
                // Not even its death lets others pass. But a crash may make it undone.
                durable || of.era == under.era
            } else {
                // It may come again and die in a reply that nobody got; then the lease ends too.
                of == under
            }
        };
        let before = given.failed.range(..event.n).filter(|(_, of)| counts(of));
        let in_front: Vec<_> = before.map(|(n, _)| *n).collect();
        assert!(
            in_front.is_empty(),
            "{}: {event:?} was handed out behind {in_front:?}, which failed",
            GROUPS[group].name
        );
        given.failed.remove(&event.n);
        if given.known.insert(event.n) {
            given.first.push(event.n);
        }
    }

    /// `event` fails and will come again: call it before it is said to the server, for an operator
    /// may be quick to give it up.
    pub(super) fn failed(&mut self, group: usize, event: &Event, under: &Lease) {
        let given = self.given.entry((group, event.key.clone())).or_default();
        given.failed.insert(event.n, Failed { under: under.clone(), surely: false });
    }

    /// The server has taken that `event` failed.
    pub(super) fn surely_failed(&mut self, group: usize, event: &Event, under: &Lease) {
        let given = self.given.get_mut(&(group, event.key.clone()));
        // It may have come again by now, and failed elsewhere.
        if let Some(failed) = given.and_then(|given| given.failed.get_mut(&event.n))
            && failed.under == *under
        {
            failed.surely = true;
        }
    }

    /// `event` did not fail after all, or an operator gives it up: call that before it is done.
    pub(super) fn not_failed(&mut self, group: usize, event: &Event) {
        if let Some(given) = self.given.get_mut(&(group, event.key.clone())) {
            given.failed.remove(&event.n);
        }
    }

    /// Those of `events` that `group` was never given.
    pub(super) fn missing<'a>(
        &self,
        group: usize,
        events: impl Iterator<Item = &'a Event>,
    ) -> BTreeSet<&'a Event> {
        let never = |event: &&Event| {
            let given = self.given.get(&(group, event.key.clone()));
            given.is_none_or(|given| !given.known.contains(&event.n))
        };
        events.filter(never).collect()
    }
}
