//! End to end: producers send as fast as they can, eight blocked workers, each a thread, take and
//! acknowledge, until the last event is with its worker. The native way: XADD, XREADGROUP BLOCK,
//! XACK. Beside it: XADD, XREAD BLOCK from a cursor that the worker keeps in a hash.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::produce::Load;
use super::{PARTITIONS, native_stream, triggers, xadds};
use crate::conn::{Conn, Outcome, drive};
use crate::resp::{Commands, encode};
use crate::rounds::{Case, Goal, Pair, Variant};
use crate::server::{Sample, Server, Setting};

/// How many events a worker takes at once.
const COUNT: &str = "100";
/// How long a worker waits before it looks whether all is done; no event waits for that.
const BLOCK_MS: &str = "100";
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn pipeline_16(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let goal = if server.setting == Setting::Plain { 1.35 } else { 1.85 };
    end_to_end(server, "end-16", events, Load { connections: 8, pipeline: 16 }, goal)
}

pub(super) fn pipeline_100(server: &Server, events: usize) -> Outcome<Case<'_>> {
    end_to_end(server, "end-100", events, Load { connections: 8, pipeline: 100 }, 1.5)
}

fn end_to_end<'a>(
    server: &'a Server,
    name: &str,
    events: usize,
    load: Load,
    goal: f64,
) -> Outcome<Case<'a>> {
    let (evq, native, cursor) = ("EVQ", "streams and groups", "streams and cursors");
    Ok(Case {
        name: name.to_owned(),
        variants: vec![
            variant(server, native, events, load, xadds(), work_natively),
            variant(server, cursor, events, load, xadds(), work_by_cursor),
            variant(server, evq, events, load, triggers(), work),
        ],
        pairs: vec![
            Pair { variant: cursor, base: native, goal: Goal::None },
            Pair { variant: evq, base: native, goal: Goal::AtLeast(goal) },
        ],
    })
}

type Work = fn(&mut Conn, usize, &AtomicUsize, usize) -> Outcome<()>;

fn variant<'a>(
    server: &'a Server,
    name: &'static str,
    events: usize,
    load: Load,
    commands: Commands,
    work: Work,
) -> Variant<'a> {
    let total = events / load.pipeline * load.pipeline;
    let slice = move || {
        server.empty()?;
        server.call(&["EVQ.CREATE", "default", "8"])?;
        for p in 0..PARTITIONS {
            server.call(&["XGROUP", "CREATE", &native_stream(p), "g", "0", "MKSTREAM"])?;
        }
        // The workers wait before anything is sent.
        let mut workers = server.connections(PARTITIONS)?;
        let mut producers = server.connections(load.connections)?;
        let done = AtomicUsize::new(0);
        let mut ended = Duration::ZERO;
        let sample = server.measure(total, || {
            let start = Instant::now();
            std::thread::scope(|scope| {
                for (p, worker) in workers.iter_mut().enumerate() {
                    let done = &done;
                    scope.spawn(move || {
                        // A worker that gives up leaves events, which is an error below.
                        let _ = work(worker, p, done, total);
                    });
                }
                let sent = drive(&mut producers, &commands, total, load.pipeline);
                while done.load(Ordering::Relaxed) < total && start.elapsed() < PATIENCE {
                    std::thread::sleep(Duration::from_micros(50));
                }
                ended = start.elapsed();
                // The workers end when they find all done.
                done.fetch_max(total, Ordering::Relaxed);
                sent
            })?;
            if ended >= PATIENCE {
                return Err("events were lost on the way".into());
            }
            Ok(())
        })?;
        Ok(Sample { wall_ns: ended.as_nanos() as f64 / total as f64, ..sample })
    };
    Variant { name, slice: Box::new(slice) }
}

fn work(conn: &mut Conn, p: usize, done: &AtomicUsize, total: usize) -> Outcome<()> {
    const ID_DEPTH: usize = 3;
    let p = p.to_string();
    let pull = ["EVQ.CONSUME", &p, "COUNT", COUNT, "BLOCK", BLOCK_MS];
    let (mut last, mut taken) = (Vec::new(), 0);
    while done.load(Ordering::Relaxed) < total {
        if taken == 0 {
            conn.ask(&pull)?;
        } else {
            let words = pull.map(str::as_bytes);
            conn.ask(&[&words[..], &[b"ACK", &last]].concat())?;
        }
        taken = conn.take_last(ID_DEPTH, &mut last)?;
        done.fetch_add(taken, Ordering::Relaxed);
    }
    Ok(())
}

fn work_natively(conn: &mut Conn, p: usize, done: &AtomicUsize, total: usize) -> Outcome<()> {
    const ID_DEPTH: usize = 4;
    let stream = native_stream(p);
    let read = ["XREADGROUP", "GROUP", "g", "w", "COUNT", COUNT, "BLOCK", BLOCK_MS, "STREAMS"];
    let read = [&read[..], &[&stream, ">"]].concat();
    let (mut ids, mut bytes): (Vec<Vec<u8>>, Vec<u8>) = (Vec::new(), Vec::new());
    while done.load(Ordering::Relaxed) < total {
        bytes.clear();
        if !ids.is_empty() {
            let mut ack: Vec<&[u8]> = vec![b"XACK", stream.as_bytes(), b"g"];
            ack.extend(ids.iter().map(Vec::as_slice));
            encode(&mut bytes, &ack);
        }
        encode(&mut bytes, &read);
        conn.send(&bytes)?;
        if !ids.is_empty() {
            conn.skip(1)?;
        }
        ids.clear();
        conn.visit(|depth, id| {
            if depth == ID_DEPTH {
                ids.push(id.to_vec());
            }
        })?;
        done.fetch_add(ids.len(), Ordering::Relaxed);
    }
    Ok(())
}

fn work_by_cursor(conn: &mut Conn, p: usize, done: &AtomicUsize, total: usize) -> Outcome<()> {
    const ID_DEPTH: usize = 4;
    let stream = native_stream(p);
    let read = ["XREAD", "COUNT", COUNT, "BLOCK", BLOCK_MS, "STREAMS", &stream];
    let (mut last, mut taken, mut bytes) = (b"0".to_vec(), 0, Vec::new());
    while done.load(Ordering::Relaxed) < total {
        bytes.clear();
        let follows = taken > 0;
        if follows {
            encode(&mut bytes, &[&b"HSET"[..], b"cursors", stream.as_bytes(), &last]);
        }
        encode(&mut bytes, &[&read.map(str::as_bytes)[..], &[&last]].concat());
        conn.send(&bytes)?;
        conn.skip(usize::from(follows))?;
        taken = conn.take_last(ID_DEPTH, &mut last)?;
        done.fetch_add(taken, Ordering::Relaxed);
    }
    Ok(())
}
