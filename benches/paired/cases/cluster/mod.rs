//! The cases of `scripts/bench --cluster`: what a cluster costs, against the same server's own work
//! and against one server.

mod consume;
mod produce;
mod scale;

use super::{DISTINCT, choose_of, payload};
use crate::conn::Outcome;
use crate::fleet::{Fleet, Fleets, Key, stream};
use crate::resp::Commands;
use crate::rounds::Case;

/// Makes a case for slices of so many events.
pub(crate) type Make = fn(&Fleets, usize) -> Outcome<Case<'_>>;

const ALL: [(&str, Make); 10] = [
    ("append-1", produce::append_1),
    ("append-16", produce::append_16),
    ("append-100", produce::append_100),
    ("pass-1", produce::pass_1),
    ("pass-16", produce::pass_16),
    ("consume-1", consume::count_1),
    ("consume-10", consume::count_10),
    ("consume-100", consume::count_100),
    ("scale", scale::append),
    ("scale-trigger", scale::trigger),
];

/// The cases of these names, or that begin with them and a dash; all without any.
pub(crate) fn choose(names: &[String]) -> Outcome<Vec<Make>> {
    choose_of(&ALL, names)
}

/// Masters of the cluster of which one node is loaded.
const MASTERS: usize = 4;

/// The keys whose partition the first node has. Of a server by itself, the same keys.
fn of_the_first<'a>(fleets: &'a Fleets, fleet: &'a Fleet) -> impl Iterator<Item = &'a Key> {
    fleets.keys.iter().filter(|key| fleets.owner(fleet, key.partition) == 0)
}

fn appends<'a>(keys: impl Iterator<Item = &'a Key>) -> Commands {
    each(keys, |commands, key, payload| {
        commands.push(&["EVQ.APPEND", &stream(key.partition), &key.name, payload]);
    })
}

fn triggers<'a>(keys: impl Iterator<Item = &'a Key>) -> Commands {
    each(keys, |commands, key, payload| {
        commands.push(&["EVQ.TRIGGER", &key.name, payload]);
    })
}

/// XADD of the same fields to streams in the slots of the partitions.
fn xadds<'a>(keys: impl Iterator<Item = &'a Key>) -> Commands {
    each(keys, |commands, key, payload| {
        let stream = super::native_stream(key.partition);
        commands.push(&["XADD", &stream, "*", "key", &key.name, "payload", payload]);
    })
}

fn each<'a>(
    keys: impl Iterator<Item = &'a Key>,
    push: impl Fn(&mut Commands, &Key, &str),
) -> Commands {
    let (mut commands, payload) = (Commands::default(), payload());
    keys.take(DISTINCT).for_each(|key| push(&mut commands, key, &payload));
    commands
}
