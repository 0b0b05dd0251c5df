//! The rules of retention against a naive reading of the contract: entry by entry from the front,
//! group by group.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;
use crate::model::progress::Progress;
use crate::model::progress::exceptions::State;
use crate::model::progress::partition::Partition;
use crate::model::ring::Ring;
use crate::model::ring::Shape;
use crate::model::ring::group::Group;
use crate::model::rules::needs::tests::Listed;
use crate::model::saved::effect::{Change, Effect, Failure, Fate};

fn id(n: u64) -> EventId {
    EventId { ms: n, seq: 0 }
}

fn at(ms: u64) -> Now {
    Now { unix_us: ms * 1000 }
}

/// What a group has finished, as a history of the three ways to leave something behind.
#[derive(Clone, Debug)]
struct Side {
    start: u64,
    /// None: it has never pulled.
    cursor: Option<u64>,
    waiting: Vec<(u64, u8)>,
    /// The types it takes; all if there are none.
    kinds: Vec<u8>,
}

fn side() -> impl Strategy<Value = Side> {
    let waiting = prop::collection::vec((1..30u64, 0..4u8), 0..4);
    let kinds = prop_oneof![Just(vec![]), Just(vec![0]), Just(vec![1, 2])];
    let all = (0..30u64, prop::option::of(0..30u64), waiting, kinds);
    all.prop_map(|(start, cursor, waiting, kinds)| Side { start, cursor, waiting, kinds })
}

/// An entry's id, and its type of one byte.
type Entry = (EventId, u8);

/// A stream.
fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let all = prop::collection::btree_map(1..30u64, 0..3u8, 0..25);
    all.prop_map(|all| all.into_iter().map(|(n, kind)| (id(n), kind)).collect())
}

fn build(sides: &[Side]) -> (Ring, Partition) {
    let (mut ring, mut partition) = (Ring::new(Shape::even(1, 1).unwrap()), Partition::default());
    for (n, side) in sides.iter().enumerate() {
        let name = Name::group(format!("g{n}").as_bytes()).unwrap();
        let starts = [(0, id(side.start))].into();
        let types = side.kinds.iter().map(|kind| Box::from([*kind])).collect();
        ring.apply(Effect::GroupSet(name.clone(), Group { starts, types, ..Group::default() }));
        let Some(cursor) = side.cursor else { continue };
        let mut apply = |change| partition.apply(Effect::Group(name.clone(), change));
        apply(Change::Epoch { epoch: 1, start: id(side.start) });
        for (n, state) in &side.waiting {
            let failure = |fate| {
                let (id, key) = (id(*n), u128::from(*n));
                Change::Failed(Failure { id, key, attempts: 1, first_ms: 1, fate, held: vec![] })
            };
            apply(match state {
                0 => failure(Fate::Retry(5)),
                1 => failure(Fate::Dead),
                2 => failure(Fate::Skipped),
                _ => Change::Held(vec![(id(*n), u128::from(*n))]),
            });
        }
        apply(Change::Passed(id(cursor)));
    }
    (ring, partition)
}

/// Word for word: every group has finished it, or does not take it.
fn finished(ring: &Ring, partition: &Partition, (event, kind): Entry) -> bool {
    ring.groups().all(|(name, group)| {
        let progress = partition.get(name);
        let exception = progress.and_then(|progress| progress.exceptions().get(event));
        let cursor = progress.map_or_else(|| group.start(0), Progress::cursor);
        match exception {
            Some(exception) => exception.state == State::Finished,
            None => event <= cursor || !group.takes(&[kind]),
        }
    })
}

/// A partition and the settings by which its front is scanned at [`NOW_MS`].
struct Trial {
    sides: Vec<Side>,
    ring: Ring,
    partition: Partition,
    entries: Vec<Entry>,
    retention: Retention,
    step: u64,
}

const NOW_MS: u64 = 30;
const DEFAULT_AGE_MS: u64 = 12;

impl Trial {
    fn length(&self) -> u64 {
        self.entries.len() as u64
    }

    fn needs(&self) -> Needs<'_> {
        let exists = |id: EventId| self.entries.iter().any(|(other, _)| *other == id);
        self.ring.needs(0, Some(&self.partition), exists)
    }

    fn too_old(&self, id: EventId) -> bool {
        let age = self.retention.max_age_ms.unwrap_or(DEFAULT_AGE_MS);
        age > 0 && id.ms + age < NOW_MS
    }

    /// The settings say that it goes, when it is the first of so many.
    fn wanted(&self, id: EventId, left: u64) -> bool {
        let Retention { max_len, max_depth, .. } = self.retention;
        self.too_old(id) || too_many(left, max_len) || too_many(left, max_depth)
    }

    /// It goes whether or not it is finished.
    fn whatever(&self, id: EventId, left: u64) -> bool {
        let any = self.retention.trim == Trim::Any;
        any && (self.too_old(id) || too_many(left, self.retention.max_len))
    }

    fn finished(&self, entry: Entry) -> bool {
        finished(&self.ring, &self.partition, entry)
    }

    /// What goes, and what stays.
    fn split(&self, cut: &Cut) -> (&[Entry], &[Entry]) {
        self.entries.split_at(usize::try_from(cut.entries).unwrap())
    }

    /// Nothing goes that should stay.
    fn check_what_goes(&self, cut: &Cut) -> Result<(), TestCaseError> {
        let (gone, rest) = self.split(cut);
        for ((id, kind), left) in gone.iter().zip((0..=self.length()).rev()) {
            prop_assert!(self.wanted(*id, left));
            prop_assert!(self.whatever(*id, left) || self.finished((*id, *kind)));
        }
        if let Some((last, _)) = gone.last() {
            prop_assert_eq!(cut.last, *last);
            prop_assert!(rest.first().is_none_or(|(first, _)| *first >= cut.below()));
        }
        prop_assert!(cut.entries <= self.step);
        Ok(())
    }

    /// Nothing stays that should go, but for later steps.
    fn check_what_stays(&self, scan: &Scan<'_>, least: EventId) -> Result<(), TestCaseError> {
        let Scan { cut, held_up } = scan;
        let (gone, rest) = self.split(cut);
        let left = rest.len() as u64;
        let any = self.retention.trim == Trim::Any;
        let insisted = any && gone.last().is_some_and(|(last, _)| *last >= least);
        match (cut.stop, rest.first()) {
            (Stop::Empty, None) => prop_assert!(held_up.is_none()),
            (Stop::Keeps(id), Some((first, kind))) => {
                prop_assert_eq!(id, *first);
                prop_assert!(!self.wanted(id, left));
                // At the limit it keeps producers from going on.
                let full = self.retention.max_depth == Some(left);
                let open = !self.finished((id, *kind));
                prop_assert!(held_up.is_none() || full);
                // After so many reads it is left to the next scan to tell.
                let unsaid = insisted || cut.entries >= MAX_READS && held_up.is_none();
                prop_assert!(held_up.is_some() == (full && open) || unsaid);
            }
            (Stop::Held(id), Some((first, kind))) => {
                prop_assert_eq!(id, *first);
                prop_assert!(self.wanted(id, left) && !self.whatever(id, left));
                prop_assert!(!self.finished((id, *kind)));
                prop_assert!(held_up.is_some());
            }
            (Stop::Step, Some((first, _))) => {
                prop_assert!(self.wanted(*first, left) && held_up.is_none());
                prop_assert!(cut.entries == self.step || cut.entries >= MAX_READS || insisted);
            }
            other => prop_assert!(false, "{other:?}"),
        }
        // The group that is named has not finished what holds the others up.
        if let Some(HeldUp { group, event }) = held_up {
            let one = [self.sides[group.as_str()[1..].parse::<usize>().unwrap()].clone()];
            let (ring, partition) = build(&one);
            prop_assert_eq!(*event, rest[0].0);
            prop_assert!(!finished(&ring, &partition, rest[0]));
        }
        Ok(())
    }

    /// It is scanned again, and not before there may be something to do.
    fn check_the_next_scan(&self, cut: &Cut) -> Result<(), TestCaseError> {
        let Retention { max_len, max_depth, .. } = self.retention;
        let next_ms = self.retention.next_scan_ms(DEFAULT_AGE_MS, at(NOW_MS), cut);
        let limited = self.retention.age_ms(DEFAULT_AGE_MS).is_some()
            || max_len.is_some()
            || max_depth.is_some();
        prop_assert_eq!(next_ms.is_some(), limited);
        if let Some(next_ms) = next_ms {
            prop_assert_eq!(next_ms == NOW_MS, cut.stop == Stop::Step);
            prop_assert!(next_ms <= NOW_MS + IDLE_MS);
        }
        Ok(())
    }
}

fn too_many(left: u64, max: Option<u64>) -> bool {
    max.is_some_and(|max| left > max)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_is_what_the_contract_says(
        sides in prop::collection::vec(side(), 0..4),
        entries in entries(),
        max_depth in prop::option::of(1..25u64),
        max_len in prop::option::of(1..25u64),
        max_age_ms in prop::option::of(0..30u64),
        any in any::<bool>(),
        step in 1..30u64,
    ) {
        let (ring, partition) = build(&sides);
        let trim = if any { Trim::Any } else { Trim::Finished };
        let retention = Retention { max_depth, max_len, max_age_ms, trim };
        let trial = Trial { sides, ring, partition, entries, retention, step };
        let (rules, needs) = (retention.rules(DEFAULT_AGE_MS, at(NOW_MS)), trial.needs());
        let front = &mut Listed::new(trial.entries.clone());
        let scan = rules.scan(front, trial.length(), &needs, step);
        trial.check_what_goes(&scan.cut)?;
        trial.check_what_stays(&scan, needs.least())?;
        trial.check_the_next_scan(&scan.cut)?;
    }

    #[test]
    fn room_is_made_of_finished_events_only_and_enough_or_none(
        sides in prop::collection::vec(side(), 0..4),
        entries in entries(),
        max_depth in 1..1500u64,
        more in 1..6u64,
    ) {
        let (ring, partition) = build(&sides);
        let retention = Retention { max_depth: Some(max_depth), ..Retention::default() };
        let length = entries.len() as u64;
        let exists = |id: EventId| entries.iter().any(|(other, _)| *other == id);
        let needs = ring.needs(0, Some(&partition), exists);
        let free = entries.iter().take_while(|entry| finished(&ring, &partition, **entry));
        let free = free.count() as u64;
        let fits = more <= max_depth && length - free + more <= max_depth
            && (length + more).saturating_sub(max_depth) <= MAX_SCAN;
        let excess = retention.excess(length, more);
        let room = excess
            .clone()
            .and_then(|n| retention.room(&mut Listed::new(entries.clone()), n, &needs));
        prop_assert_eq!(room.is_ok(), fits);
        if let Ok(cut) = room {
            prop_assert!(cut.entries <= free);
            prop_assert!(length - cut.entries + more <= max_depth);
            let excess = excess.unwrap();
            let most = if excess > 0 { excess.max(max_depth / 100) } else { 0 };
            prop_assert!(cut.entries <= most);
        }
    }
}

#[test]
fn what_was_removed_by_hand_is_needed_by_nobody() {
    let side = Side { start: 0, cursor: Some(9), waiting: vec![(3, 1), (5, 0)], kinds: vec![] };
    let (ring, partition) = build(&[side]);
    let from = |there: &[u64]| {
        let exists = |id: EventId| there.contains(&id.ms);
        ring.needs(0, Some(&partition), exists).least()
    };
    assert_eq!(from(&[3, 5]), id(3));
    assert_eq!(from(&[5]), id(5));
    assert_eq!(from(&[]), id(9).next().unwrap());
}

#[test]
fn a_look_is_due_when_the_first_entry_is_too_old() {
    let by_age = Retention { max_age_ms: Some(1000), ..Retention::default() };
    let kept = |ms| Cut { stop: Stop::Keeps(id(ms)), ..Cut::nothing() };
    assert_eq!(by_age.next_scan_ms(7, at(500), &kept(400)), Some(1401));
    // Together with what follows within a moment.
    assert_eq!(by_age.next_scan_ms(7, at(1390), &kept(400)), Some(1390 + BUSY_MS));
    // No entry that comes later is due earlier, and no clock that was set back delays it.
    assert_eq!(by_age.next_scan_ms(7, at(500), &Cut::nothing()), Some(1501));
    assert_eq!(by_age.next_scan_ms(7, at(500), &kept(9_000_000)), Some(1501));
    let held = Cut { stop: Stop::Held(id(1)), ..Cut::nothing() };
    assert_eq!(by_age.next_scan_ms(7, at(5000), &held), Some(5000 + IDLE_MS));
    let for_ever = Retention { max_age_ms: Some(0), ..Retention::default() };
    assert_eq!(for_ever.next_scan_ms(7, at(500), &kept(400)), None);
    assert_eq!(Retention::default().next_scan_ms(0, at(500), &kept(400)), None);
    assert_eq!(Retention::default().next_scan_ms(1000, at(500), &kept(400)), Some(1401));
}

#[test]
fn a_count_of_the_lag_outlives_a_trim() {
    use crate::model::progress::counts::{Count, Counted, Stamp};
    let stamp = |removed, first| Stamp { removed, first: id(first) };
    let counted = |cursor, entries, stamp| {
        let count = Count::Below { upto: id(cursor), entries };
        Counted { count, stamp, whole: true }
    };
    let ahead = |after, until, taken, stamp| {
        let count = Count::Ahead { after: id(after), until: id(until), taken, types: 7 };
        Counted { count, stamp, whole: true }
    };
    let side = Side { start: 0, cursor: Some(20), waiting: vec![], kinds: vec![] };
    let (ring, mut partition) = build(&[side]);
    let name: Name =
        ring.groups().map(|(name, _): (&Name, &Arc<Group>)| name.clone()).next().unwrap();
    let mut after = |before: Counted, last: u64, entries: u64| {
        let progress = partition.get_mut(&name).unwrap();
        progress.set_counted(before);
        progress.trimmed(id(last), entries, stamp(5, 6), stamp(5 + entries, last + 1));
        progress.counted().unwrap()
    };
    // Counted beyond what goes, up to some of what goes, and with another stream in mind.
    assert_eq!(after(counted(20, 15, stamp(5, 6)), 9, 4), counted(20, 11, stamp(9, 10)));
    assert_eq!(after(counted(7, 2, stamp(5, 6)), 9, 4), counted(9, 0, stamp(9, 10)));
    assert_eq!(after(counted(20, 15, stamp(5, 6)), 25, 19), counted(20, 0, stamp(24, 26)));
    assert_eq!(after(counted(20, 15, stamp(4, 6)), 9, 4), counted(20, 15, stamp(4, 6)));
    // Of a group with types: behind what goes, and within it.
    assert_eq!(after(ahead(20, 30, 5, stamp(5, 6)), 9, 4), ahead(20, 30, 5, stamp(9, 10)));
    assert_eq!(after(ahead(7, 30, 5, stamp(5, 6)), 9, 4), ahead(20, 20, 0, stamp(9, 10)));
}
