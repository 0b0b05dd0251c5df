//! What the person on call sees without asking EVQ's own commands: INFO, MODULE LIST, LATENCY,
//! SLOWLOG, keyspace events and the log. docs/monitoring.md promises it, so its tables are read
//! here and compared with the server.

use std::collections::{BTreeMap, BTreeSet};

use crate::failing::{events, nack};
use crate::harness::{
    Conn, PATIENCE, Server, Value, args, cmd, each_binary, each_server, must, until,
};
use crate::pull::{P, block, blocked, ring, say, start, take, trigger};

const PAGE: &str = include_str!("../../docs/monitoring.md");

/// The names in the first column of the table under the heading that begins with `heading`.
fn table(heading: &str) -> Vec<String> {
    let under = PAGE.split("\n## ").find(|part| part.starts_with(heading)).expect("the heading");
    let rows = under.lines().filter(|line| line.starts_with("| `"));
    let first = rows.map(|row| row.split(" | ").next().unwrap_or_default());
    let names = first.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

/// All fields of `INFO evq`; what is no number is 0.
fn info(conn: &mut Conn) -> BTreeMap<String, u64> {
    let text = must!(conn, "INFO", "evq").str().to_owned();
    let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    // The one that names a group is no number.
    let number = |value: &str| value.parse().unwrap_or_default();
    pairs.map(|(name, value)| (name.to_owned(), number(value))).collect()
}

#[test]
fn every_field_of_info_is_documented_and_counts() {
    each_server(|server| {
        let mut conn = ring(&server);
        let names: BTreeSet<String> = table("INFO evq").into_iter().collect();
        let before = info(&mut conn);
        assert_eq!(before.keys().cloned().collect::<BTreeSet<_>>(), names);
        assert_eq!(before["evq_rings_known"], 1);

        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 2").ok();
        let ids = events(&mut conn, &[("a", "1"), ("b", "2"), ("c", "3")]);
        take(&mut conn, "WORKER w COUNT 3 LEASE 60000");
        nack(&mut conn, &ids[0], "WORKER w DELAY 0");
        say(&mut conn, &format!("EVQ.ACK {P} {} WORKER w", ids[1]));
        take(&mut conn, "WORKER w");
        nack(&mut conn, &ids[0], "WORKER w");
        // A worker dies with the third in flight, as far as its group is concerned.
        say(&mut conn, &format!("EVQ.RELEASE {P} WORKER w")).ok();
        take(&mut server.connect(), "LEASE 60000");
        until(PATIENCE, || info(&mut conn)["evq_leases_lost"] == 1);
        take(&mut conn, "WORKER w");
        let mut waiting: Vec<Conn> = (0..3).map(|_| server.connect()).collect();
        say(&mut conn, &format!("EVQ.ACK {P} {} WORKER w", ids[2])).int();
        block(&mut conn, &mut waiting[0], "WORKER w BLOCK 0");
        block(&mut conn, &mut waiting[1], "WORKER v BLOCK 0");
        start(&mut waiting[2], "EVQ.CONSUME * RING r GROUP other BLOCK 0");
        // It gets what there is, and waits again.
        assert!(!waiting[2].read().is_null());
        for id in &ids {
            say(&mut waiting[2], &format!("EVQ.ACK {P} {id} GROUP other"));
        }
        drop(waiting.pop());
        let mut any = server.connect();
        say(&mut any, "EVQ.GROUP none RING r FROM last").ok();
        start(&mut any, "EVQ.CONSUME * RING r GROUP none BLOCK 0");
        until(PATIENCE, || blocked(&mut conn) == 3);

        let after = info(&mut conn);
        let grown = |name: &str| after[name] - before[name];
        assert_eq!(grown("evq_triggered"), 3);
        assert_eq!(grown("evq_redelivered"), 1);
        assert_eq!(grown("evq_delivered"), 7);
        assert_eq!(grown("evq_acknowledgements"), 3);
        assert_eq!((grown("evq_retries"), grown("evq_dead")), (1, 1));
        assert_eq!(grown("evq_leases_granted"), 5);
        assert_eq!(grown("evq_leases_lost"), 1);
        let waiting = ["evq_owners_waiting", "evq_standbys_waiting", "evq_any_partition_waiting"];
        assert_eq!(waiting.map(|name| after[name]), [1, 1, 1]);
    });
}

#[test]
fn errors_are_counted_by_their_code_by_the_server() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, &format!("EVQ.ACK {P} 1-1 WORKER w GROUP g")).err();
        say(&mut conn, "EVQ.CREATE s 5000").err();
        let stats = must!(conn, "INFO", "errorstats").str().to_owned();
        for code in ["EVQNOGROUP", "EVQLIMIT"] {
            assert!(stats.contains(&format!("errorstat_{code}:count=1")), "{stats}");
        }
    });
}

#[test]
fn the_version_is_that_of_the_package_everywhere() {
    let parts: Vec<i64> =
        env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse().unwrap()).collect();
    let number = parts[0] * 10_000 + parts[1] * 100 + parts[2];
    each_server(|server| {
        let mut conn = server.connect();
        let modules = must!(conn, "MODULE", "LIST");
        let modules = modules.array();
        let evq = modules.iter().find(|module| module.get("name").str() == "evq").expect("evq");
        assert_eq!(evq.get("ver").int(), number);
        assert_eq!(info(&mut conn)["evq_version"], number.unsigned_abs());
        let loaded = format!("EVQ {} loaded: partitions 8", env!("CARGO_PKG_VERSION"));
        let log = server.log();
        assert!(log.contains(&loaded) && log.contains("; saved format "), "{log}");
    });
}

/// The keyspace events that `line` causes, each as `event key`.
fn heard(server: &Server, conn: &mut Conn, line: &str) -> BTreeSet<String> {
    let mut listener = server.connect();
    must!(listener, "PSUBSCRIBE", "__keyevent@0__:*");
    say(conn, line);
    must!(conn, "SET", "the end", 1);
    let mut all = BTreeSet::new();
    loop {
        let message = listener.read();
        let event = message.at(2).str().trim_start_matches("__keyevent@0__:").to_owned();
        let key = message.at(3).str();
        if key == "the end" {
            return all;
        }
        all.insert(format!("{event} {key}"));
    }
}

#[test]
fn keyspace_events_are_those_that_are_documented() {
    each_binary(|binary| {
        let server = Server::with(binary).config(&["notify-keyspace-events EA"]).start();
        let conn = &mut server.connect();
        let mut all = BTreeSet::new();
        let mut expect = |conn: &mut Conn, line: &str, expected: &[&str]| {
            let seen = heard(&server, conn, line);
            assert_eq!(seen, expected.iter().map(|&event| event.to_owned()).collect(), "{line}");
            all.extend(seen.iter().map(|event| event.split(' ').next().unwrap().to_owned()));
        };
        expect(conn, "EVQ.CREATE r 1", &["evq.create evq:{r}"]);
        expect(conn, "EVQ.CREATE r 1", &[]);
        expect(conn, "EVQ.TRIGGER k p RING r", &["xadd evq:{r:0}"]);
        expect(conn, "EVQ.MTRIGGER 2 k p k p RING r", &["xadd evq:{r:0}"]);
        expect(conn, "EVQ.GROUP g RING r MAXATTEMPTS 1", &[]);
        expect(conn, "EVQ.CONSUME 0 RING r GROUP g WORKER w COUNT 3", &[]);
        let first = must!(conn, "XRANGE", P, "-", "+", "COUNT", 1).at(0).at(0).str().to_owned();
        let nack = format!("EVQ.NACK 0 {first} RING r GROUP g WORKER w");
        expect(conn, &nack, &["xadd evq:{r:0}:dead:g"]);
        // The last letter goes, its stream stays, as with XDEL.
        expect(conn, "EVQ.DEAD g SKIP * * RING r", &["xdel evq:{r:0}:dead:g"]);
        expect(conn, "EVQ.SEEK g * last RING r", &[]);
        expect(conn, "EVQ.RESIZE r 2", &["evq.resize evq:{r}"]);
        // Nobody needs the second one, so it goes at once.
        expect(conn, "EVQ.RESIZE r 1", &["evq.resize evq:{r}", "evq.retire evq:{r:1}"]);
        // Nobody needs what is in this ring, so it makes room.
        expect(conn, "EVQ.CREATE t 1 MAXDEPTH 1", &["evq.create evq:{t}"]);
        expect(conn, "EVQ.TRIGGER k p RING t", &["xadd evq:{t:0}"]);
        expect(conn, "EVQ.TRIGGER k p RING t", &["xadd evq:{t:0}", "xtrim evq:{t:0}"]);
        expect(conn, "EVQ.DELGROUP g RING r", &["del evq:{r:0}:dead:g"]);
        expect(conn, "EVQ.CONSUME 0 RING r WORKER w", &[]);
        expect(conn, "EVQ.DROP r", &["del evq:{r}", "del evq:{r:0}", "del evq:{r:0}:groups"]);
        let documented: BTreeSet<String> = table("Keyspace events").into_iter().collect();
        assert_eq!(all, documented);
    });
}

/// The lines of the log that are EVQ's and not about loading.
fn said(server: &Server, about: &str) -> Vec<String> {
    let log = server.log();
    log.lines()
        .filter(|line| line.contains("<evq>") && line.contains(about))
        .map(Into::into)
        .collect()
}

#[test]
fn a_storm_of_lost_leases_is_one_line_in_the_log_and_an_ordinary_death_none() {
    each_server(|server| {
        let mut conn = ring(&server);
        trigger(&mut conn, &["p"]);
        let lose = |group: &str| {
            take(&mut server.connect(), &format!("GROUP {group} LEASE 60000"));
        };
        let lost = |conn: &mut Conn| info(conn)["evq_leases_lost"];
        for n in 0..9 {
            lose(&format!("g{n}"));
        }
        until(PATIENCE, || lost(&mut conn) == 9);
        assert_eq!(said(&server, "leases lost"), [""; 0]);
        for n in 9..60 {
            lose(&format!("g{n}"));
        }
        until(PATIENCE, || lost(&mut conn) == 60);
        let lines = said(&server, "leases lost");
        // On a machine that is busy this takes more than one period of ten seconds.
        assert!((1..=6).contains(&lines.len()), "{lines:?}");
        assert!(lines[0].contains("leases lost with events in flight, 10 of them"), "{lines:?}");
        assert!(lines[0].contains(" in evq:{r:0}"), "{lines:?}");
        // A lease with nothing in flight is nobody's loss.
        let mut idle = server.connect();
        let given = take(&mut idle, "GROUP idle");
        say(&mut idle, &format!("EVQ.ACK {P} {} GROUP idle", given.last()));
        drop(idle);
        until(PATIENCE, || {
            let stats = say(&mut conn, "EVQ.STATS r");
            let groups = stats.get("partitions").at(0).get("groups").array().to_vec();
            let idle = groups.iter().find(|group| group.get("group").str() == "idle");
            idle.expect("the group").get("owner").is_null()
        });
        assert_eq!(lost(&mut conn), 60);
    });
}

#[test]
fn a_bound_that_is_reached_is_one_line_in_the_log() {
    each_server(|server| {
        let mut conn = server.connect();
        for _ in 0..50 {
            assert_eq!(cmd!(conn, "EVQ.CREATE", "r", 5000).err_code(), "EVQLIMIT");
            assert_eq!(cmd!(conn, "EVQ.CREATE", "r", "many").err_code(), "ERR");
        }
        let lines = said(&server, "command of client");
        assert!((1..=5).contains(&lines.len()), "{lines:?}");
        let id = conn.id();
        let wanted = format!("client {id} refused: EVQLIMIT partitions of a ring: at most 1024");
        assert!(lines[0].contains(&wanted), "{lines:?}");
    });
}

#[test]
fn a_slow_sweep_is_seen_by_latency_and_waiting_is_not_slow() {
    each_binary(|binary| {
        let config = ["latency-monitor-threshold 1", "slowlog-log-slower-than 0"];
        let server = Server::with(binary).config(&config).start();
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1024, "VNODES", 1).ok();
        // Each of these lines has all partitions looked at in vain.
        let mut waiting: Vec<Conn> = (0..20).map(|_| server.connect()).collect();
        for (n, worker) in waiting.iter_mut().enumerate() {
            say(&mut conn, &format!("EVQ.GROUP g{n} RING r FROM last")).ok();
            worker.send(&args!["EVQ.CONSUME", "*", "RING", "r", "GROUP", format!("g{n}")]);
        }
        let latest = |conn: &mut Conn| {
            let events = must!(conn, "LATENCY", "LATEST");
            let names = events.array().iter().map(|event| event.at(0).str().to_owned());
            names.collect::<Vec<_>>()
        };
        until(PATIENCE, || latest(&mut conn).contains(&"evq-sweep".to_owned()));

        drop(waiting);
        // A worker that waited for long is not in the slow log for that.
        let mut conn = ring_of_one(&server);
        must!(conn, "SLOWLOG", "RESET").ok();
        let mut worker = server.connect();
        start(&mut worker, "EVQ.CONSUME 0 RING one BLOCK 60000");
        until(PATIENCE, || blocked(&mut conn) == 1);
        std::thread::sleep(std::time::Duration::from_millis(1200));
        must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "one");
        assert!(!worker.read().is_null());
        let log = must!(conn, "SLOWLOG", "GET", 100);
        let is_the_pull =
            |words: &Value| words.at(0).bytes() == b"EVQ.CONSUME" && words.at(3).bytes() == b"one";
        let mut entries = log.array().iter();
        let entry = entries.find(|entry| is_the_pull(entry.at(3)));
        let entry = entry.unwrap_or_else(|| panic!("{log:?}"));
        assert!(entry.at(2).int() < 1_000_000, "{entry:?}");
    });
}

fn ring_of_one(server: &Server) -> Conn {
    let mut conn = server.connect();
    must!(conn, "EVQ.CREATE", "one", 1).ok();
    say(&mut conn, "EVQ.GROUP default RING one FROM last").ok();
    conn
}
