//! Memory: what passing on leaves behind, and what a ring takes in each shard.

use super::scene::{PARTITIONS, RING, Scene, stream};
use crate::harness::{Cluster, Conn, PATIENCE, Server, args, cmd, each_binary, must, until};
use crate::leaks::used_memory;

/// Connections that send at the same time, each so many commands at once.
const CONNS: usize = 50;
const AT_ONCE: usize = 10;
/// Above the noise of the allocator and of the server's own tables: twenty bytes an event, and less
/// where there are more.
const BOUND_BYTES: i64 = 200_000;

/// How many events are passed on, from `EVQ_LEAK_ROUNDS`.
fn events() -> usize {
    let text = std::env::var("EVQ_LEAK_ROUNDS").unwrap_or_else(|_| "10000".to_owned());
    text.parse().expect("EVQ_LEAK_ROUNDS is a number")
}

/// Nodes that keep nothing about what they run.
const PLAIN: [&str; 2] = ["slowlog-max-len 0", "latency-tracking no"];

/// Sends so many commands of these in turn, and counts the good replies.
#[track_caller]
fn send(conns: &mut [Conn], commands: &[Vec<Vec<u8>>], count: usize) -> usize {
    let mut good = 0;
    let mut commands = commands.iter().cycle();
    for _ in 0..count / conns.len() / AT_ONCE {
        for conn in conns.iter_mut() {
            commands.by_ref().take(AT_ONCE).for_each(|words| conn.send(words));
        }
        for conn in conns.iter_mut() {
            for _ in 0..AT_ONCE {
                let reply = conn.read();
                if reply.is_error() {
                    assert_eq!(reply.err_code(), "EVQUNREACHABLE", "{reply:?}");
                } else {
                    good += 1;
                }
            }
        }
    }
    good
}

/// Fails if the node has come to need more than `before`, and does not give it back.
#[track_caller]
fn assert_no_growth(what: &str, control: &mut Conn, before: i64) {
    let mut grown = 0;
    // What is trimmed or freed in the background may take a moment.
    let end = std::time::Instant::now() + PATIENCE / 4;
    while std::time::Instant::now() < end {
        grown = used_memory(control) - before;
        if grown < BOUND_BYTES {
            return;
        }
        must!(control, "PING");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("{what}: {grown} bytes in {} events", events());
}

#[test]
fn events_that_are_passed_on_leave_nothing_behind() {
    let events = events();
    each_binary(|binary| {
        let mut scene = Scene::without_ring(Cluster::with(binary).config(&PLAIN));
        must!(scene.client, "EVQ.CREATE", RING, PARTITIONS, "MAXLEN", 100, "TRIM", "any").ok();
        let (here, there) = (scene.authority(), scene.other());
        let keys: Vec<_> =
            scene.partitions_at(there).into_iter().map(|p| scene.key_at(here, p)).collect();
        let words = |key| args!["EVQ.TRIGGER", key, "payload", "RING", RING].to_vec();
        let commands: Vec<_> = keys.iter().map(words).collect();
        let mut conns: Vec<_> = (0..CONNS).map(|_| scene.cluster.connect(here)).collect();
        let mut controls = [here, there].map(|n| scene.cluster.connect(n));
        assert_eq!(send(&mut conns, &commands, events / 5), events / 5);
        let before = controls.each_mut().map(used_memory);
        assert_eq!(send(&mut conns, &commands, events), events);
        for (control, (what, before)) in
            controls.iter_mut().zip(["the passing node", "the owner"].into_iter().zip(before))
        {
            assert_no_growth(what, control, before);
        }
        let lengths = scene.partitions_at(there).into_iter();
        let all: i64 = lengths.map(|p| must!(scene.client, "XLEN", stream(p)).int()).sum();
        assert!(all < 5000, "{all} events are kept");

        // The same to an owner that is gone: refused.
        let [control, _] = &mut controls;
        scene.cluster.kill9(there);
        assert_eq!(send(&mut conns, &commands, events / 5), 0);
        let before = used_memory(control);
        assert_eq!(send(&mut conns, &commands, events), 0);
        assert_no_growth("events for an owner that is gone", control, before);
    });
}

/// What is stored takes so much: without the buffers of clients, and without the server's tables.
/// Newer servers have one of some kilobytes for each slot.
#[track_caller]
fn stored_memory(control: &mut Conn) -> i64 {
    let stats = must!(control, "MEMORY", "STATS");
    let tables = ["overhead.hashtable.main", "overhead.hashtable.expires"];
    let tables = tables.map(|name| stats.get("db.0").get(name).int());
    used_memory(control) - tables.iter().sum::<i64>()
}

/// What a ring of the most partitions takes in each shard, next to what it takes on one server: the
/// mapping is shared by the copies beside its partitions. A copy takes less than a kilobyte.
#[test]
fn a_large_ring_takes_no_more_in_a_shard_than_on_one_server() {
    const MOST: u32 = 1024;
    each_binary(|binary| {
        let server = Server::with(binary).config(&PLAIN).start();
        let mut alone = server.connect();
        let mut scene = Scene::without_ring(Cluster::with(binary).config(&PLAIN));
        let nodes = scene.cluster.masters();
        // The first of everything at every node: tables, connections to the others.
        must!(alone, "EVQ.CREATE", "first", 12).ok();
        for n in &nodes {
            let ring = (0..).map(|n| format!("first-{n}"));
            let ring = ring.into_iter().find(|ring| scene.cluster.owner_of(ring) == *n).unwrap();
            must!(scene.client, "EVQ.CREATE", ring, 12).ok();
        }
        let mut controls: Vec<_> = nodes.iter().map(|n| scene.cluster.connect(*n)).collect();
        let one = stored_memory(&mut alone);
        must!(alone, "EVQ.CREATE", RING, MOST).ok();
        let one = stored_memory(&mut alone) - one;
        let before: Vec<_> = controls.iter_mut().map(stored_memory).collect();
        // Where a debug build takes too long for it, the same command again completes it.
        until(3 * PATIENCE, || !cmd!(scene.client, "EVQ.CREATE", RING, MOST).is_error());
        for (n, (control, before)) in nodes.iter().zip(controls.iter_mut().zip(before)) {
            let grown = stored_memory(control) - before;
            let copies = must!(control, "DBSIZE").int();
            let most = one + 1000 * copies;
            assert!(grown < most, "node {n}: {grown} bytes, {copies} copies; {one} on one server");
        }
    });
}
