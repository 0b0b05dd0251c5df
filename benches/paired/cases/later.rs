//! Events with a time: EVQ.SCHEDULE and its append by the server against a sorted set and a script
//! that a client calls until nothing is due, as people do today. All of them are due at once, so
//! that nobody waits for the clock; the server rests between its steps, so the CPU time counts.

use super::produce::Load;
use super::{DISTINCT, key, payload};
use crate::conn::{Outcome, drive};
use crate::resp::Commands;
use crate::rounds::{Case, Goal, Pair, Variant};
use crate::server::Server;

/// Moves what is due to one of eight streams, a hundred at a time; how many it moved.
const POLL: &str = "\
    local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, 100) \
    for _, job in ipairs(due) do \
        redis.call('ZREM', KEYS[1], job) \
        local id, key, payload = string.match(job, '^(%d+) (%S+) (.*)$') \
        local p = tonumber(string.sub(redis.sha1hex(key), 1, 7), 16) % 8 \
        redis.call('XADD', 'raw:' .. p, '*', 'key', key, 'payload', payload) \
    end \
    return #due";

const LOAD: Load = Load { connections: 50, pipeline: 16 };

pub(super) fn later(server: &Server, events: usize) -> Outcome<Case<'_>> {
    let (evq, native) = ("EVQ.SCHEDULE and its append", "ZADD and a polling script");
    Ok(Case {
        name: "later".to_owned(),
        variants: vec![native_way(server, native, events)?, evq_way(server, evq, events)?],
        pairs: vec![Pair { variant: evq, base: native, goal: Goal::CpuAtLeast(1.0) }],
    })
}

fn native_way<'a>(server: &'a Server, name: &'static str, events: usize) -> Outcome<Variant<'a>> {
    let (mut commands, payload) = (Commands::default(), payload());
    for n in 0..events {
        commands.push(&["ZADD", "later", "1", &format!("{n} {} {payload}", key(n % DISTINCT))]);
    }
    let sha = server.load_script(POLL)?;
    let mut conns = server.connections(LOAD.connections)?;
    let total = events / LOAD.pipeline * LOAD.pipeline;
    let slice = move || {
        server.empty()?;
        server.measure(total, || {
            drive(&mut conns, &commands, total, LOAD.pipeline)?;
            while server.call(&["EVALSHA", &sha, "1", "later", "2"])? != b":0\r\n" {}
            Ok(())
        })
    };
    Ok(Variant { name, slice: Box::new(slice) })
}

fn evq_way<'a>(server: &'a Server, name: &'static str, events: usize) -> Outcome<Variant<'a>> {
    let (mut commands, payload) = (Commands::default(), payload());
    (0..DISTINCT).for_each(|n| commands.push(&["EVQ.SCHEDULE", &key(n), &payload, "AT", "1"]));
    let mut conns = server.connections(LOAD.connections)?;
    let total = events / LOAD.pipeline * LOAD.pipeline;
    let slice = move || {
        server.empty()?;
        server.call(&["EVQ.TRIGGER", "first", "use"])?;
        server.measure(total, || {
            drive(&mut conns, &commands, total, LOAD.pipeline)?;
            while server.call(&["EVQ.SCHEDULED", "*", "COUNT", "1"])? != b"*0\r\n" {
                // The server is not kept from its work by being asked.
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Ok(())
        })
    };
    Ok(Variant { name, slice: Box::new(slice) })
}
