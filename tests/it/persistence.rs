//! What survives the end of a server: rings, events, groups, cursors and epochs, by RDB and by AOF
//! in each of its forms, after an orderly stop and after `kill -9`. Leases do not survive: what was
//! not acknowledged is given out again, in order, under a greater epoch.

use crate::harness::{Conn, Server, Value, args, cmd, each_binary, must};

/// One group's work on one partition before the server ends.
struct Work {
    db: i64,
    ring: &'static str,
    partition: i64,
    group: &'static str,
    /// Given out and not acknowledged, in order.
    open: Vec<Value>,
    epoch: i64,
}

/// Rings of all kinds in two databases, with events by every way there is, groups in the middle of
/// their work, and keys deleted in between.
fn fill(conn: &mut Conn) -> Vec<Work> {
    must!(conn, "EVQ.CREATE", "weights", 3, "WEIGHTS", 1, 2, 3, "VNODES", 40);
    must!(conn, "EVQ.CREATE", "json", 2, "PAYLOAD", "json");
    must!(conn, "EVQ.CREATE", "gone", 2);
    must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "gone");
    let mut work = Vec::new();
    for db in [0, 7] {
        must!(conn, "SELECT", db);
        for n in 0..60 {
            must!(conn, "EVQ.TRIGGER", format!("key\0{n}"), format!("{n}\r\n"), "HEADER", "h", n);
        }
        work.push(start(conn, db, "default", 3, "default"));
        work.push(start(conn, db, "default", 3, "audit:v2"));
        work.push(start(conn, db, "default", 5, "default"));
    }
    must!(conn, "SELECT", 0);
    must!(conn, "EVQ.DROP", "gone");
    must!(conn, "MULTI");
    must!(conn, "EVQ.TRIGGER", "k", "[1]", "RING", "json");
    must!(conn, "EVQ.MTRIGGER", 3, "k", "1", "k", "2", "k", "3", "RING", "json");
    must!(conn, "EXEC");
    let script = "for n = 1, 9 do redis.call('EVQ.TRIGGER', n, n, 'RING', 'weights') end";
    must!(conn, "EVAL", script, 0);
    let p = must!(conn, "EVQ.ROUTE", "k", "RING", "json").at(0).int();
    must!(conn, "XADD", format!("evq:{{json:{p}}}"), "*", "other", "field");
    work.push(start(conn, 0, "json", p, "mail"));
    work
}

/// Pulls everything, acknowledges half of it.
fn start(
    conn: &mut Conn,
    db: i64,
    ring: &'static str,
    partition: i64,
    group: &'static str,
) -> Work {
    let reply = must!(
        conn,
        "EVQ.CONSUME",
        partition,
        "RING",
        ring,
        "GROUP",
        group,
        "WORKER",
        "w",
        "COUNT",
        1000,
        "NOBLOCK"
    );
    let mut given = reply.at(2).array().to_vec();
    assert!(given.len() > 3, "{ring} {partition}: {given:?}");
    let open = given.split_off(given.len() / 2);
    let (first, last) = (given[0].at(0).bytes(), given.last().unwrap().at(0).bytes());
    must!(conn, "EVQ.ACK", partition, first, "RING", ring, "GROUP", group, "WORKER", "w");
    let stream = format!("evq:{{{ring}:{partition}}}");
    must!(conn, "EVQ.CONSUME", stream, "GROUP", group, "WORKER", "w", "ACK", last, "NOBLOCK");
    Work { db, ring, partition, group, open, epoch: reply.at(1).int() }
}

/// Fails unless the groups go on where they were.
fn assert_goes_on(conn: &mut Conn, work: &[Work]) {
    for Work { db, ring, partition, group, open, epoch } in work {
        must!(conn, "SELECT", db);
        let whose = args!["RING", ring, "GROUP", group];
        let ask =
            |head: Vec<Vec<u8>>, tail: &[Vec<u8>]| [head, whose.to_vec(), tail.to_vec()].concat();
        let last = open.last().unwrap().at(0).bytes();
        // The lease is over, whoever asks.
        for right in [args!["EPOCH", epoch], args!["WORKER", "w"]] {
            for words in [
                ask(args!["EVQ.ACK", partition, last].to_vec(), &right),
                ask(args!["EVQ.EXTEND", partition].to_vec(), &right),
                ask(args!["EVQ.RELEASE", partition].to_vec(), &right),
            ] {
                assert_eq!(conn.cmd(&words).err_code(), "EVQFENCED", "{ring} {group}");
            }
        }
        let pull = ask(args!["EVQ.CONSUME", partition].to_vec(), &args!["COUNT", 1000, "NOBLOCK"]);
        let again = conn.must(&pull);
        assert_eq!(again.at(2).array(), open, "{ring} {group}");
        assert!(again.at(1).int() > *epoch, "{again:?} {epoch}");
        let ack = ask(args!["EVQ.ACK", partition, last].to_vec(), &[]);
        assert_eq!(conn.must(&ack).int(), 1);
    }
}

/// Fills a server, ends it and brings it back by `again`, and checks everything.
fn survives(config: &[&str], again: impl Fn(&mut Server)) {
    each_binary(|binary| {
        let mut server = Server::with(binary).config(config).start();
        let mut conn = server.connect();
        let work = fill(&mut conn);
        must!(conn, "SELECT", 0);
        let (digest, ring) = (conn.digest(), must!(conn, "EVQ.RING", "weights", "JSON"));
        let points = must!(conn, "EVQ.POINTS", "RING", "weights");
        again(&mut server);
        let mut conn = server.connect();
        assert_eq!(conn.digest(), digest);
        assert_eq!(must!(conn, "EVQ.RING", "weights", "JSON"), ring);
        assert_eq!(must!(conn, "EVQ.POINTS", "RING", "weights"), points);
        let refused = cmd!(conn, "EVQ.TRIGGER", "k", "no json", "RING", "json");
        assert_eq!(refused.err_code(), "EVQPAYLOAD");
        assert_goes_on(&mut conn, &work);
        // And a second time, for the state after a load must be saved as well as any other.
        must!(conn, "SELECT", 0);
        let digest = conn.digest();
        again(&mut server);
        assert_eq!(server.digest(), digest);
    });
}

/// Rewrites the append-only file and waits until that is done.
fn rewrite(conn: &mut Conn) {
    conn.until_saved();
    must!(conn, "BGREWRITEAOF");
    conn.until_saved();
    assert_eq!(conn.info("persistence", "aof_last_bgrewrite_status").as_deref(), Some("ok"));
}

#[test]
fn all_survives_an_rdb_file() {
    survives(&[], |server| {
        server.connect().save();
        server.restart();
    });
}

#[test]
fn all_survives_debug_reload() {
    survives(&[], |server| must!(server.connect(), "DEBUG", "RELOAD").ok());
}

#[test]
fn all_survives_an_append_only_file() {
    survives(&["appendonly yes"], Server::restart);
}

#[test]
fn all_survives_debug_loadaof() {
    survives(&["appendonly yes"], |server| must!(server.connect(), "DEBUG", "LOADAOF").ok());
}

#[test]
fn all_survives_a_rewritten_append_only_file() {
    survives(&["appendonly yes", "aof-use-rdb-preamble yes"], |server| {
        rewrite(&mut server.connect());
        server.restart();
    });
}

#[test]
fn all_survives_a_rewritten_append_only_file_of_commands() {
    survives(&["appendonly yes", "aof-use-rdb-preamble no"], |server| {
        rewrite(&mut server.connect());
        server.restart();
    });
}

#[test]
fn all_survives_a_kill() {
    survives(&["appendonly yes", "appendfsync always"], |server| {
        server.kill9();
        server.restart();
    });
}

#[test]
fn what_is_written_during_a_rewrite_survives() {
    each_binary(|binary| {
        let config = ["appendonly yes", "aof-use-rdb-preamble no", "appendfsync always"];
        let mut server = Server::with(binary).config(&config).start();
        let mut conn = server.connect();
        let work = fill(&mut conn);
        must!(conn, "SELECT", 0);
        conn.until_saved();
        // The child is slow: 1 ms a key.
        must!(conn, "CONFIG", "SET", "rdb-key-save-delay", 1000);
        must!(conn, "BGREWRITEAOF");
        must!(conn, "EVQ.CREATE", "new", 1);
        for n in 0..20 {
            must!(conn, "EVQ.TRIGGER", n, "p", "RING", "new");
        }
        let given = must!(conn, "EVQ.CONSUME", 0, "RING", "new", "COUNT", 7, "NOBLOCK");
        must!(conn, "EVQ.ACK", 0, given.at(2).at(6).at(0).bytes(), "RING", "new");
        conn.until_saved();
        let digest = conn.digest();
        server.kill9();
        server.restart();
        let mut conn = server.connect();
        assert_eq!(conn.digest(), digest);
        let rest = must!(conn, "EVQ.CONSUME", 0, "RING", "new", "COUNT", 99, "NOBLOCK");
        assert_eq!(rest.at(2).array().len(), 13);
        assert!(rest.at(1).int() > given.at(1).int());
        assert_goes_on(&mut conn, &work);
    });
}

#[test]
fn epochs_grow_over_every_kind_of_reload() {
    each_binary(|binary| {
        let mut server = Server::with(binary).config(&["appendonly yes"]).start();
        let mut last = 0;
        let mut grow = |server: &Server| {
            let mut conn = server.connect();
            if must!(conn, "EXISTS", "evq:{default:3}").int() == 0 {
                must!(conn, "XADD", "evq:{default:3}", "*", "key", "k");
            }
            // Twice, for a release fences by an epoch of its own.
            for _ in 0..2 {
                let epoch = must!(conn, "EVQ.CONSUME", 3, "NOBLOCK").at(1).int();
                assert!(epoch > last, "{epoch} {last}");
                last = epoch;
                must!(conn, "EVQ.RELEASE", 3);
            }
        };
        grow(&server);
        must!(server.connect(), "DEBUG", "RELOAD");
        grow(&server);
        must!(server.connect(), "DEBUG", "LOADAOF");
        grow(&server);
        server.restart();
        grow(&server);
        // Even where the last grant was lost with all that was not on disk.
        let copy = must!(server.connect(), "DUMP", "evq:{default:3}:groups");
        grow(&server);
        must!(server.connect(), "RESTORE", "evq:{default:3}:groups", 0, copy.bytes(), "REPLACE");
        grow(&server);
        must!(server.connect(), "DEL", "evq:{default:3}:groups");
        grow(&server);
    });
}

#[test]
fn a_lease_ends_with_a_reload_while_its_owner_lives_on() {
    each_binary(|binary| {
        let server = Server::start(binary);
        let mut conn = server.connect();
        must!(conn, "EVQ.TRIGGER", "k", "p");
        let p = must!(conn, "EVQ.ROUTE", "k").at(0).int();
        let given = must!(conn, "EVQ.CONSUME", p, "NOBLOCK");
        must!(server.connect(), "DEBUG", "RELOAD");
        let ack = cmd!(conn, "EVQ.ACK", p, given.at(2).at(0).at(0).bytes());
        assert_eq!(ack.err_code(), "EVQFENCED");
        let again = must!(conn, "EVQ.CONSUME", p, "NOBLOCK");
        assert_eq!(again.at(2), given.at(2));
        assert!(again.at(1).int() > given.at(1).int());
    });
}
