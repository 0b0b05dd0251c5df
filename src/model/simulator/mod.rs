//! Delivery against its guarantees, in a simulated partition: workers that pull ahead, acknowledge
//! late, partly, twice or wrongly, refuse events, die, come back by name or through another
//! connection, wait, share; events that always fail or always kill; operators that seek, retry,
//! skip and change settings; hands in the stream; a clock that jumps; a server that crashes and is
//! rebuilt from any prefix of its effects.
//!
//! `world` is the server: the real rules and what runs them, over a `shell` in memory. `worker` and
//! `fate` are what happens to it. `truth` is what must come of it, kept without any knowledge of
//! the rules, and `checks` compares after every step:
//!
//! 1. Order: Guarantee 1, word for word, at every event that is handed out.
//! 2. At least once: what is saved as finished is exactly what was; whoever comes last finishes
//!    everything, after a bounded number of pulls; at the bound of exceptions nothing is dropped.
//! 3. Fencing, and epochs that only grow; the cursor goes back only by EVQ.SEEK.
//! 4. Failure: a redelivery comes alone, after its delay, with its attempt; only its key waits; the
//!    reply of EVQ.NACK is what is held; only an event alone in flight is blamed for a lost lease,
//!    and what was in flight comes one at a time; after the last attempt it is dead.
//!
//! A failing run prints its seed and its shortest history, which belongs into `regressions`; the
//! seed is kept under `proptest-regressions`. EVQ_SIM_CASES runs more than the default.

mod action;
mod checks;
mod fairness;
mod fate;
mod later;
mod looks;
mod regressions;
mod replays;
mod rings;
mod shell;
mod stream;
mod truth;
mod unique;
mod waiting;
mod worker;
mod world;

use std::collections::HashSet;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, RngSeed};

use action::{Action, WORKERS, action};
use stream::Nature;
use truth::Stage;
use worker::{By, Simulation};

use super::limits::MAX_EXCEPTIONS;
use crate::model::progress::lease::Pace;
use crate::model::ring::group::{Group, OnDead};

/// The seed of the usual run.
const SEED: u64 = 1;

fn cases(default: u32) -> ProptestConfig {
    // Read when it is compiled: the model reads no environment, not even in its tests.
    let wanted = option_env!("EVQ_SIM_CASES");
    let cases = wanted.map_or(default, |text| text.parse().expect("EVQ_SIM_CASES is a number"));
    // Without optimisation the default generator takes most of the time.
    let rng_algorithm = RngAlgorithm::XorShift;
    // The usual run is the same everywhere, so that it judges the change at hand; who asks for a
    // number of cases gets new ones.
    let rng_seed = if wanted.is_some() { RngSeed::Random } else { RngSeed::Fixed(SEED) };
    ProptestConfig { cases, rng_algorithm, rng_seed, ..ProptestConfig::default() }
}

/// Two groups that differ in everything.
fn groups() -> Vec<Group> {
    let quick = Group { max_attempts: 3, backoff_min_ms: 0, backoff_max_ms: 0, ..Group::default() };
    let slow = Group { max_attempts: 2, backoff_min_ms: 50, ..quick.clone() };
    vec![quick, Group { backoff_max_ms: 200, on_dead: OnDead::Hold, ..slow }]
}

/// Runs a history to its end.
fn run(actions: impl IntoIterator<Item = Action>) {
    let mut simulation = Simulation::new(groups(), WORKERS);
    for action in actions {
        simulation.act(action);
    }
    simulation.finish();
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn the_guarantees_hold_whatever_happens(actions in prop::collection::vec(action(), 1..120)) {
        run(actions);
    }

    /// Only poison kills here, so whatever dies must be poison, and all of it must die.
    #[test]
    fn poison_is_found_and_its_neighbours_are_not_blamed(
        natures in prop::collection::vec((0..3u8, 0..6u8), 1..MAX_EXCEPTIONS),
        pulls in prop::collection::vec((0..WORKERS, 1..6u8, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let mut simulation = Simulation::new(groups(), WORKERS);
        for (key, dice) in natures {
            let nature = if dice == 0 { Nature::Kills } else { Nature::Healthy };
            simulation.act(Action::Trigger { key, kind: 0, nature, count: 1 });
        }
        for round in 0.. {
            let (w, count, named, shared) = pulls[round % pulls.len()];
            let by = if named { By::Name } else { By::Connection };
            let before = simulation.replies;
            for g in 0..2 {
                let pace = if count % 2 == 0 { Pace::Ahead } else { Pace::Steady };
                simulation.act(Action::Pull { w, g, by, any: shared, count, pace, block: false });
                simulation.act(Action::Handle { w, g, by });
            }
            simulation.act(Action::Clock(110));
            simulation.act(Action::Sweep);
            if simulation.replies == before && round > pulls.len() {
                break;
            }
            prop_assert!(round < 1000, "never done");
        }
        for g in 0..2 {
            let holds = simulation.world.group(g).on_dead == OnDead::Hold;
            let mut poisoned = HashSet::new();
            for event in &simulation.world.stream.events {
                let expected = match event.nature {
                    _ if poisoned.contains(&event.key) => Stage::Open,
                    Nature::Healthy => Stage::Finished,
                    _ if holds => Stage::Dead,
                    _ => Stage::Skipped,
                };
                if expected == Stage::Dead {
                    poisoned.insert(event.key);
                }
                let stage = simulation.world.sides[g].truth.lasting.of(event.id).stage;
                prop_assert_eq!(stage, expected, "{:?}", event);
            }
        }
    }
}
