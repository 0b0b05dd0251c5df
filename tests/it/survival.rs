//! What failed survives: retries with their due times and attempts, held keys, dead letters, the
//! suspect and the cursor, by RDB, by AOF in each of its forms, after `kill -9`, in a reload and in
//! a failover. Afterwards delivery goes on as if nothing had happened.

use std::time::Duration;

use crate::failing::{ack, again, attempt, events, letters, nack, pending};
use crate::harness::{
    Binary, Conn, PATIENCE, Server, Value, each_binary, must, until, wait_for_sync,
};
use crate::pull::{P, pull, ring, say, take};

/// What is asked before and after: everything about the exceptions, and the letters.
fn picture(conn: &mut Conn) -> (Vec<Value>, Vec<Value>, String) {
    let pending = say(conn, &format!("EVQ.PENDING {P} COUNT 1000")).array().to_vec();
    let stats = say(conn, "EVQ.STATS r");
    let group = stats.get("partitions").at(0).get("groups").at(0).clone();
    let of = ["lag", "cursor", "retrying", "held", "dead-held", "dead-letters"];
    let numbers = of.map(|field| format!("{:?}", group.get(field)));
    let letters = must!(conn, "XRANGE", "evq:{r:0}:dead:default", "-", "+").array().to_vec();
    (pending, letters, numbers.join(" "))
}

/// A partition in which everything is pending that can be, and nobody owns it:
/// the first of `a` waits for a retry and the first of `d` is dead, each holding the second; that
/// of `s` is suspected, that of `z` was not handed out.
fn fill(conn: &mut Conn, server: &Server) -> Vec<String> {
    say(conn, "EVQ.GROUP default RING r MAXATTEMPTS 4 ONDEAD hold").ok();
    let of = |keys: &[&'static str]| keys.iter().map(|key| (*key, *key)).collect::<Vec<_>>();
    let mut ids = events(conn, &of(&["a", "a", "d", "d", "f"]));
    assert_eq!(take(conn, "WORKER w COUNT 5").ids, ids[..5]);
    assert_eq!(nack(conn, &ids[2], "WORKER w DELAY 0"), ids[3..4]);
    assert_eq!(nack(conn, &ids[0], "WORKER w DELAY 0"), ids[1..2]);
    assert_eq!(ack(conn, &ids[4], "WORKER w"), 1);
    for (n, delay) in [(2, 0), (3, 100_000)] {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let (pull, attempt) = again(conn, "WORKER w NOBLOCK");
            assert_eq!(attempt, n);
            let delay = if pull.ids[0] == ids[0] { delay } else { 0 };
            nack(conn, &pull.ids[0], &format!("WORKER w DELAY {delay}"));
            seen.extend(pull.ids);
        }
        seen.sort();
        assert_eq!(seen, [ids[0].clone(), ids[2].clone()]);
    }
    assert_eq!(again(conn, "WORKER w NOBLOCK").0.ids[0], ids[2]);
    nack(conn, &ids[2], "WORKER w REASON last");
    ids.extend(events(conn, &of(&["s", "z"])));
    say(conn, &format!("EVQ.RELEASE {P} WORKER w")).ok();
    {
        let mut dying = server.connect();
        assert_eq!(take(&mut dying, "").ids[0], ids[5]);
    }
    until(PATIENCE, || {
        let reply = say(conn, &format!("EVQ.CONSUME {P} WORKER w NOBLOCK"));
        let suspected = !reply.is_null() && attempt(reply.at(2).at(0)) == Some(2);
        if !reply.is_null() {
            say(conn, &format!("EVQ.RELEASE {P} WORKER w")).ok();
        }
        suspected
    });
    let states: Vec<_> = pending(conn, "").into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["retry", "held", "dead", "held"]);
    ids
}

/// Goes on from there: attempts count on, the order holds, nothing is missing.
fn go_on(conn: &mut Conn, ids: &[String]) {
    let reply = say(conn, &format!("EVQ.CONSUME {P} WORKER v COUNT 10 NOBLOCK"));
    assert_eq!(reply.at(2).at(0).at(0), &Value::bulk(&ids[5]));
    assert_eq!(attempt(reply.at(2).at(0)), Some(2));
    assert_eq!(ack(conn, &ids[5], "WORKER v"), 1);
    assert_eq!(take(conn, "WORKER v COUNT 10").ids, ids[6..]);
    assert_eq!(ack(conn, &ids[6], "WORKER v"), 1);
    assert_eq!(pull(conn, "WORKER v NOBLOCK"), None);
    assert_eq!(say(conn, "EVQ.DEAD default RETRY * * RING r").int(), 1);
    for (n, expected) in [(2, 1), (3, 1)] {
        let (pull, attempt) = again(conn, "WORKER v NOBLOCK");
        assert_eq!((&pull.ids[0], attempt), (&ids[n], expected));
        assert_eq!(ack(conn, &ids[n], "WORKER v"), 1);
    }
    assert_eq!(letters(conn, "default"), []);
    let states: Vec<_> = pending(conn, "").into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["retry", "held"]);
    let attempts = say(conn, &format!("EVQ.PENDING {P}")).at(0).get("attempts").int();
    assert_eq!(attempts, 3);
}

/// Runs one way to end and begin again; `with` are lines of redis.conf.
fn survives(binary: &Binary, with: &[&str], end: impl Fn(&mut Server)) {
    let mut server = Server::with(binary).config(with).start();
    let mut conn = ring(&server);
    let ids = fill(&mut conn, &server);
    let (before, digest) = (picture(&mut conn), conn.digest());
    end(&mut server);
    let mut conn = server.connect();
    assert_eq!(conn.digest(), digest);
    assert_eq!(picture(&mut conn), before);
    go_on(&mut conn, &ids);
}

#[test]
fn failures_survive_a_restart_by_rdb() {
    each_binary(|binary| {
        survives(binary, &[], |server| {
            server.connect().save();
            server.restart();
        });
    });
}

#[test]
fn failures_survive_a_restart_by_aof_written_and_rewritten() {
    each_binary(|binary| {
        for preamble in ["yes", "no"] {
            let preamble = format!("aof-use-rdb-preamble {preamble}");
            let lines = ["appendonly yes", "appendfsync always", &preamble];
            survives(binary, &lines, |server| server.restart());
            survives(binary, &lines, |server| {
                let mut conn = server.connect();
                must!(conn, "BGREWRITEAOF");
                conn.until_saved();
                server.restart();
            });
        }
    });
}

#[test]
fn failures_survive_kill_9_with_an_append_only_file() {
    each_binary(|binary| {
        survives(binary, &["appendonly yes", "appendfsync always"], |server| {
            server.kill9();
            server.restart();
        });
    });
}

#[test]
fn failures_survive_a_reload() {
    each_binary(|binary| {
        survives(binary, &["appendonly yes"], |server| {
            let mut conn = server.connect();
            must!(conn, "DEBUG", "RELOAD").ok();
            must!(conn, "DEBUG", "LOADAOF").ok();
        });
    });
}

#[test]
fn failures_survive_a_failover() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = ring(&primary);
        let ids = fill(&mut conn, &primary);
        wait_for_sync(&primary, &replica);
        let mut other = replica.connect();
        assert_eq!(other.digest(), conn.digest());
        assert_eq!(picture(&mut other), picture(&mut conn));
        must!(other, "REPLICAOF", "NO", "ONE").ok();
        go_on(&mut other, &ids);
    });
}

#[test]
fn a_replica_retries_nothing_by_itself_and_its_primary_does() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let (mut conn, mut worker) = (ring(&primary), primary.connect());
        let id = events(&mut conn, &[("a", "a1")]).remove(0);
        take(&mut worker, "LEASE 20");
        nack(&mut worker, &id, "DELAY 20");
        wait_for_sync(&primary, &replica);
        let digest = conn.digest();
        // Both the retry and the lease are over, and nobody asks.
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(replica.digest(), digest);
        assert_eq!(pending(&mut replica.connect(), "")[0].1, "retry");
        assert_eq!(again(&mut worker, "BLOCK 60000").1, 2);
        wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), conn.digest());
    });
}
