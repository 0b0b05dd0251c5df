//! Where keys move, what comes first, and when a barrier is open.

use std::collections::BTreeSet;

use super::*;
use crate::model::hash::digest;
use crate::model::progress::exceptions::Exceptions;
use crate::model::ring::moves::Moves;
use crate::model::ring::{Payload, Ring, Shape};
use crate::model::rules::gate::Gate;
use crate::model::saved::effect::Effect;

fn id(ms: u64) -> EventId {
    EventId { ms, seq: 0 }
}

fn continuum(weights: &[u32], vnodes: u32) -> Continuum {
    Shape::new(weights.to_vec(), vnodes, Payload::Any).unwrap().continuum()
}

/// A history of these moves, one list of (loses, gains) for each resize, which ended partition `p`
/// at the id `100 * resize + p`.
fn history(steps: &[&[(u32, u32)]]) -> History {
    let step = |(n, pairs): (u64, &&[(u32, u32)])| {
        let mut sources = vec![Vec::new(); 10];
        for (loses, gains) in *pairs {
            sources[*gains as usize].push(*loses);
        }
        let ends = (0..10).map(|p| id(100 * n + p)).collect();
        Resize { ends, sources }
    };
    History::of((1..).zip(steps).map(step).map(Arc::new).collect())
}

fn upstream(partition: u32, ms: u64) -> Upstream {
    Upstream { partition, until: id(ms) }
}

#[test]
fn a_new_partition_takes_its_share_from_all_and_gives_none() {
    for n in [1, 4, 8, 30] {
        let (old, new) = (continuum(&vec![1; n], 160), continuum(&vec![1; n + 1], 160));
        let Moves { pairs, values: moved } = moves(&old, &new);
        let new = u32::try_from(n).unwrap();
        assert!(pairs.iter().all(|pair| pair.gains == new));
        assert_eq!(pairs.len(), n, "each partition loses something");
        let share = moved as f64 / f64::from(u32::MAX);
        let fair = 1.0 / (n as f64 + 1.0);
        assert!((0.6 * fair..1.4 * fair).contains(&share), "{n}: {share} moved, {fair} is fair");
    }
}

#[test]
fn what_moves_is_what_is_routed_elsewhere() {
    let (old, new) = (continuum(&[1, 2, 1], 16), continuum(&[2, 1, 1, 1], 16));
    let Moves { pairs, values: moved } = moves(&old, &new);
    let (mut seen, mut elsewhere) = (BTreeSet::new(), 0u32);
    const KEYS: u32 = 100_000;
    for n in 0..KEYS {
        let key = n.to_string();
        let (loses, gains) = (old.route(key.as_bytes()), new.route(key.as_bytes()));
        if loses != gains {
            seen.insert(Move { loses, gains });
            elsewhere += 1;
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), pairs);
    let (share, moved) = (f64::from(elsewhere) / f64::from(KEYS), moved as f64 / 2f64.powi(32));
    assert!((share - moved).abs() < 0.01, "{share} of the keys, {moved} of the hash space");
    assert_eq!(moves(&old, &old), Moves::default());
}

#[test]
fn a_barrier_waits_for_the_whole_way_of_a_key() {
    let history = history(&[&[(0, 2)], &[(2, 3)]]);
    assert_eq!(history.upstream(2, 0), [upstream(0, 100)]);
    assert_eq!(history.upstream(3, 1), [upstream(0, 100), upstream(2, 202)]);
    assert_eq!(history.all_upstream(3), [0, 2]);
    assert!(history.all_upstream(0).is_empty() && history.all_upstream(99).is_empty());
    assert_eq!(history.barriers(3).collect::<Vec<_>>(), [Barrier { step: 1, end: id(203) }]);
}

#[test]
fn partitions_that_exchange_keys_do_not_wait_for_each_other_for_ever() {
    let history = history(&[&[(0, 1), (1, 0)]]);
    assert_eq!(history.upstream(0, 0), [upstream(1, 101)]);
    assert_eq!(history.upstream(1, 0), [upstream(0, 100)]);
}

#[test]
fn a_key_that_comes_back_waits_for_where_it_was_and_for_where_it_began() {
    let history = history(&[&[(0, 1)], &[(1, 0)]]);
    assert_eq!(history.upstream(0, 1), [upstream(0, 100), upstream(1, 201)]);
    assert_eq!(history.resizes_before(0, id(100)), 0);
    assert_eq!(history.resizes_before(0, id(101)), 1);
    assert_eq!(history.resizes_before(0, id(201)), 2);
}

#[test]
fn the_first_closed_barrier_counts() {
    let history = history(&[&[(0, 2)], &[(1, 2)], &[(3, 4)]]);
    let closed = |open: &[u32]| history.closed_after(2, |first| open.contains(&first.partition));
    assert_eq!(closed(&[]), Some(id(102)));
    assert_eq!(closed(&[1]), Some(id(102)));
    assert_eq!(closed(&[0]), Some(id(202)));
    assert_eq!(closed(&[0, 1]), None);
}

#[test]
fn only_exceptions_from_before_an_event_hold_it() {
    use crate::model::progress::exceptions::{Exception, State};
    let history = history(&[&[(0, 1)], &[(1, 0)], &[(0, 1)]]);
    let key = digest(b"k");
    let mut exceptions = Exceptions::default();
    let retry = Exception { key, attempts: 1, first_ms: 1, state: State::Retry(1) };
    // Of partition 0, when the key had come back to it.
    exceptions.set(id(250), retry);
    let gate = Gate::new(&history, 1, None, vec![(0, &exceptions)]);
    assert_eq!(gate.holder(key, id(150)), None, "an event of partition 1 from before that");
    assert_eq!(gate.holder(key, id(350)), Some((0, id(250))), "one from after it");
    assert_eq!(gate.holder(digest(b"other"), id(350)), None);
    exceptions.set(id(250), Exception { state: State::Finished, ..retry });
    let gate = Gate::new(&history, 1, None, vec![(0, &exceptions)]);
    assert_eq!(gate.holder(key, id(350)), None);
}

fn resize(ring: &mut Ring, weights: &[u32], ends: &[(u32, u64)]) {
    let shape = ring.resize(weights.to_vec(), 0).unwrap().unwrap();
    let ends = ends.iter().map(|(p, ms)| (*p, End { last: id(*ms), added: 1 })).collect();
    assert!(ring.apply(Effect::Resized(shape.weights().to_vec(), ends, 100)));
    ring.check().unwrap();
}

#[test]
fn partitions_leave_and_come_back() {
    let mut ring = Ring::new(Shape::even(3, 8).unwrap());
    resize(&mut ring, &[1], &[(0, 5), (2, 6)]);
    assert_eq!(ring.leaving().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(ring.nodes().map(|node| node.weight).collect::<Vec<_>>(), [1, 0, 0]);
    assert!(ring.check_partition(2).is_ok() && ring.check_partition(3).is_err());
    ring.apply(Effect::Retired(1));
    assert!(ring.check_partition(1).is_err());
    resize(&mut ring, &[1, 1, 1, 1], &[(0, 8), (2, 6)]);
    assert_eq!(ring.leaving().count(), 0);
    assert_eq!(ring.generation(), 3);
    assert_eq!(ring.floor(2), id(6), "a stream that is made anew begins above what was before");
    assert_eq!(ring.resize(vec![1; 4], 0), Ok(None), "nothing to do");
    assert!(!ring.apply(Effect::Resized(Vec::new(), BTreeMap::new(), 0)), "no ring is empty");
}

#[test]
fn what_is_not_retained_is_forgotten_from_the_oldest_on() {
    let mut ring = Ring::new(Shape::even(2, 8).unwrap());
    resize(&mut ring, &[1, 1, 1], &[(0, 5), (1, 5)]);
    resize(&mut ring, &[1], &[(0, 7), (2, 9)]);
    let none = |_| false;
    let first = |first: [u64; 3]| move |p: u32| first.get(p as usize).map(|ms| id(*ms));
    assert_eq!(ring.forgettable(first([5, 6, 1]), none), 0);
    assert_eq!(ring.forgettable(first([6, 6, 1]), none), 1);
    assert_eq!(ring.forgettable(first([8, 6, 10]), none), 2);
    assert_eq!(ring.forgettable(|_| None, none), 2);
    // Each ended at 100; one with a token that counts stays, and so do those after it.
    assert_eq!(ring.forgettable(|_| None, |until_ms| until_ms >= 100), 0);
    assert_eq!(ring.forgettable(|_| None, |until_ms| until_ms >= 101), 2);
    ring.apply(Effect::Forgotten(1));
    assert_eq!(ring.past().len(), 1);
    ring.apply(Effect::Forgotten(9));
    assert!(ring.past().is_empty());
}

#[test]
fn no_more_resizes_than_allowed_are_remembered() {
    use crate::model::error::Error;
    use crate::model::limits::MAX_RESIZES;
    let mut ring = Ring::new(Shape::even(1, 8).unwrap());
    for n in 0..MAX_RESIZES {
        let partitions = if n % 2 == 0 { 2 } else { 1 };
        resize(&mut ring, &vec![1; partitions], &[(0, 1 + n as u64)]);
    }
    assert!(matches!(ring.resize(vec![1, 1, 1], 0), Err(Error::Limit(..))));
    assert!(ring.resize(vec![1, 1, 1], 1).is_ok());
}

#[test]
fn what_follows_step_by_step_is_what_follows_from_the_whole_past() {
    let mut ring = Ring::new(Shape::even(2, 16).unwrap());
    let mut stepwise: Option<History> = None;
    let sizes: [&[u32]; 5] = [&[1; 4], &[1], &[2, 1, 1], &[1, 2], &[1; 6]];
    for (n, weights) in (1..).zip(sizes) {
        let before = ring.continuum();
        resize(&mut ring, weights, &[(0, 10 * n), (1, 10 * n + 1), (2, 10 * n + 2)]);
        let past = ring.past().last().unwrap();
        stepwise = Some(History::next(stepwise.as_ref(), past, &before, &ring.continuum()));
        let whole = ring.history(&ring.continuum()).unwrap();
        for (p, step) in (0..6).flat_map(|p| (0..5).map(move |step| (p, step))) {
            let stepwise = stepwise.as_ref().unwrap();
            assert_eq!(stepwise.upstream(p, step), whole.upstream(p, step), "{p} {step}");
            assert_eq!(stepwise.all_upstream(p), whole.all_upstream(p));
        }
    }
    ring.apply(Effect::Forgotten(2));
    let (rest, whole) = (stepwise.unwrap().without(2).unwrap(), ring.history(&ring.continuum()));
    assert_eq!(rest.all_upstream(5), whole.unwrap().all_upstream(5));
    assert!(rest.without(3).is_none());
}
