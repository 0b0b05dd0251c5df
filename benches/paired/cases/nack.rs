//! What giving events back costs a server where one worker holds many of them: the first EVQ.NACK
//! of a batch, the ones after it, and the same in a batch of ten.

use super::payload;
use crate::conn::{Conn, Outcome};
use crate::resp::{Commands, encode};
use crate::rounds::{Case, Variant};
use crate::server::{Sample, Server};

/// Events in the hands of the worker, of as many keys.
const MANY: usize = 10_000;
const FEW: usize = 10;
/// Events of one EVQ.MTRIGGER.
const BATCH: usize = 1000;
/// How many of many are given back after the first.
const MORE: usize = 1000;
/// How many arrays the id of an event is in.
const ID_DEPTH: usize = 3;

pub(super) fn nack(server: &Server, _: usize) -> Outcome<Case<'_>> {
    Ok(Case {
        name: "nack".to_owned(),
        variants: vec![
            variant(server, "the first of 10, one", FEW, 0, 1),
            variant(server, "after the first of 10, each", FEW, 1, FEW - 1),
            variant(server, "the first of 10,000, one", MANY, 0, 1),
            variant(server, "after the first of 10,000, each", MANY, 1, MORE),
        ],
        pairs: Vec::new(),
    })
}

/// Measures `asked` calls, each after the reply of the one before, in a batch of `held` events of
/// which `before` were given back.
fn variant<'a>(
    server: &'a Server,
    name: &'static str,
    held: usize,
    before: usize,
    asked: usize,
) -> Variant<'a> {
    let slice = move || -> Outcome<Sample> {
        server.empty()?;
        let mut conn = server.connect()?;
        let commands = pulled(&mut conn, held)?;
        each(&mut conn, commands.slice(0, before), before)?;
        let mut at = before;
        server.measure(asked, || {
            while at < before + asked {
                each(&mut conn, commands.slice(at, 1), 1)?;
                at += 1;
            }
            Ok(())
        })
    };
    Variant { name, slice: Box::new(slice) }
}

fn each(conn: &mut Conn, bytes: &[u8], replies: usize) -> Outcome<()> {
    if replies > 0 {
        conn.send(bytes)?;
    }
    conn.skip(replies)
}

/// Appends so many events, pulls them, and makes the command that gives each back.
fn pulled(conn: &mut Conn, held: usize) -> Outcome<Commands> {
    conn.call(&["EVQ.CREATE", "default", "1"])?;
    conn.call(&["EVQ.GROUP", "default", "FROM", "first"])?;
    let payload = payload();
    for first in (0..held).step_by(BATCH) {
        let batch = BATCH.min(held - first);
        let mut words = vec!["EVQ.MTRIGGER".to_owned(), batch.to_string()];
        words.extend((first..first + batch).flat_map(|n| [format!("k{n}"), payload.clone()]));
        let mut bytes = Vec::new();
        encode(&mut bytes, &words);
        conn.send(&bytes)?;
        conn.skip(1)?;
    }
    let mut commands = Commands::default();
    conn.ask(&["EVQ.CONSUME", "0", "COUNT", &held.to_string(), "NOBLOCK"])?;
    conn.visit(|depth, id| {
        if depth == ID_DEPTH {
            let id = String::from_utf8_lossy(id);
            commands.push(&["EVQ.NACK", "0", &id, "DELAY", "600000", "REASON", "later"]);
        }
    })?;
    if commands.len() < held {
        return Err(format!("the worker holds {} of {held} events", commands.len()).into());
    }
    Ok(commands)
}
