//! Tokens: EVQ.TRIGGER UNIQUE against EVQ.TRIGGER, against a repeated one, and EVQ.MTRIGGER with a
//! header and tokens against one without. Each event of a slice has a token of its own.

use super::produce::{Load, sending};
use super::{PARTITIONS, key, payload};
use crate::conn::Outcome;
use crate::resp::Commands;
use crate::rounds::{Case, Goal, Pair};
use crate::server::Server;

/// A token as most are: a UUID.
fn token(n: usize) -> String {
    format!("3f2b7c1e-9d4a-4e8b-a6c5-{n:012}")
}

/// What a client library sends that got no reply: the same event again.
fn repeats(events: usize, tokens: usize) -> Commands {
    let (mut commands, payload) = (Commands::default(), payload());
    for n in 0..events {
        let n = n % tokens;
        commands.push(&["EVQ.TRIGGER", &key(n), &payload, "UNIQUE", &token(n)]);
    }
    commands
}

fn plain(events: usize) -> Commands {
    let (mut commands, payload) = (Commands::default(), payload());
    (0..events).for_each(|n| commands.push(&["EVQ.TRIGGER", &key(n), &payload]));
    commands
}

pub(super) fn trigger(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let load = Load { connections: 50, pipeline: 16 };
    let (with, again) = ("EVQ.TRIGGER UNIQUE", "the same again");
    Ok(Case {
        name: "unique-trigger".to_owned(),
        variants: vec![
            sending(server, "EVQ.TRIGGER", events, load, (plain(events), 1))?,
            sending(server, with, events, load, (repeats(events, events), 1))?,
            sending(server, again, events, load, (repeats(events, 100), 1))?,
        ],
        pairs: vec![
            Pair { variant: with, base: "EVQ.TRIGGER", goal: Goal::CpuAtLeast(0.8) },
            Pair { variant: again, base: "EVQ.TRIGGER", goal: Goal::CpuAtLeast(1.0) },
        ],
    })
}

pub(super) fn mtrigger(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let load = Load { connections: PARTITIONS, pipeline: 1 };
    let (plain, with) = ("EVQ.MTRIGGER of 100", "with a header and tokens");
    Ok(Case {
        name: "unique-mtrigger".to_owned(),
        variants: vec![
            sending(server, plain, events, load, (batches(events, false), 100))?,
            sending(server, with, events, load, (batches(events, true), 100))?,
        ],
        // 1.4 times as dear.
        pairs: vec![Pair { variant: with, base: plain, goal: Goal::CpuAtLeast(1.0 / 1.4) }],
    })
}

/// EVQ.MTRIGGER of a hundred events each.
fn batches(events: usize, with_columns: bool) -> Commands {
    let (mut commands, payload) = (Commands::default(), payload());
    for begin in (0..events).step_by(100) {
        let numbers = begin..begin + 100;
        let mut words = vec!["EVQ.MTRIGGER".to_owned(), "100".to_owned()];
        words.extend(numbers.clone().flat_map(|n| [key(n), payload.clone()]));
        if with_columns {
            words.extend(["HEADERS", "trace", "100"].map(str::to_owned));
            words.extend(numbers.clone().map(|n| format!("{n:016x}")));
            words.extend(["UNIQUES", "100"].map(str::to_owned));
            words.extend(numbers.map(token));
        }
        commands.push(&words);
    }
    commands
}
