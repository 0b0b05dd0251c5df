//! What an event costs all servers together, from its producer to its acknowledgement, with more
//! and more masters: the same commands in the same batches over the same partitions, which more
//! and more servers share. A producer and a worker for each partition take turns, so that no batch
//! depends on how busy the machine is.

use super::{appends, triggers};
use crate::cases::consume::EVQ_DEPTH;
use crate::conn::{Conn, Outcome};
use crate::fleet::{Fleet, Fleets, Key, PARTITIONS, stream};
use crate::resp::Commands;
use crate::rounds::{Case, Goal, Pair, Variant};

/// How many events a producer sends at once, and a worker takes.
const BATCH: usize = 16;
/// How many of a producer's batches differ.
const BATCHES: usize = 8;

struct Producer {
    conn: Conn,
    commands: Commands,
}

struct Worker {
    conn: Conn,
    stream: String,
    last: Vec<u8>,
}

/// EVQ.APPEND at the owner of each partition.
pub(super) fn append(fleets: &Fleets, events: usize) -> Outcome<Case<'_>> {
    scaling(fleets, "scale", events, appending, Goal::CpuAtLeast(0.91))
}

/// EVQ.TRIGGER at the node of each key: of n masters, n - 1 of n events are passed on.
pub(super) fn trigger(fleets: &Fleets, events: usize) -> Outcome<Case<'_>> {
    scaling(fleets, "scale-trigger", events, triggering, Goal::None)
}

type Produce = fn(&Fleets, &Fleet) -> Outcome<Vec<Producer>>;

fn scaling<'a>(
    fleets: &'a Fleets,
    name: &str,
    events: usize,
    produce: Produce,
    goal: Goal,
) -> Outcome<Case<'a>> {
    let (alone, one) = ("a server by itself", "1 master");
    let mut variants = vec![variant(fleets, &fleets.single, alone, events, produce)?];
    let mut pairs = vec![Pair { variant: one, base: alone, goal: Goal::None }];
    for fleet in &fleets.clusters {
        let name = match fleet.nodes.len() {
            1 => one,
            2 => "2 masters",
            4 => "4 masters",
            _ => "8 masters",
        };
        variants.push(variant(fleets, fleet, name, events, produce)?);
        if name != one {
            pairs.push(Pair { variant: name, base: one, goal });
        }
    }
    Ok(Case { name: name.to_owned(), variants, pairs })
}

/// A producer for each partition, at its owner.
fn appending(fleets: &Fleets, fleet: &Fleet) -> Outcome<Vec<Producer>> {
    let producer = |p| {
        let keys = fleets.keys.iter().filter(|key| key.partition == p).take(BATCH * BATCHES);
        let conn = fleet.node(fleets.owner(fleet, p))?.connect()?;
        Ok(Producer { conn, commands: appends(keys) })
    };
    (0..PARTITIONS).map(producer).collect()
}

/// As many producers, spread over the nodes. A batch has an event of every second partition, and
/// the next one of the others: in each turn every partition gets a batch from all together.
fn triggering(fleets: &Fleets, fleet: &Fleet) -> Outcome<Vec<Producer>> {
    let producer = |n| {
        let door = n % fleet.nodes.len();
        let at_door = |key: &&Key| fleets.door(fleet, key) == door;
        let of_partition = |p: usize| fleets.keys.iter().filter(move |key| key.partition == p);
        let of_batch = |batch: usize| {
            let partitions = (0..BATCH).map(move |at| at * 2 + (n + batch) % 2);
            partitions.filter_map(move |p| of_partition(p).filter(at_door).nth(batch))
        };
        let commands = triggers((0..BATCHES).flat_map(of_batch));
        if commands.len() < BATCH * BATCHES {
            return Err(format!("too few keys for node {door}").into());
        }
        Ok(Producer { conn: fleet.node(door)?.connect()?, commands })
    };
    (0..PARTITIONS).map(producer).collect()
}

fn variant<'a>(
    fleets: &'a Fleets,
    fleet: &'a Fleet,
    name: &'static str,
    events: usize,
    produce: Produce,
) -> Outcome<Variant<'a>> {
    let turns = (events / (PARTITIONS * BATCH)).max(1);
    let mut producers = produce(fleets, fleet)?;
    let slice = move || {
        fleet.begin()?;
        let worker = |p| {
            let conn = fleet.node(fleets.owner(fleet, p))?.connect()?;
            Ok(Worker { conn, stream: stream(p), last: Vec::new() })
        };
        let mut workers = (0..PARTITIONS).map(worker).collect::<Outcome<Vec<_>>>()?;
        fleet.measure(turns * PARTITIONS * BATCH, || {
            for turn in 0..turns {
                send(&mut producers, turn)?;
                take(&mut workers)?;
            }
            finish(&mut workers)
        })
    };
    Ok(Variant { name, slice: Box::new(slice) })
}

fn send(producers: &mut [Producer], turn: usize) -> Outcome<()> {
    for Producer { conn, commands } in producers.iter_mut() {
        conn.send(commands.slice(turn % BATCHES * BATCH, BATCH))?;
    }
    producers.iter_mut().try_for_each(|producer| producer.conn.skip(BATCH))
}

fn take(workers: &mut [Worker]) -> Outcome<()> {
    let count = BATCH.to_string();
    for Worker { conn, stream, last } in workers.iter_mut() {
        let words = ["EVQ.CONSUME", stream, "COUNT", &count, "NOBLOCK"].map(str::as_bytes);
        if last.is_empty() {
            conn.ask(&words)?;
        } else {
            conn.ask(&[&words[..], &[b"ACK", last]].concat())?;
        }
    }
    for Worker { conn, stream, last } in workers.iter_mut() {
        let taken = conn.take_last(EVQ_DEPTH, last)?;
        if taken != BATCH {
            return Err(format!("{stream} has {taken} events instead of {BATCH}").into());
        }
    }
    Ok(())
}

fn finish(workers: &mut [Worker]) -> Outcome<()> {
    for Worker { conn, stream, last } in workers.iter_mut() {
        conn.ask(&[b"EVQ.ACK", stream.as_bytes(), last])?;
    }
    workers.iter_mut().try_for_each(|worker| worker.conn.skip(1))
}
