//! After EVQ.RESIZE more keys than a partition upstream remembers the ends of are held in their new
//! partition, because an event of each is dead in the old one. Whatever ends one of these, its key
//! is given at the very next pull, and no other; whatever ends all, all go on; and who waits is
//! woken.

use crate::harness::{Conn, PATIENCE, Server, Value, each_binary, each_server, must, until};
use crate::harness::{args, wait_for_sync};
use crate::pull::{Pull, ring, say, start, until_blocked, woken};
use crate::resize::order::{ack, event, payloads, remove_all_events, resize};

/// More than are kept of the keys whose exceptions ended.
const KEYS: usize = 1200;

/// What each of them has on partition 0, dead, and on partition 1, held.
struct Held {
    dead: Vec<String>,
    held: Vec<String>,
}

fn all(conn: &mut Conn, commands: &[Vec<Vec<u8>>]) -> Vec<Value> {
    let replies = conn.pipeline(commands);
    assert!(replies.iter().all(|reply| !reply.is_error()), "{:?}", replies.first());
    replies
}

/// The first keys of 0, 1, 2 and so on that live on partition 1 in a ring of two.
fn keys(conn: &mut Conn) -> Vec<String> {
    must!(conn, "EVQ.CREATE", "of2", 2).ok();
    let route = |n: usize| args!["EVQ.ROUTE", n, "RING", "of2"].to_vec();
    let routes = all(conn, &(0..3 * KEYS).map(route).collect::<Vec<_>>());
    let moved = (0..).zip(routes).filter(|(_, reply)| reply.at(0).int() == 1);
    let keys: Vec<String> = moved.map(|(n, _): (usize, _)| n.to_string()).take(KEYS).collect();
    assert_eq!(keys.len(), KEYS);
    keys
}

fn trigger_all(conn: &mut Conn, keys: &[String]) -> Vec<String> {
    let trigger = |key: &String| args!["EVQ.TRIGGER", key, key, "RING", "r"].to_vec();
    let replies = all(conn, &keys.iter().map(trigger).collect::<Vec<_>>());
    replies.iter().map(|reply| reply.at(1).str().to_owned()).collect()
}

/// Of each key the first event dies on partition 0, and the second one is held on partition 1.
fn hold(conn: &mut Conn) -> Held {
    let keys = keys(conn);
    say(conn, "EVQ.GROUP default RING r MAXATTEMPTS 1 ONDEAD hold").ok();
    let dead = trigger_all(conn, &keys);
    let given = say(conn, "EVQ.CONSUME 0 RING r WORKER w COUNT 10000");
    assert_eq!(Pull::of(&given).unwrap().ids.len(), KEYS);
    let nack = |id: &String| args!["EVQ.NACK", 0, id, "RING", "r", "WORKER", "w"].to_vec();
    all(conn, &dead.iter().map(nack).collect::<Vec<_>>());
    resize(conn, 2);
    let held = trigger_all(conn, &keys);
    assert_eq!(payloads(conn, 1, "WORKER w"), "");
    let stats = must!(conn, "EVQ.STATS", "r");
    let of = stats.get("partitions").at(1).get("groups").at(0).clone();
    assert_eq!((of.get("held").int(), of.get("retrying").int()), (KEYS as i64, 0));
    Held { dead, held }
}

/// What the next pull gives of partition 1, once and no more: its id.
#[track_caller]
fn next(conn: &mut Conn) -> Option<String> {
    let reply = say(conn, "EVQ.CONSUME 1 RING r WORKER w NOBLOCK");
    let ids = Pull::of(&reply)?.ids;
    assert_eq!(ids.len(), 1, "held events come alone");
    assert_eq!(ack(conn, 1, &ids[0], "WORKER w"), 1);
    ids.first().cloned()
}

fn dead(conn: &mut Conn, what: &str, id: &str) {
    assert!(must!(conn, "EVQ.DEAD", "default", what, 0, id, "RING", "r").int() >= 1);
}

/// Gives all that is left of what is held, in the order of ids.
fn rest(conn: &mut Conn) -> Vec<String> {
    std::iter::from_fn(|| next(conn)).collect()
}

#[test]
fn a_held_key_goes_on_at_the_next_pull_and_no_other_does() {
    each_server(|server| {
        let mut conn = ring(&server);
        let Held { dead: first, held } = hold(&mut conn);
        // The last first, so that neither order nor age helps.
        for n in [KEYS - 1, 0, KEYS / 2] {
            assert_eq!(next(&mut conn), None);
            dead(&mut conn, "SKIP", &first[n]);
            assert_eq!(next(&mut conn), Some(held[n].clone()), "skipped");
            assert_eq!(next(&mut conn), None);
        }
        for n in [7, KEYS - 7] {
            dead(&mut conn, "RETRY", &first[n]);
            assert_eq!(next(&mut conn), None, "it is not finished yet");
            assert_eq!(payloads(&mut conn, 0, "WORKER w").split(' ').count(), 1);
            assert_eq!(next(&mut conn), None, "nor now");
            ack(&mut conn, 0, &first[n], "WORKER w");
            assert_eq!(next(&mut conn), Some(held[n].clone()), "retried");
            assert_eq!(next(&mut conn), None);
        }
        // An event that fails again holds its key again.
        dead(&mut conn, "RETRY", &first[9]);
        assert_eq!(payloads(&mut conn, 0, "WORKER w").split(' ').count(), 1);
        must!(conn, "EVQ.NACK", 0, &first[9], "RING", "r", "WORKER", "w");
        assert_eq!(next(&mut conn), None);
        // One that is deleted by hand while it waits is over when it is found to be gone.
        must!(conn, "XDEL", "evq:{r:0}", &first[11]);
        dead(&mut conn, "SKIP", &first[11]);
        assert_eq!(next(&mut conn), Some(held[11].clone()));
        // A fresh event of a key that nothing holds passes by all of them.
        let mut others = (0..).map(|n| format!("other{n}"));
        let of2 = |conn: &mut Conn, key: &str| must!(conn, "EVQ.ROUTE", key, "RING", "of2");
        let other = others.find(|key| of2(&mut conn, key).at(0).int() == 1).unwrap();
        let (_, fresh) = event(&mut conn, &other, "fresh");
        assert_eq!(next(&mut conn), Some(fresh));
        dead(&mut conn, "SKIP", "*");
        let over = [KEYS - 1, 0, KEYS / 2, 7, KEYS - 7, 11];
        let left = held.iter().enumerate().filter(|(n, _)| !over.contains(n));
        let left: Vec<String> = left.map(|(_, id)| id.clone()).collect();
        assert_eq!(rest(&mut conn), left, "more at once than are remembered");
    });
}

#[test]
fn a_worker_that_waits_behind_many_held_keys_is_woken_by_each_that_goes_on() {
    each_server(|server| {
        let (mut conn, mut worker) = (ring(&server), server.connect());
        let Held { dead: first, held } = hold(&mut conn);
        let pull = "EVQ.CONSUME 1 RING r WORKER w BLOCK 0";
        let given = |reply: &Value| Pull::of(reply).unwrap().ids;
        for n in [KEYS - 1, 3] {
            start(&mut worker, pull);
            until_blocked(&mut conn, 1);
            dead(&mut conn, "SKIP", &first[n]);
            let reply = woken(&mut worker);
            assert_eq!(given(&reply), [held[n].clone()]);
            ack(&mut conn, 1, &held[n], "WORKER w");
        }
        // By an acknowledgement in the old partition.
        dead(&mut conn, "RETRY", &first[5]);
        start(&mut worker, pull);
        until_blocked(&mut conn, 1);
        assert_eq!(payloads(&mut conn, 0, "WORKER w").split(' ').count(), 1);
        ack(&mut conn, 0, &first[5], "WORKER w");
        let reply = woken(&mut worker);
        assert_eq!(given(&reply), [held[5].clone()]);
        ack(&mut conn, 1, &held[5], "WORKER w");
        // A worker of any partition is called as well.
        start(&mut worker, "EVQ.CONSUME * RING r WORKER any BLOCK 0");
        must!(conn, "EVQ.RELEASE", 0, "RING", "r", "WORKER", "w");
        must!(conn, "EVQ.RELEASE", 1, "RING", "r", "WORKER", "w");
        until_blocked(&mut conn, 1);
        dead(&mut conn, "SKIP", &first[8]);
        let reply = woken(&mut worker);
        assert_eq!((reply.at(0).int(), given(&reply)), (1, vec![held[8].clone()]));
    });
}

#[test]
fn all_held_keys_go_on_whatever_takes_their_failures_away() {
    let seek = |conn: &mut Conn| {
        must!(conn, "EVQ.SEEK", "default", 0, "last", "RING", "r");
    };
    let delete_stream = |conn: &mut Conn| {
        must!(conn, "DEL", "evq:{r:0}");
    };
    let delete_state = |conn: &mut Conn| {
        must!(conn, "DEL", "evq:{r:0}:groups", "evq:{r:0}");
    };
    let overwrite = |conn: &mut Conn| {
        // The state of a group that has finished everything, under the same key.
        must!(conn, "RENAME", "evq:{r:0}:groups", "away");
        must!(conn, "EVQ.SEEK", "default", 0, "last", "RING", "r");
    };
    let ways: [&dyn Fn(&mut Conn); 4] = [&seek, &delete_stream, &delete_state, &overwrite];
    each_binary(|binary| {
        for way in ways {
            let server = Server::with(binary).start();
            let (mut conn, mut worker) = (ring(&server), server.connect());
            let Held { held, .. } = hold(&mut conn);
            start(&mut worker, "EVQ.CONSUME 1 RING r WORKER w BLOCK 0");
            until_blocked(&mut conn, 1);
            way(&mut conn);
            let reply = woken(&mut worker);
            assert_eq!(Pull::of(&reply).unwrap().ids, [held[0].clone()]);
            ack(&mut conn, 1, &held[0], "WORKER w");
            assert_eq!(rest(&mut conn), held[1..]);
        }
    });
}

#[test]
fn held_keys_are_held_and_go_on_after_a_reload_a_failover_and_where_keys_were_swapped() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = ring(&primary);
        let Held { dead: first, held } = hold(&mut conn);
        dead(&mut conn, "SKIP", &first[1]);
        must!(conn, "DEBUG", "RELOAD").ok();
        assert_eq!(next(&mut conn), Some(held[1].clone()));
        assert_eq!(next(&mut conn), None);
        // A copy takes the place of what was there, and goes another way from then on.
        must!(conn, "COPY", "evq:{r:0}:groups", "copy");
        assert_eq!(next(&mut conn), None);
        dead(&mut conn, "SKIP", &first[2]);
        assert_eq!(next(&mut conn), Some(held[2].clone()));
        must!(conn, "RENAME", "copy", "evq:{r:0}:groups");
        assert_eq!(next(&mut conn), None);
        dead(&mut conn, "SKIP", &first[4]);
        assert_eq!(next(&mut conn), Some(held[4].clone()));
        wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), primary.digest());
        drop(primary);
        let mut conn = replica.connect();
        must!(conn, "REPLICAOF", "NO", "ONE").ok();
        assert_eq!(next(&mut conn), None);
        dead(&mut conn, "SKIP", &first[3]);
        assert_eq!(next(&mut conn), Some(held[3].clone()));
        assert_eq!(next(&mut conn), None);
        // The old partition goes, and with it what it held: its letters were skipped.
        resize(&mut conn, 3);
        assert_eq!(next(&mut conn), None, "another resize changes nothing");
        dead(&mut conn, "SKIP", "*");
        assert_eq!(rest(&mut conn).len(), KEYS - 4);
        remove_all_events(&mut conn, 3);
        until(PATIENCE, || must!(conn, "EVQ.RING", "r").get("resizing").is_null());
    });
}
