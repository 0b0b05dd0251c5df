//! Waits that end in the round of an append, by a permission that is taken away, or because another
//! ring is put in place of the one that is waited for.

use crate::harness::{PATIENCE, Server, each_binary, each_server, must, until};
use crate::pull::{GROUPS, P, block, pull, ring, say, start, trigger, until_blocked, woken, words};
use crate::unblocking::{ALL, As, assert_all_free, waiting};

/// The event and CLIENT UNBLOCK in one transaction, or one after the other in one write.
#[test]
fn client_unblock_in_the_round_of_an_append_is_one_reply() {
    each_binary(|binary| {
        for threads in ["io-threads 1", "io-threads 4"] {
            let server = Server::with(binary).config(&[threads]).start();
            let mut control = ring(&server);
            for (how, in_multi) in ALL.into_iter().flat_map(|how| [(how, true), (how, false)]) {
                let (mut client, owner) =
                    waiting(&server, &mut control, how, "BLOCK 0 LEASE 60000");
                let list = must!(control, "CLIENT", "LIST", "TYPE", "normal");
                let blocked = list.str().lines().find(|line| line.contains("flags=b"));
                let id = blocked.unwrap().split(['=', ' ']).nth(1).unwrap().to_owned();
                let trigger = words("EVQ.TRIGGER k p RING r");
                let unblock = ["CLIENT", "UNBLOCK", &id, "TIMEOUT"].to_vec();
                let (multi, exec) = (words("MULTI"), words("EXEC"));
                match in_multi {
                    true => control.pipeline(&[multi, trigger, unblock, exec]),
                    false => control.pipeline(&[trigger, unblock]),
                };
                let reply = client.try_read(PATIENCE);
                assert!(reply.is_some(), "{how:?}, {threads}: no reply");
                assert_eq!(must!(client, "PING").str(), "PONG", "{how:?}, {threads}");
                drop((client, owner));
                must!(control, "DEL", P, GROUPS);
                assert_all_free(&server, &mut control);
            }
        }
    });
}

#[test]
fn a_user_that_may_consume_no_longer_gets_no_event() {
    each_server(|server| {
        let mut control = ring(&server);
        for how in ALL {
            must!(control, "ACL", "SETUSER", "u", "on", "nopass", "~*", "+@all").ok();
            let mut client = server.connect();
            must!(client, "AUTH", "u", "x").ok();
            let mut owner = server.connect();
            if how != As::Owner {
                assert_eq!(pull(&mut owner, "NOBLOCK LEASE 60000"), None);
            }
            block(&mut control, &mut client, "BLOCK 0 LEASE 60000");
            if how == As::Promoted {
                must!(owner, "EVQ.RELEASE", P).ok();
            }
            must!(control, "ACL", "SETUSER", "u", "-evq.consume").ok();
            let ids = trigger(&mut control, &["a"]);
            assert_eq!(woken(&mut client).err_code(), "NOPERM", "{how:?}");
            // Another worker has the event, and need not wait for the lease.
            let mut next = server.connect();
            assert_eq!(pull(&mut next, "BLOCK 60000").expect("the event").ids, ids, "{how:?}");
            drop((client, owner, next));
            must!(control, "DEL", P, GROUPS);
            assert_all_free(&server, &mut control);
        }
    });
}

#[test]
fn a_ring_that_is_replaced_by_a_smaller_one_dismisses_who_waits_outside_it() {
    each_server(|server| {
        let replacements: [&[&str]; 5] = [
            &["EVQ.CREATE small 1", "RENAME evq:{small} evq:{big}"],
            &["EVQ.CREATE small 1", "COPY evq:{small} evq:{big} REPLACE"],
            &["RESTORE"],
            &["SELECT 1", "EVQ.CREATE big 1", "SELECT 0", "SWAPDB 0 1"],
            &["DEL evq:{big}", "EVQ.CREATE big 1"],
        ];
        for commands in replacements {
            let mut control = server.connect();
            must!(control, "FLUSHALL").ok();
            must!(control, "EVQ.CREATE", "big", 4).ok();
            let (mut owner, mut standby) = (server.connect(), server.connect());
            for client in [&mut owner, &mut standby] {
                start(client, "EVQ.CONSUME 3 RING big BLOCK 0");
            }
            until_blocked(&mut control, 2);
            for command in commands {
                if *command == "RESTORE" {
                    must!(control, "EVQ.CREATE", "small", 1).ok();
                    let dump = must!(control, "DUMP", "evq:{small}").bytes().to_vec();
                    must!(control, "RESTORE", "evq:{big}", 0, dump, "REPLACE").ok();
                } else {
                    let reply = say(&mut control, command);
                    assert!(!reply.is_error(), "{command}: {reply:?}");
                }
            }
            for client in [&mut owner, &mut standby] {
                assert_eq!(woken(client).err_code(), "EVQNOPARTITION", "{commands:?}");
            }
        }
    });
}

#[test]
fn a_ring_that_is_replaced_by_one_without_the_group_leaves_nobody_asleep_beside_events() {
    each_server(|server| {
        let replacements: [&[&str]; 4] = [
            &["EVQ.CREATE other 4", "RENAME evq:{other} evq:{big}"],
            &["EVQ.CREATE other 4", "COPY evq:{other} evq:{big} REPLACE"],
            &["SELECT 1", "EVQ.CREATE big 4", "SELECT 0", "SWAPDB 0 1"],
            &["DEL evq:{big}", "EVQ.CREATE big 4"],
        ];
        for commands in replacements {
            for pull in ["3", "*"] {
                let mut control = server.connect();
                must!(control, "FLUSHALL").ok();
                must!(control, "EVQ.CREATE", "big", 4).ok();
                let (mut owner, mut standby) = (server.connect(), server.connect());
                for client in [&mut owner, &mut standby] {
                    start(client, &format!("EVQ.CONSUME {pull} RING big GROUP g BLOCK 0"));
                }
                until_blocked(&mut control, 2);
                for command in commands {
                    let reply = say(&mut control, command);
                    assert!(!reply.is_error(), "{command}: {reply:?}");
                }
                // Two events, so that either is told or served. Whoever asks again makes the group.
                for n in [0, 1] {
                    must!(control, "XADD", "evq:{big:3}", "*", "key", n, "payload", n);
                }
                // Behind an owner that was served a standby waits in its place.
                until(PATIENCE, || owner.has_reply() || standby.has_reply());
                for client in [&mut owner, &mut standby] {
                    if !client.has_reply() {
                        continue;
                    }
                    let reply = client.read();
                    let refused = reply.is_error() && reply.err_code() == "EVQNOGROUP";
                    let served = !reply.is_error() && reply.array().len() == 3;
                    assert!(served || refused, "{commands:?} {pull}: {reply:?}");
                }
            }
        }
    });
}
