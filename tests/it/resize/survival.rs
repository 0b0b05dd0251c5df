//! A resize in the middle survives: restarts by RDB and by AOF in each of its forms, `kill -9`, a
//! failover, a replica; and what is saved of it is exactly what there was.

use crate::harness::{Conn, PATIENCE, Server, each_binary, must, until, wait_for_sync};
use crate::pull::{ring, say};
use crate::resize::order::{ack, event, is_gone, key_on, payloads, remove_all_events, resize};

/// A ring that was resized three times. One key lives on 0, then on 1, then on 2, then on 0 again;
/// it has an event in each place. Another one's first event, on 0, is dead and holds it on 1.
fn play(conn: &mut Conn) -> Vec<String> {
    let (key, dies) = (key_on(conn, &[0, 1, 2]), key_on(conn, &[0, 1, 1]));
    say(conn, "EVQ.GROUP default RING r MAXATTEMPTS 1 ONDEAD hold").ok();
    let (_, dead) = event(conn, &dies, "d1");
    let mut ids = vec![event(conn, &key, "1").1];
    assert_eq!(payloads(conn, 0, "WORKER w"), "d1 1");
    must!(conn, "EVQ.NACK", 0, dead, "RING", "r", "WORKER", "w");
    resize(conn, 2);
    event(conn, &dies, "d2");
    ids.push(event(conn, &key, "2").1);
    resize(conn, 3);
    ids.push(event(conn, &key, "3").1);
    resize(conn, 1);
    ids.push(event(conn, &key, "4").1);
    ids
}

/// Whatever happened: all leases are over, what was in flight comes again, the order holds, and at
/// last nothing is left of the resizes.
fn finish(conn: &mut Conn, ids: &[String]) {
    let all = |conn: &mut Conn| [0, 1, 2].map(|p| payloads(conn, p, "WORKER x")).join("|");
    assert_eq!(must!(conn, "EVQ.RING", "r").get("generation").int(), 4);
    for (n, (p, given)) in [(0, "1||"), (1, "|2|"), (2, "||3"), (0, "4||")].into_iter().enumerate()
    {
        assert_eq!(all(conn), given);
        ack(conn, p, &ids[n], "WORKER x");
    }
    assert_eq!(all(conn), "||", "the dead event holds its key");
    assert_eq!(must!(conn, "EVQ.DEAD", "default", "RETRY", "*", "*", "RING", "r").int(), 1);
    for (p, given) in [(0, "d1||"), (1, "|d2|")] {
        assert_eq!(all(conn), given);
        let row = say(conn, &format!("EVQ.PENDING {p} RING r")).at(0).clone();
        ack(conn, p, row.get("id").str(), "WORKER x");
    }
    remove_all_events(conn, 3);
    until(PATIENCE, || is_gone(conn, 1) && is_gone(conn, 2));
    until(PATIENCE, || must!(conn, "EVQ.RING", "r").get("resizing").is_null());
}

#[test]
fn a_restart_in_the_middle_of_a_resize_breaks_no_order() {
    const FORMS: [&[&str]; 3] = [
        &["appendonly yes", "appendfsync always"],
        &["appendonly yes", "appendfsync always", "aof-use-rdb-preamble no"],
        &["save 3600 1"],
    ];
    each_binary(|binary| {
        for config in FORMS {
            let mut server = Server::with(binary).config(config).start();
            let mut conn = ring(&server);
            let ids = play(&mut conn);
            let digest = server.digest();
            must!(conn, "DEBUG", "RELOAD").ok();
            assert_eq!(server.digest(), digest);
            if config[0].starts_with("save") {
                conn.save();
            } else {
                must!(conn, "BGREWRITEAOF");
                conn.until_saved();
            }
            server.kill9();
            server.restart();
            assert_eq!(server.digest(), digest, "{config:?}");
            finish(&mut server.connect(), &ids);
        }
    });
}

#[test]
fn the_end_of_a_resize_comes_after_a_restart_though_nobody_asks() {
    each_binary(|binary| {
        let mut server =
            Server::with(binary).config(&["appendonly yes", "appendfsync always"]).start();
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2).ok();
        for n in 0..20 {
            event(&mut conn, &n.to_string(), "p");
        }
        resize(&mut conn, 1);
        remove_all_events(&mut conn, 2);
        server.kill9();
        server.restart();
        // The first command of anybody on the ring is enough.
        let mut conn = server.connect();
        must!(conn, "EVQ.ROUTE", "k", "RING", "r");
        until(PATIENCE, || must!(conn, "EXISTS", "evq:{r:1}").int() == 0);
    });
}

#[test]
fn a_promoted_replica_goes_on_with_the_resize() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = ring(&primary);
        let ids = play(&mut conn);
        wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), primary.digest());
        drop(primary);
        let mut conn = replica.connect();
        must!(conn, "REPLICAOF", "NO", "ONE").ok();
        finish(&mut conn, &ids);
    });
}

#[test]
fn a_replica_follows_a_resize_to_its_end_and_does_nothing_by_itself() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        must!(conn, "EVQ.CREATE", "r", 3).ok();
        for n in 0..30 {
            event(&mut conn, &n.to_string(), "p");
        }
        resize(&mut conn, 1);
        wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), primary.digest());
        let mut reader = replica.connect();
        assert_eq!(must!(reader, "EVQ.RING", "r"), must!(conn, "EVQ.RING", "r"));
        // The primary is stopped: whatever is due, its replica waits for it.
        primary.pause();
        let before = replica.digest();
        std::thread::sleep(std::time::Duration::from_millis(1500));
        assert_eq!(replica.digest(), before);
        primary.resume();
        remove_all_events(&mut conn, 3);
        until(PATIENCE, || must!(conn, "EVQ.RING", "r").get("resizing").is_null());
        wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), primary.digest());
        assert!(is_gone(&mut reader, 2));
    });
}

#[test]
fn a_ring_that_is_being_resized_can_be_dumped_and_restored() {
    each_binary(|binary| {
        let server = Server::start(binary);
        let mut conn = ring(&server);
        let ids = play(&mut conn);
        must!(conn, "EVQ.RELEASE", 0, "RING", "r", "WORKER", "w").ok();
        let dump = must!(conn, "DUMP", "evq:{r}");
        let digest = server.digest();
        must!(conn, "DEL", "evq:{r}");
        must!(conn, "RESTORE", "evq:{r}", 0, dump).ok();
        assert_eq!(server.digest(), digest);
        finish(&mut conn, &ids);
    });
}
