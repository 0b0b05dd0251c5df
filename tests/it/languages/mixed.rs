//! Workers of all languages on one ring: the order holds, whoever dies.

use std::collections::BTreeMap;
use std::path::Path;

use super::lines::{Handled, handled, judge};
use super::{Running, languages};
use crate::harness::{
    Conn, FileEvent, PATIENCE, Server, TempDir, args, binaries, file_history, must, until,
};

/// One event in so many fails at its first attempt.
const UNLUCKY: usize = 97;

/// Real events, in three parts: one before each of the disturbances.
fn parts() -> impl Iterator<Item = &'static [FileEvent]> {
    file_history()[..6000].chunks(2000)
}

/// The payload of the event: its own JSON, and how often it is to fail.
fn payload(event: &FileEvent, place: usize) -> String {
    let fails = usize::from(place.is_multiple_of(UNLUCKY));
    let rest = event.line.strip_prefix('{').expect("a JSON object");
    format!("{{\"fails\":{fails},{rest}")
}

fn trigger(conn: &mut Conn, events: &[FileEvent]) {
    for batch in events.chunks(500) {
        let words = batch.iter().enumerate().map(|(place, event)| {
            args!["EVQ.TRIGGER", event.file, payload(event, place), "TYPE", "PostCreated"].to_vec()
        });
        conn.pipeline(&words.collect::<Vec<_>>());
    }
}

fn number(one: &Handled) -> u64 {
    let json: serde_json::Value = serde_json::from_str(&one.payload).expect("a payload as it was");
    json["n"].as_u64().expect("n")
}

/// Waits until the workers have got further by so many events.
fn until_further(lines: &Path, by: usize) {
    let begun = handled(lines).len();
    until(PATIENCE, || handled(lines).len() >= begun + by);
}

fn until_finished(server: &Server) {
    let mut conn = server.connect();
    until(PATIENCE, || must!(conn, "EVQ.GROUPS").at(0).get("lag").int() == 0);
}

/// Two workers of each language, in a process each. Python's handle so many keys side by side.
fn crew(port: u16, lines: &Path, parallel: &str) -> Vec<Running> {
    let settings = [("EVQ_WORKERS", "2"), ("EVQ_LEASE_MS", "20000"), ("EVQ_PARALLEL", parallel)];
    languages().iter().map(|language| language.worker(port, lines, &settings)).collect()
}

fn play(mut server: Server) {
    let dir = TempDir::new();
    let lines = dir.path().join("lines");
    let port = server.port().unwrap();
    let mut conn = server.connect();
    must!(conn, "EVQ.CREATE", "default", 24).ok();
    must!(conn, "EVQ.GROUP", "default", "FROM", "first", "BACKOFF", 5, 50).ok();
    let mut parts = parts();
    trigger(&mut conn, parts.next().unwrap());

    // Two processes of each; those of the first crew die in the middle of their work.
    let (first, mut second) = (crew(port, &lines, "1"), crew(port, &lines, "4"));
    for mut worker in first {
        until_further(&lines, 50);
        worker.kill9();
    }
    until_finished(&server);

    trigger(&mut conn, parts.next().unwrap());
    until_further(&lines, 100);
    server.kill9();
    server.restart();
    let mut third = crew(port, &lines, "1");
    trigger(&mut server.connect(), parts.next().unwrap());
    until_finished(&server);

    let mut expected = BTreeMap::new();
    for event in &file_history()[..6000] {
        expected.insert(event.file.clone(), event.n);
    }
    judge(&handled(&lines), number, &expected);
    for worker in second.iter_mut().chain(&mut third) {
        worker.stop();
    }
}

#[test]
fn workers_of_all_languages_share_a_ring_and_the_order_holds_whoever_dies() {
    let all = binaries();
    // The oldest and the newest; each language is tried alone on the first.
    for binary in all.iter().take(1).chain(all.iter().skip(1).last()) {
        play(Server::with(binary).tcp().config(&["appendonly yes"]).start());
    }
}
