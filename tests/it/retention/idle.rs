//! Groups that nobody works for: visible with how long that is so, and removed where the server is
//! told to, but never because of a time in which their workers could not come.

use std::time::{Duration, Instant};

use crate::failing::{ack, nack};
use crate::harness::{
    Conn, PATIENCE, Server, Value, each_binary, each_server, must, until, wait_for_sync,
};
use crate::kept::{kept, ring_with, total, until_kept};
use crate::pull::{P, QUIET, block, say, take, trigger, woken};

fn groups(conn: &mut Conn) -> Vec<String> {
    let groups = say(conn, "EVQ.GROUPS RING r");
    groups.array().iter().map(|group| group.get("group").str().to_owned()).collect()
}

/// For how long no worker has asked, as EVQ.STATS says, of the `nth` group.
fn idle_ms(conn: &mut Conn, nth: usize) -> Value {
    let stats = say(conn, "EVQ.STATS r");
    stats.get("partitions").at(0).get("groups").at(nth).get("idle-ms").clone()
}

/// The time without workers began `begun` or later. What is cut off at both ends is a millisecond
/// each, and the server's clock is another one.
#[track_caller]
fn assert_idle_since(conn: &mut Conn, begun: Instant, what: &str) {
    let idle = idle_ms(conn, 0).int();
    let most = begun.elapsed() + Duration::from_millis(100);
    assert!(u128::try_from(idle).is_ok_and(|idle| idle <= most.as_millis()), "{what}: {idle}");
}

#[test]
fn the_time_without_workers_is_shown() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 1");
        say(&mut conn, "EVQ.GROUP busy RING r FROM first").ok();
        say(&mut conn, "EVQ.GROUP idle RING r FROM first").ok();
        let ids = trigger(&mut conn, &["0", "1", "2"]);
        until(PATIENCE, || idle_ms(&mut conn, 1).int() > 300);
        // Whatever a worker does says that it is there.
        let worker = "GROUP busy WORKER w";
        for line in [
            format!("EVQ.CONSUME {P} {worker} COUNT 3"),
            format!("EVQ.EXTEND {P} {worker}"),
            format!("EVQ.ACK {P} {} {worker}", ids[0]),
            format!("EVQ.NACK {P} {} {worker}", ids[1]),
            format!("EVQ.RELEASE {P} {worker}"),
        ] {
            until(PATIENCE, || idle_ms(&mut conn, 0).int() > 300);
            let begun = Instant::now();
            assert!(!say(&mut conn, &line).is_error(), "{line}");
            assert_idle_since(&mut conn, begun, &line);
        }
        // The one that keeps events from going is named for who is on call.
        let field = |conn: &mut Conn, name| conn.info("evq", name).unwrap();
        until(PATIENCE, || field(&mut conn, "evq_trim_held_up_by_idlest") == "0/r/idle");
        assert_eq!(total(&mut conn, "trim_held_up_partitions"), 1);
        let ms = total(&mut conn, "trim_held_up_by_idlest_ms");
        assert!(ms >= 300 && ms <= idle_ms(&mut conn, 1).int().unsigned_abs(), "{ms}");
        say(&mut conn, "EVQ.SEEK idle * last RING r").ok();
        say(&mut conn, "EVQ.SEEK busy * last RING r").ok();
        until(PATIENCE, || total(&mut conn, "trim_held_up_partitions") == 0);
        assert_eq!(field(&mut conn, "evq_trim_held_up_by_idlest"), "");
    });
}

#[test]
fn a_group_without_workers_is_removed_as_by_delgroup() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = ring_with(&primary, "MAXLEN 1");
        let settings = "FROM first MAXATTEMPTS 1 ONDEAD hold";
        say(&mut conn, &format!("EVQ.GROUP gone RING r {settings}")).ok();
        let ids = trigger(&mut conn, &["0", "1", "2"]);
        take(&mut conn, "GROUP gone COUNT 2");
        nack(&mut conn, &ids[0], "GROUP gone");
        say(&mut conn, &format!("EVQ.RELEASE {P} GROUP gone")).ok();
        let mut worker = primary.connect();
        take(&mut worker, "GROUP waits COUNT 3");
        ack(&mut worker, &ids[2], "GROUP waits");
        block(&mut conn, &mut worker, "GROUP waits BLOCK 0");
        // Nothing of it happens without the setting.
        until_kept(&mut conn, &ids);
        must!(conn, "CONFIG", "SET", "evq.group-idle-ms", 1000).ok();
        until(PATIENCE, || groups(&mut conn) == ["waits"]);
        until_kept(&mut conn, &ids[2..]);
        assert_eq!(must!(conn, "EXISTS", "evq:{r:0}:dead:gone").int(), 0);
        assert_eq!(total(&mut conn, "groups_expired"), 1);
        let log = primary.log();
        let line = log.lines().find(|line| line.contains("group gone of ring r removed"));
        assert!(line.is_some_and(|line| line.contains("evq.group-idle-ms")), "{log}");
        wait_for_sync(&primary, &replica);
        assert_eq!(conn.digest(), replica.digest());
        // Who waits is there, however long it waits.
        let next = trigger(&mut conn, &["next"]);
        assert_eq!(woken(&mut worker).at(2).at(0).at(0).str(), next[0]);
    });
}

#[test]
fn an_owner_that_is_not_heard_of_keeps_its_group_until_its_lease_ends() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 1");
        trigger(&mut conn, &["0"]);
        take(&mut conn, "WORKER w LEASE 60000");
        must!(conn, "CONFIG", "SET", "evq.group-idle-ms", 100).ok();
        until(PATIENCE, || idle_ms(&mut conn, 0).int() > 2500);
        assert_eq!(groups(&mut conn), ["default"]);
        say(&mut conn, &format!("EVQ.EXTEND {P} WORKER w LEASE 1")).ok();
        until(PATIENCE, || groups(&mut conn).is_empty());
    });
}

#[test]
fn a_start_a_load_and_a_promotion_begin_the_time_anew() {
    each_binary(|binary| {
        let config = ["save 3600 1"];
        let mut server = Server::with(binary).tcp().config(&config).start();
        let mut conn = ring_with(&server, "");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        until(PATIENCE, || idle_ms(&mut conn, 0).int() > 1500);
        let begun = Instant::now();
        must!(conn, "DEBUG", "RELOAD").ok();
        assert_idle_since(&mut conn, begun, "reload");
        let replica = Server::replica_of(&server);
        let mut reader = replica.connect();
        // It does not see workers, so it does not say.
        assert!(idle_ms(&mut reader, 0).is_null());
        must!(reader, "CONFIG", "SET", "evq.group-idle-ms", 1).ok();
        assert!(reader.try_read(QUIET).is_none());
        must!(reader, "CONFIG", "SET", "evq.group-idle-ms", 600_000).ok();
        let begun = Instant::now();
        must!(reader, "REPLICAOF", "NO", "ONE").ok();
        assert_idle_since(&mut reader, begun, "promotion");
        assert_eq!(groups(&mut reader), ["default"]);
        must!(reader, "CONFIG", "SET", "evq.group-idle-ms", 1000).ok();
        until(PATIENCE, || groups(&mut reader).is_empty());
        until(PATIENCE, || idle_ms(&mut conn, 0).int() > 1500);
        let begun = Instant::now();
        server.restart();
        let mut conn = server.connect();
        assert_idle_since(&mut conn, begun, "restart");
        assert_eq!(kept(&mut conn), [""; 0]);
    });
}

#[test]
fn a_server_that_stood_still_does_not_blame_its_groups() {
    each_server(|server| {
        let mut conn = ring_with(&server, "");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        must!(conn, "CONFIG", "SET", "evq.group-idle-ms", 6500).ok();
        assert_eq!(groups(&mut conn), ["default"]);
        server.pause();
        std::thread::sleep(Duration::from_millis(7000));
        server.resume();
        until(PATIENCE, || idle_ms(&mut conn, 0).int() > 1500);
        assert_eq!(groups(&mut conn), ["default"]);
        until(PATIENCE, || groups(&mut conn).is_empty());
    });
}
