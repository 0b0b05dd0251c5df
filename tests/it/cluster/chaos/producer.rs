//! A producer: its files' events one after another, each until its outcome is known.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use super::{Chaos, Means, PRODUCERS};
use crate::cluster::scene::{RING, stream};
use crate::harness::{ClusterClient, FileEvent, Value, args};
use crate::model::hash::hash;
use crate::model::slots::Slot;

/// So many events are confirmed together.
const BATCH: usize = 25;

/// The producer that has a file.
pub(super) fn of(file: &str) -> usize {
    hash(file.as_bytes()).unsigned_abs() as usize % PRODUCERS
}

/// The number of an event, as its payload has it.
pub(super) fn number(payload: &str) -> u64 {
    let json = payload.find('{').map_or(payload, |at| &payload[at..]);
    let counted = payload.split(' ').next().and_then(|n| n.parse().ok());
    let parsed = || serde_json::from_str::<serde_json::Value>(json).expect("JSON")["n"].as_u64();
    counted.or_else(parsed).expect("n")
}

pub(super) fn produce(chaos: &Chaos, means: Means, events: &[&FileEvent]) {
    let mut client = chaos.client();
    for batch in events.chunks(BATCH) {
        if chaos.enough.load(Ordering::Relaxed) {
            return;
        }
        let mut ids = Vec::new();
        for event in batch {
            let Some(id) = append(chaos, &mut client, means, event) else { return };
            ids.push((*event, id));
            chaos.produced.fetch_add(1, Ordering::Relaxed);
        }
        confirm(chaos, &mut client, &ids);
    }
}

/// Appends one event, however often it takes: with its token a repetition is harmless. None if the
/// run is over.
fn append(
    chaos: &Chaos,
    client: &mut ClusterClient,
    means: Means,
    event: &FileEvent,
) -> Option<String> {
    let (file, line) = (&event.file, &event.line);
    let token = event.n.to_string();
    let p = chaos.mapping.partition(file);
    let words = match means {
        Means::Trigger => args!["EVQ.TRIGGER", file, line, "RING", RING, "UNIQUE", token].to_vec(),
        Means::Append => args!["EVQ.APPEND", stream(p), file, line, "UNIQUE", token].to_vec(),
    };
    while !chaos.is_over() {
        match client.try_cmd(&words) {
            Ok(reply) if !reply.is_error() => {
                assert_eq!(reply.at(0).int(), i64::from(p), "{file}");
                return Some(reply.at(1).str().to_owned());
            }
            Ok(reply) => {
                assert!(may_happen(&reply), "{file}: {reply:?}");
                chaos.book(|book| book.count(reply.err_code()));
            }
            Err(_) => chaos.book(|book| book.count("no reply")),
        }
        sleep(Duration::from_millis(2));
    }
    None
}

/// Whether a healthy cluster may reply so while a node dies or a slot moves.
fn may_happen(reply: &Value) -> bool {
    const CODES: [&str; 11] = [
        "EVQUNKNOWN",
        "EVQUNREACHABLE",
        "UNBLOCKED",
        "CLUSTERDOWN",
        "TRYAGAIN",
        "READONLY",
        "MASTERDOWN",
        "LOADING",
        "MOVED",
        "ASK",
        "EVQSTALE",
    ];
    CODES.contains(&reply.err_code())
}

/// Notes which of these events a replica has: those that are there when a later write of the same
/// node is confirmed.
fn confirm(chaos: &Chaos, client: &mut ClusterClient, events: &[(&FileEvent, String)]) {
    let mut partitions: Vec<u32> =
        events.iter().map(|(event, _)| chaos.mapping.partition(&event.file)).collect();
    partitions.sort_unstable();
    partitions.dedup();
    for p in partitions {
        let own: Vec<_> =
            events.iter().filter(|(event, _)| chaos.mapping.partition(&event.file) == p).collect();
        if let Some(there) = confirmed(client, p, &own) {
            chaos.book(|book| book.confirmed.extend(there));
        }
    }
}

/// None where the node has changed meanwhile, or no replica was there.
fn confirmed(
    client: &mut ClusterClient,
    p: u32,
    events: &[&(&FileEvent, String)],
) -> Option<Vec<(String, u64)>> {
    let mark = format!("{}:mark", stream(p));
    client.try_cmd(&args!["SET", mark, 1]).ok().filter(|reply| !reply.is_error())?;
    let port = client.owner(Slot::of(mark.as_bytes()))?;
    let conn = client.conn(port)?;
    let waited = conn.try_cmd(&args!["WAIT", 1, 200]);
    if !waited.is_ok_and(|replicas| replicas == Value::Int(1)) {
        return None;
    }
    let mut there = Vec::new();
    for (event, id) in events {
        let found = conn.try_cmd(&args!["XRANGE", stream(p), id, id]).ok()?;
        if found.is_error() {
            return None;
        }
        if !found.array().is_empty() {
            there.push((event.file.clone(), event.n));
        }
    }
    Some(there)
}
