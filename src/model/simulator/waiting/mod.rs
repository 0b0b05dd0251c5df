//! Those who wait, against what they are promised, in simulated time: several rings and groups,
//! workers that wait for one partition or for any, by name or by connection, for ever or not;
//! clients that vanish, time out or are unblocked in any state; appends by command and by hand;
//! clients that give up on a reply, whose commands and answers are sent twice; leases that lapse,
//! are released, moved by SEEK or lost with a connection; retries, barriers and searches that stop
//! early; rings that are dropped, lost and made again; pauses, stalls and changes of role.
//!
//! `world` is the server around the state machine, `side` a partition with the real rules of
//! leases, `clients` and `commands` do what `src/server/dispatch` and `src/command` do, `replies`
//! what becomes of replies that get lost. `checks` compares:
//!
//! 1. No lost wake-up: at rest, when everything that the state machine asked for has been done, no
//!    owner waits beside work, no standby beside a free lease, no worker that takes any partition
//!    beside one that is free and has work. Only what hands change, and a lease that its own worker
//!    cuts short or begins to share, is left to the check of everything once a second.
//! 2. No worker is woken for nothing, and at most one is on the way to a partition and group.
//! 3. Standbys are served first come, first served.
//! 4. What a worker did not see of a lost reply comes first in its next pull without AHEAD.
//! 5. Nothing is left behind when clients vanish, and the timer rests.
//!
//! That the checks have teeth is shown by `flaws`: with a flaw planted they must fail. `scenes` has
//! the plain cases written out.

mod action;
mod checks;
mod clients;
mod commands;
mod flaws;
mod replies;
mod scenes;
mod side;
mod time;
mod world;

use proptest::prelude::*;

use super::cases;
use action::{Action, action};
use clients::Play;
use flaws::Flaw;

/// Runs a history to its end.
fn run(actions: impl IntoIterator<Item = Action>, flaw: Option<Flaw>) {
    let mut play = Play::new(flaw);
    for action in actions {
        play.act(action);
    }
    play.finish();
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn nobody_waits_in_vain(actions in prop::collection::vec(action(), 1..120)) {
        run(actions, None);
    }
}
