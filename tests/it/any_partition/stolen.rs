//! A worker that waits in `EVQ.CONSUME *` waits until it is given something or its time is up, also
//! when others take first what it was to be called to.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::any_partition::pulls::{block, given, pull, ring, take, trigger, woken_for};
use crate::harness::{Conn, PATIENCE, Server, args, each_binary, each_server, must, until};
use crate::pull::{IN_TIME, blocked, say, start, until_blocked, woken, woken_within};

/// Long enough for a sweep and whatever it calls.
const A_WHILE: Duration = Duration::from_millis(50);

/// A way in which an event comes and is taken, acknowledged, before a waiting worker sees it.
type Steal = fn(&mut Conn, &str);

const CONSUME: [&str; 5] = ["EVQ.CONSUME", "0", "RING", "s", "NOBLOCK"];

fn in_multi(conn: &mut Conn, key: &str) {
    must!(conn, "MULTI");
    must!(conn, "EVQ.TRIGGER", key, "p", "RING", "s");
    conn.must(&CONSUME);
    let replies = must!(conn, "EXEC");
    finish(conn, given(replies.at(1)).expect("events"));
}

fn in_one_write(conn: &mut Conn, key: &str) {
    let trigger = ["EVQ.TRIGGER", key, "p", "RING", "s"];
    let replies = conn.pipeline(&[trigger, CONSUME]);
    finish(conn, given(&replies[1]).expect("events"));
}

fn in_a_script(conn: &mut Conn, key: &str) {
    let script = "redis.call('EVQ.TRIGGER', ARGV[1], 'p', 'RING', 's')
        return redis.call('EVQ.CONSUME', 0, 'RING', 's', 'WORKER', 'thief')";
    let (p, epoch, ids) = given(&must!(conn, "EVAL", script, 0, key)).expect("events");
    let line = format!("EVQ.ACK {p} {} RING s EPOCH {epoch}", ids[0]);
    assert_eq!(say(conn, &line).int(), 1);
    say(conn, &format!("EVQ.RELEASE {p} RING s EPOCH {epoch}")).ok();
}

/// Leaves the partition free again.
fn finish(conn: &mut Conn, (p, _, ids): (i64, i64, Vec<String>)) {
    assert_eq!(say(conn, &format!("EVQ.ACK {p} {} RING s", ids[0])).int(), 1);
    say(conn, &format!("EVQ.RELEASE {p} RING s")).ok();
}

const STEALS: [Steal; 3] = [in_multi, in_one_write, in_a_script];

#[test]
fn an_event_that_another_takes_first_ends_no_wait() {
    each_server(|server| {
        for (n, steal) in STEALS.into_iter().enumerate() {
            let (mut conn, keys) = ring(&server, 2);
            let (mut first, mut second) = (server.connect(), server.connect());
            block(&mut conn, &mut first, "BLOCK 0");
            block(&mut conn, &mut second, "BLOCK 60000");
            for _ in 0..100 {
                steal(&mut conn, &keys[0]);
            }
            assert_eq!(first.try_read(A_WHILE), None, "{n}");
            assert_eq!(second.try_read(A_WHILE), None, "{n}");
            // The line is as it was, and wakes as ever.
            let id = trigger(&mut conn, &keys[0], "p");
            let woken = woken_within(&mut conn, &mut first, 500);
            let (p, _, ids) = given(&woken).expect("events");
            assert_eq!((p, ids), (0, vec![id]));
            trigger(&mut conn, &keys[1], "p");
            assert_eq!(woken_for(&mut second), 1);
            must!(conn, "EVQ.DROP", "s").ok();
        }
    });
}

#[test]
fn of_many_workers_none_replies_early_and_each_gets_its_event_or_its_time() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 4);
        let mut patient: Vec<Conn> = (0..20).map(|_| server.connect()).collect();
        let mut hasty: Vec<Conn> = (0..20).map(|_| server.connect()).collect();
        for worker in &mut patient {
            block(&mut conn, worker, "BLOCK 0");
        }
        // None of them is asked before all stand in line, unless that takes as long as they wait.
        let begun = Instant::now();
        let is_early = || begun.elapsed() < Duration::from_millis(999);
        for worker in &mut hasty {
            start(worker, "EVQ.CONSUME * RING s BLOCK 1000");
        }
        until(PATIENCE, || blocked(&mut conn) == 40 || !is_early());
        for steal in STEALS.into_iter().cycle() {
            steal(&mut conn, &keys[0]);
            let waiting = blocked(&mut conn);
            if !is_early() {
                break;
            }
            assert_eq!(waiting, 40, "after {:?}", begun.elapsed());
        }
        for worker in &mut hasty {
            assert!(woken(worker).is_null());
        }
        assert!(!is_early());
        until_blocked(&mut conn, 20);
        // The first four in line have a partition each.
        for key in &keys {
            trigger(&mut conn, key, "p");
        }
        let mut served: Vec<i64> = patient[..4].iter_mut().map(woken_for).collect();
        served.sort_unstable();
        assert_eq!(served, [0, 1, 2, 3]);
        assert_eq!(blocked(&mut conn), 16);
    });
}

#[test]
fn of_two_events_the_one_that_is_left_is_given() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        let mut worker = server.connect();
        for _ in 0..20 {
            block(&mut conn, &mut worker, "BLOCK 0");
            must!(conn, "MULTI");
            must!(conn, "EVQ.TRIGGER", keys[0], "p", "RING", "s");
            must!(conn, "EVQ.TRIGGER", keys[1], "p", "RING", "s");
            conn.must(&CONSUME);
            let replies = must!(conn, "EXEC");
            let (p, _, ids) = given(&woken(&mut worker)).expect("events");
            assert_eq!(p, 1);
            assert_eq!(say(&mut worker, &format!("EVQ.ACK 1 {} RING s", ids[0])).int(), 1);
            finish(&mut conn, given(replies.at(2)).expect("events"));
        }
    });
}

#[test]
fn a_worker_that_has_a_partition_is_called_to_it_under_the_same_epoch() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        let mut worker = server.connect();
        let mut epochs = Vec::new();
        for _ in 0..3 {
            block(&mut conn, &mut worker, "BLOCK 0");
            trigger(&mut conn, &keys[0], "p");
            let (p, epoch, ids) = given(&woken(&mut worker)).expect("events");
            assert_eq!(say(&mut worker, &format!("EVQ.ACK {p} {} RING s", ids[0])).int(), 1);
            epochs.push(epoch);
        }
        assert_eq!(epochs, [epochs[0]; 3]);
    });
}

#[test]
fn an_event_that_dies_with_its_worker_ends_no_wait() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        say(&mut conn, "EVQ.GROUP default RING s MAXATTEMPTS 1").ok();
        let id = trigger(&mut conn, &keys[0], "p");
        let (mut lost, mut worker) = (server.connect(), server.connect());
        assert_eq!(take(&mut lost, "WORKER lost LEASE 100").2, std::slice::from_ref(&id));
        block(&mut conn, &mut worker, "BLOCK 0");
        // The lapsed lease is lost to who waits, and with it the event.
        until(IN_TIME, || say(&mut conn, "EVQ.DEAD default LIST 0 RING s").array().len() == 1);
        assert_eq!(worker.try_read(A_WHILE), None);
        let late = say(&mut lost, &format!("EVQ.ACK 0 {id} RING s WORKER lost"));
        assert_eq!(late.err_code(), "EVQFENCED");
        let next = trigger(&mut conn, &keys[0], "p");
        assert_eq!(given(&woken(&mut worker)).expect("events").2, [next]);
    });
}

#[test]
fn a_worker_whose_own_lease_lapses_while_it_waits_goes_on_waiting() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        let (mut worker, mut other) = (server.connect(), server.connect());
        let id = trigger(&mut conn, &keys[0], "p");
        assert_eq!(take(&mut worker, "LEASE 300").2, std::slice::from_ref(&id));
        block(&mut conn, &mut worker, "AHEAD BLOCK 0 LEASE 300");
        block(&mut conn, &mut other, "BLOCK 0");
        // It is not given again what it has; another worker is, though it stands behind.
        let (p, _, ids) = given(&woken(&mut other)).expect("events");
        assert_eq!((p, ids), (0, vec![id]));
        assert_eq!(worker.try_read(A_WHILE), None);
        trigger(&mut conn, &keys[1], "p");
        assert_eq!(woken_for(&mut worker), 1);
    });
}

#[test]
fn a_worker_that_waits_alone_is_not_given_again_what_it_has() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        let mut worker = server.connect();
        trigger(&mut conn, &keys[0], "p");
        assert_eq!(take(&mut worker, "LEASE 30").0, 0);
        block(&mut conn, &mut worker, "AHEAD BLOCK 0 LEASE 30");
        assert_eq!(worker.try_read(Duration::from_millis(150)), None);
        let next = trigger(&mut conn, &keys[0], "p");
        assert_eq!(given(&woken(&mut worker)).expect("events").2, [next]);
    });
}

#[test]
fn a_pause_right_after_the_event_delays_it_and_ends_no_wait() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 2);
        let mut worker = server.connect();
        for _ in 0..3 {
            block(&mut conn, &mut worker, "BLOCK 0");
            let trigger = args!["EVQ.TRIGGER", &keys[0], "p", "RING", "s"].to_vec();
            let pause = args!["CLIENT", "PAUSE", 60_000, "WRITE"].to_vec();
            for reply in conn.pipeline(&[trigger, pause]) {
                assert!(!reply.is_error(), "{reply:?}");
            }
            assert_eq!(worker.try_read(Duration::from_millis(60)), None);
            must!(conn, "CLIENT", "UNPAUSE").ok();
            let (p, _, ids) = given(&woken(&mut worker)).expect("events");
            assert_eq!(say(&mut worker, &format!("EVQ.ACK {p} {} RING s", ids[0])).int(), 1);
        }
    });
}

#[test]
fn a_worker_that_may_no_longer_read_leaves_the_partition_to_others() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 1);
        must!(conn, "ACL", "SETUSER", "ann", "on", "nopass", "+@all", "~*").ok();
        let mut worker = server.connect();
        must!(worker, "AUTH", "ann", "").ok();
        block(&mut conn, &mut worker, "WORKER w BLOCK 0 LEASE 60000");
        must!(conn, "ACL", "SETUSER", "ann", "resetkeys").ok();
        let id = trigger(&mut conn, &keys[0], "p");
        assert_eq!(woken(&mut worker).err_code(), "NOPERM");
        assert_eq!(take(&mut conn, "").2, [id]);
    });
}

#[test]
fn a_short_lease_is_no_hindrance() {
    each_server(|server| {
        let (mut conn, keys) = ring(&server, 1);
        let mut worker = server.connect();
        for _ in 0..20 {
            block(&mut conn, &mut worker, "BLOCK 0 LEASE 1");
            let id = trigger(&mut conn, &keys[0], "p");
            let (p, epoch, ids) = given(&woken(&mut worker)).expect("events");
            assert_eq!(ids, [id]);
            let line = format!("EVQ.ACK {p} {} RING s EPOCH {epoch}", ids[0]);
            assert_eq!(say(&mut worker, &line).int(), 1);
        }
    });
}

/// Threads that read let other commands run between the sweep and the reply of whom it called.
#[test]
fn thieves_at_any_moment_end_no_wait_where_threads_read() {
    each_binary(|binary| {
        let threads: &[&str] = if binary.is_valkey() {
            &["io-threads 3", "events-per-io-thread 0"]
        } else {
            &["io-threads 3", "io-threads-do-reads yes"]
        };
        // A setting that later versions have no more.
        let known =
            if binary.is_valkey() && binary.version >= (9, 0, 0) { &threads[..1] } else { threads };
        rob(&Server::with(binary).config(known).start());
    });
}

#[test]
fn thieves_at_any_moment_end_no_wait() {
    each_server(|server| rob(&server));
}

/// For a while some trigger and others take what they can, by partition and with `*`, while
/// workers wait for ever.
fn rob(server: &Server) {
    let (mut conn, keys) = ring(server, 3);
    let ending = AtomicBool::new(false);
    let ended = AtomicU64::new(0);
    let (triggered, handled) = (AtomicU64::new(0), AtomicU64::new(0));
    let handle = |conn: &mut Conn, words: &str| {
        let Some((p, epoch, ids)) = given(&say(conn, words)) else { return false };
        for id in ids {
            let reply = say(conn, &format!("EVQ.ACK {p} {id} RING s EPOCH {epoch}"));
            handled.fetch_add(u64::from(!reply.is_error() && reply.int() == 1), Ordering::Relaxed);
        }
        true
    };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut conn = server.connect();
                while !ending.load(Ordering::Relaxed) {
                    assert!(handle(&mut conn, "EVQ.CONSUME * RING s BLOCK 0"), "null came early");
                }
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        for pattern in ["0 RING s NOBLOCK", "1 RING s NOBLOCK", "* RING s NOBLOCK COUNT 3"] {
            let handle = &handle;
            let ending = &ending;
            scope.spawn(move || {
                let mut conn = server.connect();
                while !ending.load(Ordering::Relaxed) {
                    let line = format!("EVQ.CONSUME {pattern}");
                    while handle(&mut conn, &line) {}
                    for p in 0..2 {
                        // Whether it had it or not.
                        say(&mut conn, &format!("EVQ.RELEASE {p} RING s"));
                    }
                }
            });
        }
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            for key in &keys {
                trigger(&mut conn, key, "p");
                triggered.fetch_add(1, Ordering::Relaxed);
            }
        }
        let all = || handled.load(Ordering::Relaxed) == triggered.load(Ordering::Relaxed);
        until(PATIENCE, all);
        ending.store(true, Ordering::Relaxed);
        // Whoever waits for ever is given something to end with.
        until(PATIENCE, || {
            for key in &keys {
                trigger(&mut conn, key, "p");
            }
            ended.load(Ordering::Relaxed) == 3
        });
    });
    assert!(pull(&mut conn, "NOBLOCK GROUP fresh").is_some());
}
