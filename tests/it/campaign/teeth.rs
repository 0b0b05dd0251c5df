//! The campaign's own checks find what they are there to find.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::book::{Book, Event, Lease, Outcome, Sent};
use super::compass::Era;
use super::verdict::{Stored, durable, groups, prefix, whole};
use super::{GROUPS, Promise};

fn event(n: u64) -> Event {
    Event { key: "0-0".to_owned(), n }
}

fn stored(numbers: &[u64]) -> Stored {
    numbers.iter().map(|n| (event(*n), "B".to_owned())).collect()
}

fn sent(numbers: &[u64], outcome: Outcome) -> Sent {
    let events = numbers.iter().map(|n| event(*n)).collect();
    Sent { era: Era::of("run", "one"), events, outcome, counted: false }
}

fn lease(replication: &str, epoch: i64) -> Lease {
    Lease { era: Era::of("run", replication), p: 0, epoch }
}

#[track_caller]
fn is_found(check: impl FnOnce()) {
    assert!(catch_unwind(AssertUnwindSafe(check)).is_err(), "not found");
}

/// A book in which every group was given `numbers`, in this order.
fn given(numbers: &[u64]) -> Book {
    let mut book = Book::new(true);
    for group in 0..GROUPS.len() {
        for n in numbers {
            book.receive(group, &event(*n), &lease("one", 1));
        }
    }
    book
}

#[test]
fn a_campaign_finds_what_is_lost() {
    let all = [sent(&[1], Outcome::Acknowledged), sent(&[2], Outcome::Confirmed)];
    durable(Promise::All, &all, &stored(&[1, 2]));
    durable(Promise::Confirmed, &all, &stored(&[2]));
    is_found(|| durable(Promise::All, &all, &stored(&[2])));
    is_found(|| durable(Promise::Confirmed, &all, &stored(&[1])));
    is_found(|| durable(Promise::Prefix, &[sent(&[1], Outcome::Refused)], &stored(&[1])));
}

#[test]
fn a_campaign_finds_holes_and_halves() {
    let all = [1, 2, 3].map(|n| sent(&[n], Outcome::Acknowledged));
    prefix(&all, &stored(&[1, 2]));
    is_found(|| prefix(&all, &stored(&[1, 3])));
    let mut next_life = all.clone();
    next_life[2].era = Era::of("another run", "two");
    prefix(&next_life, &stored(&[1, 3]));

    let batch = [sent(&[1, 2], Outcome::Unknown)];
    whole(&batch, &stored(&[]));
    whole(&batch, &stored(&[1, 2]));
    is_found(|| whole(&batch, &stored(&[2])));
}

#[test]
fn a_campaign_finds_broken_order_and_missing_deliveries() {
    groups(&given(&[1, 2, 1, 2, 3]), &stored(&[1, 2, 3]));
    is_found(|| groups(&given(&[1, 3, 2]), &stored(&[1, 2, 3])));
    is_found(|| groups(&given(&[1, 3]), &stored(&[1, 2, 3])));
    // What is not there any more is no witness.
    groups(&given(&[1, 3, 2]), &stored(&[1, 3]));
}

#[test]
fn a_campaign_finds_what_overtakes_a_failure() {
    let group = |holds: bool| GROUPS.iter().position(|group| group.holds == holds).unwrap();
    let (holding, other) = (group(true), group(false));
    let mut book = given(&[1, 2]);
    book.failed(holding, &event(1), &lease("one", 1));
    is_found(|| book.receive(holding, &event(2), &lease("one", 1)));
    // The lease may be over, and the refusal with it, until the server has taken it.
    book.receive(holding, &event(2), &lease("one", 2));
    book.surely_failed(holding, &event(1), &lease("one", 2));
    book.receive(holding, &event(2), &lease("one", 2));
    book.surely_failed(holding, &event(1), &lease("one", 1));
    is_found(|| book.receive(holding, &event(2), &lease("one", 2)));
    is_found(|| book.receive(holding, &event(2), &lease("two", 2)));
    book.receive(holding, &event(2), &lease("one", 0));
    book.receive(holding, &event(1), &lease("one", 1));
    book.receive(holding, &event(2), &lease("one", 1));
    book.failed(holding, &event(1), &lease("one", 1));
    book.not_failed(holding, &event(1));
    book.receive(holding, &event(2), &lease("one", 1));

    book.failed(other, &event(1), &lease("one", 1));
    is_found(|| book.receive(other, &event(2), &lease("one", 1)));
    book.receive(other, &event(2), &lease("one", 2));

    let mut forgetful = Book::new(false);
    forgetful.failed(holding, &event(1), &lease("one", 1));
    forgetful.surely_failed(holding, &event(1), &lease("one", 1));
    forgetful.receive(holding, &event(2), &lease("two", 2));
    is_found(|| forgetful.receive(holding, &event(2), &lease("one", 2)));
}

#[test]
fn a_campaign_finds_an_epoch_that_is_issued_twice() {
    let mut book = Book::new(true);
    let (first, second) = (book.life(), book.life());
    book.epoch(0, 3, 77, first);
    book.epoch(0, 3, 77, first);
    book.epoch(0, 4, 77, second);
    is_found(|| book.epoch(0, 3, 77, second));
}
