//! What producers notice of EVQ.RESIZE: the latency of EVQ.TRIGGER, one event at a time, while a
//! ring with a million unfinished events becomes 12 partitions and 8 again, beside the same
//! without; and what the call itself takes, for that ring and for the largest there may be.

use std::time::Instant;

use super::{DISTINCT, PARTITIONS, key, payload};
use crate::conn::{Conn, Outcome};
use crate::resp::encode;
use crate::rounds::{Case, Goal, Pair, Variant, quantile};
use crate::server::{Sample, Server};

/// Events on the ring when a slice begins, of which the group has finished none.
const RETAINED: usize = 1_000_000;
/// Events of one EVQ.MTRIGGER that fills the ring.
const BATCH: usize = 1000;
/// Partitions of the ring after the first resize of a slice; the second one takes it back.
const MORE: usize = 12;
/// Partitions and virtual nodes of the largest ring.
const LARGEST: [&str; 2] = ["1024", "256"];
const FEWER: &str = "1023";

pub(super) fn trigger(server: &Server, events: usize) -> Outcome<Case<'_>> {
    fill(server)?;
    let (plain, resizing) = ("TRIGGER", "TRIGGER, resizing");
    let (plain_max, resizing_max) = ("slowest TRIGGER", "slowest, resizing");
    let behind = "right behind EVQ.RESIZE";
    Ok(Case {
        name: "resize".to_owned(),
        variants: vec![
            triggering(server, plain, events, false, 0.5)?,
            triggering(server, resizing, events, true, 0.5)?,
            triggering(server, plain_max, events, false, 1.0)?,
            triggering(server, resizing_max, events, true, 1.0)?,
            // Both of these two wait for a resize.
            triggering(server, behind, 2, true, 0.5)?,
        ],
        pairs: vec![
            Pair { variant: resizing, base: plain, goal: Goal::AtMost(1.05) },
            Pair { variant: resizing_max, base: plain_max, goal: Goal::Slower },
            Pair { variant: behind, base: plain, goal: Goal::Slower },
        ],
    })
}

pub(super) fn call(server: &Server, _: usize) -> Outcome<Case<'_>> {
    fill(server)?;
    server.call(&["EVQ.CREATE", "largest", LARGEST[0], "VNODES", LARGEST[1]])?;
    let (ring, largest) = ("8 -> 12, 1M events", "1024 -> 1023, 256 vnodes");
    let mut conn = server.connect()?;
    let resize = move || {
        restore(server)?;
        server.measure(1, || server.call(&["EVQ.RESIZE", "default", &MORE.to_string()]).map(drop))
    };
    let resize_largest = move || {
        conn.call(&["EVQ.RESIZE", "largest", LARGEST[0]])?;
        server.measure(1, || conn.call(&["EVQ.RESIZE", "largest", FEWER]).map(drop))
    };
    Ok(Case {
        name: "resize-call".to_owned(),
        variants: vec![
            Variant { name: ring, slice: Box::new(resize) },
            Variant { name: largest, slice: Box::new(resize_largest) },
        ],
        pairs: Vec::new(),
    })
}

/// A ring with many events and a group that has finished none of them.
fn fill(server: &Server) -> Outcome<()> {
    let mut conn = server.connect()?;
    let (mut bytes, payload) = (Vec::new(), payload());
    for batch in 0..RETAINED / BATCH {
        let mut words = vec!["EVQ.MTRIGGER".to_owned(), BATCH.to_string()];
        for n in 0..BATCH {
            words.extend([key((batch * BATCH + n) % DISTINCT), payload.clone()]);
        }
        bytes.clear();
        encode(&mut bytes, &words);
        conn.send(&bytes)?;
        conn.skip(1)?;
    }
    restore(server)
}

/// Takes the ring back to what it was before a slice: its key without the past, no partitions above
/// the eighth, no more events than were filled in. Filling it again would take seconds.
fn restore(server: &Server) -> Outcome<()> {
    server.call(&["DEL", "evq:{default}"])?;
    for n in 0..MORE {
        let stream = format!("evq:{{default:{n}}}");
        if n < PARTITIONS {
            server.call(&[
                "XTRIM",
                &stream,
                "MAXLEN",
                "=",
                &(RETAINED / PARTITIONS).to_string(),
            ])?;
        } else {
            server.call(&["DEL", &stream, &format!("{stream}:groups")])?;
        }
    }
    server.call(&["EVQ.CREATE", "default", &PARTITIONS.to_string()])?;
    server.call(&["EVQ.GROUP", "default", "FROM", "first"]).map(drop)
}

/// A variant that triggers one event at a time; its figure is the latency below which this share
/// of them lies. If resizing, the ring grows with the first event and shrinks in the middle, each
/// time right before an event is sent, so that this one waits for the whole resize.
fn triggering<'a>(
    server: &'a Server,
    name: &'static str,
    events: usize,
    resizing: bool,
    share: f64,
) -> Outcome<Variant<'a>> {
    let (mut producer, mut operator) = (server.connect()?, server.connect()?);
    producer.spin()?;
    let payload = payload();
    let commands: Vec<Vec<u8>> = (0..DISTINCT)
        .map(|n| {
            let mut bytes = Vec::new();
            encode(&mut bytes, &["EVQ.TRIGGER", &key(n), &payload]);
            bytes
        })
        .collect();
    let mut latencies = Vec::with_capacity(events);
    let slice = move || -> Outcome<Sample> {
        restore(server)?;
        latencies.clear();
        let sample = server.measure(events, || {
            for (n, command) in commands.iter().cycle().take(events).enumerate() {
                let partitions = match n {
                    0 => Some(MORE),
                    n if n == events / 2 => Some(PARTITIONS),
                    _ => None,
                };
                let to = partitions.filter(|_| resizing);
                latencies.push(one(&mut producer, command, &mut operator, to)?);
            }
            Ok(())
        })?;
        latencies.sort_by(f64::total_cmp);
        let (wall_ns, p99_ns) = (quantile(&latencies, share), Some(quantile(&latencies, 0.99)));
        Ok(Sample { wall_ns, p99_ns, ..sample })
    };
    Ok(Variant { name, slice: Box::new(slice) })
}

/// Triggers one event, right behind a resize if one is due: its latency.
fn one(
    producer: &mut Conn,
    command: &[u8],
    operator: &mut Conn,
    to: Option<usize>,
) -> Outcome<f64> {
    let start = Instant::now();
    if let Some(partitions) = to {
        operator.ask(&["EVQ.RESIZE", "default", &partitions.to_string()])?;
    }
    producer.send(command)?;
    producer.skip(1)?;
    let taken = start.elapsed().as_nanos() as f64;
    if to.is_some() {
        operator.skip(1)?;
    }
    Ok(taken)
}
