//! Who owns a partition: how a lease goes on, how it ends, who comes next, and that whoever lost
//! it can do nothing more. Every test that must not see the deadline takes leases of a minute.

use std::time::{Duration, Instant};

use crate::harness::{Conn, PATIENCE, Server, cmd, each_server, must, until};
use crate::pull::{
    GROUPS, P, Pull, block, blocked, pull, refused, ring, say, start, take, trigger, until_blocked,
    woken, woken_within,
};

/// A ring with three events, and its owner under a lease of a minute.
fn owned(server: &Server, options: &str) -> (Conn, Conn, Pull) {
    let mut control = ring(server);
    trigger(&mut control, &["a", "b", "c"]);
    let mut owner = server.connect();
    let pulled = take(&mut owner, &format!("LEASE 60000 {options}"));
    (control, owner, pulled)
}

#[test]
fn the_connection_continues_its_lease() {
    each_server(|server| {
        let (mut other, mut owner, first) = owned(&server, "");
        let second = take(&mut owner, "AHEAD");
        assert_eq!((second.epoch, second.payloads[0].as_str()), (first.epoch, "b"));
        assert_eq!(pull(&mut other, "NOBLOCK"), None, "another connection is another worker");
        assert_eq!(pull(&mut other, "NOBLOCK WORKER w"), None);
        assert_eq!(take(&mut owner, "AHEAD").payloads, ["c"], "asking in vain disturbs nobody");
    });
}

#[test]
fn the_epoch_continues_a_lease_from_another_connection() {
    each_server(|server| {
        let (mut other, mut owner, first) = owned(&server, "WORKER w");
        let epoch = first.epoch;
        let second = take(&mut other, &format!("AHEAD EPOCH {epoch}"));
        assert_eq!((second.epoch, second.payloads[0].as_str()), (epoch, "b"));
        let third = take(&mut owner, &format!("AHEAD WORKER w EPOCH {epoch}"));
        assert_eq!((third.epoch, third.payloads[0].as_str()), (epoch, "c"));
        let ack = format!("EVQ.ACK {P} {} EPOCH {epoch}", first.last());
        assert_eq!(say(&mut other, &ack).int(), 1);
        assert_eq!(pull(&mut other, &format!("NOBLOCK EPOCH {}", epoch - 1)), None, "an old one");
    });
}

#[test]
fn the_same_worker_from_another_connection_begins_again_under_a_new_epoch() {
    each_server(|server| {
        let (mut other, mut owner, first) = owned(&server, "WORKER w COUNT 2");
        let again = take(&mut other, "WORKER w COUNT 2");
        assert!(again.epoch > first.epoch);
        assert_eq!(again.ids, first.ids, "a reply that got lost is given again");
        let ack = format!("EVQ.ACK {P} {} EPOCH {}", first.last(), first.epoch);
        assert_eq!(refused(&mut owner, &ack), "EVQFENCED");
        let back = take(&mut owner, "WORKER w");
        assert!(back.epoch > again.epoch);
        assert_eq!(back.ids, first.ids[..1]);
        assert_eq!(pull(&mut other, "WORKER v NOBLOCK"), None, "another name has to wait");
    });
}

/// Everything a worker may do with a lease, in words that name it by connection, name or epoch.
fn moves(id: &str, who: &str) -> [String; 4] {
    [
        format!("EVQ.ACK {P} {id} {who}"),
        format!("EVQ.EXTEND {P} LEASE 1000 {who}"),
        format!("EVQ.RELEASE {P} {who}"),
        format!("EVQ.CONSUME {P} BLOCK 0 ACK {id} {who}"),
    ]
}

#[test]
fn a_worker_whose_lease_was_taken_over_is_fenced() {
    each_server(|server| {
        let mut control = ring(&server);
        trigger(&mut control, &["a", "b"]);
        let (mut old, mut new) = (server.connect(), server.connect());
        for (first, second) in [("", ""), ("WORKER v", "WORKER w"), ("WORKER v", "WORKER v")] {
            let lost = take(&mut old, &format!("LEASE 1 {first}"));
            let taken = |new: &mut Conn| pull(new, &format!("NOBLOCK LEASE 60000 {second}"));
            let mut holder = None;
            until(PATIENCE, || {
                holder = taken(&mut new);
                holder.is_some()
            });
            let digest = control.digest();
            let epoch = format!("EPOCH {}", lost.epoch);
            let both = format!("{first} {epoch}");
            let ways = if first == second && !first.is_empty() {
                // A name that both share is no fence; the epoch is.
                vec![epoch.as_str(), &both]
            } else {
                vec![first, &epoch, &both]
            };
            for who in ways {
                for line in moves(lost.last(), who) {
                    assert_eq!(refused(&mut old, &line), "EVQFENCED", "{line}");
                    assert_eq!(refused(&mut control, &line), "EVQFENCED", "{line}");
                }
            }
            assert_eq!(control.digest(), digest, "a fenced worker changes nothing");
            say(&mut new, &format!("EVQ.RELEASE {P} {second}")).ok();
        }
    });
}

#[test]
fn who_never_had_the_lease_is_fenced() {
    each_server(|server| {
        let (mut other, mut owner, first) = owned(&server, "WORKER w");
        let ways = ["", "WORKER v", "EPOCH 0", "EPOCH 1", "EPOCH 9223372036854775807"];
        for line in ways.iter().flat_map(|who| moves(first.last(), who)) {
            assert_eq!(refused(&mut other, &line), "EVQFENCED", "{line}");
        }
        say(&mut owner, &format!("EVQ.RELEASE {P}")).ok();
        for line in ["", "WORKER w"].iter().flat_map(|who| moves(first.last(), who)) {
            assert_eq!(refused(&mut owner, &line), "EVQFENCED", "after its end: {line}");
        }
    });
}

#[test]
fn past_its_deadline_a_worker_may_go_on_until_somebody_took_over() {
    each_server(|server| {
        let mut control = ring(&server);
        let ids = trigger(&mut control, &["a", "b", "c"]);
        let mut owner = server.connect();
        let first = take(&mut owner, "LEASE 1");
        let over = || std::thread::sleep(Duration::from_millis(5));
        over();
        assert_eq!(say(&mut owner, &format!("EVQ.ACK {P} {}", ids[0])).int(), 1);
        over();
        assert_eq!(take(&mut owner, "LEASE 1").epoch, first.epoch, "it continues");
        over();
        say(&mut owner, &format!("EVQ.EXTEND {P} LEASE 60000")).ok();
        assert_eq!(pull(&mut control, "NOBLOCK"), None, "and it is renewed");
        say(&mut owner, &format!("EVQ.EXTEND {P} LEASE 1")).ok();
        over();
        assert_eq!(take(&mut control, "").ids, ids[1..2], "the next that asks takes over");
    });
}

#[test]
fn every_sign_of_life_renews_the_lease() {
    each_server(|server| {
        let mut control = ring(&server);
        let ids = trigger(&mut control, &["a", "b", "c", "d"]);
        let mut owner = server.connect();
        let began = Instant::now();
        take(&mut owner, "LEASE 1200 COUNT 2");
        let signs = [
            format!("EVQ.ACK {P} {}", ids[0]),
            format!("EVQ.ACK {P} {}", ids[0]),
            format!("EVQ.EXTEND {P} LEASE 1200"),
            format!("EVQ.CONSUME {P} LEASE 1200"),
            format!("EVQ.ACK {P} {}", ids[1]),
        ];
        for sign in signs {
            std::thread::sleep(Duration::from_millis(300));
            // At once, or it may have lapsed again by then. Another worker asks on its connection.
            must!(owner, "MULTI").ok();
            say(&mut owner, &sign);
            say(&mut owner, &format!("EVQ.CONSUME {P} WORKER other NOBLOCK"));
            let replies = must!(owner, "EXEC");
            assert!(!replies.at(0).is_error(), "{sign}: {replies:?}");
            assert!(replies.at(1).is_null(), "{sign} after {:?}", began.elapsed());
        }
        assert!(began.elapsed() > Duration::from_millis(1200), "without renewal it had lapsed");
        until(PATIENCE, || pull(&mut control, "NOBLOCK").is_some());
    });
}

#[test]
fn standbys_get_the_partition_in_the_order_they_came_at_once_on_release() {
    each_server(|server| {
        let (mut control, owner, first) = owned(&server, "");
        let mut standbys: Vec<_> = (0..4).map(|_| server.connect()).collect();
        for standby in &mut standbys {
            block(&mut control, standby, "BLOCK 0 LEASE 60000");
        }
        assert_eq!(pull(&mut control, "NOBLOCK"), None, "nobody jumps the line");
        let (mut holder, mut epoch) = (owner, first.epoch);
        for (waiting, mut next) in (0..4).rev().zip(standbys) {
            say(&mut holder, &format!("EVQ.RELEASE {P}")).ok();
            let given = Pull::of(&woken(&mut next)).unwrap();
            assert!(given.epoch > epoch);
            assert_eq!(given.ids, first.ids, "again from the cursor");
            assert_eq!(blocked(&mut control), waiting, "the others wait on");
            (holder, epoch) = (next, given.epoch);
        }
    });
}

#[test]
fn a_closed_connection_hands_the_partition_over_within_milliseconds() {
    each_server(|server| {
        let (mut control, owner, first) = owned(&server, "");
        let mut standbys: Vec<_> = (0..3).map(|_| server.connect()).collect();
        for standby in &mut standbys {
            block(&mut control, standby, "BLOCK 0 LEASE 60000");
        }
        let mut holder = owner;
        for mut next in standbys {
            drop(holder);
            // Not at the deadline.
            assert_eq!(Pull::of(&woken(&mut next)).unwrap().ids, first.ids);
            holder = next;
        }
        assert_eq!(blocked(&mut control), 0);
    });
}

#[test]
fn a_killed_owner_that_was_blocked_hands_the_partition_over_at_once() {
    each_server(|server| {
        let mut control = ring(&server);
        let (mut owner, mut next) = (server.connect(), server.connect());
        let id = owner.id();
        block(&mut control, &mut owner, "BLOCK 0 LEASE 60000");
        block(&mut control, &mut next, "BLOCK 0 LEASE 60000");
        must!(control, "CLIENT", "KILL", "ID", id);
        until_blocked(&mut control, 1);
        let ids = trigger(&mut control, &["a"]);
        assert_eq!(Pull::of(&woken(&mut next)).unwrap().ids, ids);
    });
}

#[test]
fn a_lease_that_expires_goes_to_the_first_in_line() {
    each_server(|server| {
        let (mut control, mut owner, first) = owned(&server, "WORKER w");
        let began = Instant::now();
        say(&mut owner, &format!("EVQ.EXTEND {P} LEASE 300")).ok();
        let mut next = server.connect();
        block(&mut control, &mut next, "BLOCK 0");
        let given = Pull::of(&woken_within(&mut control, &mut next, 1300)).unwrap();
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(299), "{took:?}");
        assert!(given.epoch > first.epoch);
        let ack = format!("EVQ.ACK {P} {}", first.last());
        assert_eq!(refused(&mut owner, &ack), "EVQFENCED");
    });
}

#[test]
fn a_named_workers_lease_survives_its_connection() {
    each_server(|server| {
        let (mut control, owner, first) = owned(&server, "WORKER w");
        let mut standby = server.connect();
        block(&mut control, &mut standby, "BLOCK 0 WORKER v");
        drop(owner);
        assert_eq!(standby.try_read(Duration::from_millis(300)), None);
        // The restarted process has lost what it was given, so it begins again.
        let again = take(&mut control, "WORKER w LEASE 60000");
        assert!(again.epoch > first.epoch && again.ids == first.ids);
        assert_eq!(say(&mut control, &format!("EVQ.ACK {P} {} WORKER w", first.last())).int(), 1);
        say(&mut control, &format!("EVQ.RELEASE {P} WORKER w")).ok();
        assert_eq!(Pull::of(&woken(&mut standby)).unwrap().payloads, ["b"]);
    });
}

#[test]
fn a_lease_does_not_expire_while_its_owner_waits_with_nothing_in_flight() {
    each_server(|server| {
        let mut control = ring(&server);
        let (mut owner, mut standby) = (server.connect(), server.connect());
        block(&mut control, &mut owner, "BLOCK 0 LEASE 20 WORKER w");
        block(&mut control, &mut standby, "BLOCK 0");
        assert_eq!(standby.try_read(Duration::from_millis(200)), None);
        assert_eq!(blocked(&mut control), 2);
        let ids = trigger(&mut control, &["a"]);
        assert_eq!(Pull::of(&woken(&mut owner)).unwrap().ids, ids, "it is still the owner");
        assert_eq!(Pull::of(&woken(&mut standby)).unwrap().ids, ids);
        // With an event in flight it does, even though it waits for more.
        let (mut owner, mut standby) = (server.connect(), server.connect());
        say(&mut control, "EVQ.GROUP g RING r FROM first").ok();
        take(&mut owner, "GROUP g LEASE 20 WORKER w");
        block(&mut control, &mut owner, "GROUP g AHEAD BLOCK 0 LEASE 20 WORKER w");
        start(&mut standby, &format!("EVQ.CONSUME {P} GROUP g BLOCK 0"));
        assert_eq!(Pull::of(&woken(&mut standby)).unwrap().ids, ids);
        assert_eq!(woken(&mut owner).err_code(), "EVQFENCED", "it learns at once");
    });
}

#[test]
fn a_blocked_owner_whose_lease_is_ended_elsewhere_is_told_at_once() {
    each_server(|server| {
        let mut control = ring(&server);
        let (mut owner, mut next) = (server.connect(), server.connect());
        block(&mut control, &mut owner, "BLOCK 0 WORKER w");
        assert_eq!(pull(&mut next, "NOBLOCK WORKER w"), None);
        assert_eq!(woken(&mut owner).err_code(), "EVQFENCED", "by its own name from elsewhere");
        let ids = trigger(&mut control, &["a"]);
        let epoch = take(&mut next, "WORKER w").epoch;
        block(&mut control, &mut next, &format!("BLOCK 0 WORKER w ACK {}", ids[0]));
        say(&mut control, &format!("EVQ.RELEASE {P} EPOCH {epoch}")).ok();
        assert_eq!(woken(&mut next).err_code(), "EVQFENCED", "by its epoch");
        assert_eq!(blocked(&mut control), 0);
    });
}

#[test]
fn extend_does_not_touch_the_watched_key_and_a_takeover_does() {
    each_server(|server| {
        let (mut control, mut owner, first) = owned(&server, "");
        let epoch = first.epoch;
        let exec = |conn: &mut Conn| {
            must!(conn, "MULTI").ok();
            must!(conn, "EVQ.ACK", P, first.last(), "EPOCH", epoch);
            must!(conn, "INCR", "handled");
            must!(conn, "EXEC")
        };
        must!(control, "WATCH", GROUPS).ok();
        must!(control, "EVQ.EXTEND", P, "EPOCH", epoch).ok();
        must!(owner, "EVQ.EXTEND", P, "LEASE", 1).ok();
        let mut next = server.connect();
        until(PATIENCE, || pull(&mut next, "NOBLOCK").is_some());
        assert!(exec(&mut control).is_null(), "a takeover is seen");
        assert!(cmd!(control, "GET", "handled").is_null());
        say(&mut next, &format!("EVQ.RELEASE {P}")).ok();
        let mine = take(&mut next, "");
        must!(control, "WATCH", GROUPS).ok();
        must!(control, "EVQ.EXTEND", P, "EPOCH", mine.epoch).ok();
        must!(control, "MULTI").ok();
        must!(control, "EVQ.ACK", P, mine.last(), "EPOCH", mine.epoch);
        must!(control, "INCR", "handled");
        assert_eq!(must!(control, "EXEC").at(0).int(), 1);
        assert_eq!(must!(control, "GET", "handled").str(), "1");
    });
}
