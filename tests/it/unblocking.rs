//! How waiting ends without an event: the time is up, CLIENT UNBLOCK, CLIENT KILL, the client
//! leaves, the ring is dropped, the server changes its role or shuts down. In each of the three
//! ways to wait: as the owner, as a standby, as a standby that became the owner.

use std::time::{Duration, Instant};

use crate::harness::{Conn, PATIENCE, Server, cmd, each_binary, each_server, must, until};
use crate::pull::{
    GROUPS, IN_TIME, P, Pull, block, blocked, pull, refused, ring, say, start, take, trigger,
    until_blocked, woken, woken_within, words,
};

/// The three ways to wait.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum As {
    Owner,
    Standby,
    Promoted,
}

pub(crate) const ALL: [As; 3] = [As::Owner, As::Standby, As::Promoted];

/// A client that waits `how`, blocked with `options`, and the one that has the lease instead.
pub(crate) fn waiting(
    server: &Server,
    control: &mut Conn,
    how: As,
    options: &str,
) -> (Conn, Option<Conn>) {
    let mut client = server.connect();
    if how == As::Owner {
        block(control, &mut client, options);
        return (client, None);
    }
    let mut owner = server.connect();
    // The server may not have seen yet that the owner before closed its connection.
    until(IN_TIME, || {
        assert_eq!(pull(&mut owner, "NOBLOCK LEASE 60000"), None);
        !cmd!(owner, "EVQ.EXTEND", P).is_error()
    });
    block(control, &mut client, options);
    if how == As::Promoted {
        must!(owner, "EVQ.RELEASE", P).ok();
        return (client, None);
    }
    (client, Some(owner))
}

/// Nobody waits, nobody owns, and the partition works.
#[track_caller]
pub(crate) fn assert_all_free(server: &Server, control: &mut Conn) {
    until_blocked(control, 0);
    let mut fresh = server.connect();
    trigger(control, &["free"]);
    until(IN_TIME, || {
        let Some(pulled) = pull(&mut fresh, "NOBLOCK") else { return false };
        say(&mut fresh, &format!("EVQ.ACK {P} {}", pulled.last())).int() == 1
    });
    // The server may serve who comes next before it sees this connection close.
    must!(fresh, "EVQ.RELEASE", P).ok();
}

#[test]
fn null_comes_when_the_time_is_up() {
    each_server(|server| {
        let mut control = ring(&server);
        for how in ALL {
            let began = Instant::now();
            let (mut client, owner) = waiting(&server, &mut control, how, "BLOCK 200 LEASE 60000");
            let reply = woken_within(&mut control, &mut client, 900);
            let took = began.elapsed();
            assert!(reply.is_null(), "{how:?}: {reply:?}");
            assert!(took >= Duration::from_millis(199), "{how:?}: {took:?}");
            drop((client, owner));
            assert_all_free(&server, &mut control);
        }
    });
}

#[test]
fn without_block_the_setting_holds_and_block_0_waits_for_ever() {
    each_server(|server| {
        let mut control = ring(&server);
        must!(control, "CONFIG", "SET", "evq.block-ms", 50).ok();
        for how in ALL {
            let (mut client, owner) = waiting(&server, &mut control, how, "BLOCK 0 LEASE 60000");
            assert_eq!(client.try_read(Duration::from_millis(150)), None, "{how:?}");
            drop((client, owner));
            until_blocked(&mut control, 0);
            let (mut client, _owner) = waiting(&server, &mut control, how, "LEASE 60000");
            assert!(woken(&mut client).is_null(), "{how:?}");
        }
    });
}

#[test]
fn client_unblock_ends_the_wait_with_null_or_with_an_error() {
    each_server(|server| {
        let mut control = ring(&server);
        for (how, error) in ALL.into_iter().flat_map(|how| [(how, false), (how, true)]) {
            let (mut client, owner) = waiting(&server, &mut control, how, "BLOCK 0 LEASE 60000");
            // The id is asked for by another client: this one does not read commands now.
            let list = must!(control, "CLIENT", "LIST", "TYPE", "normal");
            let line = list.str().lines().find(|line| line.contains("cmd=evq.consume"));
            let blocked = list.str().lines().find(|line| line.contains("flags=b"));
            let id = blocked.or(line).unwrap().split(['=', ' ']).nth(1).unwrap().to_owned();
            let kind = if error { "ERROR" } else { "TIMEOUT" };
            assert_eq!(must!(control, "CLIENT", "UNBLOCK", id, kind).int(), 1);
            let reply = woken(&mut client);
            if error {
                assert_eq!(reply.err_code(), "UNBLOCKED", "{how:?}");
            } else {
                assert!(reply.is_null(), "{how:?}: {reply:?}");
            }
            assert_eq!(must!(client, "PING").str(), "PONG", "{how:?}: its replies are in step");
            assert_eq!(must!(control, "CLIENT", "UNBLOCK", id).int(), 0);
            drop((client, owner));
            assert_all_free(&server, &mut control);
        }
    });
}

#[test]
fn a_client_that_leaves_or_is_killed_while_it_waits_leaves_nothing() {
    each_server(|server| {
        let mut control = ring(&server);
        for (how, kill) in ALL.into_iter().flat_map(|how| [(how, false), (how, true)]) {
            let (client, owner) = waiting(&server, &mut control, how, "BLOCK 0 LEASE 60000");
            let mut next = server.connect();
            block(&mut control, &mut next, "BLOCK 0 LEASE 60000");
            if kill {
                must!(control, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
                drop((client, owner, next));
            } else {
                drop((client, owner));
                // The lease goes on to the next in line, not to the one who left.
                let ids = trigger(&mut control, &["a"]);
                let pulled = Pull::of(&woken(&mut next)).unwrap();
                assert_eq!(pulled.ids, ids, "{how:?}");
                say(&mut next, &format!("EVQ.ACK {P} {}", ids[0]));
                drop(next);
            }
            assert_all_free(&server, &mut control);
        }
    });
}

#[test]
fn dropping_the_ring_dismisses_all_who_wait() {
    each_server(|server| {
        for how in ALL {
            let mut control = ring(&server);
            let (mut client, owner) = waiting(&server, &mut control, how, "BLOCK 0 LEASE 60000");
            let mut standby = server.connect();
            block(&mut control, &mut standby, "BLOCK 0 LEASE 60000");
            must!(control, "EVQ.DROP", "r").ok();
            assert_eq!(woken(&mut client).err_code(), "EVQNORING", "{how:?}");
            assert_eq!(woken(&mut standby).err_code(), "EVQNORING");
            assert_eq!(must!(control, "DBSIZE").int(), 0);
            drop((client, standby, owner));
            // Dropped and made again at once: those who were dismissed own nothing in the new one.
            ring(&server);
            let (client, owner) = waiting(&server, &mut control, how, "BLOCK 0 LEASE 60000");
            let mut standby = server.connect();
            block(&mut control, &mut standby, "BLOCK 0 LEASE 60000");
            let lines = ["EVQ.DROP r", "EVQ.CREATE r 1", "EVQ.TRIGGER k p RING r"].map(words);
            control.pipeline(&lines);
            assert_eq!(take(&mut control, "LEASE 60000").payloads, ["p"], "{how:?}");
            drop((client, standby, owner));
            must!(control, "EVQ.DROP", "r").ok();
        }
    });
}

#[test]
fn a_change_of_role_ends_every_wait() {
    each_server(|server| {
        let mut control = ring(&server);
        for how in ALL {
            let (mut client, owner) = waiting(&server, &mut control, how, "BLOCK 0 LEASE 60000");
            must!(control, "REPLICAOF", "127.0.0.1", 1).ok();
            assert_eq!(woken(&mut client).err_code(), "UNBLOCKED", "{how:?}");
            assert!(client.closed_within(IN_TIME));
            must!(control, "REPLICAOF", "NO", "ONE").ok();
            drop(owner);
            assert_all_free(&server, &mut control);
        }
    });
}

#[test]
fn the_server_shuts_down_while_clients_wait() {
    each_binary(|binary| {
        let mut server = Server::with(binary).config(&["appendonly yes"]).start();
        ring(&server);
        for how in ALL {
            let mut control = server.connect();
            let (mut client, _owner) = waiting(&server, &mut control, how, "BLOCK 0 LEASE 60000");
            assert!(server.terminate().success(), "{how:?}");
            assert!(client.closed_within(IN_TIME), "{how:?}");
            server.restart();
            assert_all_free(&server, &mut server.connect());
        }
    });
}

#[test]
fn a_paused_server_hands_nothing_over_until_it_goes_on() {
    each_binary(|binary| {
        // Writing while clients are paused, as in a failover, kills a server that has an AOF.
        let mut server = Server::with(binary).config(&["appendonly yes"]).start();
        let mut control = ring(&server);
        trigger(&mut control, &["a"]);
        let (mut owner, mut next) = (server.connect(), server.connect());
        take(&mut owner, "LEASE 60000 WORKER w");
        block(&mut control, &mut next, "BLOCK 0 LEASE 60000");
        // In one go, so that the lease does not end before.
        let extend = words("EVQ.EXTEND evq:{r:0} LEASE 100 WORKER w");
        for reply in owner.pipeline(&[extend, words("CLIENT PAUSE 60000 WRITE")]) {
            reply.ok();
        }
        assert_eq!(next.try_read(Duration::from_millis(1500)), None);
        server.assert_healthy();
        must!(control, "CLIENT", "UNPAUSE").ok();
        let pulled = Pull::of(&woken(&mut next)).unwrap();
        let mut third = server.connect();
        block(&mut control, &mut third, "BLOCK 0 LEASE 60000");
        must!(control, "CLIENT", "PAUSE", 300, "ALL").ok();
        drop(next);
        assert_eq!(Pull::of(&third.try_read(PATIENCE).unwrap()).unwrap().ids, pulled.ids);
        server.assert_healthy();
    });
}

#[test]
fn time_that_is_up_in_the_moment_an_event_comes_loses_neither_reply_nor_event() {
    each_server(|server| {
        let mut control = ring(&server);
        for how in ALL {
            let (mut client, owner) = waiting(&server, &mut control, how, "BLOCK 100 LEASE 60000");
            // In one go: the event comes, and when the server looks at its clock again the time
            // is up.
            must!(control, "MULTI").ok();
            say(&mut control, "EVQ.TRIGGER k p RING r");
            say(&mut control, "DEBUG SLEEP 0.2");
            must!(control, "EXEC");
            let reply = client.try_read(IN_TIME).unwrap_or_else(|| panic!("{how:?} got no reply"));
            assert_eq!(must!(client, "PING").str(), "PONG", "{how:?}");
            let again = Pull::of(&reply).or_else(|| pull(&mut client, "NOBLOCK LEASE 60000"));
            // The standby may have it as well: the owner was told that there is nothing.
            let last = again.expect("the event").last().to_owned();
            assert_eq!(say(&mut client, &format!("EVQ.ACK {P} {last}")).int(), 1, "{how:?}");
            drop((client, owner));
            must!(control, "DEL", P, GROUPS);
            assert_all_free(&server, &mut control);
        }
    });
}

#[test]
fn waiting_leaves_no_keys_behind_in_a_flushed_database() {
    each_server(|server| {
        let mut control = ring(&server);
        let (_standby, _owner) = waiting(&server, &mut control, As::Standby, "BLOCK 0");
        must!(control, "FLUSHALL").ok();
        // Longer than it takes until a line is looked at again whatever its lease says.
        std::thread::sleep(Duration::from_millis(1300));
        assert_eq!(must!(control, "DBSIZE").int(), 0);
        must!(control, "EVQ.CREATE", "r", 1).ok();
        assert_eq!(blocked(&mut control), 1, "it waits on");
    });
}

#[test]
fn one_lease_waits_in_one_place() {
    each_server(|server| {
        let mut control = ring(&server);
        let (mut old, mut new) = (server.connect(), server.connect());
        let seen = trigger(&mut control, &["seen"]);
        let epoch = take(&mut old, "WORKER w LEASE 60000").epoch;
        block(&mut control, &mut old, &format!("BLOCK 0 WORKER w ACK {}", seen[0]));
        // Another connection of the same pool goes on.
        start(&mut new, &format!("EVQ.CONSUME {P} BLOCK 0 WORKER w EPOCH {epoch}"));
        assert!(woken(&mut old).is_null(), "its wait would be in vain");
        let ids = trigger(&mut control, &["a"]);
        let pulled = Pull::of(&woken(&mut new)).unwrap();
        assert_eq!((pulled.epoch, &pulled.ids), (epoch, &ids));
        assert_eq!(say(&mut old, &format!("EVQ.ACK {P} {} EPOCH {epoch}", ids[0])).int(), 1);
    });
}

#[test]
fn a_block_time_over_the_limit_is_refused() {
    each_server(|server| {
        let mut conn = ring(&server);
        for ms in ["9223372036854775807", "9223372036854775808", "315360000001"] {
            assert_eq!(refused(&mut conn, &format!("EVQ.CONSUME {P} BLOCK {ms}")), "ERR", "{ms}");
        }
        let mut client = server.connect();
        block(&mut conn, &mut client, "BLOCK 315360000000 LEASE 315360000000");
        assert_eq!(cmd!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r").array().len(), 2);
        assert!(Pull::of(&woken(&mut client)).is_some(), "ten years are allowed");
    });
}

/// On Redis 7.0 a client that was let go and is unblocked before it was served gets no reply.
#[test]
fn an_unblock_in_the_same_round_as_a_release_still_gets_a_reply() {
    each_server(|server| {
        for mode in ["TIMEOUT", "ERROR"] {
            for lets_go in [format!("EVQ.RELEASE {P}"), "EVQ.DROP r".to_owned()] {
                let mut control = ring(&server);
                let (mut owner, mut standby) = (server.connect(), server.connect());
                let id = standby.id().to_string();
                assert_eq!(pull(&mut owner, "NOBLOCK LEASE 60000"), None);
                block(&mut control, &mut standby, "BLOCK 0 LEASE 60000");
                trigger(&mut control, &["a"]);
                let unblock = ["CLIENT", "UNBLOCK", &id, mode].map(str::to_owned).to_vec();
                let release: Vec<String> = words(&lets_go).into_iter().map(str::to_owned).collect();
                owner.pipeline(&[release, unblock]);
                let reply = standby.try_read(PATIENCE);
                assert!(reply.is_some(), "{lets_go}, then UNBLOCK {mode}: no reply");
                assert_eq!(must!(standby, "PING").str(), "PONG", "{lets_go}");
                drop((standby, owner));
                say(&mut control, "EVQ.DROP r");
                until_blocked(&mut control, 0);
            }
        }
    });
}

/// On Redis 7.0 an owner that was let go and is unblocked before it is gone gets a second reply.
#[test]
fn an_unblock_in_the_same_round_as_the_end_of_a_lease_is_one_reply() {
    each_server(|server| {
        for mode in ["TIMEOUT", "ERROR"] {
            for ends in ["EVQ.SEEK default 0 first RING r", "EVQ.DROP r"] {
                let (mut control, mut owner) = (ring(&server), server.connect());
                let id = owner.id().to_string();
                block(&mut control, &mut owner, "BLOCK 0 LEASE 60000");
                let unblock = ["CLIENT", "UNBLOCK", &id, mode].to_vec();
                control.pipeline(&[words(ends), unblock]);
                assert!(owner.try_read(PATIENCE).is_some(), "{ends}, then UNBLOCK {mode}");
                assert_eq!(must!(owner, "PING").str(), "PONG", "{ends}, then UNBLOCK {mode}");
                drop(owner);
                say(&mut control, "EVQ.DROP r");
                until_blocked(&mut control, 0);
            }
        }
    });
}
