//! What workers that have nothing to do cost those who produce: nothing, is the promise.
//!
//! Whoever waits is set up anew before each slice and gone after it, so that the slices without
//! anybody waiting are free of any trace of them.

use super::{DISTINCT, PARTITIONS, key, payload, triggers};
use crate::conn::{Conn, Outcome, drive};
use crate::resp::Commands;
use crate::rounds::{Case, Goal, Pair, Variant};
use crate::server::{Sample, Server};

/// How many wait.
const IDLE: usize = 100;
/// Enough to let the cost of one event show, and not of the system calls around it.
const PIPELINE: usize = 16;
const CONNECTIONS: usize = 20;
/// Longer than any run: nothing expires in the measured time.
const LEASE_MS: &str = "86400000";
const NOBODY: &str = "nobody waits";

/// A hundred standbys behind a live owner of the one partition that all events go to.
pub(super) fn standbys(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let waiting = "100 standbys";
    let owner = "an owner, no standbys";
    let commands = || {
        server.empty()?;
        triggers_of_partition_0(server)
    };
    Ok(Case {
        name: "idle-standbys".to_owned(),
        variants: vec![
            triggering(server, NOBODY, events, commands()?, |_| Ok(Vec::new())),
            triggering(server, owner, events, commands()?, |server| Ok(vec![own(server)?])),
            triggering(server, waiting, events, commands()?, |server| {
                let mut conns = vec![own(server)?];
                let wait = ["EVQ.CONSUME", "0", "BLOCK", "0"];
                conns.extend(park(server, &wait, "standbys_waiting")?);
                Ok(conns)
            }),
        ],
        pairs: vec![no_slower(owner), no_slower(waiting)],
    })
}

/// A hundred workers on `*` that have nothing to do: because their ring gets no events, or
/// because every partition is with a busy worker.
pub(super) fn workers(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let (other, busy, busy_only) =
        ("100 on another ring", "100 behind busy workers", "busy workers only");
    Ok(Case {
        name: "idle-workers".to_owned(),
        variants: vec![
            triggering(server, NOBODY, events, triggers(), |_| Ok(Vec::new())),
            triggering(server, other, events, triggers(), |server| {
                server.call(&["EVQ.CREATE", "other", "8"])?;
                let wait = ["EVQ.CONSUME", "*", "RING", "other", "BLOCK", "0"];
                park(server, &wait, "any_partition_waiting")
            }),
            triggering(server, busy_only, events, triggers(), be_busy),
            triggering(server, busy, events, triggers(), |server| {
                let mut conns = be_busy(server)?;
                let wait = ["EVQ.CONSUME", "*", "BLOCK", "0"];
                conns.extend(park(server, &wait, "any_partition_waiting")?);
                Ok(conns)
            }),
        ],
        pairs: vec![no_slower(other), no_slower(busy_only), no_slower(busy)],
    })
}

fn no_slower(variant: &'static str) -> Pair {
    Pair { variant, base: NOBODY, goal: Goal::CpuAtLeast(0.95) }
}

/// A variant that sends commands while those whom `set_up` brings are there.
fn triggering<'a>(
    server: &'a Server,
    name: &'static str,
    events: usize,
    commands: Commands,
    set_up: impl Fn(&Server) -> Outcome<Vec<Conn>> + 'a,
) -> Variant<'a> {
    let total = events / PIPELINE * PIPELINE;
    let slice = move || -> Outcome<Sample> {
        server.empty()?;
        // One event for each partition, for those who are to be busy with one.
        let mut conn = server.connect()?;
        for n in 0..100 {
            conn.call(&["EVQ.TRIGGER", &key(n), "first"])?;
        }
        let waiting = set_up(server)?;
        let mut conns = server.connections(CONNECTIONS)?;
        let sample = server.measure(total, || drive(&mut conns, &commands, total, PIPELINE));
        drop(waiting);
        for field in ["standbys_waiting", "any_partition_waiting", "owners_waiting"] {
            server.until(field, 0)?;
        }
        sample
    };
    Variant { name, slice: Box::new(slice) }
}

/// A worker that has partition 0 and an event of it in hand.
fn own(server: &Server) -> Outcome<Conn> {
    let mut owner = server.connect()?;
    take(&mut owner, "0")?;
    Ok(owner)
}

/// Workers that have all partitions, and an event of each in hand.
fn be_busy(server: &Server) -> Outcome<Vec<Conn>> {
    let mut conns = server.connections(PARTITIONS)?;
    conns.iter_mut().try_for_each(|conn| take(conn, "*"))?;
    Ok(conns)
}

fn take(conn: &mut Conn, partition: &str) -> Outcome<()> {
    let reply = conn.call(&["EVQ.CONSUME", partition, "NOBLOCK", "LEASE", LEASE_MS])?;
    if reply.starts_with(b"*-1") {
        return Err(format!("there is no event in {partition} to be busy with").into());
    }
    Ok(())
}

/// Sends the waiters into their wait and sees them arrive.
fn park(server: &Server, wait: &[&str], field: &str) -> Outcome<Vec<Conn>> {
    let mut conns = server.connections(IDLE)?;
    conns.iter_mut().try_for_each(|conn| conn.ask(wait))?;
    server.until(field, IDLE)?;
    Ok(conns)
}

/// EVQ.TRIGGER with keys that all belong to partition 0.
fn triggers_of_partition_0(server: &Server) -> Outcome<Commands> {
    let (mut commands, payload) = (Commands::default(), payload());
    let mut conn = server.connect()?;
    let mut n = 0;
    while commands.len() < DISTINCT / PIPELINE {
        if conn.call(&["EVQ.ROUTE", &key(n)])?.starts_with(b"*2\r\n:0\r\n") {
            commands.push(&["EVQ.TRIGGER", &key(n), &payload]);
        }
        n += 1;
    }
    Ok(commands)
}
