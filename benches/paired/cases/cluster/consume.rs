//! Draining a backlog at one node of a cluster, against a server by itself that has the same
//! events in the same partitions: a worker for each partition, which acknowledges a batch with the
//! next pull.

use super::{MASTERS, appends, of_the_first};
use crate::cases::consume::{EVQ_DEPTH, Keep, drain};
use crate::conn::{Outcome, drive};
use crate::fleet::{Fleet, Fleets, PARTITIONS, stream};
use crate::resp::{Commands, encode};
use crate::rounds::{Case, Goal, Pair, Variant};

pub(super) fn count_1(fleets: &Fleets, events: usize) -> Outcome<Case<'_>> {
    draining(fleets, "consume-1", 1, events)
}

pub(super) fn count_10(fleets: &Fleets, events: usize) -> Outcome<Case<'_>> {
    draining(fleets, "consume-10", 10, events * 2)
}

pub(super) fn count_100(fleets: &Fleets, events: usize) -> Outcome<Case<'_>> {
    draining(fleets, "consume-100", 100, events * 2)
}

fn draining<'a>(fleets: &'a Fleets, name: &str, count: usize, events: usize) -> Outcome<Case<'a>> {
    let cluster = fleets.cluster(MASTERS)?;
    let streams: Vec<String> =
        (0..PARTITIONS).filter(|p| fleets.owner(cluster, *p) == 0).map(stream).collect();
    let commands = appends(of_the_first(fleets, cluster));
    let variant = |name, fleet| draining_of(fleet, name, (&commands, &streams), count, events);
    let (alone, within) = ("a server by itself", "a node of a cluster");
    Ok(Case {
        name: name.to_owned(),
        variants: vec![variant(alone, &fleets.single)?, variant(within, cluster)?],
        pairs: vec![Pair { variant: within, base: alone, goal: Goal::AtLeast(0.95) }],
    })
}

fn draining_of<'a>(
    fleet: &'a Fleet,
    name: &'static str,
    (commands, streams): (&Commands, &[String]),
    count: usize,
    events: usize,
) -> Outcome<Variant<'a>> {
    const PIPELINE: usize = 100;
    let (node, streams) = (fleet.node(0)?, streams.to_vec());
    let events = events / PIPELINE * PIPELINE;
    fleet.begin()?;
    drive(&mut node.connections(10)?, commands, events, PIPELINE)?;
    let mut workers = node.connections(streams.len())?;
    let slice = move || {
        fleet.call(&["EVQ.SEEK", "default", "*", "first"])?;
        let ask = |out: &mut Vec<u8>, worker: usize, last: &[Vec<u8>], count: &str| {
            let stream = streams.get(worker).map(String::as_bytes).unwrap_or_default();
            let mut words = vec![&b"EVQ.CONSUME"[..], stream, b"COUNT", count.as_bytes()];
            words.push(b"NOBLOCK");
            if let Some(id) = last.first() {
                words.extend([b"ACK", id.as_slice()]);
            }
            encode(out, &words);
            0
        };
        let ids = (EVQ_DEPTH, Keep::Last);
        fleet.measure(events, || drain(&mut workers, ids, count, events, ask))
    };
    Ok(Variant { name, slice: Box::new(slice) })
}
