//! Producing at one node of a cluster: EVQ.APPEND at the partition's owner against XADD of the same
//! fields to a stream in the same slot, and against a server by itself; EVQ.TRIGGER at the owner,
//! and at a node that passes it on, against EVQ.APPEND.

use super::{MASTERS, appends, of_the_first, triggers, xadds};
use crate::cases::produce::Load;
use crate::conn::{Outcome, drive};
use crate::fleet::{Fleet, Fleets};
use crate::resp::Commands;
use crate::rounds::{Case, Goal, Pair, Variant};

const ONE: Load = Load { connections: 50, pipeline: 1 };
const SIXTEEN: Load = Load { connections: 50, pipeline: 16 };
const HUNDRED: Load = Load { connections: 10, pipeline: 100 };

pub(super) fn append_1(fleets: &Fleets, events: usize) -> Outcome<Case<'_>> {
    append(fleets, "append-1", events, ONE, Goal::None)
}

pub(super) fn append_16(fleets: &Fleets, events: usize) -> Outcome<Case<'_>> {
    append(fleets, "append-16", events, SIXTEEN, Goal::AtLeast(0.8))
}

pub(super) fn append_100(fleets: &Fleets, events: usize) -> Outcome<Case<'_>> {
    append(fleets, "append-100", events, HUNDRED, Goal::None)
}

pub(super) fn pass_1(fleets: &Fleets, events: usize) -> Outcome<Case<'_>> {
    pass(fleets, "pass-1", events, ONE)
}

pub(super) fn pass_16(fleets: &Fleets, events: usize) -> Outcome<Case<'_>> {
    pass(fleets, "pass-16", events, SIXTEEN)
}

fn append<'a>(
    fleets: &'a Fleets,
    name: &str,
    events: usize,
    load: Load,
    goal: Goal,
) -> Outcome<Case<'a>> {
    let fleet = fleets.cluster(MASTERS)?;
    let keys = || of_the_first(fleets, fleet);
    let (append, early) = ("EVQ.APPEND", "APPEND before any worker");
    let alone = "APPEND, a server by itself";
    let used = Fleet::begin;
    Ok(Case {
        name: name.to_owned(),
        variants: vec![
            sending((fleet, 0), "XADD", used, events, load, xadds(keys()))?,
            sending((&fleets.single, 0), alone, used, events, load, appends(keys()))?,
            sending((fleet, 0), early, Fleet::begin_unused, events, load, appends(keys()))?,
            sending((fleet, 0), append, used, events, load, appends(keys()))?,
        ],
        pairs: vec![
            Pair { variant: early, base: "XADD", goal: Goal::None },
            Pair { variant: append, base: "XADD", goal },
            Pair { variant: append, base: alone, goal: Goal::None },
        ],
    })
}

/// A client sends EVQ.TRIGGER to the node that has the slot of the event's key, and that may have
/// the partition or not.
fn pass<'a>(fleets: &'a Fleets, name: &str, events: usize, load: Load) -> Outcome<Case<'a>> {
    let fleet = fleets.cluster(MASTERS)?;
    let sent_to = |door| of_the_first(fleets, fleet).filter(move |k| fleets.door(fleet, k) == door);
    let used = Fleet::begin;
    let (append, own, passed) = ("EVQ.APPEND", "EVQ.TRIGGER at the owner", "EVQ.TRIGGER passed on");
    Ok(Case {
        name: name.to_owned(),
        variants: vec![
            sending((fleet, 0), append, used, events, load, appends(sent_to(1)))?,
            sending((fleet, 0), own, used, events, load, triggers(sent_to(0)))?,
            sending((fleet, 1), passed, used, events, load, triggers(sent_to(1)))?,
        ],
        pairs: vec![
            Pair { variant: own, base: append, goal: Goal::None },
            Pair { variant: passed, base: append, goal: Goal::None },
        ],
    })
}

/// A variant that begins a fleet anew and then sends commands to one of its nodes.
fn sending<'a>(
    (fleet, node): (&'a Fleet, usize),
    name: &'static str,
    begin: fn(&Fleet) -> Outcome<()>,
    events: usize,
    load: Load,
    commands: Commands,
) -> Outcome<Variant<'a>> {
    let mut conns = fleet.node(node)?.connections(load.connections)?;
    let total = events / load.pipeline * load.pipeline;
    let slice = move || {
        begin(fleet)?;
        fleet.measure(total, || drive(&mut conns, &commands, total, load.pipeline))
    };
    Ok(Variant { name, slice: Box::new(slice) })
}
