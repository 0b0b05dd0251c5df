//! A partition's schedule in pieces and in effects, and pieces that nobody wrote.

use proptest::prelude::*;

use super::*;
use crate::model::later::parts::Parts;
use crate::model::later::schedule::Place;

/// So many events, some with tokens, and some that were appended.
fn some(count: u64, appended: u64) -> Schedule {
    let mut schedule = Schedule::default();
    for n in 0..count + appended {
        let token = n.to_le_bytes();
        let token = (n % 3 == 0).then_some(&token[..]);
        let headers = [(&b"h"[..], &b"v"[..])];
        let kind = (n % 2 == 0).then_some(&b"T"[..]);
        let parts = Parts::new(token, b"k", b"payload", kind, &headers);
        let place = Place { due_ms: 1000 - n % 7, ticket: 50 + n };
        let event = Scheduled { place, home: 1, parts };
        schedule.apply(Change::Added(event, Some([8, 9])));
        if n >= count {
            schedule.apply(Change::Appended(Clock::new(2000 + n, 500), place.ticket));
        }
    }
    schedule
}

fn saved(schedule: &Schedule) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    save(schedule, |piece| pieces.push(piece.to_vec())).unwrap();
    pieces
}

fn loaded(pieces: &[Vec<u8>]) -> Result<Schedule, Corrupt> {
    let mut rest = pieces[1..].iter();
    load(&pieces[0], || rest.next())
}

#[test]
fn a_schedule_comes_back_from_pieces_and_from_effects() {
    for (count, appended) in [(0, 0), (1, 0), (0, 9), (8, 3), (30, 30), (MAX_SCHEDULED as u64, 60)]
    {
        let schedule = some(count, appended);
        let pieces = saved(&schedule);
        let read = loaded(&pieces).unwrap();
        assert_eq!(saved(&read), pieces);
        let mut made = Schedule::default();
        for effect in effects(&schedule) {
            let effect: Effect = decode(&encode(&effect).unwrap()).unwrap();
            let Effect::Later(change) = effect else { panic!("another effect") };
            made.apply(change);
        }
        assert_eq!(saved(&made), pieces, "{count} {appended}");
        // Tokens are known as before.
        for n in (0..count).step_by(3) {
            let found = read.repeated(b"k", &n.to_le_bytes(), Clock::new(1, 1));
            assert_eq!(found, Some((1, 50 + n)));
        }
    }
}

#[test]
fn what_was_never_written_is_refused() {
    let pieces = saved(&some(30, 12));
    assert!(pieces.len() > 4, "{}", pieces.len());
    assert!(matches!(loaded(&pieces[..3]), Err(Corrupt::Malformed)), "too few");
    let mut swapped = pieces.clone();
    let last = swapped.len() - 1;
    swapped.swap(last, last - 1);
    assert!(matches!(loaded(&swapped), Err(Corrupt::OutOfBounds)), "not in their order");
    let mut twice = pieces.clone();
    twice[last] = twice[last - 1].clone();
    assert!(matches!(loaded(&twice), Err(Corrupt::OutOfBounds)), "twice the same");
    let head = |last, tokens, events| {
        let clock = some(30, 12).appended().clock();
        encode(&Head { last, secret: [8, 9], clock, tokens, events }).unwrap()
    };
    let tokens = some(30, 12).appended().len() as u64;
    for (why, bad) in [
        ("an event with a later ticket", head(60, tokens, 30)),
        ("more events than there are", head(91, tokens, 29)),
        ("too many events", head(91, tokens, u64::MAX)),
        ("too many tokens", head(91, u64::MAX, 30)),
        ("a ticket that no clock has come to", head(u64::MAX, tokens, 30)),
    ] {
        let mut pieces = pieces.clone();
        pieces[0] = bad;
        assert!(loaded(&pieces).is_err(), "{why}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
    #[test]
    fn one_changed_byte_is_a_schedule_within_limits_or_a_refusal(
        piece in 0usize..8,
        at in 0usize..600,
        to in any::<u8>(),
    ) {
        let mut pieces = saved(&some(30, 12));
        let piece = piece % pieces.len();
        let at = at % pieces[piece].len();
        pieces[piece][at] = to;
        if let Ok(schedule) = loaded(&pieces) {
            prop_assert!(schedule.len() <= MAX_SCHEDULED && schedule.is_sound());
            prop_assert!(loaded(&saved(&schedule)).is_ok());
        }
    }
}
