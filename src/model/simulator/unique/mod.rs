//! Producers whose replies are lost and who repeat with a token, in a ring that is resized, trimmed
//! and tidied, on servers that crash and fail over to any earlier state, whose clocks jump.
//!
//! `world` is the server: the real rules, with what the shell does around them. Its truth is the
//! list of what was appended, and after every step it holds: of each key and token whose window
//! lasts the event is there exactly once, and who repeats it is told that event; so nobody who
//! repeats appends twice, and nobody loses an event to a token of which the event is not there.

mod world;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};

use super::cases;
use world::{Rules, World};

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// A producer sends an event, and again as often as its replies are lost, with so many ms
    /// between.
    Trigger {
        key: u8,
        token: u8,
        lost: u8,
        pause_ms: u16,
    },
    /// So many at once, each with its own key and token.
    Batch(Vec<(u8, u8)>),
    Resize(Vec<u32>),
    /// What the timer does: forgets, tidies.
    Sweep,
    /// The first events of a partition go.
    Trim {
        nth: u8,
        count: u8,
    },
    Clock(i32),
    /// The server dies, or a replica takes over: the last effects are lost.
    Crash(u8),
}

fn action() -> impl Strategy<Value = Action> {
    let weights = prop::collection::vec(1..3u32, 1..5);
    let pair = || (0..12u8, 0..4u8);
    prop_oneof![
        8 => (pair(), 0..4u8, 0..30u16).prop_map(|((key, token), lost, pause_ms)| {
            Action::Trigger { key, token, lost, pause_ms }
        }),
        2 => prop::collection::vec(pair(), 1..6).prop_map(Action::Batch),
        2 => weights.prop_map(Action::Resize),
        3 => Just(Action::Sweep),
        2 => (any::<u8>(), 1..9u8).prop_map(|(nth, count)| Action::Trim { nth, count }),
        2 => (0..60i32).prop_map(Action::Clock),
        1 => (-200..200i32).prop_map(Action::Clock),
        1 => (0..12u8).prop_map(Action::Crash),
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
    fn each_tokens_event_is_there_exactly_once_while_its_window_lasts(
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
fn tokens_of_older_generations_that_are_forgotten_on_a_resize_are_noticed() {
    assert!(is_noticed(Rules { looks_back: false, ..Rules::default() }));
}

#[test]
fn a_generation_that_is_forgotten_while_its_tokens_count_is_noticed() {
    assert!(is_noticed(Rules { generations_wait: false, ..Rules::default() }));
}

#[test]
fn a_leaving_partition_that_disappears_with_tokens_that_count_is_noticed() {
    assert!(is_noticed(Rules { partitions_wait: false, ..Rules::default() }));
}

#[test]
fn a_token_that_travels_without_its_event_is_noticed() {
    assert!(is_noticed(Rules { together: false, ..Rules::default() }));
}

/// A clock that goes back just before a resize, and on before anything else.
fn back_and_resized() -> [Action; 6] {
    let event = Action::Trigger { key: 0, token: 0, lost: 0, pause_ms: 0 };
    let (back, on) = (Action::Clock(-1), Action::Clock(1));
    [event, Action::Trim { nth: 0, count: 1 }, back, Action::Resize(vec![1]), on, Action::Sweep]
}

#[test]
fn a_clock_that_goes_back_before_a_resize_loses_no_token() {
    run(back_and_resized(), Rules::default());
}

#[test]
#[should_panic(expected = "told None")]
fn tokens_that_do_not_hear_of_it_are_noticed() {
    run(back_and_resized(), Rules { heard_first: false, ..Rules::default() });
}
