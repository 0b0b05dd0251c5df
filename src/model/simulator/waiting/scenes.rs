//! Scenes of the simulation, written out.

use super::clients::{Play, Pull};
use super::world::{At, Hands};
use crate::model::deadlines::RECHECK_MS;
use crate::model::progress::lease::Pace;
use crate::model::waiting::partitions::Tenure;

const AT: At = At { ring: 0, partition: 0, group: 0 };

pub(super) fn pull(partition: Option<u32>, block_ms: u64, lease_ms: u64) -> Pull {
    let (At { ring, group, .. }, block_ms) = (AT, Some(block_ms));
    Pull { ring, partition, group, count: 1, block_ms, lease_ms, pace: Pace::Steady }
}

fn waits(play: &Play, c: usize) -> bool {
    play.clients[c].blocked.is_some()
}

/// The connection that has the lease.
fn holder(play: &Play) -> Option<usize> {
    match play.world.tenure_of(AT) {
        Tenure::Held { by, .. } => play.index(by?),
        Tenure::Claimable { .. } => {
            play.index(play.world.sides.get(&AT)?.progress.lease()?.connection?)
        }
        Tenure::Free { .. } => None,
    }
}

/// Clients 3 to 5 have no names.
#[test]
fn a_lease_does_not_lapse_while_its_owner_waits_and_then_goes_to_the_first_standby_in_time() {
    let mut play = Play::new(None);
    play.pull(3, pull(Some(0), 500, 30));
    play.pull(4, pull(Some(0), 0, 30));
    play.pull(5, pull(Some(0), 0, 30));
    let firings = play.pass(499, Hands::None);
    assert_eq!(holder(&play), Some(3));
    assert!(firings < 10, "nothing can happen, and the timer fired {firings} times");
    // Its time is up: from here on the lease ages.
    play.pass(30, Hands::None);
    assert_eq!((waits(&play, 3), holder(&play)), (false, Some(3)));
    play.pass(1, Hands::None);
    assert_eq!(holder(&play), Some(4));
    assert!(waits(&play, 4) && waits(&play, 5), "there is nothing to give");
    play.finish();
}

#[test]
fn an_append_wakes_the_owner_alone_and_the_standby_has_the_lease_when_it_lapses() {
    let mut play = Play::new(None);
    play.pull(3, pull(Some(0), 0, 50));
    play.pull(4, pull(Some(0), 0, 50));
    play.append(0, 0, false, false);
    assert_eq!(play.clients[3].holds.len(), 1);
    play.pass(49, Hands::None);
    assert!(waits(&play, 4));
    // What the owner did not acknowledge is handed out again.
    play.pass(1, Hands::None);
    assert_eq!(play.clients[4].holds, play.clients[3].holds);
    play.finish();
}

#[test]
fn a_promoted_standby_gets_what_was_appended_by_hand_within_the_time_for_that() {
    let mut play = Play::new(None);
    play.pull(3, pull(Some(0), 0, 2000));
    play.pull(4, pull(Some(0), 0, 2000));
    play.vanish(3);
    play.pass(0, Hands::None);
    assert_eq!(holder(&play), Some(4));
    play.append(0, 0, false, true);
    play.pass(10, Hands::None);
    assert_eq!(play.clients[4].holds.len(), 1);
    play.finish();
}

#[test]
fn workers_that_take_any_are_called_one_to_a_partition_and_nobody_takes_what_they_are_called_for() {
    let mut play = Play::new(None);
    for c in 3..6 {
        play.pull(c, pull(None, 0, 30));
    }
    play.pass(50, Hands::None);
    for partition in [0, 1] {
        play.append(0, partition, false, false);
        play.append(0, partition, false, false);
    }
    play.fire_if_due();
    // They have yet to come.
    play.pull(0, pull(Some(0), 0, 30));
    assert!(waits(&play, 0) && waits(&play, 3) && waits(&play, 4));
    play.unblock();
    assert_eq!((play.clients[3].holds.len(), play.clients[4].holds.len()), (1, 1));
    assert!(waits(&play, 0) && waits(&play, 5));
    play.finish();
}

#[test]
fn a_worker_that_vanishes_on_its_way_leaves_its_event_to_the_next() {
    let mut play = Play::new(None);
    play.pull(3, pull(None, 0, 2000));
    play.pull(4, pull(None, 0, 2000));
    play.pass(50, Hands::None);
    play.append(0, 1, false, false);
    play.fire_if_due();
    play.vanish(3);
    play.pass(0, Hands::None);
    assert_eq!(play.clients[4].holds.len(), 1);
    play.finish();
}

#[test]
fn a_failed_event_comes_back_to_its_waiting_owner_when_its_delay_is_over() {
    let mut play = Play::new(None);
    play.append(0, 0, false, false);
    play.pull(3, pull(Some(0), 0, 2000));
    play.nack(3, 0, 700);
    play.pull(3, pull(Some(0), 0, 2000));
    play.pass(699, Hands::None);
    assert!(waits(&play, 3));
    play.pass(1, Hands::None);
    assert_eq!(play.clients[3].holds.len(), 1);
    play.finish();
}

/// The owner pulls ahead, is told that there is nothing, and answers; a standby and another event
/// came meanwhile.
pub(super) fn answer_after_null(play: &mut Play) {
    play.append(0, 0, false, false);
    play.pull(3, pull(Some(0), 0, 2000));
    play.pull(3, Pull { block_ms: None, pace: Pace::Ahead, ..pull(Some(0), 0, 2000) });
    play.pull(4, pull(Some(0), 0, 2000));
    play.append(0, 0, false, false);
    play.pass(100, Hands::None);
    assert!(waits(play, 4), "the first is in flight");
    play.ack(3, 0);
}

#[test]
fn an_answer_of_a_worker_that_was_told_null_leaves_what_came_meanwhile_to_the_standby() {
    let mut play = Play::new(None);
    answer_after_null(&mut play);
    play.pass(0, Hands::None);
    assert_eq!(play.clients[4].holds.len(), 1);
    play.finish();
}

#[test]
fn a_lost_reply_comes_again_to_who_asks_again_and_a_command_sent_twice_takes_nothing_more() {
    let mut play = Play::new(None);
    let wanted = pull(Some(0), 0, 2000);
    for _ in 0..2 {
        play.append(0, 0, false, false);
    }
    play.pull_unread(3, wanted, false);
    assert_eq!(play.clients[3].holds, []);
    play.pull(3, wanted);
    let first = play.clients[3].holds.clone();
    play.pull_unread(3, wanted, true);
    assert_eq!((first.len(), &play.clients[3].holds), (1, &first));
    play.ack(3, 0);
    play.answer_again(3);
    play.pull(3, wanted);
    assert_eq!(play.clients[3].holds.len(), 1);
    assert_ne!(play.clients[3].holds, first, "the second has been handed out");
    play.ack(3, 0);
    // It gives up while it waits, and its command stands behind the one that is served then.
    play.pull(3, wanted);
    play.give_up(3, true);
    play.append(0, 0, false, false);
    play.pass(0, Hands::None);
    assert_eq!((waits(&play, 3), play.clients[3].holds.len()), (false, 1));
    play.finish();
}

#[test]
fn a_standby_of_a_group_that_hands_took_has_its_turn_when_everything_is_checked() {
    let mut play = Play::new(None);
    play.pull(5, Pull { block_ms: None, ..pull(Some(0), 0, 1) });
    play.pull(0, pull(Some(0), 0, 1));
    play.lose_ring(0);
    play.create(0);
    play.rest();
    play.pull(1, Pull { block_ms: None, ..pull(None, 0, 1) });
    assert!(waits(&play, 0));
    play.rest();
    assert_eq!(holder(&play), Some(0));
    play.finish();
}

#[test]
fn one_worker_is_called_to_make_a_group_that_hands_took() {
    let mut play = Play::new(None);
    play.pull(4, Pull { block_ms: None, ..pull(None, 0, 1) });
    play.pull(0, pull(None, 0, 1));
    play.pull(2, pull(None, 0, 1));
    play.lose_ring(0);
    play.create(0);
    play.check_prompt(0, 0);
    assert!(!waits(&play, 0) && waits(&play, 2));
    play.finish();
}

#[test]
fn a_group_that_hands_took_is_made_by_who_waits_for_its_partition() {
    let mut play = Play::new(None);
    play.pull(2, Pull { block_ms: None, ..pull(Some(0), 0, 1) });
    play.pull(5, pull(None, 0, 1));
    play.pull(3, pull(Some(0), 0, 2000));
    play.lose_ring(0);
    play.create(0);
    play.check_prompt(0, 0);
    play.pass(RECHECK_MS, Hands::None);
    assert!(!waits(&play, 3) && waits(&play, 5));
    play.finish();
}
