//! What a failover finds: replicas that did nothing by themselves, synchronised in every way there
//! is; and what a promoted one accepts: no epoch of before, whatever it is used for, and no lease.

use std::time::Duration;

use crate::failing::{dead, events, nack, pending};
use crate::harness::{Conn, PATIENCE, Server, args, cmd, each_binary, must, until, wait_for_sync};
use crate::pull::{IN_TIME, P, block, pull, ring, say, take, trigger};

/// What a server has written by itself shows in one of these.
fn traces(server: &Server) -> (String, Vec<String>, i64) {
    let mut conn = server.connect();
    let stats = must!(conn, "INFO", "commandstats");
    let is_write = |line: &&str| {
        let line = line.to_lowercase();
        ["evq.", "xadd", "xtrim", "xdel", "unlink", "del"]
            .iter()
            .any(|name| line.starts_with(&format!("cmdstat_{name}")))
    };
    let writes = stats.str().lines().filter(is_write);
    // Without the times, which looking does not change either.
    let mut calls: Vec<_> = writes.map(|line| line.split(',').next().unwrap().to_owned()).collect();
    calls.sort();
    let size = conn.info("persistence", "aof_current_size").unwrap().parse().unwrap();
    (conn.digest(), calls, size)
}

/// A partition in which time has something to do in every way there is: a lease that lapses, one
/// whose connection closes, a retry that becomes due, a poison event at its last attempt.
fn let_time_act(primary: &Server) -> Conn {
    let mut conn = ring(primary);
    say(&mut conn, "EVQ.GROUP poison RING r MAXATTEMPTS 1").ok();
    let ids = events(&mut conn, &[("a", "a1"), ("b", "b1"), ("a", "a2")]);
    take(&mut conn, "WORKER w LEASE 50 COUNT 3");
    nack(&mut conn, &ids[0], "DELAY 50 WORKER w");
    take(&mut conn, "GROUP lapses WORKER w LEASE 50");
    take(&mut conn, "GROUP poison WORKER w LEASE 50");
    {
        let mut closing = primary.connect();
        take(&mut closing, "GROUP closes LEASE 60000");
    }
    // That its connection is gone is the one thing that the primary does not wait for.
    until(PATIENCE, || {
        let stats = say(&mut conn, "EVQ.STATS r");
        let groups = stats.get("partitions").at(0).get("groups").array();
        let closes = groups.iter().find(|group| group.get("group").str() == "closes");
        closes.expect("the group").get("owner").is_null()
    });
    conn
}

#[test]
fn a_replica_does_nothing_by_itself_and_goes_on_when_it_is_promoted() {
    each_binary(|binary| {
        let primary =
            Server::with(binary).tcp().config(&["appendonly yes", "appendfsync always"]).start();
        let replica = Server::replica_of(&primary);
        let mut conn = let_time_act(&primary);
        // Nobody needs what is in this ring: retention may have it, but not before the primary
        // stops.
        wait_for_sync(&primary, &replica);
        // What it was given at first is still being written to its append-only file.
        replica.connect().until_saved();
        must!(conn, "EVQ.CREATE", "old", 1, "MAXAGE", 4000).ok();
        must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "old");
        let end = std::time::Instant::now() + Duration::from_millis(5500);
        wait_for_sync(&primary, &replica);
        // Nothing comes from the primary any more, not even a ping.
        primary.pause();
        let offset = |server: &Server| server.connect().info("replication", "slave_repl_offset");
        let (before, at) = (traces(&replica), offset(&replica));
        // It does not matter who looks.
        let mut reader = replica.connect();
        while std::time::Instant::now() < end {
            must!(reader, "EVQ.STATS", "r");
            must!(reader, "EVQ.PENDING", P);
            must!(reader, "EVQ.GROUPS", "RING", "r");
            std::thread::sleep(Duration::from_millis(20));
        }
        let reads = ["evq.stats", "evq.pending", "evq.groups"];
        let no_reads = |calls: Vec<String>| {
            let is_read =
                |line: &String| reads.iter().any(|name| line.to_lowercase().contains(name));
            calls.into_iter().filter(|line| !is_read(line)).collect::<Vec<_>>()
        };
        let after = traces(&replica);
        assert_eq!((&before.0, before.2), (&after.0, after.2));
        assert_eq!(no_reads(before.1), no_reads(after.1));
        assert_eq!(offset(&replica), at);
        assert_eq!(pending(&mut reader, "")[0].1, "retry");
        assert_eq!(must!(reader, "XLEN", "evq:{old:0}").int(), 1);
        // Leases are the primary's own.
        let stats = say(&mut reader, "EVQ.STATS r");
        let groups = stats.get("partitions").at(0).get("groups").array().to_vec();
        assert!(groups.iter().all(|group| group.get("owner").is_null()), "{groups:?}");
        primary.resume();

        // Promoted, it does all of it as soon as somebody waits.
        must!(reader, "REPLICAOF", "NO", "ONE").ok();
        until(PATIENCE, || must!(reader, "XLEN", "evq:{old:0}").int() == 0);
        let mut worker = replica.connect();
        let retried = pull(&mut worker, "WORKER v BLOCK 60000 COUNT 9").expect("an event");
        assert_eq!(retried.payloads, ["a1"]);
        for group in ["lapses", "closes", "poison"] {
            let given = take(&mut worker, &format!("GROUP {group} WORKER v COUNT 9"));
            assert_eq!(given.payloads[0], "a1", "{group}");
        }
        // The primary of before does the same to its own: to each its own history.
        assert_eq!(pull(&mut conn, "GROUP poison WORKER v BLOCK 60000").unwrap().payloads, ["b1"]);
        assert_eq!(dead(&mut conn, "poison", 1), ["a1"]);
    });
}

#[test]
fn a_replica_is_the_same_however_it_is_synchronised_while_clients_write() {
    each_binary(|binary| {
        for (sync, load) in
            [("no", "disabled"), ("yes", "disabled"), ("yes", "swapdb"), ("yes", "on-empty-db")]
        {
            let sync = format!("repl-diskless-sync {sync}");
            let primary = Server::with(binary).tcp().config(&[&sync]).start();
            let mut conn = ring(&primary);
            for n in 0..50 {
                must!(conn, "EVQ.TRIGGER", n, vec![b'x'; 20_000], "RING", "r");
            }
            // The child is slow, so that much is written while the replica synchronises.
            must!(conn, "CONFIG", "SET", "rdb-key-save-delay", 20_000).ok();
            let load = format!("repl-diskless-load {load}");
            let replica = Server::with(binary).tcp().config(&[&load]).start();
            must!(replica.connect(), "REPLICAOF", "127.0.0.1", primary.port().unwrap()).ok();
            let linked = |server: &Server| {
                let status = server.connect().info("replication", "master_link_status");
                status.as_deref() == Some("up")
            };
            let mut n = 0;
            while !linked(&replica) || n < 200 {
                n += 1;
                events(&mut conn, &[("a", "1"), ("b", "2")]);
                let given = take(&mut conn, "COUNT 3 WORKER w");
                if n % 5 == 0 {
                    nack(&mut conn, &given.ids[0], "DELAY 0 WORKER w");
                    say(&mut conn, &format!("EVQ.RELEASE {P} WORKER w")).ok();
                } else {
                    say(&mut conn, &format!("EVQ.ACK {P} {} WORKER w", given.last()));
                }
            }
            cmd!(conn, "EVQ.RELEASE", P, "WORKER", "w");
            wait_for_sync(&primary, &replica);
            assert_eq!(replica.digest(), primary.digest(), "{sync}, {load}");
            let shown = pending(&mut conn, "COUNT 1000");
            assert_eq!(pending(&mut replica.connect(), "COUNT 1000"), shown);
        }
    });
}

/// Everything that can be done with an epoch.
fn uses(epoch: i64, id: &str) -> Vec<String> {
    let with = format!("EPOCH {epoch}");
    vec![
        format!("EVQ.ACK {P} {id} {with}"),
        format!("EVQ.NACK {P} {id} {with}"),
        format!("EVQ.EXTEND {P} {with}"),
        format!("EVQ.RELEASE {P} {with}"),
        format!("EVQ.CONSUME {P} NOBLOCK ACK {id} {with}"),
    ]
}

#[track_caller]
fn assert_fenced(conn: &mut Conn, epoch: i64, id: &str) {
    for line in uses(epoch, id) {
        assert_eq!(say(conn, &line).err_code(), "EVQFENCED", "{line}");
        must!(conn, "MULTI");
        say(conn, &line);
        let replies = must!(conn, "EXEC");
        assert_eq!(replies.at(0).err_code(), "EVQFENCED", "{line} in MULTI");
    }
    let script = "return redis.call('EVQ.ACK', KEYS[1], ARGV[1], 'EPOCH', ARGV[2])";
    let scripted = cmd!(conn, "EVAL", script, 1, P, id, epoch);
    assert!(scripted.err().contains("EVQFENCED"), "{scripted:?}");
}

#[test]
fn a_promoted_replica_takes_no_epoch_of_before_and_gives_none_again() {
    each_binary(|binary| {
        let mut primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = ring(&primary);
        let ids = trigger(&mut conn, &["a", "b"]);
        let known = take(&mut conn, "WORKER w LEASE 600000").epoch;
        wait_for_sync(&primary, &replica);
        // Grants that never arrive: the replica cannot know their epochs.
        replica.pause();
        let lost: Vec<i64> = (0..20)
            .map(|_| {
                say(&mut conn, &format!("EVQ.RELEASE {P} WORKER w")).ok();
                take(&mut conn, "WORKER w LEASE 600000").epoch
            })
            .collect();
        primary.kill9();
        replica.resume();
        let mut promoted = replica.connect();
        must!(promoted, "REPLICAOF", "NO", "ONE").ok();
        for epoch in lost.iter().copied().chain([known]) {
            assert_fenced(&mut promoted, epoch, &ids[0]);
        }
        // Nobody waits for the deadline of a lease that ended with its primary.
        let mut other = replica.connect();
        let next = pull(&mut other, "WORKER v BLOCK 60000").expect("events");
        assert_eq!(next.ids, ids[..1]);
        let highest = *lost.last().unwrap();
        assert!(next.epoch > highest, "{} was issued, then {}", highest, next.epoch);
        for epoch in lost.into_iter().chain([known]) {
            assert_fenced(&mut promoted, epoch, &ids[0]);
        }
        say(&mut promoted, &format!("EVQ.ACK {P} {} EPOCH {}", ids[0], next.epoch));
        assert_eq!(take(&mut other, "WORKER v").ids, ids[1..]);
    });
}

#[test]
fn workers_that_wait_when_their_primary_fails_over_are_let_go_and_go_on() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = ring(&primary);
        let ids = trigger(&mut conn, &["a"]);
        let owner = take(&mut conn, "WORKER w LEASE 600000");
        // One waits for the lease, one for any partition, one as the owner of another group.
        let mut waiting: Vec<Conn> = (0..3).map(|_| primary.connect()).collect();
        block(&mut conn, &mut waiting[0], "WORKER v BLOCK 0");
        let mut idle = primary.connect();
        say(&mut idle, &format!("EVQ.CONSUME {P} GROUP idle NOBLOCK ACK {}", ids[0]));
        take(&mut waiting[1], "GROUP idle");
        say(&mut waiting[1], &format!("EVQ.ACK {P} {} GROUP idle", ids[0]));
        block(&mut conn, &mut waiting[1], "GROUP idle BLOCK 0");
        waiting[2].send(&args!["EVQ.CONSUME", "*", "RING", "r", "GROUP", "idle", "BLOCK", 0]);
        until(PATIENCE, || {
            primary.connect().info("clients", "blocked_clients").as_deref() == Some("3")
        });
        must!(conn, "FAILOVER", "TIMEOUT", 30_000).ok();
        for each in &mut waiting {
            let reply = each.try_read(PATIENCE).expect("a reply");
            assert_eq!(reply.err_code(), "UNBLOCKED");
        }
        let role = |server: &Server| server.connect().info("replication", "role").unwrap();
        until(PATIENCE, || role(&replica) == "master" && role(&primary) == "slave");
        // Reconnected, each has at once what the lease of before kept from it.
        let mut worker = replica.connect();
        assert_fenced(&mut worker, owner.epoch, &ids[0]);
        block_then_serve(&replica, &mut worker, &ids[0]);
        primary.wait_for_link();
        wait_for_sync(&replica, &primary);
        assert_eq!(primary.digest(), replica.digest());
    });
}

/// The worker gets what was in flight, waits again, and an event wakes it on its new primary.
fn block_then_serve(server: &Server, worker: &mut Conn, id: &str) {
    let again = pull(worker, "WORKER v BLOCK 60000").expect("events");
    assert_eq!(again.ids, [id]);
    say(worker, &format!("EVQ.ACK {P} {id} WORKER v"));
    let mut control = server.connect();
    block(&mut control, worker, "WORKER v BLOCK 0");
    trigger(&mut control, &["b"]);
    assert!(worker.try_read(IN_TIME).is_some(), "not woken");
}

#[test]
fn a_chain_of_replicas_follows_its_middle_when_that_is_promoted() {
    each_binary(|binary| {
        let mut first = Server::with(binary).tcp().start();
        let mut conn = let_time_act(&first);
        let middle = Server::replica_of(&first);
        let last = Server::replica_of(&middle);
        trigger(&mut conn, &["x", "y"]);
        wait_for_sync(&first, &last);
        let digest = first.digest();
        first.kill9();
        let fulls = |server: &Server| server.connect().info("stats", "sync_full").unwrap();
        let before = fulls(&middle);
        let mut promoted = middle.connect();
        must!(promoted, "REPLICAOF", "NO", "ONE").ok();
        assert_eq!(middle.digest(), digest);
        let given = take(&mut promoted, "GROUP lapses COUNT 99");
        say(&mut promoted, &format!("EVQ.ACK {P} {} GROUP lapses", given.last()));
        last.wait_for_link();
        wait_for_sync(&middle, &last);
        assert_eq!(last.digest(), middle.digest());
        // It went on where it was: only a part was sent, not everything.
        assert_eq!(fulls(&middle), before);
    });
}
