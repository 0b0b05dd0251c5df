//! What becomes of a copy when definitions arrive in any order.

use super::*;
use crate::model::ring::Shape;

fn name(text: &str) -> Name {
    Name::group(text.as_bytes()).unwrap()
}

fn definition(id: u64, version: u64, groups: &[(&str, u64)]) -> Definition {
    let mut ring = Ring::new(Shape::even(4, 8).unwrap());
    let mut made = BTreeMap::new();
    for (group, version) in groups {
        ring.set_group(name(group), Group::default());
        made.insert(name(group), Made { version: *version, from: Some(Start::Last) });
    }
    Definition { ring, membership: Membership { id, version, made, stage: Stage::Live } }
}

fn start(of: &Definition, group: &str, p: u32) -> Option<EventId> {
    of.ring.group(&name(group)).and_then(|group| group.starts.get(&p).copied())
}

#[test]
fn what_is_no_newer_changes_nothing() {
    let held = definition(7, 10, &[]);
    assert_eq!(definition(7, 10, &[("g", 10)]).renew(Some(&held), 0), None);
    assert_eq!(definition(8, 9, &[]).renew(Some(&held), 0), None);
}

#[test]
fn a_new_group_starts_once_and_keeps_its_start() {
    let put = definition(7, 11, &[("g", 11)]);
    let first = put.renew(Some(&definition(7, 10, &[])), 2).unwrap();
    assert_eq!(first.unresolved, [(name("g"), Start::Last)]);
    let mut held = first.copy;
    held.resolve(&name("g"), 2, EventId { ms: 5, seq: 0 });
    let again = definition(7, 12, &[("g", 11), ("h", 12)]).renew(Some(&held), 2).unwrap();
    assert_eq!(again.unresolved, [(name("h"), Start::Last)]);
    assert_eq!(start(&again.copy, "g", 2), Some(EventId { ms: 5, seq: 0 }));
    assert!(again.gone.is_empty());
}

#[test]
fn a_copy_that_missed_a_group_starts_where_the_authority_says() {
    let mut put = definition(7, 11, &[("g", 11)]);
    put.resolve(&name("g"), 2, EventId { ms: 5, seq: 0 });
    put.resolve(&name("g"), 3, EventId { ms: 6, seq: 0 });
    let renewal = put.renew(Some(&definition(7, 10, &[])), 2).unwrap();
    assert_eq!(start(&renewal.copy, "g", 2), Some(EventId { ms: 5, seq: 0 }));
    assert_eq!(start(&renewal.copy, "g", 3), None);
    assert!(renewal.unresolved.is_empty());
}

#[test]
fn a_copy_is_sent_its_own_starts_only_and_becomes_the_same() {
    let mut put = definition(7, 11, &[("g", 11), ("h", 11)]);
    put.resolve(&name("g"), 2, EventId { ms: 5, seq: 0 });
    put.resolve(&name("g"), 3, EventId { ms: 6, seq: 0 });
    put.resolve(&name("h"), 3, EventId { ms: 7, seq: 0 });
    let for_copy = put.for_copies();
    for p in 0..4 {
        let sent = for_copy(p);
        let mut others = (0..4).filter(|other| *other != p);
        assert!(others.all(|other| start(&sent, "g", other).is_none()));
        for held in [None, Some(&definition(7, 10, &[("g", 9)]))] {
            assert_eq!(sent.renew(held, p), put.renew(held, p), "partition {p}");
        }
    }
}

#[test]
fn a_group_that_was_removed_and_made_again_begins_anew() {
    let mut held = definition(7, 10, &[("g", 10), ("h", 9)]);
    held.resolve(&name("g"), 0, EventId { ms: 5, seq: 0 });
    let renewal = definition(7, 12, &[("g", 12), ("h", 9)]).renew(Some(&held), 0).unwrap();
    assert_eq!(renewal.gone, [name("g")]);
    assert_eq!(renewal.unresolved.first(), Some(&(name("g"), Start::Last)));
    let removed = definition(7, 12, &[("h", 9)]).renew(Some(&held), 0).unwrap();
    assert_eq!(removed.gone, [name("g")]);
    assert!(!removed.clears);
}

#[test]
fn another_ring_and_a_tombstone_clear_what_lies_beside_the_copy() {
    let held = definition(7, 10, &[("g", 10)]);
    let other = definition(8, 11, &[("g", 11)]).renew(Some(&held), 0).unwrap();
    assert!(other.clears && other.gone.is_empty());
    let mut tombstone = definition(7, 11, &[]);
    tombstone.membership.stage = Stage::Dropped;
    assert!(tombstone.renew(Some(&held), 0).unwrap().clears);
    assert!(!definition(8, 12, &[]).renew(None, 0).unwrap().clears);
    // What comes late does not come back.
    assert_eq!(definition(7, 10, &[]).renew(Some(&tombstone), 0), None);
}

#[test]
fn a_version_grows_with_the_clock_and_without_it() {
    assert_eq!(Membership::next_version(5, Now { unix_us: 100 }), 100);
    assert_eq!(Membership::next_version(100, Now { unix_us: 100 }), 101);
}

#[test]
fn hostile_definitions_are_refused() {
    assert!(definition(7, 10, &[("g", 10)]).check().is_ok());
    assert!(definition(7, u64::MAX, &[]).check().is_err());
    let mut unmade = definition(7, 10, &[("g", 10)]);
    unmade.membership.made.clear();
    assert!(unmade.check().is_err());
}
