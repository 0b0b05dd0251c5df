//! A minute of a bad day in ten seconds: clients that consume, acknowledge, release, disconnect,
//! are killed and unblocked at random, while keys, groups and the ring are deleted under them. The
//! server must not crash, nobody may stay blocked, and a fresh worker must be able to finish all.
//!
//! `EVQ_SEED` repeats a run's choices; the order in which the server sees them remains its own.

use std::sync::Mutex;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use crate::harness::{
    Conn, Endpoint, PATIENCE, Random, Server, cmd, each_binary, must, seed, until,
};
use crate::pull::{P, Pull, blocked, pull, say, until_blocked, words};

const CLIENTS: u64 = 12;
const TIME: Duration = Duration::from_secs(4);

/// A client that consumes in every way there is.
fn worker(endpoint: &Endpoint, random: &mut Random, ids: &Mutex<Vec<i64>>) {
    let until = Instant::now() + TIME;
    while Instant::now() < until {
        let mut conn = endpoint.connect();
        // A number to kill and to unblock by. It may be killed before it knows it.
        let Ok(id) = conn.try_cmd(&["CLIENT", "ID"]) else { continue };
        ids.lock().unwrap().push(id.int());
        let mut last = None::<Pull>;
        for _ in 0..random.below(60) {
            let who = match (random.below(4), &last) {
                (0, _) => format!("WORKER {}", random.one_of(&["a", "b", "c"])),
                (1, Some(pull)) => format!("EPOCH {}", pull.epoch),
                _ => String::new(),
            };
            let group = random.one_of(&["", "GROUP g"]);
            let id = last.as_ref().map_or("1-1", Pull::last).to_owned();
            let line = match random.below(10) {
                0 => format!("EVQ.ACK {P} {id} {who} {group}"),
                1 => format!("EVQ.RELEASE {P} {who} {group}"),
                2 => format!("EVQ.EXTEND {P} LEASE {} {who} {group}", 1 + random.below(50)),
                _ => {
                    let count = 1 + random.below(5);
                    let wait = match random.below(4) {
                        0 => "NOBLOCK".to_owned(),
                        1 => "BLOCK 0".to_owned(),
                        _ => format!("BLOCK {}", 1 + random.below(20)),
                    };
                    let lease = 1 + random.below(30);
                    let ack =
                        if random.below(2) == 0 { format!("ACK {id}") } else { String::new() };
                    format!(
                        "EVQ.CONSUME {P} COUNT {count} {wait} LEASE {lease} {who} {group} {ack}"
                    )
                }
            };
            if random.below(20) == 0 {
                // Leaves without waiting for the reply, if it was not killed before.
                let _ = conn.try_send(&words(&line));
                break;
            }
            // The connection may have been killed.
            let Ok(reply) = conn.try_cmd(&words(&line)) else { break };
            if line.starts_with("EVQ.CONSUME") && !reply.is_error() {
                last = Pull::of(&reply).or(last);
            } else if reply.is_error() {
                const EXPECTED: [&str; 5] =
                    ["EVQFENCED", "EVQBADID", "EVQNOGROUP", "EVQNORING", "UNBLOCKED"];
                assert!(EXPECTED.contains(&reply.err_code()), "{line}: {reply:?}");
            }
        }
    }
}

/// A client that brings events, and takes things away.
///
/// `pause` keeps CLIENT PAUSE and CLIENT UNBLOCK apart: to unblock a client whose write waits for
/// the end of a pause makes Redis 7.0 and Valkey 8.0 abort, with or without a module (issue 2111 of
/// valkey-io/valkey).
fn vandal(endpoint: &Endpoint, random: &mut Random, ids: &Mutex<Vec<i64>>, pause: &Mutex<()>) {
    let until = Instant::now() + TIME;
    let mut conn = endpoint.connect();
    while Instant::now() < until {
        let id = {
            let ids = ids.lock().unwrap();
            let recent = ids.len().saturating_sub(1 + usize::try_from(random.below(12)).unwrap());
            ids.get(recent).copied().unwrap_or(0)
        };
        let line = match random.below(400) {
            0 => "FLUSHALL",
            1 => "EVQ.DROP r",
            2 => "SWAPDB 0 1",
            3..8 => "DEL evq:{r:0}:groups",
            8..12 => "DEL evq:{r:0}",
            12..14 => "DEL evq:{r}",
            14..20 => "RENAME evq:{r:0}:groups evq:{r:0}:away",
            20..26 => "RENAME evq:{r:0}:away evq:{r:0}:groups",
            26..40 => &format!("CLIENT KILL ID {id}"),
            // Not ERROR: in the round in which an append serves a client that blocks on a key for a
            // module, the servers add that error to the reply that the client has got already.
            40..60 => &format!("CLIENT UNBLOCK {id}"),
            60..80 => "XADD evq:{r:0} * payload by-hand",
            80..90 => "XTRIM evq:{r:0} MAXLEN 5",
            90..92 => "DEBUG RELOAD",
            92..94 => "CLIENT PAUSE 5 WRITE",
            94..110 => "EVQ.MTRIGGER 3 a 1 b 2 c 3 RING r",
            _ => "EVQ.TRIGGER k p RING r",
        };
        let apart = ["CLIENT PAUSE", "CLIENT UNBLOCK"].iter().any(|part| line.starts_with(part));
        let alone = apart.then(|| pause.lock().unwrap());
        say(&mut conn, line);
        // A write: it is replied when a pause is over and nobody waits for its end any more.
        must!(conn, "EVQ.CREATE", "r", 1).ok();
        drop(alone);
        if random.below(3) == 0 {
            sleep(Duration::from_micros(random.below(2000)));
        }
    }
}

#[test]
fn a_server_survives_a_bad_day() {
    each_binary(|binary| {
        let seed = seed();
        // With an AOF: some mistakes kill a server only when it writes down what it did.
        let mut server = Server::with(binary).config(&["appendonly yes"]).start();
        let (endpoint, ids) = (&server.endpoint(), &Mutex::new(Vec::new()));
        let pause = &Mutex::new(());
        must!(server.connect(), "EVQ.CREATE", "r", 1).ok();
        let outcome = std::panic::catch_unwind(|| {
            scope(|threads| {
                for n in 0..CLIENTS {
                    let mut random = Random::new(seed.wrapping_add(n * 7919));
                    threads.spawn(move || worker(endpoint, &mut random, ids));
                }
                let vandals = [1, 2].map(|n| {
                    let mut random = Random::new(seed.wrapping_add(n * 104_729));
                    threads.spawn(move || vandal(endpoint, &mut random, ids, pause))
                });
                // Who waits for ever is let go when nobody brings events any more.
                let done = vandals.into_iter().all(|vandal| vandal.join().is_ok());
                let_go(endpoint);
                assert!(done, "a vandal's own complaint is above");
            });
        });
        assert!(outcome.is_ok(), "EVQ_SEED={seed}");
        server.assert_healthy();
        let mut control = server.connect();
        until_blocked(&mut control, 0);
        finish_all(&mut control, seed);
        assert!(server.terminate().success(), "EVQ_SEED={seed}");
        server.restart();
    });
}

/// Kills those who still wait, until nobody comes to wait any more.
fn let_go(endpoint: &Endpoint) {
    let mut conn = endpoint.connect();
    let (began, mut quiet) = (Instant::now(), 0);
    while quiet < 50 {
        assert!(began.elapsed() < PATIENCE, "clients come or stay blocked");
        sleep(Duration::from_millis(2));
        quiet += 1;
        if blocked(&mut conn) > 0 {
            cmd!(conn, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
            quiet = 0;
        }
    }
}

/// A fresh worker gets every partition's lease in time, and to the end of the events.
fn finish_all(conn: &mut Conn, seed: u64) {
    must!(conn, "EVQ.CREATE", "r", 1).ok();
    for group in ["", "GROUP g"] {
        say(conn, "EVQ.TRIGGER k the-last RING r");
        let mut last = None;
        until(PATIENCE, || {
            let ack = last.as_ref().map(|id| format!("ACK {id}")).unwrap_or_default();
            let pulled = pull(conn, &format!("COUNT 1000 NOBLOCK {group} {ack}"));
            last = pulled.as_ref().map(|pull| pull.last().to_owned());
            pulled.is_some_and(|pull| pull.payloads.last().is_some_and(|p| p == "the-last"))
        });
        assert!(last.is_some(), "EVQ_SEED={seed}");
    }
}
