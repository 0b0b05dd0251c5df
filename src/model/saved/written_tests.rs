//! Values and effects as format version 1 wrote them (`tests/data/v1`), read by this version. A
//! server's whole files of that format are read by `tests/it/formats.rs`.

use super::effect::{Change, Effect, Fate};
use super::snapshot::{Snapshot, decode, encode};
use crate::model::ids::EventId;
use crate::model::later::schedule;
use crate::model::name::Name;
use crate::model::progress::Suspect;
use crate::model::progress::exceptions::State;
use crate::model::progress::partition::Partition;
use crate::model::ring::history::End;
use crate::model::ring::retention::{Retention, Trim};
use crate::model::ring::{Payload, Ring, Shape};
use crate::model::unique::tokens;

const EFFECTS: &str = include_str!("../../../tests/data/v1/effects.hex");
const VALUES: &str = include_str!("../../../tests/data/v1/values.hex");

/// The keys and bytes of a file.
fn lines(file: &str) -> impl Iterator<Item = (&str, Vec<u8>)> {
    let byte = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
    file.lines().map(move |line| {
        let (key, hex) = line.split_once(' ').unwrap();
        (key, hex.as_bytes().chunks_exact(2).map(byte).collect())
    })
}

fn value<T: Snapshot>(wanted: &str) -> T {
    let (_, bytes) = lines(VALUES).find(|(key, _)| *key == wanted).unwrap();
    decode(&bytes).unwrap()
}

fn group(name: &str) -> Name {
    Name::group(name.as_bytes()).unwrap()
}

fn id(seq: u64) -> EventId {
    EventId { ms: 4_102_444_800_000, seq }
}

fn kind(effect: &Effect) -> &'static str {
    match effect {
        Effect::Ring(_) => "ring",
        Effect::Partition(_) => "partition",
        Effect::GroupSet(..) => "group set",
        Effect::GroupGone(_) => "group gone",
        Effect::Group(_, change) => match change {
            Change::Epoch { .. } => "epoch",
            Change::Passed(_) => "passed",
            Change::Held(_) => "held",
            Change::Failed(failure) => match failure.fate {
                Fate::Retry(_) => "retry",
                Fate::Dead => "dead",
                Fate::Skipped => "skipped",
            },
            Change::Suspected(..) => "suspected",
            Change::Dropped(_) => "dropped",
            Change::Revived(..) => "revived",
            Change::Sought { .. } => "sought",
            Change::HeldElsewhere(_) => "held elsewhere",
            Change::Replayed(..) => "replayed",
            #[allow(unreachable_patterns)]
            _ => "of a later format",
        },
        Effect::Resized(..) => "resized",
        Effect::Retired(_) => "retired",
        Effect::Forgotten(_) => "forgotten",
        Effect::Tick(_) => "tick",
        Effect::Unique(change) => match change {
            tokens::Change::Begun(_) => "tokens begun",
            tokens::Change::Kept(..) => "tokens kept",
            tokens::Change::Remembered(..) => "tokens",
            tokens::Change::Forgot(..) => "tokens forgotten",
        },
        Effect::Later(change) => match change {
            schedule::Change::Begun(..) => "schedule begun",
            schedule::Change::Added(..) => "scheduled",
            schedule::Change::Kept(_) => "schedule kept",
            schedule::Change::Removed(_) => "cancelled",
            schedule::Change::Appended(..) => "came due",
            schedule::Change::Tokens(_) => "schedule's tokens",
        },
        Effect::Ticketed(_) => "ticketed",
        #[allow(unreachable_patterns)]
        _ => "of a later format",
    }
}

#[test]
fn every_kind_of_effect_of_format_1_is_read() {
    let mut kinds = std::collections::BTreeSet::new();
    for (key, bytes) in lines(EFFECTS) {
        assert_eq!(&bytes[..4], b"EVQ\x01", "{key}");
        let effect: Effect = decode(&bytes).unwrap_or_else(|why| panic!("{key}: {why}"));
        kinds.insert(kind(&effect));
        // What was read can be written, whatever the format of today.
        assert_eq!(decode(&encode(&effect).unwrap()), Ok(effect), "{key}");
    }
    let all = [
        "came due",
        "cancelled",
        "dead",
        "dropped",
        "epoch",
        "forgotten",
        "group gone",
        "group set",
        "held",
        "held elsewhere",
        "partition",
        "passed",
        "replayed",
        "resized",
        "retired",
        "retry",
        "revived",
        "ring",
        "schedule begun",
        "schedule kept",
        "schedule's tokens",
        "scheduled",
        "skipped",
        "sought",
        "suspected",
        "tick",
        "tokens",
        "tokens begun",
        "tokens kept",
    ];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn a_ring_of_format_1_is_read() {
    let ring: Ring = value("evq:{new}");
    let shape = Shape::new(vec![1, 2, 3], 40, Payload::Json).unwrap();
    assert_eq!((ring.shape(), ring.generation()), (&shape, 1));
    let names: Vec<_> = ring.groups().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["audit:v2", "default", "late", "typed"]);
    let typed = ring.group(&group("typed")).unwrap();
    assert_eq!((typed.max_attempts, typed.backoff_min_ms, typed.backoff_max_ms), (3, 100, 5000));
    assert!(typed.takes(b"A") && typed.takes(b"B") && !typed.takes(b"C"));
    let late = ring.group(&group("late")).unwrap();
    assert_eq!([0, 1, 2].map(|p| late.start(p)), [id(3), id(13), id(14)]);
}

#[test]
fn failures_of_format_1_are_read() {
    let partition: Partition = value("evq:{newf:0}:groups");
    let states = |name: &str| {
        let exceptions = partition.get(&group(name)).unwrap().exceptions();
        let states = exceptions.iter().map(|(id, exception)| (id.seq, exception.state));
        states.collect::<Vec<_>>()
    };
    assert!(matches!(
        states("hold")[..],
        [
            (1, State::Retry(_)),
            (2, State::Held),
            (3, State::Dead),
            (4, State::Held),
            (6, State::Held)
        ]
    ));
    assert!(matches!(states("skip")[..], [(1, State::Retry(0)), (4, State::Finished)]));
    assert_eq!(partition.get(&group("hold")).unwrap().cursor(), id(6));
    assert!(matches!(states("again")[..], [(1, State::Retry(0)), (2, State::Held)]));
    assert_eq!(partition.get(&group("again")).unwrap().cursor(), id(5));
    // The suspect is the event that it was, on its second attempt.
    let suspect = partition.get(&group("suspect")).unwrap();
    assert_eq!(
        (suspect.suspect, suspect.cursor()),
        (Some(Suspect { id: id(0), count: 1 }), EventId::ZERO)
    );
}

#[test]
fn a_resized_ring_of_format_1_is_read() {
    let ring: Ring = value("evq:{newr}");
    assert_eq!((ring.shape().weights(), ring.generation()), (&[1, 1][..], 2));
    let [past] = ring.past() else { panic!("one resize") };
    assert_eq!((&past.weights[..], past.ends.len()), (&[1][..], 1));
    let end = End { last: id(1), added: 2 };
    assert_eq!(past.ends.get(&0), Some(&end));
    let kept = Retention {
        max_depth: Some(2000),
        max_len: Some(1000),
        max_age_ms: Some(0),
        trim: Trim::Any,
    };
    assert_eq!(*ring.retention(), kept);
    let partition: Partition = value("evq:{newr:1}:groups");
    let held = partition.get(&Name::default_name()).unwrap().exceptions();
    assert_eq!(held.get(id(1)).map(|exception| exception.state), Some(State::Retry(0)));
}
