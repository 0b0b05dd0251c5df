//! Scheduled events in a ring that is resized and tidied, on servers that crash and fail over to
//! any earlier state, whose clocks jump.
//!
//! `world` is the server: the real values, with what the shell does around them. Its truth is the
//! list of what was scheduled and not lost by a failover, and after every step it holds: each event
//! waits in one partition or was appended once, not before its time, where its key belonged then;
//! one sweep appends in the order of the places; no ticket was issued twice.

mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};

use super::cases;
use world::{Rules, World};

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// An event is scheduled so far ahead, or so long ago.
    Schedule {
        key: u8,
        in_ms: i16,
    },
    /// An event that waits is taken back.
    Cancel(u8),
    /// The timer appends so many at most.
    Sweep(u8),
    /// What waits elsewhere goes where it belongs, and empty partitions that leave disappear.
    Tidy,
    Resize(Vec<u32>),
    Clock(i32),
    /// The server dies, or a replica takes over: the last transactions are lost.
    Crash(u8),
}

fn action() -> impl Strategy<Value = Action> {
    let weights = prop::collection::vec(1..3u32, 1..5);
    prop_oneof![
        8 => (0..12u8, -20..60i16).prop_map(|(key, in_ms)| Action::Schedule { key, in_ms }),
        2 => any::<u8>().prop_map(Action::Cancel),
        4 => (1..6u8).prop_map(Action::Sweep),
        2 => Just(Action::Tidy),
        2 => weights.prop_map(Action::Resize),
        2 => (0..60i32).prop_map(Action::Clock),
        1 => (-200..200i32).prop_map(Action::Clock),
        1 => (0..5u8).prop_map(Action::Crash),
    ]
}

fn run(actions: impl IntoIterator<Item = Action>, rules: Rules) {
    let mut world = World::new(rules);
    for action in actions {
        world.act(action);
        world.check();
    }
    world.finish();
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn each_scheduled_event_is_appended_once_and_not_before_its_time(
        actions in prop::collection::vec(action(), 1..80),
    ) {
        run(actions, Rules::default());
    }
}

/// Whether the usual histories notice that a rule is left out.
fn is_noticed(rules: Rules) -> bool {
    let config = Config {
        cases: 1000,
        rng_algorithm: RngAlgorithm::XorShift,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let ran = TestRunner::new(config).run(&prop::collection::vec(action(), 1..80), |actions| {
        run(actions, rules);
        Ok(())
    });
    ran.is_err()
}

#[test]
fn an_append_that_travels_without_the_end_of_its_ticket_is_noticed() {
    assert!(is_noticed(Rules { together: false, ..Rules::default() }));
}

#[test]
fn a_last_ticket_that_goes_with_the_last_event_is_noticed() {
    assert!(is_noticed(Rules { keeps_last: false, ..Rules::default() }));
}

#[test]
fn a_leaving_partition_whose_last_ticket_is_forgotten_is_noticed() {
    assert!(is_noticed(Rules { ring_keeps_last: false, ..Rules::default() }));
}

#[test]
fn a_leaving_partition_that_disappears_with_its_events_is_noticed() {
    assert!(is_noticed(Rules { hands_over: false, ..Rules::default() }));
}

#[test]
fn partitions_that_are_swept_one_after_the_other_are_noticed() {
    assert!(is_noticed(Rules { merges: false, ..Rules::default() }));
}
