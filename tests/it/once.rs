//! Effectively once, for state in the same Redis: the two recipes of the contract. A worker that
//! was away past its lease writes nothing when it comes back, and a counter per key equals the
//! number of its events exactly, whoever is killed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::failing::events;
use crate::harness::{Arg, Conn, Endpoint, PATIENCE, Value, args, each_server, must};
use crate::pull::{GROUPS, P, pull, refused, ring, say, take, trigger};

/// ACK first, and write only if it finished the event.
const SCRIPT: &str = "\
    if redis.call('EVQ.ACK', KEYS[1], ARGV[1], 'EPOCH', ARGV[2]) == 1 then \
        return redis.call('HINCRBY', 'handled', ARGV[3], 1) \
    end \
    return false";

fn by_script(conn: &mut Conn, id: &str, epoch: i64, key: &str) -> Value {
    conn.cmd(&args!["EVAL", SCRIPT, 1, P, id, epoch, key])
}

/// WATCH, EXTEND as proof of ownership, then everything in one transaction. `pause` is where a
/// worker may be away the longest.
fn by_transaction(
    conn: &mut Conn,
    id: &str,
    epoch: i64,
    key: &str,
    pause: &mut dyn FnMut(),
) -> Value {
    must!(conn, "WATCH", GROUPS);
    let extended = conn.cmd(&args!["EVQ.EXTEND", P, "EPOCH", epoch, "LEASE", 20]);
    if extended.is_error() {
        must!(conn, "UNWATCH");
        return extended;
    }
    pause();
    must!(conn, "MULTI");
    must!(conn, "EVQ.ACK", P, id, "EPOCH", epoch);
    must!(conn, "HINCRBY", "handled", key, 1);
    must!(conn, "EXEC")
}

fn handled(conn: &mut Conn, key: &str) -> u64 {
    let count = must!(conn, "HGET", "handled", key);
    if count.is_null() { 0 } else { count.str().parse().unwrap() }
}

#[test]
fn a_script_of_a_worker_that_lost_its_lease_writes_nothing() {
    each_server(|server| {
        let (mut conn, mut slow, mut fast) = (ring(&server), server.connect(), server.connect());
        let id = events(&mut conn, &[("a", "1")]).remove(0);
        let old = take(&mut slow, "WORKER slow LEASE 30");
        // It is away; another takes over and handles the event.
        let new = pull(&mut fast, "WORKER fast BLOCK 60000").expect("the event again");
        assert_eq!(new.ids, old.ids);
        assert_eq!(by_script(&mut slow, &id, old.epoch, "a").err_code(), "EVQFENCED");
        assert_eq!(handled(&mut conn, "a"), 0);
        assert_eq!(by_script(&mut fast, &id, new.epoch, "a").int(), 1);
        // Neither the old one's return nor a repetition counts once more.
        assert_eq!(by_script(&mut slow, &id, old.epoch, "a").err_code(), "EVQFENCED");
        assert!(by_script(&mut fast, &id, new.epoch, "a").is_null());
        assert_eq!(handled(&mut conn, "a"), 1);
    });
}

#[test]
fn a_transaction_of_a_worker_that_lost_its_lease_writes_nothing() {
    each_server(|server| {
        let (mut conn, mut slow, mut fast) = (ring(&server), server.connect(), server.connect());
        let id = events(&mut conn, &[("a", "1")]).remove(0);
        let old = take(&mut slow, "WORKER slow LEASE 30");
        let mut new = None;
        // Away in the middle of it: after the proof, before the transaction.
        let lost = by_transaction(&mut slow, &id, old.epoch, "a", &mut || {
            new = pull(&mut fast, "WORKER fast BLOCK 60000");
        });
        assert!(lost.is_null(), "{lost:?}");
        let new = new.expect("the event again");
        assert_eq!(new.ids, old.ids);
        assert_eq!(handled(&mut conn, "a"), 0);
        // Or before the proof.
        let refused = by_transaction(&mut slow, &id, old.epoch, "a", &mut || ());
        assert_eq!(refused.err_code(), "EVQFENCED");
        let done = by_transaction(&mut fast, &id, new.epoch, "a", &mut || ());
        assert_eq!(done.at(1).int(), 1);
        assert_eq!(handled(&mut conn, "a"), 1);
    });
}

#[test]
fn a_heartbeat_of_the_owner_does_not_disturb_its_own_transaction() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let ids = events(&mut conn, &[("a", "1"), ("a", "2")]);
        let epoch = take(&mut worker, "WORKER w COUNT 2").epoch;
        for id in &ids {
            let done = by_transaction(&mut worker, id, epoch, "a", &mut || {
                must!(conn, "EVQ.EXTEND", P, "EPOCH", epoch).ok();
            });
            assert_eq!(done.at(0).int(), 1);
        }
        assert_eq!(handled(&mut conn, "a"), 2);
    });
}

/// Watches the partition, lets `meanwhile` happen, and tells whether a transaction is aborted.
fn is_aborted(watcher: &mut Conn, meanwhile: impl FnOnce()) -> bool {
    must!(watcher, "WATCH", GROUPS);
    meanwhile();
    must!(watcher, "MULTI");
    must!(watcher, "PING");
    must!(watcher, "EXEC").is_null()
}

#[test]
fn acknowledgements_abort_no_transaction() {
    each_server(|server| {
        let (mut conn, mut watcher) = (ring(&server), server.connect());
        let ids = events(&mut conn, &[("a", "1"), ("a", "2"), ("b", "3"), ("b", "4")]);
        for group in ["g", "h"] {
            take(&mut conn, &format!("GROUP {group} WORKER w COUNT 2"));
        }
        let mut step = |line: String| {
            assert!(!is_aborted(&mut watcher, || drop(say(&mut conn, &line))), "{line}");
        };
        for group in ["g", "h"] {
            step(format!("EVQ.ACK {P} {} GROUP {group} WORKER w", ids[0]));
            step(format!("EVQ.ACK {P} {} GROUP {group} WORKER w", ids[0]));
            step(format!("EVQ.CONSUME {P} GROUP {group} WORKER w ACK {} NOBLOCK", ids[1]));
            step(format!("EVQ.EXTEND {P} GROUP {group} WORKER w"));
        }
    });
}

#[test]
fn the_cursor_passes_and_aborts_no_transaction() {
    each_server(|server| {
        let (mut conn, mut watcher) = (ring(&server), server.connect());
        must!(conn, "EVQ.GROUP", "g", "RING", "r", "TYPES", 1, "wanted").ok();
        events(&mut conn, &[("a", "1")]);
        assert_eq!(pull(&mut conn, "GROUP g WORKER w NOBLOCK"), None);
        events(&mut conn, &[("a", "2"), ("b", "3")]);
        let before = must!(conn, "DEBUG", "DIGEST-VALUE", GROUPS).at(0).str().to_owned();
        let aborted = is_aborted(&mut watcher, || {
            assert_eq!(pull(&mut conn, "GROUP g WORKER w NOBLOCK"), None);
        });
        assert!(!aborted);
        let after = must!(conn, "DEBUG", "DIGEST-VALUE", GROUPS).at(0).str().to_owned();
        assert_ne!(before, after, "the cursor has passed them");
    });
}

#[test]
fn whatever_may_take_an_event_away_aborts_the_transaction() {
    each_server(|server| {
        let (mut conn, mut watcher) = (ring(&server), server.connect());
        must!(conn, "EVQ.GROUP", "g", "RING", "r", "MAXATTEMPTS", 1, "ONDEAD", "hold").ok();
        let ids = events(&mut conn, &[("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")]);
        let mut step = |line: &str| {
            assert!(is_aborted(&mut watcher, || drop(say(&mut conn, line))), "{line}");
        };
        step(&format!("EVQ.CONSUME {P} GROUP g WORKER w COUNT 3"));
        // It holds the second, which is handed out as well.
        step(&format!("EVQ.NACK {P} {} GROUP g WORKER w", ids[0]));
        // The fourth is held.
        step(&format!("EVQ.CONSUME {P} GROUP g WORKER w ACK {} NOBLOCK", ids[2]));
        step(&format!("EVQ.DEAD g RETRY {P} {}", ids[0]));
        step(&format!("EVQ.RELEASE {P} GROUP g WORKER w"));
        step(&format!("EVQ.SEEK g {P} first RING r"));
    });
}

/// Handles events until told to stop; dies or dozes off at random.
fn work(endpoint: &Endpoint, ending: &AtomicBool, deaths: &AtomicU64, mut seed: u64) {
    let mut random = |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) % n
    };
    while !ending.load(Ordering::Relaxed) {
        let mut conn = endpoint.connect();
        let name = format!("w{}", random(1000));
        for _ in 0..200 {
            if ending.load(Ordering::Relaxed) {
                return;
            }
            let words = args!["EVQ.CONSUME", P, "BLOCK", 20, "LEASE", 15, "WORKER", name];
            let reply = conn.cmd(&words);
            if reply.is_error() || reply.is_null() {
                continue;
            }
            let event = reply.at(2).at(0);
            let (id, epoch) = (event.at(0).str(), reply.at(1).int());
            let key = event.at(1).get("key").str();
            match random(40) {
                // Killed before or after what it did: nobody reads the reply.
                0 => {
                    deaths.fetch_add(1, Ordering::Relaxed);
                    conn.send(&args!["EVAL", SCRIPT, 1, P, id, epoch, key]);
                    break;
                }
                1 => {
                    deaths.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                2 => {
                    std::thread::sleep(Duration::from_millis(25));
                    by_script(&mut conn, id, epoch, key);
                }
                3 => {
                    let mut doze = || std::thread::sleep(Duration::from_millis(25));
                    by_transaction(&mut conn, id, epoch, key, &mut doze);
                }
                n if n % 2 == 0 => drop(by_script(&mut conn, id, epoch, key)),
                _ => drop(by_transaction(&mut conn, id, epoch, key, &mut || ())),
            }
        }
    }
}

#[test]
fn a_counter_per_key_equals_its_events_whoever_is_killed() {
    each_server(|server| {
        let mut conn = ring(&server);
        must!(conn, "EVQ.GROUP", "default", "RING", "r", "MAXATTEMPTS", 1_000_000).ok();
        let mut expected: BTreeMap<String, u64> = BTreeMap::new();
        let trigger = |n: usize| {
            let key = format!("key:{}", n % 7);
            *expected.entry(key.clone()).or_default() += 1;
            args!["EVQ.TRIGGER", key, n, "RING", "r"].map(|word| word.to_arg()).to_vec()
        };
        conn.pipeline(&(0..1500).map(trigger).collect::<Vec<_>>());
        let (ending, deaths, endpoint) =
            (AtomicBool::new(false), AtomicU64::new(0), server.endpoint());
        std::thread::scope(|scope| {
            for n in 1..=4 {
                let (ending, deaths, endpoint) = (&ending, &deaths, &endpoint);
                scope.spawn(move || work(endpoint, ending, deaths, 0x2545_f491_4f6c_dd1d ^ n));
            }
            let begun = Instant::now();
            let unfinished =
                |conn: &mut Conn| must!(conn, "EVQ.GROUPS", "RING", "r").at(0).get("lag").int() > 0;
            while unfinished(&mut conn) && begun.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_millis(20));
            }
            ending.store(true, Ordering::Relaxed);
        });
        for (key, events) in expected {
            assert_eq!(handled(&mut conn, &key), events, "{key}");
        }
        assert!(deaths.into_inner() > 10);
        assert_eq!(must!(conn, "EVQ.GROUPS", "RING", "r").at(0).get("lag").int(), 0);
    });
}

#[test]
fn over_maxmemory_a_script_that_acknowledges_first_goes_on_and_a_transaction_is_refused() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a", "b", "c"]);
        let epoch = take(&mut conn, "COUNT 3 WORKER w").epoch;
        must!(conn, "CONFIG", "SET", "maxmemory", 1).ok();
        must!(conn, "MULTI").ok();
        let ack = format!("EVQ.ACK {P} {} EPOCH {epoch}", ids[0]);
        // Redis refuses every command there, Valkey those that need memory.
        let queued = say(&mut conn, &ack);
        assert!(!queued.is_error() || queued.err_code() == "OOM", "{queued:?}");
        assert_eq!(refused(&mut conn, "HINCRBY handled key 1"), "OOM");
        assert_eq!(refused(&mut conn, "EXEC"), "EXECABORT");
        // Alone, and in the script, which writes.
        assert_eq!(say(&mut conn, &ack).int(), 1);
        assert_eq!(by_script(&mut conn, &ids[1], epoch, "key").int(), 1);
        assert_eq!(take(&mut conn, "WORKER w").ids, ids[2..]);
    });
}

#[test]
fn in_multi_a_refused_trigger_takes_no_other_command_back_and_in_a_script_it_does() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "full", 1, "MAXDEPTH", 1).ok();
        must!(conn, "EVQ.GROUP", "g", "RING", "full", "FROM", "first").ok();
        must!(conn, "EVQ.TRIGGER", "k", "1", "RING", "full");
        must!(conn, "MULTI").ok();
        must!(conn, "EVQ.TRIGGER", "k", "2", "RING", "full");
        must!(conn, "INCR", "own");
        let done = must!(conn, "EXEC");
        assert_eq!((done.at(0).err_code(), done.at(1).int()), ("EVQFULL", 1));
        let script = "redis.call('EVQ.TRIGGER', 'k', '2', 'RING', 'full'); \
                      return redis.call('INCR', KEYS[1])";
        let reply = conn.cmd(&["EVAL", script, "1", "own"]);
        assert!(reply.is_error(), "{reply:?}");
        assert_eq!(must!(conn, "GET", "own").str(), "1", "nothing was written");
    });
}

#[test]
fn of_two_transactions_about_one_event_over_an_unknown_outcome_one_is_carried_out() {
    each_server(|server| {
        let mut conn = ring(&server);
        for late_first in [true, false] {
            let ids = events(&mut conn, &[("a", "1")]);
            let (mut sender, mut next) = (server.connect(), server.connect());
            let epoch = take(&mut next, "WORKER w").epoch;
            must!(conn, "DEL", "handled");
            // Everything but the EXEC has arrived; its reply will get lost.
            let prepare = |conn: &mut Conn, epoch: i64| {
                must!(conn, "WATCH", GROUPS);
                must!(conn, "EVQ.EXTEND", P, "EPOCH", epoch).ok();
                must!(conn, "MULTI");
                must!(conn, "EVQ.ACK", P, ids[0], "EPOCH", epoch);
                must!(conn, "HINCRBY", "handled", "a", 1);
            };
            prepare(&mut sender, epoch);
            if late_first {
                assert_eq!(must!(sender, "EXEC").at(0).int(), 1);
            }
            // The worker knows nothing, so it gives the lease up before it pulls again.
            must!(next, "EVQ.RELEASE", P, "EPOCH", epoch).ok();
            if let Some(given) = pull(&mut next, "WORKER w NOBLOCK") {
                assert!(!late_first && given.epoch > epoch && given.ids == ids);
                prepare(&mut next, given.epoch);
                assert_eq!(must!(next, "EXEC").at(0).int(), 1);
            }
            if !late_first {
                assert!(must!(sender, "EXEC").is_null(), "the new epoch fences it");
            }
            assert_eq!(handled(&mut conn, "a"), 1);
            say(&mut next, &format!("EVQ.RELEASE {P} WORKER w"));
        }
    });
}
