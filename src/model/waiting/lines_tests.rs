//! The lines themselves: who stands where, and how each wait ends.

use super::*;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::lease::Caller;
use crate::model::waiting::waiter::Answer;

fn line(partition: u32) -> Line {
    let ring = Name::ring(b"r").unwrap();
    Line { db: 0, ring, partition, group: Name::default_name() }
}

fn wait(client: u64, partition: u32) -> Wait {
    let caller = Caller { worker: None, epoch: None, connection: Some(client) };
    Wait { line: line(partition), caller, lease_ms: 50, position: EventId::ZERO, plain: true }
}

/// Client 1 waits as the owner of partition 0, 2 to 4 after it; 5 and 6 take any.
fn lines() -> Lines<u64> {
    let mut lines = Lines::default();
    lines.wait_as_owner(1, wait(1, 0), 1);
    for client in 2..=4 {
        lines.wait_in_line(client, wait(client, 0), client, Some(client * 100));
    }
    for client in 5..=6 {
        lines.wait_in_line(client, wait(client, ANY), client, None);
    }
    lines
}

fn standbys(lines: &Lines<u64>, partition: u32) -> Vec<u64> {
    (0..).map_while(|n| lines.nth_standby(&line(partition), n)).map(|to| to.client).collect()
}

#[test]
fn standbys_stand_in_the_order_in_which_they_came() {
    let mut lines = lines();
    assert_eq!((standbys(&lines, 0), standbys(&lines, ANY)), (vec![2, 3, 4], vec![5, 6]));
    lines.leave(3, Cause::Vanished).unwrap();
    lines.wait_in_line(3, wait(3, 0), 3, None);
    assert_eq!(standbys(&lines, 0), [2, 4, 3]);
    let totals = lines.totals();
    assert_eq!((totals.owners, totals.standbys, totals.any_partition), (1, 3, 2));
}

#[test]
fn a_promoted_standby_is_an_owner_that_appends_have_to_be_told_of() {
    let mut lines = lines();
    lines.leave(1, Cause::Vanished).unwrap();
    lines.promote(2);
    assert_eq!(lines.waiting_owner(&line(0)), Some(2));
    assert_eq!(standbys(&lines, 0), [3, 4]);
    let elsewhere = lines.appended(0, &line(0).ring, 1);
    assert!(!elsewhere.releases && !elsewhere.watched);
    let here = lines.appended(0, &line(0).ring, 0);
    assert!(here.releases && !here.watched);
    assert!(!lines.appended(0, &line(0).ring, 0).releases, "it is on its way");
    assert!(!lines.has_parked_owners());
}

#[test]
fn a_parked_owner_for_whom_each_event_has_to_be_checked_is_checked() {
    let mut lines = lines();
    lines.leave(1, Cause::Vanished).unwrap();
    lines.promote(2);
    assert!(lines.watch(&line(0)));
    let appended = lines.appended(0, &line(0).ring, 0);
    assert!(appended.watched && !appended.releases);
    assert_eq!(lines.watchful_owners().len(), 1);
}

#[test]
fn the_state_of_a_line_concerns_its_owner_and_the_workers_that_take_any() {
    let mut lines = lines();
    assert!(lines.watch(&line(0)));
    assert!(lines.watch(&line(7)), "those that take any may be called there");
    for client in [5, 6] {
        lines.leave(client, Cause::TimedOut).unwrap();
    }
    assert!(!lines.watch(&line(7)));
}

#[test]
fn a_partition_is_checked_once_between_two_sweeps() {
    let mut lines = lines();
    let to_check = |lines: &mut Lines<u64>| lines.appended(0, &line(0).ring, 3).any_lines;
    assert_eq!(to_check(&mut lines), [line(ANY)]);
    lines.note_check(&line(ANY), 3);
    lines.offer(&line(ANY), 3);
    assert_eq!(to_check(&mut lines), []);
    assert_eq!(lines.take_offers(&line(ANY)), [3]);
    assert_eq!((lines.take_offers(&line(ANY)), to_check(&mut lines)), (vec![], vec![line(ANY)]));
}

#[test]
fn a_round_begins_after_the_partition_that_was_served_last() {
    let mut lines = lines();
    assert_eq!(lines.round_begins_at(&line(ANY)), 0);
    assert!(lines.call(5, 2));
    assert_eq!(lines.round_begins_at(&line(ANY)), 3);
    assert_eq!(standbys(&lines, ANY), [6], "it is called once");
    let left = lines.leave(5, Cause::Woken).unwrap();
    assert_eq!((left.outcome, left.called), (Outcome::Serve, Some(2)));
}

#[test]
fn a_client_is_released_once_and_a_better_reason_than_to_be_served_still_counts() {
    let mut lines = lines();
    assert!(lines.release(2, Outcome::Serve));
    assert!(!lines.release(2, Outcome::Refuse(Error::NoRing)));
    assert!(!lines.release(2, Outcome::Nothing));
    assert_eq!(lines.next_to_tell().copied(), Some(2));
    assert_eq!(lines.next_to_tell(), None);
    let left = lines.leave(2, Cause::Woken).unwrap();
    assert_eq!(left.outcome, Outcome::Refuse(Error::NoRing));
    assert!(!lines.release(2, Outcome::Serve), "it is gone");
}

#[test]
fn a_client_that_comes_back_before_the_server_is_told_is_not_told_of() {
    let mut lines = lines();
    lines.release(2, Outcome::Serve);
    lines.leave(2, Cause::TimedOut).unwrap();
    lines.wait_in_line(2, wait(2, 0), 2, None);
    assert_eq!(lines.next_to_tell(), None);
    assert_eq!(standbys(&lines, 0), [3, 4, 2]);
}

/// How a wait ends that ends in a certain state for a certain cause.
#[test]
fn whatever_ends_a_wait_its_outcome_is_one_and_its_handle_is_let_go_once() {
    for cause in [Cause::Woken, Cause::TimedOut, Cause::Vanished] {
        for state in ["waiting", "released", "told"] {
            for client in [1, 2] {
                let mut lines = lines();
                if state != "waiting" {
                    lines.release(client, Outcome::Serve);
                }
                if state == "told" {
                    assert_eq!(lines.next_to_tell().copied(), Some(client));
                }
                let left = lines.leave(client, cause).unwrap();
                let serve = state != "waiting" || cause == Cause::Woken;
                let outcome = if serve { Outcome::Serve } else { Outcome::Nothing };
                assert_eq!(left.outcome, outcome, "{client} {state} {cause:?}");
                // The server lets one that blocks on its stream go by itself.
                assert_eq!(left.is_untold, client == 2 && state != "told");
                assert_eq!((left.as_owner, left.is_followed), (client == 1, true));
                assert!(lines.leave(client, cause).is_none());
                lines.next_to_tell();
                (1..=6).for_each(|other| drop(lines.leave(other, Cause::Vanished)));
                lines.dismiss(0, &line(0).ring, None);
                assert!(lines.is_bare(), "{lines:?}");
            }
        }
    }
}

#[test]
fn the_lease_of_an_owner_that_left_is_checked_for_those_that_stand_after_it() {
    let left = lines().leave(1, Cause::TimedOut).unwrap();
    assert_eq!(left.lease_check_in_ms(Answer::Events), Some(50));
    assert_eq!(left.lease_check_in_ms(Answer::Other), Some(1));
    let standby = lines().leave(2, Cause::TimedOut).unwrap();
    assert_eq!(standby.lease_check_in_ms(Answer::Other), None);
}

#[test]
fn the_time_of_parked_clients_is_kept() {
    let mut lines = lines();
    assert_eq!(lines.next_end(), Some(200));
    lines.expire(199);
    assert_eq!(lines.next_to_tell(), None);
    lines.expire(300);
    assert_eq!((lines.next_to_tell().copied(), lines.next_to_tell().copied()), (Some(2), Some(3)));
    assert_eq!(lines.next_end(), Some(400));
    lines.leave(4, Cause::Vanished).unwrap();
    assert_eq!(lines.next_end(), None);
}

#[test]
fn a_call_to_a_worker_that_vanishes_is_taken_back_once() {
    let mut lines = lines();
    lines.call(5, 1);
    lines.leave(5, Cause::Vanished).unwrap();
    assert_eq!(lines.take_called_off(), [CalledOff { client: 5, line: line(1) }]);
    assert_eq!(lines.take_called_off(), []);
}

#[test]
fn a_lease_that_moves_refuses_or_ends_the_wait_under_the_old_one() {
    let mut lines = lines();
    assert!(!lines.fence_owner(&line(0), Some(1)) && !lines.move_wait(&line(0), 1));
    assert!(!lines.fence_owner(&line(1), None));
    assert!(lines.move_wait(&line(0), 9));
    assert!(!lines.fence_owner(&line(0), None), "it is on its way");
    let left = lines.leave(1, Cause::TimedOut).unwrap();
    assert_eq!(left.outcome, Outcome::Nothing);
}

#[test]
fn a_ring_a_group_or_a_partition_that_goes_refuses_those_in_front_of_it() {
    let ring = line(0).ring;
    let group = Name::group(b"other").unwrap();
    let mut lines = lines();
    assert!(!lines.dismiss(0, &ring, Some(&group)) && !lines.dismiss(1, &ring, None));
    assert!(!lines.dismiss_partition((0, &ring, 1), None, &Error::NoPartition));
    assert!(lines.dismiss_partition((0, &ring, 0), None, &Error::NoPartition));
    assert!(lines.dismiss(0, &ring, Some(&line(0).group)));
    let ends = [(1, Error::NoPartition), (2, Error::NoPartition), (5, Error::NoGroup)];
    for (client, error) in ends {
        let left = lines.leave(client, Cause::TimedOut).unwrap();
        assert_eq!(left.outcome, Outcome::Refuse(error), "{client}");
    }
}

#[test]
fn a_connection_that_closes_ends_its_leases_once_wherever_they_are() {
    let mut lines = lines();
    lines.note_owner(&line(0), &wait(1, 0).caller);
    assert!(!lines.connection_closed(2), "it holds nothing");
    assert!(lines.connection_closed(1) && !lines.connection_closed(1));
    lines.swap_databases(0, 3);
    let gone = lines.take_gone();
    let moved = Line { db: 3, ..line(0) };
    assert_eq!((gone.len(), gone[0].client, gone[0].lines.contains(&moved)), (1, 1, true));
    assert!(lines.take_gone().is_empty());
    lines.note_owner(&line(0), &wait(1, 0).caller);
    lines.begin_era();
    assert_eq!((lines.connection_closed(1), lines.era()), (false, 1));
}

#[test]
fn a_connection_that_takes_any_may_have_something_in_flight_until_it_has_answered() {
    let mut lines = lines();
    let caller = wait(5, ANY).caller;
    lines.note_any_owner(&line(0), &caller);
    lines.note_any_owner(&line(1), &caller);
    assert!(lines.was_given(5, &line(0)) && lines.was_given(5, &line(1)));
    lines.note_answered(&line(0), &caller);
    assert!(!lines.was_given(5, &line(0)) && lines.was_given(5, &line(1)));
    lines.note_any_owner(&line(0), &caller);
    assert!(!lines.was_given(5, &line(0)), "a pull that brings nothing from there");
    lines.note_given(&line(0), &caller);
    lines.note_given(&line(2), &caller);
    assert!(lines.was_given(5, &line(0)) && !lines.was_given(5, &line(2)), "it does not hold 2");
    assert!(lines.connection_closed(5));
    lines.take_gone();
    assert!(!lines.was_given(5, &line(0)));
}
