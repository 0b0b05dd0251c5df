//! A ring that is resized while it is used, against the guarantees: producers, workers that pull
//! ahead, acknowledge late, refuse events and die; groups that are slow, made later, sought back,
//! or take some types only; resizes up, down and of weights, before the last one has drained;
//! retention and hands in the streams; a server that crashes and is rebuilt from any prefix of its
//! effects.
//!
//! `world` is the server: the real rules over several partitions, and what runs them over a `shell`
//! in memory. `play` is what happens to it.
//! `truth` is what must come of it: it knows which event of a key was triggered before which, and
//! nothing of partitions, generations or barriers. After every step and at the end:
//!
//! 1. Order: Guarantee 1, word for word, at every event that is handed out, over all partitions.
//! 2. At least once: what is saved as finished is exactly what was; in the end everything is, and
//!    nothing waits for ever.
//! 3. Every leaving partition disappears and all history is forgotten when retention has passed.
//!
//! That the checks have teeth is shown by `flaws`: with a rule left out they must fail.

mod action;
mod checks;
mod flaws;
mod play;
mod replays;
mod shell;
mod truth;
mod world;

use proptest::prelude::*;

use super::cases;
use action::action;
use play::run;
use world::Rules;

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn no_resize_breaks_the_order_of_a_key(
        actions in prop::collection::vec(action(), 1..150),
    ) {
        run(actions, Rules::default());
    }
}
