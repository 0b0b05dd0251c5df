//! What size costs: many partitions, many groups, many retained events. Each is compared with the
//! small case on the same server; what is to cost nothing is judged by the server's CPU.

use super::produce::Load;
use super::{DISTINCT, key, payload, scattered};
use crate::conn::{Outcome, drive};
use crate::resp::Commands;
use crate::rounds::{Case, Goal, Pair, Variant};
use crate::server::Server;

const LOAD: Load = Load { connections: 20, pipeline: 16 };
/// Retained events that a full run goes up to, and a quick one.
const MANY: [usize; 3] = [10_000, 1_000_000, 10_000_000];
const QUICK: [usize; 2] = [10_000, 200_000];

/// EVQ.TRIGGER in rings of 8, 64 and 1024 partitions.
pub(super) fn partitions(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let names = ["8 partitions", "64 partitions", "1024 partitions"];
    let rings = [("p8", "8"), ("p64", "64"), ("p1024", "1024")];
    let variants = names.iter().zip(rings).map(|(name, (ring, partitions))| {
        server.call(&["EVQ.CREATE", ring, partitions])?;
        triggering(server, name, ring, events)
    });
    let mut variants = variants.collect::<Outcome<Vec<_>>>()?;
    // As many streams are as far from the processor's caches without EVQ.
    let (few, many) = ("XADD, 8 streams", "XADD, 1024 streams");
    variants.push(adding(server, few, "x8", 8, events)?);
    variants.push(adding(server, many, "x1024", 1024, events)?);
    let pairs = vec![
        no_dearer(names[1], names[0]),
        no_dearer(names[2], names[0]),
        Pair { variant: many, base: few, goal: Goal::None },
    ];
    Ok(Case { name: "partitions".to_owned(), variants, pairs })
}

/// EVQ.TRIGGER in rings that 1, 4 and 16 groups read.
pub(super) fn groups(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let names = ["1 group", "4 groups", "16 groups"];
    let rings = [("g1", 1), ("g4", 4), ("g16", 16)];
    let variants = names.iter().zip(rings).map(|(name, (ring, groups))| {
        server.call(&["EVQ.CREATE", ring, "8"])?;
        for group in 0..groups {
            let group = format!("group{group}");
            for p in 0..8 {
                let pull = ["EVQ.CONSUME", &format!("evq:{{{ring}:{p}}}"), "GROUP", &group];
                server.call(&[&pull[..], &["NOBLOCK"]].concat())?;
            }
        }
        triggering(server, name, ring, events)
    });
    let variants = variants.collect::<Outcome<Vec<_>>>()?;
    let pairs = vec![no_dearer(names[1], names[0]), no_dearer(names[2], names[0])];
    Ok(Case { name: "groups".to_owned(), variants, pairs })
}

/// EVQ.TRIGGER into rings that hold more and more events.
pub(super) fn growth(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let sizes = if server.quick { &QUICK[..] } else { &MANY };
    let name = |size: usize| match size {
        10_000 => "10 thousand retained",
        200_000 => "200 thousand retained",
        1_000_000 => "1 million retained",
        _ => "10 million retained",
    };
    let variants = sizes.iter().map(|size| {
        let ring: &'static str = match *size {
            10_000 => "small",
            10_000_000 => "huge",
            _ => "large",
        };
        server.call(&["EVQ.CREATE", ring, "8"])?;
        fill(server, ring, *size)?;
        triggering(server, name(*size), ring, events)
    });
    let variants = variants.collect::<Outcome<Vec<_>>>()?;
    let pairs = sizes.iter().skip(1).map(|size| no_dearer(name(*size), name(10_000))).collect();
    Ok(Case { name: "growth".to_owned(), variants, pairs })
}

fn no_dearer(variant: &'static str, base: &'static str) -> Pair {
    Pair { variant, base, goal: Goal::CpuAtLeast(0.95) }
}

/// Sends events to a ring, and takes as many away after the measured time.
fn triggering<'a>(
    server: &'a Server,
    name: &'static str,
    ring: &'static str,
    events: usize,
) -> Outcome<Variant<'a>> {
    let (mut commands, payload) = (Commands::default(), payload());
    for n in 0..DISTINCT {
        commands.push(&["EVQ.TRIGGER", &key(n), &payload, "RING", ring]);
    }
    sending(server, name, ring, commands, events)
}

/// Appends by XADD, over streams that have a ring's names.
fn adding<'a>(
    server: &'a Server,
    name: &'static str,
    ring: &'static str,
    streams: usize,
    events: usize,
) -> Outcome<Variant<'a>> {
    let (mut commands, payload) = (Commands::default(), payload());
    for n in 0..DISTINCT {
        let stream = format!("evq:{{{ring}:{}}}", scattered(n, streams));
        commands.push(&["XADD", &stream, "*", "key", &key(n), "payload", &payload]);
    }
    sending(server, name, ring, commands, events)
}

fn sending<'a>(
    server: &'a Server,
    name: &'static str,
    ring: &'static str,
    commands: Commands,
    events: usize,
) -> Outcome<Variant<'a>> {
    let total = events / LOAD.pipeline * LOAD.pipeline;
    let mut conns = server.connections(LOAD.connections)?;
    // The same events once before, so that every partition that is used has its stream.
    drive(&mut conns, &commands, total, LOAD.pipeline)?;
    let lengths = lengths(server, ring)?;
    let slice = move || {
        let sample =
            server.measure(total, || drive(&mut conns, &commands, total, LOAD.pipeline))?;
        for (stream, length) in &lengths {
            server.call(&["XTRIM", stream, "MAXLEN", length])?;
        }
        Ok(sample)
    };
    Ok(Variant { name, slice: Box::new(slice) })
}

/// The streams of a ring with their lengths.
fn lengths(server: &Server, ring: &str) -> Outcome<Vec<(String, String)>> {
    let mut conn = server.connect()?;
    let mut all = Vec::new();
    for p in 0..1024 {
        let stream = format!("evq:{{{ring}:{p}}}");
        let reply = String::from_utf8(conn.call(&["XLEN", &stream])?)?;
        let length = reply.trim_start_matches(':').trim_end();
        if length != "0" {
            all.push((stream, length.to_owned()));
        }
    }
    Ok(all)
}

fn fill(server: &Server, ring: &str, events: usize) -> Outcome<()> {
    let (mut commands, payload) = (Commands::default(), payload());
    for batch in 0..40 {
        let keys: Vec<String> = (0..100).map(|n| key(batch * 100 + n)).collect();
        let mut words = vec!["EVQ.MTRIGGER", "100"];
        words.extend(keys.iter().flat_map(|key| [key.as_str(), &payload]));
        words.extend(["RING", ring]);
        commands.push(&words);
    }
    drive(&mut server.connections(4)?, &commands, events / 100, 1)
}
