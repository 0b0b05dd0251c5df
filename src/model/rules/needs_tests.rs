//! What a group needs of entries that it does not take, or has finished ahead of its cursor.

use super::*;
use crate::model::ring::Shape;
use crate::model::saved::effect::{Change, Effect, Failure, Fate};

/// A stream in memory: ids and types of one byte. A type can only be asked of what came last.
#[derive(Clone, Debug)]
pub(in crate::model) struct Listed {
    left: std::vec::IntoIter<(EventId, u8)>,
    last: Option<[u8; 1]>,
}

impl Listed {
    pub(in crate::model) fn new(entries: impl IntoIterator<Item = (EventId, u8)>) -> Self {
        Self { left: entries.into_iter().collect::<Vec<_>>().into_iter(), last: None }
    }
}

impl Front for Listed {
    fn next_id(&mut self) -> Option<EventId> {
        let (id, kind) = self.left.next()?;
        self.last = Some([kind]);
        Some(id)
    }

    fn kind(&mut self) -> impl AsRef<[u8]> {
        self.last.take().expect("an entry, and asked once")
    }
}

fn id(n: u64) -> EventId {
    EventId { ms: n, seq: 0 }
}

/// A ring of one partition with groups that take these types, all of them if there are none.
fn ring(groups: &[(&str, &[u8])]) -> Ring {
    let mut ring = Ring::new(Shape::even(1, 1).unwrap());
    for (name, kinds) in groups {
        let types = kinds.iter().map(|kind| Box::from([*kind])).collect();
        let group = Group { types, ..Group::default() };
        ring.apply(Effect::GroupSet(Name::group(name.as_bytes()).unwrap(), group));
    }
    ring
}

/// Which of the entries the ring needs by whom, and how many types were read for that.
fn needed(
    ring: &Ring,
    state: &Partition,
    entries: &[(u64, u8)],
) -> (Vec<Option<&'static str>>, u64) {
    let exists = |id: EventId| entries.iter().any(|(n, _)| *n == id.ms);
    let needs = ring.needs(0, Some(state), exists);
    let mut front = Listed::new(entries.iter().map(|(n, kind)| (id(*n), *kind)));
    let mut reads = 0;
    let mut by = Vec::new();
    while let Some(id) = front.next_id() {
        let name = needs.of(id, &mut front, &mut reads).map(Name::as_str);
        by.push(name.map(|name| if name == "some" { "some" } else { "all" }));
        assert!(id >= needs.least() || name.is_none());
    }
    (by, reads)
}

fn apply(state: &mut Partition, name: &str, changes: Vec<Change>) {
    let name = Name::group(name.as_bytes()).unwrap();
    let first = Change::Epoch { epoch: 1, start: EventId::ZERO };
    for change in [first].into_iter().chain(changes) {
        assert!(state.apply(Effect::Group(name.clone(), change)));
    }
}

fn failed(n: u64, fate: Fate) -> Change {
    let (id, key) = (id(n), u128::from(n));
    Change::Failed(Failure { id, key, attempts: 1, first_ms: 1, fate, held: vec![] })
}

const X: u8 = 0;
const Y: u8 = 1;

#[test]
fn a_group_that_never_asked_does_not_need_other_types() {
    let ring = ring(&[("some", &[X])]);
    let entries = [(1, Y), (2, X), (3, Y)];
    let (by, reads) = needed(&ring, &Partition::default(), &entries);
    assert_eq!((by, reads), (vec![None, Some("some"), None], 3));
}

#[test]
fn nothing_is_read_where_all_groups_take_all_types() {
    let ring = ring(&[("all", &[])]);
    let mut state = Partition::default();
    let entries = [(1, Y), (2, X), (3, Y), (4, Y)];
    assert_eq!(needed(&ring, &state, &entries), (vec![Some("all"); 4], 0));
    apply(&mut state, "all", vec![Change::Passed(id(2))]);
    assert_eq!(needed(&ring, &state, &entries), (vec![None, None, Some("all"), Some("all")], 0));
}

#[test]
fn nothing_is_read_below_the_cursor_and_once_for_all_groups_above() {
    let ring = ring(&[("some", &[X]), ("some2", &[X]), ("some3", &[X])]);
    let mut state = Partition::default();
    for name in ["some", "some2", "some3"] {
        apply(&mut state, name, vec![Change::Passed(id(2))]);
    }
    let entries = [(1, X), (2, Y), (3, Y), (4, Y)];
    assert_eq!(needed(&ring, &state, &entries), (vec![None; 4], 2));
}

#[test]
fn what_failed_is_needed_and_with_it_all_that_comes_after_its_first() {
    let ring = ring(&[("some", &[X])]);
    for fate in [Fate::Retry(5), Fate::Dead] {
        let mut state = Partition::default();
        apply(&mut state, "some", vec![failed(2, fate), Change::Passed(id(3))]);
        let entries = [(1, Y), (2, X), (3, Y), (4, Y)];
        let some = Some("some");
        assert_eq!(needed(&ring, &state, &entries), (vec![None, some, some, some], 0));
        // Its entry was deleted: then only what comes next is asked.
        let entries = [(1, Y), (3, Y), (4, Y), (5, X)];
        assert_eq!(needed(&ring, &state, &entries), (vec![None, None, None, some], 2));
        // The cursor has not passed it.
        let mut state = Partition::default();
        apply(&mut state, "some", vec![failed(2, fate)]);
        let entries = [(1, Y), (2, X), (3, Y)];
        assert_eq!(needed(&ring, &state, &entries), (vec![None, some, None], 2));
    }
}

#[test]
fn what_is_over_ahead_of_the_cursor_is_finished() {
    for kinds in [&[][..], &[X]] {
        let ring = ring(&[("some", kinds)]);
        let mut state = Partition::default();
        apply(&mut state, "some", vec![failed(1, Fate::Skipped), failed(2, Fate::Retry(5))]);
        let entries = [(1, X), (2, X), (3, X)];
        let (by, reads) = needed(&ring, &state, &entries);
        assert_eq!(by, [None, Some("some"), Some("some")]);
        assert_eq!(reads, kinds.len() as u64);
    }
}

#[test]
fn of_several_the_one_that_was_silent_longest_is_named() {
    let ring = ring(&[("all", &[]), ("some", &[X])]);
    let asked = |name: &str, ms: u64| {
        let name = Name::group(name.as_bytes()).unwrap();
        let now = crate::model::now::Now { unix_us: ms * 1000 };
        ring.group(&name).unwrap().activity.note(now);
    };
    let state = Partition::default();
    let by = || needed(&ring, &state, &[(1, X), (2, Y)]).0;
    asked("all", 5);
    assert_eq!(by(), [Some("some"), Some("all")]);
    asked("some", 9);
    assert_eq!(by(), [Some("all"), Some("all")]);
}

#[test]
fn a_ring_without_groups_needs_nothing() {
    let ring = ring(&[]);
    assert_eq!(ring.needs(0, None, |_| true).least(), EventId::MAX);
    assert_eq!(needed(&ring, &Partition::default(), &[(1, X)]), (vec![None], 0));
}
