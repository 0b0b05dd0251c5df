//! Draining a backlog: eight workers, one per partition, that pull, and acknowledge what they had
//! with the next pull. The native way reads the very same streams through a native consumer group:
//! XREADGROUP, and XACK of the batch before, sent together.

use super::{PARTITIONS, triggers};
use crate::conn::{Conn, Outcome, drive};
use crate::resp::encode;
use crate::rounds::{Case, Goal, Pair, Variant};
use crate::server::Server;

pub(super) fn count_1(server: &Server, events: usize) -> Outcome<Case<'_>> {
    draining(server, "consume-1", 1, events, 1.15)
}

pub(super) fn count_10(server: &Server, events: usize) -> Outcome<Case<'_>> {
    draining(server, "consume-10", 10, events * 2, 2.0)
}

pub(super) fn count_100(server: &Server, events: usize) -> Outcome<Case<'_>> {
    draining(server, "consume-100", 100, events * 2, 3.2)
}

pub(super) fn count_1000(server: &Server, events: usize) -> Outcome<Case<'_>> {
    draining(server, "consume-1000", 1000, events * 4, 4.0)
}

fn draining<'a>(
    server: &'a Server,
    name: &str,
    count: usize,
    events: usize,
    goal: f64,
) -> Outcome<Case<'a>> {
    let pipeline = 100;
    let events = events / pipeline * pipeline;
    drive(&mut server.connections(10)?, &triggers(), events, pipeline)?;
    // A first pull makes the group.
    server.call(&["EVQ.CONSUME", "0", "NOBLOCK"])?;
    let (evq, native) = ("EVQ.CONSUME ... ACK", "XREADGROUP + XACK");
    let mut workers = server.connections(PARTITIONS)?;
    let drain = move || {
        server.call(&["EVQ.SEEK", "default", "*", "first"])?;
        server.measure(events, || by_evq(&mut workers, count, events))
    };
    let mut readers = server.connections(PARTITIONS)?;
    let read = move || {
        for p in 0..PARTITIONS {
            // Fails the first time, when there is none.
            let _ = server.call(&["XGROUP", "DESTROY", &stream(p), "g"]);
            server.call(&["XGROUP", "CREATE", &stream(p), "g", "0"])?;
        }
        server.measure(events, || by_native(&mut readers, count, events))
    };
    Ok(Case {
        name: name.to_owned(),
        variants: vec![
            Variant { name: native, slice: Box::new(read) },
            Variant { name: evq, slice: Box::new(drain) },
        ],
        pairs: vec![Pair { variant: evq, base: native, goal: Goal::AtLeast(goal) }],
    })
}

fn stream(p: usize) -> String {
    format!("evq:{{default:{p}}}")
}

/// How many arrays an id is in.
const EVQ_DEPTH: usize = 3;
const NATIVE_DEPTH: usize = 4;

fn by_evq(conns: &mut [Conn], count: usize, events: usize) -> Outcome<()> {
    let count = count.to_string();
    let mut last: Vec<Vec<u8>> = vec![Vec::new(); conns.len()];
    let mut open = vec![true; conns.len()];
    let mut seen = 0;
    while open.iter().any(|open| *open) {
        for (p, conn) in conns.iter_mut().enumerate().filter(|(p, _)| open.get(*p) == Some(&true)) {
            let partition = p.to_string();
            let ack = last.get(p).map_or(&[][..], |id| id.as_slice());
            let pull: [&[u8]; 7] = [
                b"EVQ.CONSUME",
                partition.as_bytes(),
                b"COUNT",
                count.as_bytes(),
                b"NOBLOCK",
                b"ACK",
                ack,
            ];
            conn.ask(if ack.is_empty() { pull.get(..5).unwrap_or(&pull) } else { &pull })?;
        }
        for (p, conn) in conns.iter_mut().enumerate() {
            let (Some(open), Some(last)) = (open.get_mut(p), last.get_mut(p)) else { continue };
            if !*open {
                continue;
            }
            let before = seen;
            conn.visit(|depth, id| {
                if depth == EVQ_DEPTH {
                    seen += 1;
                    last.clear();
                    last.extend_from_slice(id);
                }
            })?;
            *open = seen > before;
        }
    }
    all_of(events, seen)
}

fn by_native(conns: &mut [Conn], count: usize, events: usize) -> Outcome<()> {
    let count = count.to_string();
    let mut ids: Vec<Vec<Vec<u8>>> = vec![Vec::new(); conns.len()];
    let mut open = vec![true; conns.len()];
    let mut seen = 0;
    let mut bytes = Vec::new();
    while open.iter().any(|open| *open) {
        for (p, conn) in conns.iter_mut().enumerate().filter(|(p, _)| open.get(*p) == Some(&true)) {
            let stream = stream(p);
            bytes.clear();
            if let Some(ids) = ids.get(p).filter(|ids| !ids.is_empty()) {
                let mut ack: Vec<&[u8]> = vec![b"XACK", stream.as_bytes(), b"g"];
                ack.extend(ids.iter().map(Vec::as_slice));
                encode(&mut bytes, &ack);
            }
            let read = ["XREADGROUP", "GROUP", "g", "w", "COUNT", &count, "STREAMS", &stream, ">"];
            encode(&mut bytes, &read);
            conn.send(&bytes)?;
        }
        for (p, conn) in conns.iter_mut().enumerate() {
            let (Some(open), Some(ids)) = (open.get_mut(p), ids.get_mut(p)) else { continue };
            if !*open {
                continue;
            }
            if !ids.is_empty() {
                conn.skip(1)?;
            }
            ids.clear();
            conn.visit(|depth, id| {
                if depth == NATIVE_DEPTH {
                    ids.push(id.to_vec());
                }
            })?;
            seen += ids.len();
            *open = !ids.is_empty();
        }
    }
    all_of(events, seen)
}

/// A benchmark of half the work would look good.
fn all_of(events: usize, seen: usize) -> Outcome<()> {
    if seen == events {
        return Ok(());
    }
    Err(format!("{seen} events came instead of {events}").into())
}
