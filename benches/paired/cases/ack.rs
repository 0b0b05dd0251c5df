//! Acknowledging one event at a time, against the cheapest cursor one can keep by hand: HSET of the
//! last id in a hash per partition.

use super::{PARTITIONS, triggers};
use crate::conn::{Conn, Outcome, drive};
use crate::resp::Commands;
use crate::rounds::{Case, Goal, Pair, Variant};
use crate::server::Server;

const PIPELINE: usize = 16;
/// How many arrays the id of an event is in.
const ID_DEPTH: usize = 3;

pub(super) fn ack(server: &Server, events: usize) -> Outcome<Case<'_>> {
    // Keys do not spread evenly, and each partition must have its share.
    drive(&mut server.connections(10)?, &triggers(), events * 2 / 100 * 100, 100)?;
    let share = events / PARTITIONS / PIPELINE * PIPELINE;
    server.call(&["EVQ.CONSUME", "0", "NOBLOCK"])?;
    let mut workers = server.connections(PARTITIONS)?;
    let ack = move || {
        server.call(&["EVQ.SEEK", "default", "*", "first"])?;
        let commands = commands(&mut workers, share, |p, id| {
            vec!["EVQ.ACK".to_owned(), p.to_string(), id.to_owned()]
        })?;
        server.measure(share * PARTITIONS, || each(&mut workers, &commands, share))
    };
    let mut others = server.connections(PARTITIONS)?;
    let hset = move || {
        server.call(&["EVQ.SEEK", "default", "*", "first"])?;
        let commands = commands(&mut others, share, |p, id| {
            let key = format!("cursor:{{default:{p}}}");
            vec!["HSET".to_owned(), key, "default".to_owned(), id.to_owned()]
        })?;
        server.measure(share * PARTITIONS, || each(&mut others, &commands, share))
    };
    Ok(Case {
        name: "ack".to_owned(),
        variants: vec![
            Variant { name: "HSET", slice: Box::new(hset) },
            Variant { name: "EVQ.ACK", slice: Box::new(ack) },
        ],
        pairs: vec![Pair { variant: "EVQ.ACK", base: "HSET", goal: Goal::AtLeast(1.0) }],
    })
}

/// Pulls `share` events of each partition on its own connection, and makes a command of each.
fn commands(
    conns: &mut [Conn],
    share: usize,
    make: impl Fn(usize, &str) -> Vec<String>,
) -> Outcome<Vec<Commands>> {
    let mut all = Vec::new();
    for (p, conn) in conns.iter_mut().enumerate() {
        let mut commands = Commands::default();
        let (partition, count) = (p.to_string(), share.to_string());
        conn.ask(&["EVQ.CONSUME", &partition, "COUNT", &count, "NOBLOCK"])?;
        conn.visit(|depth, id| {
            if depth == ID_DEPTH {
                commands.push(&make(p, &String::from_utf8_lossy(id)));
            }
        })?;
        if commands.len() < share {
            return Err(format!("partition {p} has {} of {share} events", commands.len()).into());
        }
        all.push(commands);
    }
    Ok(all)
}

/// Sends each connection's own commands once.
fn each(conns: &mut [Conn], commands: &[Commands], share: usize) -> Outcome<()> {
    let chunk = |p: usize, n: usize| {
        commands.get(p).map_or(&[][..], |commands| commands.slice(n * PIPELINE, PIPELINE))
    };
    for (p, conn) in conns.iter_mut().enumerate() {
        conn.send(chunk(p, 0))?;
    }
    for n in 1..=share / PIPELINE {
        for (p, conn) in conns.iter_mut().enumerate() {
            conn.skip(PIPELINE)?;
            if n < share / PIPELINE {
                conn.send(chunk(p, n))?;
            }
        }
    }
    Ok(())
}
