//! Random runs: whatever clients do to a primary, its replica and its append-only file hold the
//! same. The seed is printed by a failing run; `EVQ_SEED` runs it again.

use std::time::Duration;

use crate::harness::{
    Arg, Conn, PATIENCE, Random, Server, Value, args, each_binary, must, seed, until, wait_for_sync,
};

const STEPS: usize = 3000;
const RINGS: [&str; 3] = ["default", "a", "b"];

/// What the clients remember between their steps.
#[derive(Default)]
struct Memory {
    /// Ids they have seen, by stream key.
    ids: Vec<(String, Vec<u8>)>,
    /// Replies that were no errors, by kind of step: a mix that is refused throughout proves
    /// nothing.
    done: std::collections::BTreeMap<&'static str, u32>,
}

type Words = Vec<Vec<u8>>;

const KEYS: [&str; 9] = ["", "k\0", "%s", "\r\n", "key:1", "key:2", "key:3", "key:4", "key:5"];

fn event(rng: &mut Random) -> Words {
    let ring = rng.one_of(&RINGS);
    let key = rng.one_of(&KEYS);
    let n = rng.below(1000);
    match rng.below(3) {
        0 => args!["EVQ.MTRIGGER", 3, key, n, "other", n, key, "\0", "RING", ring].to_vec(),
        1 => args!["EVQ.TRIGGER", key, n, "RING", ring, "TYPE", "T", "HEADER", "h", key].to_vec(),
        _ => args!["EVQ.TRIGGER", key, n, "RING", ring].to_vec(),
    }
}

const FAIL: &str = "\
    local given = redis.pcall('EVQ.CONSUME', KEYS[1], 'GROUP', ARGV[1], 'WORKER', ARGV[2], \
        'COUNT', ARGV[3], 'NOBLOCK') \
    if not given or given.err then return given end \
    return redis.call('EVQ.NACK', KEYS[1], given[3][1][1], 'GROUP', ARGV[1], 'WORKER', ARGV[2], \
        'DELAY', 0)";

/// Settings of a group under which events fail for good soon.
fn settings(rng: &mut Random) -> Words {
    match rng.below(5) {
        0 => args!["TYPES", 1, "T"].to_vec(),
        1 => args!["TYPES", 2, "T", ""].to_vec(),
        2 => args!["MAXATTEMPTS", rng.below(2) + 1, "ONDEAD", "hold"].to_vec(),
        3 => args!["MAXATTEMPTS", 1, "ONDEAD", "skip"].to_vec(),
        _ => args!["BACKOFF", 0, rng.below(10)].to_vec(),
    }
}

/// One step: its kind and its words.
fn step(rng: &mut Random, memory: &Memory) -> (&'static str, Words) {
    let ring = rng.one_of(&RINGS);
    let p = rng.below(4);
    let stream = format!("evq:{{{ring}:{p}}}");
    let group = rng.one_of(&["default", "mail", "audit:v2"]);
    let worker = rng.one_of(&["w1", "w2"]);
    let whose = args!["GROUP", group, "WORKER", worker].to_vec();
    let known: Vec<_> = memory.ids.iter().filter(|(at, _)| *at == stream).collect();
    let id = match known.len() {
        0 => b"1-1".to_vec(),
        n => known[n - 1 - usize::try_from(rng.below(5)).unwrap().min(n - 1)].1.clone(),
    };
    let with = |head: &[Vec<u8>], tail: &[Vec<u8>]| [head, &whose, tail].concat();
    match rng.below(154) {
        0..30 => ("event", event(rng)),
        30..50 => {
            let count = rng.below(4) + 1;
            let lease = rng.one_of(&[1, 50, 30_000]);
            let tail = args!["NOBLOCK", "COUNT", count, "LEASE", lease];
            ("pull", with(&args!["EVQ.CONSUME", stream], &tail))
        }
        50..60 => ("ack", with(&args!["EVQ.ACK", p, id, "RING", ring], &[])),
        60..68 => {
            let tail = args!["ACK", id, "NOBLOCK", "COUNT", 2];
            ("ack and pull", with(&args!["EVQ.CONSUME", p, "RING", ring], &tail))
        }
        68..73 => ("release", with(&args!["EVQ.RELEASE", stream], &[])),
        73..76 => ("extend", with(&args!["EVQ.EXTEND", stream], &[])),
        76..81 => ("xadd", args!["XADD", stream, "*", "key", "by hand", "other", "field"].to_vec()),
        81..84 => ("xdel", args!["XDEL", stream, id].to_vec()),
        84..87 => ("xtrim", args!["XTRIM", stream, "MAXLEN", rng.below(10)].to_vec()),
        87..89 => ("del", args!["DEL", stream].to_vec()),
        89 => ("del groups", args!["DEL", format!("{stream}:groups")].to_vec()),
        90..94 => ("create", args!["EVQ.CREATE", ring, 4].to_vec()),
        98 => ("resize", args!["EVQ.RESIZE", ring, rng.below(5) + 2].to_vec()),
        94 => ("drop", args!["EVQ.DROP", ring].to_vec()),
        95 => {
            ("rename", args!["RENAME", stream, format!("evq:{{{ring}:{}}}", (p + 1) % 4)].to_vec())
        }
        96 => ("copy", args!["COPY", "evq:{a}", "evq:{b}", "REPLACE"].to_vec()),
        97 if rng.below(10) == 0 => ("flush", args!["FLUSHALL"].to_vec()),
        97 => ("select", args!["SELECT", rng.below(2)].to_vec()),
        100..112 => {
            let tail = args!["REASON", "why", "DELAY", rng.one_of(&[0, 5, 100_000])];
            ("nack", with(&args!["EVQ.NACK", p, id, "RING", ring], &tail))
        }
        112..120 => {
            let tail =
                args!["NOBLOCK", "COUNT", rng.below(4) + 1, "LEASE", rng.one_of(&[1, 30_000])];
            ("pull any", with(&args!["EVQ.CONSUME", "*", "RING", ring], &tail))
        }
        120..124 => {
            ("group", [args!["EVQ.GROUP", group, "RING", ring].to_vec(), settings(rng)].concat())
        }
        124 => ("delgroup", args!["EVQ.DELGROUP", group, "RING", ring].to_vec()),
        125..128 => {
            let to = rng.one_of(&["first", "last", "1", std::str::from_utf8(&id).unwrap()]);
            let at = if rng.below(3) == 0 { "*".to_owned() } else { p.to_string() };
            ("seek", args!["EVQ.SEEK", group, at, to, "RING", ring].to_vec())
        }
        128..134 => {
            let kind = rng.one_of(&["RETRY", "SKIP"]);
            let at = if rng.below(2) == 0 { "*".to_owned() } else { p.to_string() };
            let what = if rng.below(2) == 0 { b"*".to_vec() } else { id };
            let name = if kind == "RETRY" { "dead retry" } else { "dead skip" };
            (name, args!["EVQ.DEAD", group, kind, at, what, "RING", ring].to_vec())
        }
        134 => ("pending", args!["EVQ.PENDING", stream, "GROUP", group].to_vec()),
        135 => ("stats", args!["EVQ.STATS", ring].to_vec()),
        136 => ("del dead", args!["DEL", format!("{stream}:dead:{group}")].to_vec()),
        // What is pulled fails at once: few of the ids that are remembered are in flight.
        137..148 => {
            let head = args!["EVAL", FAIL, 1, stream, group, worker, rng.below(4) + 1];
            ("pull and nack", head.to_vec())
        }
        150..154 => {
            let key = rng.one_of(&KEYS);
            let from = rng.one_of(&["first", "1", std::str::from_utf8(&id).unwrap()]);
            ("replay", args!["EVQ.REPLAY", group, key, "FROM", from, "RING", ring].to_vec())
        }
        _ => {
            let script = "redis.pcall(unpack(ARGV)); redis.call('INCR', 'n'); \
                          return redis.call(unpack(ARGV))";
            let head = args!["EVAL", script, 0].to_vec();
            ("script", [head, event(rng)].concat())
        }
    }
}

fn remember(memory: &mut Memory, reply: &Value) {
    // [partition, id] of a TRIGGER names no ring, but replies of CONSUME are what ACK needs; the
    // epoch is not needed, for workers are named.
    if let Value::Array(parts) = reply
        && let [Value::Int(p), Value::Int(_), Value::Array(events)] = &parts[..]
    {
        for ring in RINGS {
            let stream = format!("evq:{{{ring}:{p}}}");
            memory.ids.extend(events.iter().map(|e| (stream.clone(), e.at(0).to_arg())));
        }
    }
}

fn run(conns: &mut [Conn], rng: &mut Random, memory: &mut Memory) {
    for _ in 0..STEPS {
        let n = usize::try_from(rng.below(3)).unwrap();
        let conn = &mut conns[n];
        let steps = if rng.below(20) == 0 { 1 + rng.below(5) } else { 0 };
        if steps > 0 {
            must!(conn, "MULTI");
            let queued: Vec<_> = (0..steps).map(|_| step(rng, memory)).collect();
            queued.iter().for_each(|(_, words)| drop(conn.cmd(words)));
            let replies = must!(conn, "EXEC");
            for (reply, _) in replies.array().iter().zip(&queued) {
                remember(memory, reply);
                *memory.done.entry("transaction").or_default() += 1;
            }
            continue;
        }
        let (kind, words) = step(rng, memory);
        let reply = conn.cmd(&words);
        assert!(!reply.is_error() || reply.err_code() != "EVQBUG", "{reply:?}");
        remember(memory, &reply);
        // A NACK that holds nothing else replies an empty array.
        if !reply.is_error() && reply != Value::Int(0) && !reply.is_null() {
            *memory.done.entry(kind).or_default() += 1;
        }
    }
}

/// What the mix alone comes to too seldom: an event that is dead, retried, dead again and skipped.
fn bury(conn: &mut Conn, memory: &mut Memory) {
    must!(conn, "DEL", "evq:{a}", "evq:{a:0}", "evq:{a:0}:groups", "evq:{a:0}:dead:mail");
    must!(conn, "EVQ.CREATE", "a", 4);
    must!(conn, "EVQ.GROUP", "mail", "RING", "a", "MAXATTEMPTS", 1, "ONDEAD", "hold");
    must!(conn, "XADD", "evq:{a:0}", "*", "key", "k", "payload", "p");
    for (verb, kind) in [("RETRY", "dead retry"), ("SKIP", "dead skip")] {
        let pull = must!(conn, "EVQ.CONSUME", "evq:{a:0}", "GROUP", "mail", "WORKER", "w1");
        let id = pull.at(2).at(0).at(0).to_arg();
        must!(conn, "EVQ.NACK", "evq:{a:0}", id, "GROUP", "mail", "WORKER", "w1");
        assert_eq!(must!(conn, "EVQ.DEAD", "mail", verb, "evq:{a:0}", "*").int(), 1);
        *memory.done.entry(kind).or_default() += 1;
    }
}

impl Arg for Value {
    fn to_arg(&self) -> Vec<u8> {
        self.bytes().to_vec()
    }
}

#[test]
fn a_replica_and_the_append_only_file_hold_what_the_primary_holds() {
    let seed = seed();
    // A failing test shows what it printed.
    #[allow(clippy::print_stderr)]
    {
        eprintln!("EVQ_SEED={seed}");
    }
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().config(&["appendonly yes"]).start();
        let replica = Server::replica_of(&primary);
        let mut conns = [primary.connect(), primary.connect(), primary.connect()];
        let mut rng = Random::new(seed);
        let mut memory = Memory::default();
        let kinds = [
            "event",
            "pull",
            "ack",
            "ack and pull",
            "release",
            "extend",
            "xadd",
            "xdel",
            "xtrim",
            "del",
            "del groups",
            "create",
            "drop",
            "rename",
            "copy",
            "script",
            "transaction",
            "nack",
            "pull any",
            "group",
            "delgroup",
            "seek",
            "dead retry",
            "dead skip",
            "pending",
            "stats",
            "pull and nack",
            "resize",
            "replay",
        ];
        // Three times, and on until each kind of step has done something.
        for round in 0.. {
            bury(&mut conns[0], &mut memory);
            run(&mut conns, &mut rng, &mut memory);
            // The primary may do something by itself between the two looks.
            let same = |_| {
                wait_for_sync(&primary, &replica);
                replica.digest() == primary.digest()
            };
            assert!((0..5).any(same), "the replica differs, EVQ_SEED={seed}");
            let missing: Vec<_> = kinds.iter().filter(|k| !memory.done.contains_key(*k)).collect();
            if round >= 2 && missing.is_empty() {
                break;
            }
            assert!(round < 30, "{missing:?} never, EVQ_SEED={seed}: {:?}", memory.done);
        }
        // What resizes left behind is tidied once a second.
        let (mut digest, mut same) = (primary.digest(), 0);
        until(PATIENCE, || {
            std::thread::sleep(Duration::from_millis(1500));
            let before = std::mem::replace(&mut digest, primary.digest());
            same = if digest == before { same + 1 } else { 0 };
            same == 2
        });
        must!(primary.connect(), "DEBUG", "LOADAOF").ok();
        assert_eq!(primary.digest(), digest, "EVQ_SEED={seed}");
        must!(primary.connect(), "DEBUG", "RELOAD").ok();
        assert_eq!(primary.digest(), digest, "EVQ_SEED={seed}");
    });
}
