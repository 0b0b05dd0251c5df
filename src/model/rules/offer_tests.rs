//! What is looked at, and how often, while events wait for exceptions of another partition.

use std::collections::BTreeMap;

use super::*;
use crate::model::progress::exceptions::{Exception, Exceptions, State};
use crate::model::ring::history::{End, History};
use crate::model::ring::{Payload, Ring, Shape};
use crate::model::saved::effect::Effect;

const NOW: Now = Now { unix_us: 1_000_000 };
const KEYS: u64 = 10;

fn id(ms: u64) -> EventId {
    EventId { ms, seq: 0 }
}

/// A ring of one partition, whose last event was 100, got a second one.
fn history() -> History {
    let mut ring = Ring::new(Shape::new(vec![1], 8, Payload::Any).unwrap());
    let ends = BTreeMap::from([(0, End { last: id(100), added: 1 })]);
    assert!(ring.apply(Effect::Resized(vec![1, 1], ends, 0)));
    ring.history(&ring.continuum()).unwrap()
}

/// Each key has a dead event in partition 0.
fn dead() -> Exceptions {
    let mut there = Exceptions::default();
    for n in 0..KEYS {
        let dead = Exception { key: n.into(), attempts: 1, first_ms: 1, state: State::Dead };
        there.set(id(n + 1), dead);
    }
    there.keep_ends();
    there
}

/// And two later ones in partition 1, of which the second is held behind the first.
fn held() -> Progress {
    let mut here = Progress::new(id(1000));
    for n in 0..KEYS {
        here.hold_elsewhere(id(200 + n), n.into());
        here.hold(id(300 + n), n.into());
    }
    here
}

fn gate<'a>(history: &'a History, there: &'a Exceptions) -> Gate<'a> {
    Gate::new(history, 1, None, vec![(0, there)])
}

/// Which would be asked what they wait for, one by one.
fn asked(here: &mut Progress, gate: &Gate<'_>) -> Vec<EventId> {
    here.advance(gate, NOW);
    here.exceptions.due().come().collect()
}

#[test]
fn what_is_held_elsewhere_is_asked_once_and_again_only_when_its_own_key_goes_on() {
    let (history, mut there, mut here) = (history(), dead(), held());
    here.look(&gate(&history, &there), NOW);
    assert_eq!(here.due(None, &gate(&history, &there), NOW), None);
    assert_eq!(asked(&mut here, &gate(&history, &there)), []);
    // A failure of another key changes nothing.
    let other = Exception { key: 99, attempts: 1, first_ms: 1, state: State::Dead };
    there.set(id(50), other);
    assert_eq!(asked(&mut here, &gate(&history, &there)), []);
    there.finish(id(4));
    there.finish(id(50));
    assert_eq!(asked(&mut here, &gate(&history, &there)), [id(203)]);
    assert_eq!(here.due(None, &gate(&history, &there), NOW), Some(id(203)));
    here.finish(id(203));
    here.look(&gate(&history, &there), NOW);
    assert_eq!(here.due(None, &gate(&history, &there), NOW), Some(id(303)), "then the next of it");
    // That a dead one is to be tried again brings its key back once; it still waits.
    let retried = Exception { key: 5, attempts: 0, first_ms: 0, state: State::Retry(0) };
    there.set(id(6), retried);
    here.finish(id(303));
    assert_eq!(asked(&mut here, &gate(&history, &there)), [id(205)]);
    here.look(&gate(&history, &there), NOW);
    assert_eq!(asked(&mut here, &gate(&history, &there)), []);
}

#[test]
fn all_are_asked_again_where_nobody_knows_what_ended() {
    let all: Vec<EventId> = (0..KEYS).map(|n| id(200 + n)).collect();
    let known = |change: &dyn Fn(&mut Exceptions)| {
        let (history, mut there, mut here) = (history(), dead(), held());
        here.look(&gate(&history, &there), NOW);
        change(&mut there);
        let found = asked(&mut here, &gate(&history, &there));
        here.look(&gate(&history, &there), NOW);
        let again = asked(&mut here, &gate(&history, &there));
        (found, here.due(None, &gate(&history, &there), NOW), again)
    };
    // It is a copy, or another value in its place.
    assert_eq!(known(&|there| *there = there.clone()), (all.clone(), None, Vec::new()));
    assert_eq!(known(&|there| *there = dead()), (all.clone(), None, Vec::new()));
    // The group was sought: nothing holds anything.
    assert_eq!(known(&Exceptions::clear), (all.clone(), Some(id(200)), all.clone()));
    // Too much ended since.
    let many = |there: &mut Exceptions| (1..=7).for_each(|ms| there.finish(id(ms)));
    let freed = all[..7].to_vec();
    assert_eq!(known(&many), (all.clone(), Some(id(200)), all.clone()));
    let few = |there: &mut Exceptions| (1..=3).for_each(|ms| there.finish(id(ms)));
    assert_eq!(known(&few), (freed[..3].to_vec(), Some(id(200)), freed[..3].to_vec()));
    // The ring has another past, or none.
    let (before, after, there, mut here) = (history(), history(), dead(), held());
    here.look(&gate(&before, &there), NOW);
    assert_eq!(asked(&mut here, &gate(&after, &there)), all);
    here.look(&gate(&after, &there), NOW);
    assert_eq!(asked(&mut here, &Gate::open()), all);
    assert_eq!(here.due(None, &Gate::open(), NOW), Some(id(200)));
}

#[test]
fn a_partition_upstream_that_fails_now_and_then_brings_nothing_back() {
    let (history, there, mut here) = (history(), dead(), held());
    let mut other = Exceptions::default();
    let look = |here: &mut Progress, other: &mut Exceptions| {
        other.keep_ends();
        let gate = Gate::new(&history, 1, None, vec![(0, &there), (2, other)]);
        let found = asked(here, &gate);
        here.look(&gate, NOW);
        found
    };
    let retry = Exception { key: 77, attempts: 1, first_ms: 1, state: State::Retry(5) };
    assert_eq!(look(&mut here, &mut other).len() as u64, KEYS);
    // From its first failure on it is listened to.
    other.set(id(1), retry);
    assert_eq!(look(&mut here, &mut other).len() as u64, KEYS);
    for n in 2..20 {
        other.finish(id(n - 1));
        assert_eq!(look(&mut here, &mut other), [], "its last exception is gone");
        other.set(id(n), retry);
        assert_eq!(look(&mut here, &mut other), [], "it has one again");
    }
}

#[test]
fn what_was_due_is_not_any_more_when_the_clock_goes_back() {
    let mut here = Progress::new(id(1000));
    let retry = Exception { key: 1, attempts: 1, first_ms: 1, state: State::Retry(NOW.ms()) };
    here.exceptions.set(id(7), retry);
    let before = Now { unix_us: NOW.unix_us - 1000 };
    here.look(&Gate::open(), NOW);
    assert_eq!(here.due(None, &Gate::open(), NOW), Some(id(7)));
    assert_eq!(here.due(None, &Gate::open(), before), None);
    here.look(&Gate::open(), before);
    assert_eq!(here.due(None, &Gate::open(), before), None);
    assert_eq!(here.next_due_ms(before), Some(NOW.ms()));
    here.look(&Gate::open(), NOW);
    assert_eq!(here.due(None, &Gate::open(), NOW), Some(id(7)));
}

/// On a primary nobody can finish it, but one that becomes a replica is told so by the new one.
#[test]
fn what_was_put_aside_and_is_over_leaves_nothing_behind() {
    let (history, there, mut here) = (history(), dead(), held());
    here.look(&gate(&history, &there), NOW);
    (0..KEYS).for_each(|n| here.finish(id(200 + n)));
    (0..KEYS).for_each(|n| here.finish(id(300 + n)));
    assert!(here.exceptions.is_empty() && !here.exceptions.due().any_behind());
}
