//! A partition's schedule against a plain list, and its tokens by name.

use proptest::prelude::*;

use super::parts::Parts;
use super::schedule::{Change, Place, Schedule, Scheduled};
use crate::model::error::Error;
use crate::model::limits::{MAX_SCHEDULED, MAX_SCHEDULED_BYTES};
use crate::model::unique::tokens::Clock;

fn event(ticket: u64, due_ms: u64, key: &[u8], token: Option<&[u8]>) -> Scheduled {
    let parts = Parts::new(token, key, b"p", None, &[]);
    Scheduled { place: Place { due_ms, ticket }, home: 3, parts }
}

fn added(schedule: &mut Schedule, event: Scheduled) {
    schedule.apply(Change::Added(event, Some([1, 2])));
}

#[test]
fn the_last_ticket_stays_when_nothing_waits() {
    let mut schedule = Schedule::default();
    added(&mut schedule, event(7, 1, b"k", None));
    schedule.apply(Change::Removed(7));
    assert_eq!((schedule.len(), schedule.last_ticket()), (0, 7));
    // One that comes from elsewhere with a smaller ticket does not set it back.
    added(&mut schedule, event(5, 1, b"k", None));
    assert_eq!(schedule.last_ticket(), 7);
}

#[test]
fn a_token_holds_while_its_event_waits_and_for_the_window_after() {
    let mut schedule = Schedule::default();
    let clock = |now_ms| Clock::new(now_ms, 100);
    added(&mut schedule, event(7, 1000, b"k", Some(b"t")));
    // However long it waits.
    assert_eq!(schedule.repeated(b"k", b"t", clock(900_000)), Some((3, 7)));
    assert_eq!(schedule.repeated(b"l", b"t", clock(0)), None, "of another key");
    assert_eq!(schedule.repeated(b"k", b"u", clock(0)), None, "another token");
    schedule.apply(Change::Appended(clock(1000), 7));
    assert_eq!(schedule.repeated(b"k", b"t", clock(1099)), Some((3, 7)));
    assert_eq!(schedule.repeated(b"k", b"t", clock(1100)), None);
}

#[test]
fn a_cancelled_event_frees_its_token() {
    let mut schedule = Schedule::default();
    added(&mut schedule, event(7, 1000, b"k", Some(b"t")));
    schedule.apply(Change::Removed(7));
    assert_eq!(schedule.repeated(b"k", b"t", Clock::new(1, 100)), None);
    assert!(schedule.has_no_tokens());
}

#[test]
fn a_partition_is_bounded_by_count_and_by_bytes() {
    let (mut schedule, clock) = (Schedule::default(), Clock::new(1, 100));
    for ticket in 0..MAX_SCHEDULED as u64 {
        let event = event(ticket, 1, b"k", Some(&ticket.to_le_bytes()));
        schedule.check_room(&event.parts, clock).unwrap();
        added(&mut schedule, event);
    }
    let more = event(9999, 1, b"k", None).parts;
    assert!(matches!(schedule.check_room(&more, clock), Err(Error::Limit(..))));
    schedule.apply(Change::Removed(1));
    schedule.check_room(&more, clock).unwrap();
    let large = vec![b'x'; MAX_SCHEDULED_BYTES as usize];
    let large = Parts::new(None, b"k", &large, None, &[]);
    assert!(matches!(schedule.check_room(&large, clock), Err(Error::Limit(..))));
    // Each that waits with a token is a token that was appended in the end.
    let mut tokens = Schedule::default();
    for ticket in 0..MAX_SCHEDULED as u64 {
        added(&mut tokens, event(ticket, 1, b"k", Some(&ticket.to_le_bytes())));
        tokens.apply(Change::Appended(clock, ticket));
    }
    let with_token = event(9999, 1, b"k", Some(b"t")).parts;
    assert!(matches!(tokens.check_room(&with_token, clock), Err(Error::Limit(..))));
    tokens.check_room(&more, clock).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
    /// Whatever comes and goes, what is there is what a plain list has, in its order, and nothing
    /// that is kept beside it stays behind.
    #[test]
    fn is_a_sorted_list(
        steps in prop::collection::vec((0u8..4, 0u64..20, 0u64..5, 0u8..3), 0..60),
    ) {
        let mut schedule = Schedule::default();
        let mut plain: Vec<Scheduled> = Vec::new();
        for (what, ticket, due_ms, key) in steps {
            let known = plain.iter().position(|event| event.place.ticket == ticket);
            match what {
                0 | 1 => {
                    let token = [b't', key];
                    let token = (what == 0).then_some(&token[..]);
                    let event = event(ticket, due_ms, &[key], token);
                    // A repeated one is not scheduled again.
                    let clock = Clock::new(9, 9);
                    let before = |token: &[u8]| schedule.repeated(&[key], token, clock);
                    if token.and_then(before).is_some() {
                        continue;
                    }
                    added(&mut schedule, event.clone());
                    if known.is_none() {
                        plain.push(event);
                    }
                }
                2 => {
                    schedule.apply(Change::Removed(ticket));
                    known.map(|at| plain.remove(at));
                }
                _ => {
                    schedule.apply(Change::Appended(Clock::new(due_ms, 2), ticket));
                    known.map(|at| plain.remove(at));
                }
            }
            plain.sort_by_key(|event| event.place);
            prop_assert!(schedule.iter().eq(plain.iter().cloned()));
            prop_assert_eq!(schedule.first(), plain.first().map(|event| event.place));
            prop_assert_eq!(schedule.last(), plain.last().map(|event| event.place));
            for event in &plain {
                prop_assert_eq!(schedule.find(event.place.ticket), Some(event.place));
                if let Some(token) = event.parts.token() {
                    let found = schedule.repeated(event.parts.key(), token, Clock::new(9, 2));
                    prop_assert!(found.is_some());
                }
            }
            let after = plain.get(1).map(|event| event.place);
            let rest: Vec<_> = schedule.after(after).map(|(place, _)| place).collect();
            let wanted = plain.iter().map(|event| event.place).filter(|at| Some(*at) > after);
            prop_assert!(wanted.eq(rest));
        }
        for event in plain {
            schedule.apply(Change::Removed(event.place.ticket));
        }
        let taken = schedule.heap_bytes() - schedule.appended().heap_bytes();
        prop_assert_eq!(taken, 0, "something stays");
    }
}
