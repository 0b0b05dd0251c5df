//! The checks have teeth: with a rule left out they fail. And one dead key holds up nothing else.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};

use super::action::{Action, action};
use super::play::{Play, run};
use super::truth::Stage;
use super::world::Rules;
use crate::model::progress::lease::Pace;
use crate::model::simulator::stream::Nature;

/// Whether the usual histories notice that some rules are left out.
fn is_noticed(rules: Rules) -> bool {
    let config = Config {
        cases: 3000,
        rng_algorithm: RngAlgorithm::XorShift,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let histories = prop::collection::vec(action(), 1..150);
    let ran = TestRunner::new(config).run(&histories, |actions| {
        run(actions, rules);
        Ok(())
    });
    ran.is_err()
}

#[test]
fn a_missing_barrier_is_noticed() {
    assert!(is_noticed(Rules { barriers: false, ..Rules::default() }));
}

#[test]
fn a_barrier_that_asks_its_neighbours_only_is_noticed() {
    assert!(is_noticed(Rules { transitive: false, ..Rules::default() }));
}

#[test]
fn a_key_that_does_not_wait_for_its_failure_elsewhere_is_noticed() {
    assert!(is_noticed(Rules { elsewhere: false, ..Rules::default() }));
}

fn trigger(key: u8, nature: Nature) -> Action {
    Action::Trigger { key, kind: 0, nature, count: 1 }
}

/// Group 1 tries twice and holds the key. Half of the keys move by each resize.
#[test]
fn a_dead_event_under_hold_holds_its_own_key_wherever_it_moves_and_nothing_else() {
    const GROUP: usize = 1;
    for dead in 0..8 {
        let mut play = Play::new(Rules::default());
        play.act(trigger(dead, Nature::Fails));
        for weights in [vec![1; 2], vec![1; 4], vec![1; 1], vec![2, 1, 1, 1, 2]] {
            play.act(Action::Resize(weights));
            for key in 0..8 {
                play.act(trigger(key, Nature::Healthy));
            }
        }
        let (p, event) = play.world.triggered[0];
        let nth = play.world.live().iter().position(|other| *other == p);
        for _ in 0..2 {
            play.act(Action::Clock(300));
            play.act(Action::Pull { w: 1, g: GROUP, nth, count: 1, pace: Pace::Steady });
            play.act(Action::Handle { w: 1, g: GROUP });
        }
        assert_eq!(play.world.truths[GROUP].fact((p, event.id)).stage, Stage::Dead);
        play.act(Action::Crash(1));
        play.drain(GROUP);
        let open = play.open_events(GROUP);
        assert_eq!(open.len(), 5, "the dead event and the four behind it");
        assert!(open.iter().all(|(_, event)| event.key == [dead]), "{open:?}");
        play.act(Action::Dead { g: GROUP, retry: true });
        play.drain(GROUP);
        assert!(play.is_done(GROUP), "{:?}", play.open_events(GROUP));
        play.finish();
    }
}
