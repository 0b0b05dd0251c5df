//! Snapshots against hostile bytes: whatever is read, the answer is a value or a refusal.

use proptest::prelude::*;

use super::*;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::ring::Shape;
use crate::model::ring::group::Group;
use crate::model::saved::effect::{Change, Failure, Fate};

fn group(name: &str) -> Name {
    Name::group(name.as_bytes()).unwrap()
}

fn ring() -> Ring {
    let mut ring = Ring::new(Shape::even(8, 160).unwrap());
    let settings = Group { types: vec![b"a\0".as_slice().into()], ..Group::default() };
    ring.apply(Effect::GroupSet(group("mail"), settings));
    ring
}

fn failure() -> Failure {
    let id = |ms| EventId { ms, seq: 0 };
    let (key, fate) = (u128::MAX, Fate::Retry(9));
    Failure { id: id(9), key, attempts: 1, first_ms: 8, fate, held: vec![id(10), id(11)] }
}

fn partition() -> Partition {
    let mut partition = Partition::default();
    let epoch = |epoch| Change::Epoch { epoch, start: EventId::ZERO };
    partition.apply(Effect::Group(group("mail"), epoch(7)));
    partition.apply(Effect::Group(group("mail"), Change::Failed(failure())));
    partition.acknowledge(&group("mail"), EventId { ms: 5, seq: 1 });
    partition.apply(Effect::Group(group("audit"), epoch(u64::MAX / 2)));
    partition
}

#[test]
fn values_and_effects_come_back() {
    assert_eq!(decode(&encode(&ring()).unwrap()), Ok(ring()));
    // What is volatile (here: how often something failed since the start) does not come back.
    let back: Partition = decode(&encode(&partition()).unwrap()).unwrap();
    assert_eq!(encode(&back), encode(&partition()));
    assert_eq!(decode(&encode(&back).unwrap()), Ok(back));
    for effect in [
        Effect::Ring(ring()),
        Effect::Partition(Partition::default()),
        Effect::GroupSet(group("g"), Group::default()),
        Effect::GroupGone(group("g")),
        Effect::Group(group("g"), Change::Failed(failure())),
        Effect::Group(group("g"), Change::Held(vec![(EventId::MAX, u128::MAX)])),
    ] {
        assert_eq!(decode(&encode(&effect).unwrap()), Ok(effect));
    }
}

#[test]
fn an_exception_takes_no_more_than_the_limits_reckon_with() {
    let mut partition = partition();
    let before = encode(&partition).unwrap().len();
    for n in 0..10 {
        let id = EventId { ms: 100, seq: n };
        let failure = Failure { id, held: Vec::new(), ..failure() };
        partition.apply(Effect::Group(group("mail"), Change::Failed(failure)));
    }
    assert_eq!(encode(&partition).unwrap().len() - before, 10 * EXCEPTION_BYTES);
}

#[test]
fn short_long_foreign_and_future_bytes_are_refused() {
    let good = encode(&ring()).unwrap();
    for end in 0..good.len() {
        assert!(decode::<Ring>(&good[..end]).is_err(), "cut at {end}");
    }
    let mut long = good.clone();
    long.push(0);
    assert_eq!(decode::<Ring>(&long), Err(Corrupt::Malformed));
    for version in [0, VERSION + 1, u8::MAX] {
        let mut other = good.clone();
        other[3] = version;
        assert_eq!(decode::<Ring>(&other), Err(Corrupt::Version(version)));
    }
    assert_eq!(decode::<Ring>(b"RDB\x01abc"), Err(Corrupt::NotEvq));
}

#[test]
fn a_huge_count_allocates_nothing() {
    let mut bytes = b"EVQ\x01".to_vec();
    bytes.extend(u64::MAX.to_le_bytes());
    assert_eq!(decode::<Ring>(&bytes), Err(Corrupt::Malformed));
    assert_eq!(decode::<Partition>(&bytes), Err(Corrupt::Malformed));
}

#[test]
fn a_ring_beyond_the_limits_is_refused() {
    // One partition of weight 1, then one of weight 0: no EVQ.CREATE could have made it.
    let mut bytes = encode(&Ring::new(Shape::even(2, 160).unwrap())).unwrap();
    bytes[16..20].copy_from_slice(&0u32.to_le_bytes());
    assert_eq!(decode::<Ring>(&bytes), Err(Corrupt::OutOfBounds));
}

#[test]
fn a_bad_name_is_refused() {
    let mut bytes = encode(&Effect::GroupGone(group("abc"))).unwrap();
    let last = bytes.len() - 1;
    bytes[last] = b'\n';
    assert_eq!(decode::<Effect>(&bytes), Err(Corrupt::Malformed));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut framed = b"EVQ\x01".to_vec();
        framed.extend(&bytes);
        let _ = decode::<Ring>(&framed);
        let _ = decode::<Partition>(&framed);
        let _ = decode::<Effect>(&framed);
        let _ = decode::<Effect>(&bytes);
    }

    #[test]
    fn one_changed_byte_is_a_value_within_limits_or_a_refusal(
        at in 0usize..200,
        to in any::<u8>(),
    ) {
        let mut bytes = encode(&ring()).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        if let Ok(ring) = decode::<Ring>(&bytes) {
            prop_assert!(ring.check().is_ok());
        }
    }
}

#[test]
fn a_ring_with_a_past_that_no_ring_has_is_refused() {
    use crate::model::ring::history::End;
    let with = |partition: u32| {
        let mut ring = ring();
        let end = End { last: EventId::MAX, added: 1 };
        assert!(ring.apply(Effect::Resized(vec![1; 2], [(0, end)].into(), 0)));
        let mut bytes = encode(&ring).unwrap();
        // The one end: its partition's number stands before the last event and the count.
        let at = bytes.windows(16).position(|window| window == [0xff; 16]).unwrap() - 4;
        bytes[at..at + 4].copy_from_slice(&partition.to_le_bytes());
        decode::<Ring>(&bytes)
    };
    assert!(with(1023).is_ok());
    assert_eq!(with(1024), Err(Corrupt::OutOfBounds));
    assert_eq!(with(u32::MAX), Err(Corrupt::OutOfBounds));
    let mut ring = ring();
    let ends = [(u32::MAX, End::default())].into();
    assert!(!ring.apply(Effect::Resized(vec![1; 2], ends, 0)), "nor by an effect");
    assert_eq!(ring.generation(), 1);
}
