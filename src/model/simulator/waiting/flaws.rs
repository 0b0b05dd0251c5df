//! The checks have teeth: with a flaw in what surrounds the state machine they fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestCaseError, TestRunner};

use super::action::action;
use super::clients::Play;
use super::run;
use super::scenes::{answer_after_null, pull};
use super::world::Hands;
use crate::model::deadlines::Reason;

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The timer never fires for a reason.
    Forgets(Reason),
    /// EVQ.TRIGGER tells nobody of its append.
    Deaf,
    /// A search finds work wherever there are events.
    Hopeful,
    /// Others may take the lease of a worker that was called.
    Unprotected,
    /// A called worker that does not come keeps the lease.
    NeverCalledOff,
    /// A grant leaves the owner before waiting.
    NobodyFenced,
    /// Standbys wait on the stream key too.
    Crowded,
    /// The last in line is the next.
    Shuffled,
    /// A client that vanishes stays in its line.
    Forgotten,
    /// The lease of an owner that stops waiting is not checked for those that stand after it.
    Unfollowed,
    /// An answer does not pass on the lease of a worker that was told that there is nothing.
    Unpassed,
    /// A pull goes on after what was handed out, as if all had AHEAD.
    OldPull,
    /// A lease that does not lapse while its owner waits is checked all the time.
    Hectic,
}

/// Whether a check that `says` this notices a flaw in some history. What another check says of a
/// history first is passed over.
fn is_found(flaw: Flaw, says: &str) -> bool {
    let config = Config {
        cases: 3000,
        rng_algorithm: RngAlgorithm::XorShift,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let histories = prop::collection::vec(action(), 1..120);
    let ran = TestRunner::new(config).run(&histories, |actions| {
        let end = catch_unwind(AssertUnwindSafe(|| run(actions, Some(flaw))));
        let said = end.err().map(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        });
        match said.flatten() {
            Some(said) if said.contains(says) => Err(TestCaseError::fail(said)),
            Some(_) | None => Ok(()),
        }
    });
    ran.is_err()
}

#[test]
fn a_reason_that_the_timer_forgets_is_noticed() {
    for reason in [
        Reason::Release,
        Reason::WaitEnd,
        Reason::Departure,
        Reason::Lease,
        Reason::AnyPartition,
        Reason::Parked,
        Reason::Watch,
        Reason::Retry,
        Reason::Barrier,
    ] {
        assert!(is_found(Flaw::Forgets(reason), ""), "nobody notices {reason:?}");
    }
}

#[test]
fn an_append_that_nobody_is_told_of_is_noticed() {
    assert!(is_found(Flaw::Deaf, "work in"));
}

#[test]
fn a_worker_that_is_called_for_nothing_is_noticed() {
    assert!(is_found(Flaw::Hopeful, "was woken for nothing"));
    assert!(is_found(Flaw::Unprotected, "was woken for nothing"));
    assert!(is_found(Flaw::NobodyFenced, "was woken for nothing"));
}

#[test]
fn two_that_are_woken_by_one_append_are_noticed() {
    assert!(is_found(Flaw::Crowded, "two of a group are woken by one append"));
}

#[test]
#[should_panic(expected = "two are on the way")]
fn two_that_are_called_to_one_partition_are_noticed() {
    let mut play = Play::new(Some(Flaw::Unprotected));
    for c in [3, 4] {
        play.pull(c, pull(None, 0, 2000));
    }
    play.pass(50, Hands::None);
    for _ in 0..2 {
        play.append(0, 0, false, false);
        play.fire_if_due();
    }
    play.check();
}

#[test]
fn a_line_out_of_order_is_noticed() {
    assert!(is_found(Flaw::Shuffled, "came"));
}

#[test]
fn a_standby_that_waits_for_a_free_lease_is_noticed() {
    assert!(is_found(Flaw::Unfollowed, "a standby waits for a free lease"));
}

#[test]
#[should_panic(expected = "a standby waits, work in")]
fn a_standby_that_waits_beside_work_is_noticed() {
    let mut play = Play::new(Some(Flaw::Unpassed));
    answer_after_null(&mut play);
    play.rest();
}

#[test]
fn a_worker_that_idles_beside_work_is_noticed() {
    assert!(is_found(Flaw::Forgets(Reason::AnyPartition), "idles, work in"));
}

#[test]
#[should_panic(expected = "nobody comes")]
fn a_called_worker_that_keeps_the_lease_and_does_not_come_is_noticed() {
    let mut play = Play::new(Some(Flaw::NeverCalledOff));
    play.pull(3, pull(None, 0, 2000));
    play.pass(50, Hands::None);
    play.append(0, 0, false, false);
    play.fire_if_due();
    play.pause(true);
    play.unblock();
    play.rest();
}

#[test]
fn a_lost_reply_that_is_passed_over_is_noticed() {
    assert!(is_found(Flaw::OldPull, "was missed in"));
}

#[test]
fn what_is_left_behind_is_noticed() {
    assert!(is_found(Flaw::Forgotten, "those who wait are those who block"));
}

#[test]
fn a_timer_that_fires_all_the_time_is_noticed() {
    assert!(is_found(Flaw::Hectic, "firings"));
}
