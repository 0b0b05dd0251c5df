//! Exceptions: what holds what, what is due when, and what finishing one lets go.

use super::*;

fn id(seq: u64) -> EventId {
    EventId { ms: 1, seq }
}

fn exception(key: u128, state: State) -> Exception {
    Exception { key, attempts: 0, first_ms: 0, state }
}

fn due(all: &Exceptions) -> Vec<EventId> {
    let due = all.due();
    due.unknown_until(u64::MAX).chain(due.beyond(EventId::MAX)).collect()
}

#[test]
fn held_events_are_released_one_by_one_in_order() {
    let mut all = Exceptions::default();
    all.set(id(1), exception(7, State::Retry(50)));
    all.set(id(2), exception(7, State::Held));
    all.set(id(3), exception(7, State::Held));
    all.set(id(4), exception(8, State::Dead));
    assert_eq!(all.holder(7, id(9)), Some(id(3)));
    assert_eq!(all.head(7, id(3)), Some(id(1)));
    assert_eq!(all.holder(8, id(4)), None);
    all.finish(id(1));
    assert_eq!(due(&all), [id(2)]);
    all.finish(id(2));
    assert_eq!(due(&all), [id(3)]);
    all.finish(id(3));
    assert_eq!(due(&all), []);
    assert_eq!(all.len(), 1);
}

#[test]
fn what_is_finished_holds_nobody_and_goes_when_passed() {
    let mut all = Exceptions::default();
    all.set(id(5), exception(7, State::Finished));
    assert_eq!(all.holder(7, id(9)), None);
    all.pass(id(4));
    assert_eq!(all.len(), 1);
    all.pass(id(5));
    assert!(all.is_empty());
}
