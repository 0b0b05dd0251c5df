//! Producing: EVQ.TRIGGER and EVQ.MTRIGGER against XADD of the same fields over eight streams, as a
//! client that hashes keys by itself would send it.

use super::{DISTINCT, PARTITIONS, key, native_stream, payload, triggers, xadds};
use crate::conn::{Outcome, drive};
use crate::resp::Commands;
use crate::rounds::{Case, Goal, Pair, Variant};
use crate::server::{Server, Setting};

pub(super) fn trigger_1(server: &Server, events: usize) -> Outcome<Case<'_>> {
    trigger(server, "trigger-1", events, Load { connections: 50, pipeline: 1 }, [1.0, 1.0])
}

pub(super) fn trigger_16(server: &Server, events: usize) -> Outcome<Case<'_>> {
    trigger(server, "trigger-16", events, Load { connections: 50, pipeline: 16 }, [1.1, 1.2])
}

pub(super) fn trigger_100(server: &Server, events: usize) -> Outcome<Case<'_>> {
    trigger(server, "trigger-100", events, Load { connections: 10, pipeline: 100 }, [1.1, 1.2])
}

/// How commands are sent.
#[derive(Clone, Copy)]
pub(super) struct Load {
    pub(super) connections: usize,
    pub(super) pipeline: usize,
}

/// A variant that empties the server and then sends commands, each of `weight` events.
pub(super) fn sending<'a>(
    server: &'a Server,
    name: &'static str,
    events: usize,
    load: Load,
    (commands, weight): (Commands, usize),
) -> Outcome<Variant<'a>> {
    let mut conns = server.connections(load.connections)?;
    let total = (events / weight).max(load.pipeline) / load.pipeline * load.pipeline;
    let slice = move || {
        server.empty()?;
        // The ring is made by its first use, not in the measured time.
        server.call(&["EVQ.TRIGGER", "first", "use"])?;
        server.measure(total * weight, || drive(&mut conns, &commands, total, load.pipeline))
    };
    Ok(Variant { name, slice: Box::new(slice) })
}

fn trigger<'a>(
    server: &'a Server,
    name: &str,
    events: usize,
    load: Load,
    [plain, persisted]: [f64; 2],
) -> Outcome<Case<'a>> {
    let goal = if server.setting == Setting::Plain { plain } else { persisted };
    Ok(Case {
        name: name.to_owned(),
        variants: vec![
            sending(server, "XADD", events, load, (xadds(), 1))?,
            sending(server, "EVQ.TRIGGER", events, load, (triggers(), 1))?,
        ],
        pairs: vec![Pair { variant: "EVQ.TRIGGER", base: "XADD", goal: Goal::AtLeast(goal) }],
    })
}

/// The native way in a script: it hashes the key on the server and calls XADD. Ring and continuum
/// are not its business, and yet it has to keep the number of streams.
const PRODUCE: &str = "\
    local p = tonumber(string.sub(redis.sha1hex(ARGV[1]), 1, 7), 16) % 8 \
    return redis.call('XADD', KEYS[p + 1], '*', 'key', ARGV[1], 'payload', ARGV[2])";

/// EVQ.TRIGGER against the native way in a Lua script.
pub(super) fn script(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let load = Load { connections: 50, pipeline: 16 };
    let streams: Vec<String> = (0..PARTITIONS).map(native_stream).collect();
    let sha = server.load_script(PRODUCE)?;
    let (mut calls, payload) = (Commands::default(), payload());
    for n in 0..DISTINCT {
        let mut words = vec!["EVALSHA", &sha, "8"];
        words.extend(streams.iter().map(String::as_str));
        let key = key(n);
        words.extend([key.as_str(), &payload]);
        calls.push(&words);
    }
    let lua = "a script that XADDs";
    Ok(Case {
        name: "script".to_owned(),
        variants: vec![
            sending(server, lua, events, load, (calls, 1))?,
            sending(server, "EVQ.TRIGGER", events, load, (triggers(), 1))?,
        ],
        pairs: vec![Pair { variant: "EVQ.TRIGGER", base: lua, goal: Goal::AtLeast(1.0) }],
    })
}

pub(super) fn mtrigger(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let load = Load { connections: 50, pipeline: 1 };
    // As many commands on their way as without batches would be too much of the slice.
    let few = Load { connections: PARTITIONS, pipeline: 1 };
    let (ten, hundred) = ("EVQ.MTRIGGER of 10", "EVQ.MTRIGGER of 100");
    Ok(Case {
        name: "mtrigger".to_owned(),
        variants: vec![
            sending(server, "XADD, pipeline 1", events, load, (xadds(), 1))?,
            sending(server, ten, events, load, (batches(10), 10))?,
            sending(server, hundred, events, few, (batches(100), 100))?,
        ],
        pairs: vec![
            Pair { variant: ten, base: "XADD, pipeline 1", goal: Goal::AtLeast(4.2) },
            Pair { variant: hundred, base: "XADD, pipeline 1", goal: Goal::AtLeast(6.5) },
        ],
    })
}

/// EVQ.MTRIGGER of so many events each.
fn batches(size: usize) -> Commands {
    let (mut commands, payload, count) = (Commands::default(), payload(), size.to_string());
    for batch in 0..DISTINCT / size {
        let keys: Vec<String> = (0..size).map(|n| key(batch * size + n)).collect();
        let mut words = vec!["EVQ.MTRIGGER", &count];
        words.extend(keys.iter().flat_map(|key| [key.as_str(), &payload]));
        commands.push(&words);
    }
    commands
}
