//! Memory: what an event takes in a partition against an entry with the same fields in a stream,
//! and what it takes more while it is handed out and not acknowledged. Bytes stand in the columns
//! that have nanoseconds elsewhere.

use super::{DISTINCT, PARTITIONS, key, native_stream, payload};
use crate::conn::{Outcome, drive};
use crate::resp::Commands;
use crate::rounds::{Case, Goal, Pair, Variant};
use crate::server::{Sample, Server};

const PIPELINE: usize = 100;

pub(super) fn memory(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let events = events / PIPELINE * PIPELINE;
    let (xadd, trigger) = ("XADD, bytes", "EVQ.TRIGGER, bytes");
    let (read, consume) = ("XREADGROUP unacknowledged", "EVQ.CONSUME unacknowledged");
    Ok(Case {
        name: "memory".to_owned(),
        variants: vec![
            storing(server, xadd, events, true),
            storing(server, trigger, events, false),
            holding(server, read, events, true),
            holding(server, consume, events, false),
        ],
        pairs: vec![
            Pair { variant: trigger, base: xadd, goal: Goal::AtMost(1.01) },
            Pair { variant: consume, base: read, goal: Goal::AtMost(0.01) },
        ],
    })
}

/// Writes equal events into streams of equal lengths, for both sides.
fn fill(server: &Server, events: usize, native: bool) -> Outcome<()> {
    let (mut commands, payload) = (Commands::default(), payload());
    let mut conn = server.connect()?;
    for n in 0..DISTINCT {
        let key = key(n);
        if native {
            // `*2 :<partition> ...`; eight partitions have one digit.
            let reply = conn.call(&["EVQ.ROUTE", &key])?;
            let p = usize::from(reply.get(5).copied().unwrap_or(b'0') - b'0');
            commands.push(&["XADD", &native_stream(p), "*", "key", &key, "payload", &payload]);
        } else {
            commands.push(&["EVQ.TRIGGER", &key, &payload]);
        }
    }
    drive(&mut [conn], &commands, events, PIPELINE)
}

/// Bytes that the server has allocated. Nobody else is connected, and who was is forgotten.
fn used(server: &Server) -> Outcome<f64> {
    let info = server.info("memory")?;
    let used = info.lines().find_map(|line| line.trim().strip_prefix("used_memory:"));
    Ok(used.ok_or("no used_memory")?.parse()?)
}

/// A variant that measures by how much `work` lets the memory grow, after `set_up`.
fn growing<'a>(
    server: &'a Server,
    name: &'static str,
    events: usize,
    set_up: impl Fn() -> Outcome<()> + 'a,
    work: impl Fn() -> Outcome<()> + 'a,
) -> Variant<'a> {
    let slice = move || {
        server.empty()?;
        server.call(&["EVQ.CREATE", "default", "8"])?;
        set_up()?;
        let before = used(server)?;
        work()?;
        let bytes = (used(server)? - before) / events as f64;
        Ok(Sample { wall_ns: bytes, cpu_ns: bytes, p99_ns: None })
    };
    Variant { name, slice: Box::new(slice) }
}

fn storing<'a>(server: &'a Server, name: &'static str, events: usize, native: bool) -> Variant<'a> {
    growing(server, name, events, || Ok(()), move || fill(server, events, native))
}

fn holding<'a>(server: &'a Server, name: &'static str, events: usize, native: bool) -> Variant<'a> {
    // What a group takes by itself is there after a first event of each partition.
    let set_up = move || {
        fill(server, events, native)?;
        for p in (0..PARTITIONS).filter(|_| native) {
            server.call(&["XGROUP", "CREATE", &native_stream(p), "g", "0"])?;
        }
        take(server, "1", native)
    };
    growing(server, name, events, set_up, move || take(server, "10000", native))
}

/// Takes so many events of each partition.
fn take(server: &Server, count: &str, native: bool) -> Outcome<()> {
    let mut conn = server.connect()?;
    for p in 0..PARTITIONS {
        let (stream, p) = (native_stream(p), p.to_string());
        if native {
            let read = ["XREADGROUP", "GROUP", "g", "w", "COUNT", count, "STREAMS", &stream, ">"];
            conn.call(&read)?;
        } else {
            let pull = ["EVQ.CONSUME", &p, "WORKER", "w", "COUNT", count, "NOBLOCK"];
            conn.call(&pull)?;
        }
    }
    Ok(())
}
