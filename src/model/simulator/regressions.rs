//! Histories that broke a guarantee once. Group 0 tries three times at once and skips what is dead;
//! group 1 tries twice, after 50 ms, and holds the key.

use super::action::Action::{self, *};
use super::action::WORKERS;
use super::stream::Nature;
use super::stream::Nature::{Healthy, Kills};
use super::worker::By::{Connection, Epoch};
use super::worker::Simulation;
use super::{groups, run};
use crate::model::limits::MAX_EXCEPTIONS;
use crate::model::progress::lease::Pace;

fn trigger(key: u8, count: u8) -> Action {
    of_nature(key, count, Healthy)
}

fn of_nature(key: u8, count: u8, nature: Nature) -> Action {
    Trigger { key, kind: 0, nature, count }
}

fn pull(w: usize, g: usize, count: u8) -> Action {
    Pull { w, g, by: Connection, any: false, count, pace: Pace::Ahead, block: false }
}

fn pull_any(w: usize, g: usize, count: u8) -> Action {
    Pull { w, g, by: Connection, any: true, count, pace: Pace::Ahead, block: false }
}

/// Acknowledges the `nth` event that the worker was given under its lease.
fn ack(w: usize, g: usize, nth: usize) -> Action {
    Ack { w, g, by: Epoch, nth }
}

fn nack(w: usize, g: usize, nth: usize, delay_ms: u64) -> Action {
    Nack { w, g, by: Epoch, nth, delay_ms: Some(delay_ms) }
}

fn retry_all(g: usize) -> Action {
    Dead { g, nth: None, retry: true }
}

#[test]
fn acknowledging_a_refused_event_finishes_nothing() {
    run([trigger(0, 2), pull(0, 1, 1), nack(0, 1, 0, 50), ack(0, 1, 0)]);
    run([trigger(0, 2), pull(0, 1, 2), nack(0, 1, 0, 50), ack(0, 1, 1)]);
}

#[test]
fn two_refused_events_of_a_key_come_back_in_order_whichever_was_refused_first() {
    run([trigger(0, 3), pull(0, 0, 2), nack(0, 0, 1, 0), nack(0, 0, 0, 100), pull(0, 0, 1)]);
}

#[test]
fn what_was_held_behind_a_skipped_event_waits_for_a_later_failure_before_it() {
    let hold = [trigger(0, 3), pull(0, 1, 3), nack(0, 1, 1, 0), Attempts { g: 1, max: 1 }];
    let skip = [Dead { g: 1, nth: None, retry: false }, nack(0, 1, 0, 100), pull(0, 1, 1)];
    let once = [Attempts { g: 1, max: 1 }, trigger(0, 3), pull(0, 1, 3), nack(0, 1, 1, 0)];
    let more = Attempts { g: 1, max: 3 };
    run(hold.into_iter().chain(skip.clone()));
    run(once.into_iter().chain([more]).chain(skip));
}

#[test]
fn a_waiting_worker_is_called_for_the_next_retry_though_one_before_it_is_stuck() {
    run([trigger(0, 2), pull(0, 0, 2), nack(0, 0, 1, 0), nack(0, 0, 0, 70), pull(0, 0, 1)]);
}

#[test]
fn a_redelivered_event_that_killed_its_worker_comes_alone() {
    let lost = [nack(0, 0, 0, 0), pull(0, 0, 1), Crash(0), Sweep];
    run([trigger(0, 1), pull(0, 0, 1)].into_iter().chain(lost).chain([
        pull(0, 0, 1),
        trigger(1, 2),
        pull(0, 0, 1),
    ]));
}

#[test]
fn one_released_after_a_dead_event_comes_alone_if_it_was_in_flight_at_a_loss() {
    run([
        of_nature(0, 1, Kills),
        trigger(0, 1),
        pull(0, 1, 2),
        Crash(0),
        pull(0, 1, 1),
        Crash(0),
        pull(0, 1, 1),
        Crash(0),
        Sweep,
        pull(0, 1, 1),
        Dead { g: 1, nth: None, retry: false },
        pull(0, 1, 1),
        trigger(1, 1),
        pull(0, 1, 1),
    ]);
}

#[test]
fn attempts_of_a_suspect_are_kept_when_it_has_to_be_held() {
    run([
        Attempts { g: 0, max: 2 },
        trigger(0, 2),
        pull(0, 0, 1),
        nack(0, 0, 0, 0),
        pull(0, 0, 1),
        nack(0, 0, 0, 0),
        pull(0, 0, 1),
        Crash(0),
        Sweep,
        retry_all(0),
        pull(0, 0, 1),
        ack(0, 0, 0),
        pull(0, 0, 1),
    ]);
}

#[test]
fn a_dead_event_that_was_found_slows_nobody_down() {
    run([
        trigger(0, 1),
        pull(0, 1, 1),
        nack(0, 1, 0, 0),
        pull(0, 1, 1),
        Crash(0),
        Sweep,
        trigger(1, 3),
        pull(0, 1, 1),
        pull(0, 1, 1),
    ]);
}

#[test]
fn a_dead_letter_of_an_event_that_is_in_flight_again_changes_nothing() {
    let dies = [pull(0, 0, 1), nack(0, 0, 0, 0), pull(0, 0, 1), nack(0, 0, 0, 0)];
    let again = [pull(0, 0, 1), nack(0, 0, 0, 0), Seek { g: 0, nth: 0 }, pull(0, 0, 1)];
    let operator = [retry_all(0), Crash(0), Sweep, pull(0, 0, 1)];
    run([trigger(0, 2)].into_iter().chain(dies).chain(again).chain(operator));
}

#[test]
fn a_retry_of_a_type_that_is_taken_no_longer_is_over() {
    run([
        Trigger { key: 0, kind: 1, nature: Healthy, count: 2 },
        pull(0, 0, 1),
        nack(0, 0, 0, 0),
        Types { g: 0, kinds: vec![0] },
        pull(0, 0, 1),
    ]);
}

#[test]
fn a_shared_lease_with_nothing_in_flight_is_anybodys() {
    run([trigger(0, 2), pull_any(0, 1, 1), nack(0, 1, 0, 50), pull(1, 1, 1)]);
    let typed = Types { g: 1, kinds: vec![1] };
    let other = |count| Trigger { key: 0, kind: 1, nature: Healthy, count };
    let deleted = Delete { nth: 3, all_before: false };
    let acks = [ack(0, 1, 1), pull(1, 1, 1)];
    run([typed, other(2), trigger(0, 2), pull_any(0, 1, 3), deleted].into_iter().chain(acks));
}

#[test]
fn a_key_goes_on_after_its_refused_event_was_deleted_before_the_cursor_reached_it() {
    run([
        trigger(0, 3),
        pull(0, 0, 1),
        nack(0, 0, 0, 0),
        Delete { nth: 0, all_before: false },
        pull(0, 0, 1),
    ]);
}

/// The first event of a key is deleted: in group 0 it waits for an hour, in group 1 it is dead.
fn removed_by_hand(g: usize, max: u32) -> [Action; 6] {
    let delete = Delete { nth: 0, all_before: false };
    [Attempts { g, max }, trigger(0, 3), pull(0, g, 1), nack(0, g, 0, 3_600_000), delete, Sweep]
}

#[test]
fn a_key_goes_on_by_itself_after_its_first_event_was_deleted_while_it_waited() {
    run(removed_by_hand(0, 9).into_iter().chain([pull(0, 0, 1)]));
    run(removed_by_hand(1, 1).into_iter().chain([pull(0, 1, 1)]));
}

#[test]
#[should_panic(expected = "hold their keys")]
fn a_key_that_is_held_behind_nothing_is_noticed() {
    super::fate::BLIND.set(true);
    run(removed_by_hand(1, 1));
}

#[test]
fn refusing_a_redelivered_event_that_was_deleted_lets_its_key_go_on() {
    run([
        trigger(0, 2),
        pull(0, 0, 2),
        nack(0, 0, 0, 0),
        pull(0, 0, 1),
        Delete { nth: 0, all_before: false },
        nack(0, 0, 2, 0),
        pull(0, 0, 1),
    ]);
}

#[test]
fn poison_is_found_at_the_bound_of_exceptions_too() {
    let full = u8::try_from(MAX_EXCEPTIONS).unwrap();
    let loses = |_| [pull(0, 1, 1), Handle { w: 0, g: 1, by: Epoch }, Sweep];
    run([trigger(0, full), pull(0, 1, full), nack(0, 1, 0, 100), of_nature(1, 1, Kills)]
        .into_iter()
        .chain((0..4).flat_map(loses))
        .chain([trigger(2, 2), pull(0, 1, 1)]));
}

#[test]
fn a_group_that_has_not_begun_passes_what_it_does_not_take_before_it_is_granted() {
    let mut simulation = Simulation::new(groups(), WORKERS);
    let other = Trigger { key: 0, kind: 1, nature: Healthy, count: 40 };
    for action in [Types { g: 0, kinds: vec![0] }, other, trigger(0, 1), pull_any(0, 0, 1)] {
        simulation.act(action);
    }
    assert_eq!(simulation.replies, 1);
    simulation.finish();
}

#[test]
fn a_replay_reaches_up_to_a_skipped_event_of_its_key() {
    let wanted = |w, by, count, pace| Pull { w, g: 0, by, any: false, count, pace, block: false };
    run([
        Attempts { g: 0, max: 1 },
        trigger(1, 3),
        trigger(0, 1),
        wanted(0, Connection, 3, Pace::Ahead),
        wanted(0, Epoch, 1, Pace::Steady),
        nack(0, 0, 5, 0),
        trigger(0, 3),
        Clock(100),
        wanted(1, Connection, 1, Pace::Ahead),
        Replay { g: 0, key: 1, nth: Some(2) },
    ]);
}

#[test]
fn looking_for_work_under_a_lease_that_expired_does_not_change_who_is_to_blame() {
    run([
        Attempts { g: 0, max: 1 },
        trigger(0, 2),
        pull(0, 0, 1),
        nack(0, 0, 0, 0),
        pull(0, 0, 1),
        retry_all(0),
        pull(0, 0, 1),
        Clock(110),
        pull_any(1, 0, 1),
    ]);
}

#[test]
fn what_is_replayed_is_not_in_flight_any_more_for_a_worker_that_waits() {
    let wait =
        Pull { w: 1, g: 1, by: Connection, any: false, count: 1, pace: Pace::Ahead, block: true };
    run([
        trigger(0, 1),
        pull(1, 1, 1),
        wait,
        Replay { g: 1, key: 0, nth: None },
        Clock(110),
        pull(0, 1, 1),
    ]);
}
