//! Retention and the copies of the data: replicas and reloads hold exactly what the primary holds,
//! with the same XINFO; they never trim by themselves; and whoever becomes primary, is started
//! again or gets a ring by RESTORE goes on trimming without being asked.

use crate::failing::{ack, nack};
use crate::harness::{
    Conn, PATIENCE, Server, Value, args, each_binary, each_server, must, until, wait_for_sync,
};
use crate::kept::{kept, ring_with, total, until_looked};
use crate::pull::{P, QUIET, say, take, trigger};

/// XINFO STREAM of every stream there is.
fn streams(conn: &mut Conn) -> Vec<Value> {
    let keys = must!(conn, "SCAN", 0, "TYPE", "stream", "COUNT", 10_000);
    let mut names: Vec<_> = keys.at(1).array().iter().map(|key| key.bytes().to_vec()).collect();
    names.sort_unstable();
    // How its nodes lie in memory depends on how it came to be.
    let lasting = |info: Value| {
        let radix = |name: &Value| name.str().starts_with("radix-tree");
        let pairs = info.map().into_iter().filter(|(name, _)| !radix(name));
        Value::Array(pairs.flat_map(|(name, value)| [name.clone(), value.clone()]).collect())
    };
    names.iter().map(|name| lasting(must!(conn, "XINFO", "STREAM", name))).collect()
}

/// Rings of every kind, with groups that leave some of it behind, until all has gone that may.
fn fill_and_trim(conn: &mut Conn) {
    let rings = [
        "len 2 MAXLEN 5",
        "age 2 MAXAGE 50",
        "any 2 MAXLEN 5 TRIM any",
        "depth 2 MAXDEPTH 40",
        "all 1 MAXDEPTH 100 MAXLEN 8 MAXAGE 100000",
    ];
    for ring in rings {
        say(conn, &format!("EVQ.CREATE {ring}")).ok();
        let name = ring.split(' ').next().unwrap();
        let settings = "FROM first MAXATTEMPTS 2 BACKOFF 0 0 ONDEAD hold";
        say(conn, &format!("EVQ.GROUP g RING {name} {settings}")).ok();
        for n in 0..30 {
            must!(conn, "EVQ.TRIGGER", n % 7, n, "RING", name);
        }
        for p in 0..2 {
            let stream = format!("evq:{{{name}:{p}}}");
            for round in 0..6 {
                let pull = format!("EVQ.CONSUME {stream} GROUP g WORKER w COUNT 7 NOBLOCK");
                let reply = say(conn, &pull);
                let Value::Array(parts) = &reply else { break };
                let events = parts[2].array();
                let id = |n: usize| events[n].at(0).str().to_owned();
                if round % 2 == 1 {
                    say(conn, &format!("EVQ.NACK {stream} {} GROUP g WORKER w", id(0)));
                }
                let last = id(events.len() - 1);
                say(conn, &format!("EVQ.ACK {stream} {last} GROUP g WORKER w"));
            }
        }
        for n in 0..30 {
            // Some are refused by the full ring.
            conn.cmd(&args!["EVQ.TRIGGER", n % 7, n, "RING", name]);
        }
    }
    until(PATIENCE, || must!(conn, "XLEN", "evq:{any:0}").int() <= 5);
    until(PATIENCE, || total(conn, "trimmed") > 40);
}

#[test]
fn a_replica_holds_what_the_primary_holds() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let (mut conn, mut reader) = (primary.connect(), replica.connect());
        fill_and_trim(&mut conn);
        let same = |conn: &mut Conn, replica: &Server| {
            let mut reader = replica.connect();
            // A trim may still come in between: what differs then is the same right after it.
            until(PATIENCE, || {
                wait_for_sync(&primary, replica);
                conn.digest() == reader.digest() && streams(conn) == streams(&mut reader)
            });
        };
        // Nearly everything has been trimmed.
        let mut before = 0;
        until(PATIENCE, || {
            until_looked(&mut conn);
            std::mem::replace(&mut before, total(&mut conn, "trimmed")) == before
        });
        same(&mut conn, &replica);
        // A full copy is as good.
        let other = Server::replica_of(&primary);
        same(&mut conn, &replica);
        same(&mut conn, &other);
        assert_eq!(total(&mut reader, "trimmed"), 0);
    });
}

#[test]
fn a_replica_never_trims_until_it_is_promoted() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let (mut conn, mut reader) = (primary.connect(), replica.connect());
        must!(reader, "CONFIG", "SET", "evq.max-age-ms", 1).ok();
        say(&mut conn, "EVQ.CREATE r 1").ok();
        let ids = trigger(&mut conn, &["0", "1", "2"]);
        wait_for_sync(&primary, &replica);
        assert!(reader.try_read(QUIET).is_none());
        assert_eq!(kept(&mut reader), ids);
        assert_eq!(total(&mut reader, "trim_looks"), 0);
        must!(reader, "REPLICAOF", "NO", "ONE").ok();
        // Nobody touches the ring.
        until(PATIENCE, || total(&mut reader, "trimmed") == 3);
        assert_eq!(kept(&mut conn), ids);
    });
}

#[test]
fn reloads_hold_what_was_there() {
    each_binary(|binary| {
        let server = Server::with(binary).config(&["appendonly yes"]).start();
        let mut conn = server.connect();
        fill_and_trim(&mut conn);
        for preamble in ["yes", "no"] {
            must!(conn, "CONFIG", "SET", "aof-use-rdb-preamble", preamble).ok();
            // Nothing may go while it is compared.
            must!(conn, "CLIENT", "PAUSE", 100_000, "WRITE").ok();
            let before = (conn.digest(), streams(&mut conn));
            for reload in ["LOADAOF", "RELOAD"] {
                must!(conn, "DEBUG", reload).ok();
                assert_eq!((conn.digest(), streams(&mut conn)), before, "{reload}");
            }
            must!(conn, "BGREWRITEAOF");
            conn.until_saved();
            must!(conn, "DEBUG", "LOADAOF").ok();
            assert_eq!(conn.digest(), before.0);
            must!(conn, "CLIENT", "UNPAUSE").ok();
        }
    });
}

#[test]
fn a_server_that_starts_again_goes_on_trimming_by_itself() {
    for persistence in [["appendonly yes", "appendfsync always"], ["appendonly no", "save 3600 1"]]
    {
        each_binary(|binary| {
            let mut server = Server::with(binary).config(&persistence).start();
            let mut conn = ring_with(&server, "MAXLEN 3");
            say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
            let ids = trigger(&mut conn, &["0", "1", "2", "3", "4", "5", "6", "7"]);
            take(&mut conn, "WORKER w COUNT 8");
            must!(conn, "CLIENT", "PAUSE", 100_000, "ALL").ok();
            drop(conn);
            server.restart();
            // All of it is unfinished, and so it is all there.
            let mut conn = server.connect();
            until(PATIENCE, || total(&mut conn, "trim_looks") > 1);
            assert_eq!(kept(&mut conn), ids);
            take(&mut conn, "WORKER w COUNT 8");
            ack(&mut conn, &ids[7], "WORKER w");
            server.restart();
            let mut conn = server.connect();
            until(PATIENCE, || must!(conn, "XLEN", P).int() == 3);
            assert_eq!(kept(&mut conn), ids[5..]);
        });
    }
}

#[test]
fn kill_9_in_the_middle_of_a_trim_loses_nothing_unfinished() {
    each_binary(|binary| {
        let config = ["appendonly yes", "appendfsync always"];
        let mut server = Server::with(binary).config(&config).start();
        let mut conn = ring_with(&server, "MAXLEN 10");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        say(&mut conn, "EVQ.GROUP slow RING r FROM first").ok();
        // Nothing goes before everything is ready.
        say(&mut conn, "EVQ.GROUP keeper RING r FROM first").ok();
        let mut batch = vec![b"EVQ.MTRIGGER".to_vec(), b"10000".to_vec()];
        batch.extend((0..20_000).map(|n| (n % 7).to_string().into_bytes()));
        batch.extend([b"RING".to_vec(), b"r".to_vec()]);
        let last = |reply: Value| reply.array().last().unwrap().at(1).str().to_owned();
        let ids: Vec<_> = (0..5).map(|_| last(conn.must(&batch))).collect();
        // The first group is done, the slow one with the first 40,000 less one.
        for group in ["default", "slow"] {
            let pull = format!("GROUP {group} WORKER w COUNT 10000 AHEAD");
            for (n, id) in ids.iter().enumerate() {
                let given = take(&mut conn, &pull);
                assert_eq!(given.last(), id);
                let done = if n == 3 { &given.ids[9998] } else { id };
                if group == "default" || n < 4 {
                    ack(&mut conn, done, &format!("GROUP {group} WORKER w"));
                }
            }
        }
        let mut trimmed = must!(conn, "XLEN", P).int();
        assert_eq!(trimmed, 50_000);
        // Slowly, half a second for each step, so that it is not over before the first kill.
        must!(conn, "DEBUG", "AOF-FLUSH-SLEEP", 500_000).ok();
        say(&mut conn, "EVQ.DELGROUP keeper RING r").ok();
        until(PATIENCE, || {
            trimmed = must!(conn, "XLEN", P).int();
            trimmed < 50_000
        });
        let mut kills = 0;
        while trimmed > 10_001 {
            server.kill9();
            server.restart();
            kills += 1;
            conn = server.connect();
            let before = trimmed;
            until(PATIENCE, || {
                trimmed = must!(conn, "XLEN", P).int();
                trimmed < before
            });
        }
        assert!(kills > 0, "it was over before it could be killed");
        until_looked(&mut conn);
        assert_eq!(must!(conn, "XLEN", P).int(), 10_001);
        let first = must!(conn, "XRANGE", P, "-", "+", "COUNT", 1).at(0).at(0).clone();
        assert_eq!(first.str(), ids[3]);
        let given = take(&mut conn, "GROUP slow WORKER w");
        assert_eq!(given.ids, ids[3..4]);
        let digest = conn.digest();
        must!(conn, "DEBUG", "LOADAOF").ok();
        assert_eq!(conn.digest(), digest);
    });
}

#[test]
fn a_trim_is_the_keyspace_event_and_the_command_that_xtrim_is() {
    each_binary(|binary| {
        // What was told is in the file.
        let config = ["appendonly yes", "appendfsync always", "aof-use-rdb-preamble no"];
        let server = Server::with(binary).config(&config).start();
        let mut conn = server.connect();
        must!(conn, "CONFIG", "SET", "notify-keyspace-events", "KEA").ok();
        let mut listener = server.connect();
        must!(listener, "PSUBSCRIBE", "__keyspace@0__:evq:*", "__keyevent@0__:xtrim");
        listener.read();
        say(&mut conn, "EVQ.CREATE r 1 MAXLEN 2 MAXDEPTH 4").ok();
        let mut ids = Vec::new();
        let next = |listener: &mut Conn| {
            let message = listener.read();
            (message.at(2).str().to_owned(), message.at(3).str().to_owned())
        };
        let of = |key: &str, event: &str| (format!("__keyspace@0__:{key}"), event.to_owned());
        let xtrim = || ("__keyevent@0__:xtrim".to_owned(), P.to_owned());
        assert_eq!(next(&mut listener), of("evq:{r}", "evq.create"));
        // The fifth does not fit, so the first goes with it. All at once, so that the background
        // does not come before it.
        must!(conn, "MULTI").ok();
        (0..5).for_each(|n| drop(must!(conn, "EVQ.TRIGGER", "k", n, "RING", "r")));
        for reply in must!(conn, "EXEC").array() {
            ids.push(reply.at(1).str().to_owned());
            assert_eq!(next(&mut listener), of(P, "xadd"));
        }
        assert_eq!(next(&mut listener), of(P, "xtrim"));
        assert_eq!(next(&mut listener), xtrim());
        // Later, in the background.
        assert_eq!(next(&mut listener), of(P, "xtrim"));
        assert_eq!(next(&mut listener), xtrim());
        assert_eq!(kept(&mut conn), ids[3..]);
        let files = std::fs::read_dir(server.dir().join("appendonlydir")).unwrap();
        let text = |file: std::fs::DirEntry| std::fs::read(file.path()).unwrap();
        let log: Vec<u8> = files.flat_map(|file| text(file.unwrap())).collect();
        let log = String::from_utf8_lossy(&log);
        let trims: Vec<_> = log.match_indices("XTRIM").collect();
        assert_eq!(trims.len(), 2, "{log}");
        assert!(log.contains("MINID") && !log.contains("MAXLEN\r\n$1\r\n~"), "{log}");
    });
}

#[test]
fn a_ring_that_is_restored_copied_renamed_or_moved_is_looked_after() {
    each_server(|server| {
        let mut conn = server.connect();
        say(&mut conn, "EVQ.CREATE a 1 MAXAGE 1").ok();
        let dump = must!(conn, "DUMP", "evq:{a}").bytes().to_vec();
        must!(conn, "EVQ.DROP", "a").ok();
        let fill = |conn: &mut Conn, ring: &str| {
            must!(conn, "XADD", format!("evq:{{{ring}:0}}"), "1-1", "key", "k");
        };
        let until_empty = |conn: &mut Conn, ring: &str| {
            let stream = format!("evq:{{{ring}:0}}");
            until(PATIENCE, || must!(conn, "XLEN", stream).int() == 0);
            assert_eq!(must!(conn, "EXISTS", stream).int(), 1);
        };
        fill(&mut conn, "a");
        must!(conn, "RESTORE", "evq:{a}", 0, dump).ok();
        until_empty(&mut conn, "a");
        fill(&mut conn, "b");
        must!(conn, "COPY", "evq:{a}", "evq:{b}");
        until_empty(&mut conn, "b");
        fill(&mut conn, "c");
        must!(conn, "RENAME", "evq:{b}", "evq:{c}").ok();
        until_empty(&mut conn, "c");
        must!(conn, "SELECT", 3).ok();
        fill(&mut conn, "c");
        must!(conn, "SELECT", 0).ok();
        must!(conn, "MOVE", "evq:{c}", 3);
        must!(conn, "SELECT", 3).ok();
        until_empty(&mut conn, "c");
        fill(&mut conn, "c2");
        must!(conn, "RENAME", "evq:{c}", "evq:{c2}").ok();
        must!(conn, "SWAPDB", 3, 5).ok();
        must!(conn, "SELECT", 5).ok();
        until_empty(&mut conn, "c2");
        // A ring that was dropped and made anew keeps what it says now.
        must!(conn, "EVQ.DROP", "c2").ok();
        say(&mut conn, "EVQ.CREATE c2 1 MAXLEN 2").ok();
        for _ in 0..5 {
            must!(conn, "XADD", "evq:{c2:0}", "*", "key", "k");
        }
        until(PATIENCE, || must!(conn, "XLEN", "evq:{c2:0}").int() == 2);
    });
}

#[test]
fn nothing_is_trimmed_while_clients_are_paused() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 1");
        must!(conn, "CLIENT", "PAUSE", 100_000, "WRITE").ok();
        let mut writer = server.connect();
        writer.send(&args!["XADD", P, "*", "key", "k"]);
        assert!(writer.try_read(QUIET).is_none());
        assert_eq!(total(&mut conn, "trimmed"), 0);
        must!(conn, "CLIENT", "UNPAUSE").ok();
        writer.read();
        let ids = trigger(&mut conn, &["1", "2"]);
        until(PATIENCE, || kept(&mut conn) == ids[1..]);
        let id = take(&mut conn, "WORKER w").ids;
        assert_eq!(nack(&mut conn, &id[0], "WORKER w"), [""; 0]);
    });
}
