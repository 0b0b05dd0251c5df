//! Every history of a change that did not reach everybody, or that a failover lost.

use super::*;
use crate::model::ids::EventId;

fn name(text: &str) -> Name {
    Name::group(text.as_bytes()).unwrap()
}

fn shape(partitions: u32) -> Shape {
    Shape::even(partitions, 8).unwrap()
}

/// What an authority makes of a plan.
fn decided(plan: Plan, version: u64) -> Definition {
    let Plan::Decide(wanted) = plan else { panic!("{plan:?}") };
    let mut decided = *wanted;
    assert!(version > decided.membership.version, "a version is issued once");
    decided.membership.version = version;
    if decided.membership.id == 0 {
        decided.membership.id = version;
    }
    let new = decided.membership.made.values_mut().filter(|made| made.version == 0);
    new.for_each(|made| made.version = version);
    decided.check().unwrap();
    decided
}

/// Brings a definition to the partitions `all`.
fn push(held: &mut Held, definition: &Definition, all: impl IntoIterator<Item = u32>) {
    for p in all {
        if let Some(renewal) = definition.renew(held.copies.get(&p), p) {
            let mut copy = renewal.copy;
            for (group, _) in renewal.unresolved {
                copy.resolve(&group, p, EventId { ms: u64::from(p) + 1, seq: 0 });
            }
            // As the server does: a copy starts its groups once.
            copy.membership.made.values_mut().for_each(|made| made.from = None);
            held.copies.insert(p, copy);
        }
    }
}

fn ring_of(partitions: u32) -> Held {
    let mut held = Held::default();
    let made = decided(held.create(shape(partitions)).unwrap(), 10);
    push(&mut held, &made, 0..partitions);
    held.authority = Some(made);
    held
}

fn keep(group: Group) -> Result<Group, Error> {
    Ok(group)
}

#[test]
fn a_ring_is_made_once() {
    let held = ring_of(3);
    assert_eq!(held.create(shape(3)), Ok(Plan::Done));
    assert_eq!(held.create(shape(4)), Err(Error::RingExists));
    assert_eq!(held.known(), (10, 10));
}

#[test]
fn a_creation_that_missed_a_shard_is_completed() {
    let mut held = ring_of(3);
    held.copies.remove(&1);
    let Plan::Push(again) = held.create(shape(3)).unwrap() else { panic!() };
    push(&mut held, &again, 0..3);
    assert_eq!(held.create(shape(3)), Ok(Plan::Done));
}

#[test]
fn an_authority_that_lost_the_ring_takes_it_from_its_copies() {
    let mut held = ring_of(3);
    held.authority = None;
    assert_eq!(held.create(shape(4)), Err(Error::RingExists));
    let again = decided(held.create(shape(3)).unwrap(), 11);
    assert_eq!(again.membership.id, 10);
    push(&mut held, &again, 0..3);
    held.authority = Some(again);
    assert_eq!(held.create(shape(3)), Ok(Plan::Done));
}

#[test]
fn an_authority_that_lost_its_last_version_takes_no_group_back() {
    let mut held = ring_of(3);
    let old = held.authority.clone();
    let with_group = decided(held.set_group(&name("g"), Some(Start::Last), keep).unwrap(), 11);
    push(&mut held, &with_group, 0..3);
    held.authority = old;
    // The next change goes on from what the copies hold, under a version above theirs.
    let next = decided(held.set_group(&name("h"), None, keep).unwrap(), 12);
    assert_eq!(next.membership.made.get(&name("g")).unwrap().version, 11);
    assert_eq!(next.ring.group(&name("g")).unwrap().starts.len(), 3);
}

#[test]
fn a_group_that_missed_a_shard_is_completed_with_its_start() {
    let mut held = ring_of(3);
    let with_group = decided(held.set_group(&name("g"), Some(Start::Last), keep).unwrap(), 11);
    push(&mut held, &with_group, [0, 2]);
    held.authority = Some(with_group);
    let other = held.set_group(&name("g"), Some(Start::First), keep);
    assert!(matches!(other, Err(Error::Usage(_))));
    let Plan::Push(again) = held.set_group(&name("g"), Some(Start::Last), keep).unwrap() else {
        panic!()
    };
    push(&mut held, &again, 0..3);
    assert_eq!(held.copies[&1].ring.group(&name("g")).unwrap().starts[&1].ms, 2);
    assert_eq!(held.set_group(&name("g"), Some(Start::Last), keep), Ok(Plan::Done));
}

#[test]
fn a_removal_that_missed_a_partition_does_not_go_on_from_an_old_cursor() {
    let mut held = ring_of(3);
    let with_group = decided(held.set_group(&name("g"), None, keep).unwrap(), 11);
    push(&mut held, &with_group, 0..3);
    held.authority = Some(with_group);
    let without = decided(held.delete_group(&name("g")).unwrap(), 12);
    push(&mut held, &without, [0, 1]);
    held.authority = Some(without);
    assert!(matches!(held.delete_group(&name("g")), Ok(Plan::Push(_))));
    let again = decided(held.set_group(&name("g"), None, keep).unwrap(), 13);
    let renewal = again.renew(held.copies.get(&2), 2).unwrap();
    assert_eq!(renewal.gone, [name("g")]);
    push(&mut held, &again, 0..3);
    held.authority = Some(again);
    assert_eq!(held.delete_group(&name("h")), Err(Error::NoGroup));
}

#[test]
fn a_drop_that_missed_a_shard_keeps_the_name_until_it_is_completed() {
    let mut held = ring_of(3);
    let dropping = decided(held.drop_ring().unwrap(), 11);
    let stone = tombstone(dropping.clone());
    push(&mut held, &stone, [0, 1]);
    held.authority = Some(dropping.clone());
    assert_eq!(held.create(shape(2)), Err(Error::RingExists));
    assert_eq!(held.set_group(&name("g"), None, keep), Err(Error::NoRing));
    assert_eq!(held.drop_ring(), Ok(Plan::Push(Box::new(dropping))));
    push(&mut held, &stone, 0..3);
    held.authority = None;
    assert_eq!(held.drop_ring(), Err(Error::NoRing));
    let other = decided(held.create(shape(2)).unwrap(), 12);
    push(&mut held, &other, 0..2);
    assert_eq!(held.copies[&0].membership.id, 12);
    // A late definition of the dropped ring comes over neither.
    assert_eq!(ring_of(3).authority.unwrap().renew(held.copies.get(&2), 2), None);
}

#[test]
fn a_drop_without_its_authority_goes_on_from_the_copies() {
    let mut held = ring_of(3);
    held.authority = None;
    let dropping = decided(held.drop_ring().unwrap(), 11);
    assert_eq!((dropping.membership.id, dropping.membership.stage), (10, Stage::Dropping));
}

#[test]
fn an_authority_that_lost_the_drop_neither_lives_on_nor_blocks_the_name() {
    let mut held = ring_of(3);
    let old = held.authority.clone();
    let stone = tombstone(decided(held.drop_ring().unwrap(), 11));
    push(&mut held, &stone, 0..3);
    held.authority = old;
    assert_eq!(held.delete_group(&name("g")), Err(Error::NoRing));
    assert!(held.drop_ring().is_ok());
    let other = decided(held.create(shape(5)).unwrap(), 12);
    assert_ne!(other.membership.id, 10);
}

#[test]
fn a_copy_that_lost_the_drop_is_cleared_by_the_next_ring() {
    let mut held = ring_of(3);
    let before = held.copies[&2].clone();
    let stone = tombstone(decided(held.drop_ring().unwrap(), 11));
    push(&mut held, &stone, 0..3);
    held.copies.insert(2, before);
    held.authority = None;
    let other = decided(held.create(shape(3)).unwrap(), 12);
    assert!(other.renew(held.copies.get(&2), 2).unwrap().clears);
}

#[test]
fn what_counts_reaches_whoever_lost_it() {
    let mut held = ring_of(3);
    assert_eq!(held.heal(), Plan::Done);
    let old = held.authority.clone();
    let with_group = decided(held.set_group(&name("g"), None, keep).unwrap(), 11);
    push(&mut held, &with_group, 0..2);
    held.authority = old;
    let healed = decided(held.heal(), 12);
    assert_eq!(healed.membership.made.get(&name("g")).unwrap().version, 11);
    held.authority = None;
    assert_eq!(decided(held.heal(), 12).membership.id, 10);
    assert_eq!(Held::default().heal(), Plan::Done);
}

#[test]
fn a_copy_that_lost_the_drop_is_told_again() {
    let mut held = ring_of(3);
    let before = held.copies[&2].clone();
    let stone = tombstone(decided(held.drop_ring().unwrap(), 11));
    push(&mut held, &stone, 0..3);
    held.authority = None;
    assert_eq!(held.heal(), Plan::Done);
    held.copies.insert(2, before);
    let Plan::Push(stone) = held.heal() else { panic!() };
    assert!(stone.renew(held.copies.get(&2), 2).unwrap().clears);
}

#[test]
fn a_ring_of_a_single_server_becomes_one_of_the_cluster_with_its_groups() {
    let mut ring = Ring::new(shape(3));
    let starts = [(1, EventId { ms: 7, seq: 0 })].into();
    ring.set_group(name("g"), Group { starts, ..Group::default() });
    let mut held = Held { authority: Some(Definition::without_cluster(ring)), ..Held::default() };
    assert_eq!(held.known(), (0, 0));
    assert_eq!(held.create(shape(4)), Err(Error::RingExists));
    let joined = decided(held.create(shape(3)).unwrap(), 10);
    assert_eq!(joined.membership.made.get(&name("g")).unwrap().version, 10);
    push(&mut held, &joined, 0..3);
    assert_eq!(held.copies[&1].ring.group(&name("g")).unwrap().starts[&1].ms, 7);
    assert!(!joined.renew(None, 0).unwrap().clears);
    held.authority = Some(joined);
    assert_eq!(held.create(shape(3)), Ok(Plan::Done));
}

/// Nobody but the authority knows where the group was asked to start, until all have.
#[test]
fn a_partition_that_missed_a_group_starts_it_where_it_was_asked_to() {
    let mut held = ring_of(3);
    let made = decided(held.set_group(&name("g"), Some(Start::Last), keep).unwrap(), 11);
    push(&mut held, &made, [0, 2]);
    held.authority = Some(made);
    let again = held.set_group(&name("g"), Some(Start::Last), keep);
    for plan in [again.unwrap(), held.heal()] {
        let Plan::Push(definition) = plan else { panic!("{plan:?}") };
        let renewal = definition.renew(held.copies.get(&1), 1).unwrap();
        assert_eq!(renewal.unresolved, [(name("g"), Start::Last)]);
    }
    assert!(held.set_group(&name("g"), Some(Start::First), keep).is_err());
}
