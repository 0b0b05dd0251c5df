//! Nothing leaks: a hundred thousand rounds of waiting, and of not waiting in scripts, leave the
//! server's memory where it was, and nobody blocked. A handle that is not given back costs 35 KB a
//! round; the bound is a few bytes a round.

use crate::harness::{Conn, Server, each_server, must};
use crate::pull::{P, blocked, ring, start, trigger, until_blocked};

const ROUNDS: usize = 100_000;
/// Above the noise of the allocator and the server's own tables, and below what the smallest leak,
/// 16 bytes a round, would come to.
const BOUND_BYTES: i64 = 1_000_000;

/// Without the buffers of the clients, which the server resizes when it finds the time.
pub(crate) fn used_memory(conn: &mut Conn) -> i64 {
    let buffers = |conn: &mut Conn| -> i64 {
        let clients = must!(conn, "CLIENT", "LIST");
        let words = clients.str().split_whitespace();
        let sizes = words.filter_map(|word| word.strip_prefix("tot-mem="));
        sizes.map(|size| size.parse::<i64>().unwrap()).sum()
    };
    // Both are of the same moment if no buffer was resized in between.
    loop {
        let before = buffers(conn);
        let used: i64 = conn.info("memory", "used_memory").unwrap().parse().unwrap();
        if buffers(conn) == before {
            return used - before;
        }
    }
}

/// Runs `round`, which counts for `each`, until `rounds` are done, after a tenth to warm up.
#[track_caller]
fn assert_no_growth(
    control: &mut Conn,
    rounds: usize,
    each: usize,
    mut round: impl FnMut(&mut Conn),
) {
    (0..rounds / 10 / each).for_each(|_| round(control));
    let before = used_memory(control);
    (0..rounds / each).for_each(|_| round(control));
    let grown = used_memory(control) - before;
    assert!(grown < BOUND_BYTES, "{grown} bytes in {rounds} rounds");
}

fn many(server: &Server, count: usize) -> Vec<Conn> {
    (0..count).map(|_| server.connect()).collect()
}

#[test]
fn scripts_that_consume_leak_nothing_and_nobody_is_blocked() {
    const SCRIPT: &str =
        "for n = 1, 1000 do redis.call('EVQ.CONSUME', ARGV[1], unpack(ARGV, 2)) end";
    each_server(|server| {
        let mut control = ring(&server);
        // With nothing to give, and with an event that is given again under each new epoch.
        for payloads in [&[][..], &["a"]] {
            trigger(&mut control, payloads);
            let words = ["EVAL", SCRIPT, "0", P, "WORKER", "w", "BLOCK", "0"];
            assert_no_growth(&mut control, ROUNDS, 1000, |control| drop(control.must(&words)));
        }
        assert_eq!(blocked(&mut control), 0);
    });
}

#[test]
fn owners_that_block_and_are_woken_leak_nothing() {
    const GROUPS: usize = 200;
    each_server(|server| {
        let mut control = ring(&server);
        let mut workers = many(&server, GROUPS);
        assert_no_growth(&mut control, ROUNDS, GROUPS, |control| {
            let before = blocked(control);
            for (n, worker) in workers.iter_mut().enumerate() {
                start(worker, &format!("EVQ.CONSUME {P} GROUP g{n} BLOCK 0 LEASE 60000"));
            }
            until_blocked(control, before + GROUPS);
            trigger(control, &["a"]);
            for worker in &mut workers {
                assert_eq!(worker.read().array().len(), 3);
            }
            must!(control, "XTRIM", P, "MAXLEN", 0);
        });
        assert_eq!(blocked(&mut control), 0);
    });
}

#[test]
fn standbys_that_are_handed_the_partition_leak_nothing() {
    const GROUPS: usize = 200;
    each_server(|server| {
        let mut control = ring(&server);
        trigger(&mut control, &["never acknowledged"]);
        let (mut owners, mut standbys) = (many(&server, GROUPS), many(&server, GROUPS));
        let consume = |n: usize| format!("EVQ.CONSUME {P} GROUP g{n} BLOCK 0 LEASE 60000");
        for (n, owner) in owners.iter_mut().enumerate() {
            start(owner, &consume(n));
            assert_eq!(owner.read().array().len(), 3);
        }
        let mut round = |control: &mut Conn| {
            for (n, standby) in standbys.iter_mut().enumerate() {
                start(standby, &consume(n));
            }
            until_blocked(control, GROUPS);
            for (n, owner) in owners.iter_mut().enumerate() {
                start(owner, &format!("EVQ.RELEASE {P} GROUP g{n}"));
            }
            for (owner, standby) in owners.iter_mut().zip(&mut standbys) {
                owner.read().ok();
                assert_eq!(standby.read().array().len(), 3);
            }
            std::mem::swap(&mut owners, &mut standbys);
        };
        assert_no_growth(&mut control, ROUNDS, GROUPS, &mut round);
        assert_eq!(blocked(&mut control), 0);
    });
}

#[test]
fn waits_that_end_without_an_event_leak_nothing() {
    const CLIENTS: usize = 200;
    each_server(|server| {
        let mut control = ring(&server);
        let mut clients = many(&server, CLIENTS);
        // The first owns and blocks on the stream; the others stand by. One after another's time
        // is up, or all are dismissed by the ring that is dropped.
        let mut by_time = false;
        assert_no_growth(&mut control, ROUNDS / 4, CLIENTS, |control| {
            by_time = !by_time;
            let ms = if by_time { 1 } else { 0 };
            for client in &mut clients {
                start(client, &format!("EVQ.CONSUME {P} BLOCK {ms}"));
            }
            if !by_time {
                until_blocked(control, CLIENTS);
                must!(control, "EVQ.DROP", "r").ok();
                must!(control, "EVQ.CREATE", "r", 1).ok();
            }
            for client in &mut clients {
                let reply = client.read();
                assert!(reply.is_null() == by_time, "{reply:?}");
            }
        });
        assert_eq!(blocked(&mut control), 0);
    });
}

#[test]
fn connections_that_close_while_they_wait_leak_nothing() {
    const CLIENTS: usize = 200;
    each_server(|server| {
        let mut control = ring(&server);
        assert_no_growth(&mut control, ROUNDS / 20, CLIENTS, |control| {
            let mut clients = many(&server, CLIENTS);
            for client in &mut clients {
                start(client, &format!("EVQ.CONSUME {P} BLOCK 0 LEASE 60000"));
            }
            until_blocked(control, CLIENTS);
            drop(clients);
            until_blocked(control, 0);
        });
    });
}
