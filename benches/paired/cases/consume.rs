//! Draining a backlog: eight workers, one per partition, that pull, and acknowledge what they had
//! with the next pull. The native way reads the very same streams through a native consumer group:
//! XREADGROUP, and XACK of the batch before, sent together. Beside them: the acknowledgement as a
//! command of its own, and XREAD from a cursor that the worker keeps in a hash.

use super::{PARTITIONS, triggers};
use crate::conn::{Conn, Outcome, drive};
use crate::resp::encode;
use crate::rounds::{Case, Goal, Pair, Variant};
use crate::server::{Sample, Server, Setting};

pub(super) fn count_1(server: &Server, events: usize) -> Outcome<Case<'_>> {
    draining(server, "consume-1", 1, events, [1.15, 1.35])
}

pub(super) fn count_10(server: &Server, events: usize) -> Outcome<Case<'_>> {
    draining(server, "consume-10", 10, events * 2, [2.0, 2.8])
}

pub(super) fn count_100(server: &Server, events: usize) -> Outcome<Case<'_>> {
    draining(server, "consume-100", 100, events * 2, [3.2, 4.9])
}

pub(super) fn count_1000(server: &Server, events: usize) -> Outcome<Case<'_>> {
    draining(server, "consume-1000", 1000, events * 4, [4.0, 6.6])
}

fn draining<'a>(
    server: &'a Server,
    name: &str,
    count: usize,
    events: usize,
    [plain, persisted]: [f64; 2],
) -> Outcome<Case<'a>> {
    let goal = if server.setting == Setting::Plain { plain } else { persisted };
    let pipeline = 100;
    let events = events / pipeline * pipeline;
    drive(&mut server.connections(10)?, &triggers(), events, pipeline)?;
    // A first pull makes the group.
    server.call(&["EVQ.CONSUME", "0", "NOBLOCK"])?;
    let (evq, apart) = ("EVQ.CONSUME ... ACK", "EVQ.ACK, EVQ.CONSUME");
    let (native, cursor) = ("XREADGROUP + XACK", "HSET cursor, XREAD");
    let by_evq = |ask: Ask| -> Outcome<Box<dyn FnMut() -> Outcome<Sample> + 'a>> {
        let mut workers = server.connections(PARTITIONS)?;
        Ok(Box::new(move || {
            server.call(&["EVQ.SEEK", "default", "*", "first"])?;
            server.measure(events, || {
                drain(&mut workers, (EVQ_DEPTH, Keep::Last), count, events, ask)
            })
        }))
    };
    let mut readers = server.connections(PARTITIONS)?;
    let read = move || {
        begin_natively(server)?;
        let ids = (NATIVE_DEPTH, Keep::All);
        server.measure(events, || drain(&mut readers, ids, count, events, read_natively))
    };
    let mut followers = server.connections(PARTITIONS)?;
    let follow = move || {
        let ids = (NATIVE_DEPTH, Keep::Last);
        server.measure(events, || drain(&mut followers, ids, count, events, read_by_cursor))
    };
    Ok(Case {
        name: name.to_owned(),
        variants: vec![
            Variant { name: native, slice: Box::new(read) },
            Variant { name: cursor, slice: Box::new(follow) },
            Variant { name: apart, slice: by_evq(acknowledge_and_pull)? },
            Variant { name: evq, slice: by_evq(pull)? },
        ],
        pairs: vec![
            Pair { variant: cursor, base: native, goal: Goal::None },
            Pair { variant: apart, base: native, goal: Goal::None },
            Pair { variant: evq, base: native, goal: Goal::AtLeast(goal) },
        ],
    })
}

fn begin_natively(server: &Server) -> Outcome<()> {
    for p in 0..PARTITIONS {
        // Fails the first time, when there is none.
        let _ = server.call(&["XGROUP", "DESTROY", &stream(p), "g"]);
        server.call(&["XGROUP", "CREATE", &stream(p), "g", "0"])?;
    }
    Ok(())
}

/// The native way in a script: acknowledges all ids it is given and reads on, in one call.
const PULL: &str = "\
    if #ARGV > 1 then redis.call('XACK', KEYS[1], 'g', unpack(ARGV, 2)) end \
    return redis.call('XREADGROUP', 'GROUP', 'g', 'w', 'COUNT', ARGV[1], 'STREAMS', KEYS[1], '>')";

/// EVQ.CONSUME against the native way in a Lua script, 100 events at once.
pub(super) fn script(server: &Server, events: usize) -> Outcome<Case<'_>> {
    const COUNT: usize = 100;
    let (evq, lua) = ("EVQ.CONSUME ... ACK", "a script that reads and XACKs");
    let events = events / COUNT * COUNT;
    drive(&mut server.connections(10)?, &triggers(), events, COUNT)?;
    server.call(&["EVQ.CONSUME", "0", "NOBLOCK"])?;
    let sha = server.load_script(PULL)?;
    let mut workers = server.connections(PARTITIONS)?;
    let by_evq = move || {
        server.call(&["EVQ.SEEK", "default", "*", "first"])?;
        let ids = (EVQ_DEPTH, Keep::Last);
        server.measure(events, || drain(&mut workers, ids, COUNT, events, pull))
    };
    let mut readers = server.connections(PARTITIONS)?;
    let read = move || {
        begin_natively(server)?;
        let ids = (NATIVE_DEPTH, Keep::All);
        let ask = |out: &mut Vec<u8>, p, ids: &[Vec<u8>], count: &str| {
            let stream = stream(p);
            let mut words: Vec<&[u8]> = vec![b"EVALSHA", sha.as_bytes(), b"1", stream.as_bytes()];
            words.push(count.as_bytes());
            words.extend(ids.iter().map(Vec::as_slice));
            encode(out, &words);
            0
        };
        server.measure(events, || drain(&mut readers, ids, COUNT, events, ask))
    };
    Ok(Case {
        name: "consume-script".to_owned(),
        variants: vec![
            Variant { name: lua, slice: Box::new(read) },
            Variant { name: evq, slice: Box::new(by_evq) },
        ],
        pairs: vec![Pair { variant: evq, base: lua, goal: Goal::AtLeast(3.2) }],
    })
}

fn stream(p: usize) -> String {
    format!("evq:{{default:{p}}}")
}

/// How many arrays an id is in.
pub(super) const EVQ_DEPTH: usize = 3;
const NATIVE_DEPTH: usize = 4;

/// Encodes what one worker sends for its partition, given the ids of its last batch and how many
/// events it wants. How many replies come before that with the events.
type Ask = fn(&mut Vec<u8>, usize, &[Vec<u8>], &str) -> usize;

/// Which ids of a batch its worker needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    All,
    Last,
}

/// The pull acknowledges the batch before.
fn pull(out: &mut Vec<u8>, p: usize, last: &[Vec<u8>], count: &str) -> usize {
    let partition = p.to_string();
    let mut words: Vec<&[u8]> = vec![b"EVQ.CONSUME", partition.as_bytes(), b"COUNT"];
    words.extend([count.as_bytes(), b"NOBLOCK"]);
    if let Some(id) = last.first() {
        words.extend([b"ACK", id.as_slice()]);
    }
    encode(out, &words);
    0
}

/// Acknowledges and pulls by two commands, sent together.
fn acknowledge_and_pull(out: &mut Vec<u8>, p: usize, last: &[Vec<u8>], count: &str) -> usize {
    let partition = p.to_string();
    if let Some(id) = last.first() {
        encode(out, &[b"EVQ.ACK", partition.as_bytes(), id]);
    }
    pull(out, p, &[], count);
    last.len()
}

fn read_natively(out: &mut Vec<u8>, p: usize, ids: &[Vec<u8>], count: &str) -> usize {
    let stream = stream(p);
    if !ids.is_empty() {
        let mut ack: Vec<&[u8]> = vec![b"XACK", stream.as_bytes(), b"g"];
        ack.extend(ids.iter().map(Vec::as_slice));
        encode(out, &ack);
    }
    encode(out, &["XREADGROUP", "GROUP", "g", "w", "COUNT", count, "STREAMS", &stream, ">"]);
    usize::from(!ids.is_empty())
}

/// Without a consumer group: the worker writes down how far it has come and reads on from there.
/// Nobody leases, retries or takes over; it is the least that the server itself can do.
fn read_by_cursor(out: &mut Vec<u8>, p: usize, last: &[Vec<u8>], count: &str) -> usize {
    let stream = stream(p);
    let from = match last.first() {
        Some(id) => {
            encode(out, &[&b"HSET"[..], b"cursors", stream.as_bytes(), id]);
            id.as_slice()
        }
        None => b"0",
    };
    let count = count.as_bytes();
    encode(out, &[&b"XREAD"[..], b"COUNT", count, b"STREAMS", stream.as_bytes(), from]);
    last.len()
}

/// Every worker asks, then every worker takes its reply, until nobody is given anything.
pub(super) fn drain(
    conns: &mut [Conn],
    (depth, keep): (usize, Keep),
    count: usize,
    events: usize,
    ask: impl Fn(&mut Vec<u8>, usize, &[Vec<u8>], &str) -> usize,
) -> Outcome<()> {
    struct Worker<'a> {
        conn: &'a mut Conn,
        p: usize,
        ids: Vec<Vec<u8>>,
        replies: usize,
        open: bool,
    }
    let count = count.to_string();
    let worker = |(p, conn)| Worker { conn, p, ids: Vec::new(), replies: 0, open: true };
    let mut workers: Vec<Worker<'_>> = conns.iter_mut().enumerate().map(worker).collect();
    let (mut seen, mut bytes) = (0, Vec::new());
    while !workers.is_empty() {
        for worker in &mut workers {
            bytes.clear();
            worker.replies = ask(&mut bytes, worker.p, &worker.ids, &count);
            worker.conn.send(&bytes)?;
        }
        for Worker { conn, ids, replies, open, .. } in &mut workers {
            conn.skip(*replies)?;
            let before = seen;
            if keep == Keep::All {
                ids.clear();
            }
            conn.visit(|at, id| {
                if at != depth {
                    return;
                }
                seen += 1;
                match ids.first_mut().filter(|_| keep == Keep::Last) {
                    Some(last) => {
                        last.clear();
                        last.extend_from_slice(id);
                    }
                    None => ids.push(id.to_vec()),
                }
            })?;
            *open = seen > before;
        }
        workers.retain(|worker| worker.open);
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
