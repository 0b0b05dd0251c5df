//! Events that wait for a retry, are held or dead, and are removed by hand: each is finished, and
//! its key goes on by itself.

use crate::failing::{events, letters, nack, pending};
use crate::harness::{
    Conn, PATIENCE, Server, each_binary, each_server, must, until, wait_for_sync,
};
use crate::pull::{GROUPS, IN_TIME, P, Pull, block, pull, ring, say, take, woken};

/// How the first event of the stream is removed.
const REMOVALS: [&str; 5] = ["XDEL", "XTRIM MINID", "XTRIM MAXLEN", "DEL", "UNLINK"];

/// Removes the first two events of four, or all.
fn remove(conn: &mut Conn, how: &str, ids: &[String]) {
    match how {
        "XDEL" => must!(conn, "XDEL", P, ids[0], ids[1]),
        "XTRIM MINID" => must!(conn, "XTRIM", P, "MINID", ids[2]),
        "XTRIM MAXLEN" => must!(conn, "XTRIM", P, "MAXLEN", ids.len() - 2),
        how => must!(conn, how, P),
    };
}

#[test]
fn what_waits_and_is_removed_by_hand_lets_its_key_go_on_to_a_blocked_worker() {
    each_server(|server| {
        for (how, on_dead) in REMOVALS.into_iter().flat_map(|how| [(how, false), (how, true)]) {
            let (mut conn, mut worker) = (ring(&server), server.connect());
            let attempts = if on_dead { 1 } else { 9 };
            must!(
                conn,
                "EVQ.GROUP",
                "g",
                "RING",
                "r",
                "MAXATTEMPTS",
                attempts,
                "ONDEAD",
                "hold",
                "BACKOFF",
                3_600_000,
                3_600_000
            )
            .ok();
            let ids = events(&mut conn, &[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4")]);
            take(&mut worker, "GROUP g WORKER w COUNT 4");
            assert_eq!(nack(&mut worker, &ids[0], "GROUP g WORKER w"), ids[1..]);
            block(&mut conn, &mut worker, "GROUP g WORKER w BLOCK 0");
            remove(&mut conn, how, &ids);
            if how == "DEL" || how == "UNLINK" {
                // Nothing of it is left, and what comes is delivered at once.
                let id = events(&mut conn, &[("a", "5")]).remove(0);
                assert_eq!(Pull::of(&woken(&mut worker)).unwrap().ids, [id], "{how}");
            } else {
                assert_eq!(Pull::of(&woken(&mut worker)).unwrap().ids, [ids[2].clone()], "{how}");
            }
            let left = pending(&mut conn, "GROUP g");
            assert!(left.iter().all(|(id, _)| *id != ids[0] && *id != ids[1]), "{how}: {left:?}");
            // A dead letter stays readable and cannot be retried.
            assert_eq!(letters(&mut conn, "g").len(), usize::from(on_dead), "{how}");
            assert_eq!(must!(conn, "EVQ.DEAD", "g", "RETRY", "*", "*", "RING", "r").int(), 0);
            assert_eq!(letters(&mut conn, "g").len(), usize::from(on_dead), "{how}");
            drop(worker);
            must!(conn, "EVQ.DROP", "r").ok();
        }
    });
}

/// A ring, its worker, and two events of a key, of which the first waits for a retry.
fn one_waits(server: &Server) -> (Conn, Conn, Vec<String>) {
    let (mut conn, mut worker) = (ring(server), server.connect());
    let ids = events(&mut conn, &[("a", "1"), ("a", "2")]);
    take(&mut worker, "WORKER w COUNT 2");
    nack(&mut worker, &ids[0], "WORKER w DELAY 3600000");
    (conn, worker, ids)
}

#[test]
fn what_was_removed_is_found_after_a_restart_as_well() {
    each_server(|server| {
        let (mut conn, mut worker, ids) = one_waits(&server);
        must!(conn, "MULTI").ok();
        must!(conn, "XDEL", P, ids[0]);
        must!(conn, "DEBUG", "RELOAD");
        must!(conn, "EXEC");
        block(&mut conn, &mut worker, "WORKER v BLOCK 0");
        assert_eq!(Pull::of(&woken(&mut worker)).unwrap().ids, [ids[1].clone()]);
    });
}

/// Waits until everything was searched for removed events, also what changed just now.
fn searched(conn: &mut Conn) {
    must!(conn, "EVQ.CREATE", "witness", 1).ok();
    must!(conn, "EVQ.TRIGGER", "a", "1", "RING", "witness");
    let pulled = must!(conn, "EVQ.CONSUME", 0, "RING", "witness", "WORKER", "w");
    let id = pulled.at(2).at(0).at(0).str().to_owned();
    must!(conn, "EVQ.NACK", 0, id, "DELAY", 3_600_000, "RING", "witness", "WORKER", "w");
    must!(conn, "DEL", "evq:{witness:0}");
    until(PATIENCE, || must!(conn, "EVQ.PENDING", 0, "RING", "witness").array().is_empty());
    must!(conn, "EVQ.DROP", "witness").ok();
}

#[test]
fn what_waits_stays_while_its_stream_is_away_by_another_name() {
    each_server(|server| {
        let (mut conn, _worker, _) = one_waits(&server);
        let waiting = pending(&mut conn, "");
        assert_eq!(waiting.len(), 2);
        must!(conn, "RENAME", P, "away").ok();
        searched(&mut conn);
        searched(&mut conn);
        must!(conn, "RENAME", "away", P).ok();
        searched(&mut conn);
        assert_eq!(pending(&mut conn, ""), waiting);
    });
}

#[test]
fn what_waits_stays_while_its_keys_are_restored_one_by_one() {
    each_server(|server| {
        let (mut conn, _worker, _) = one_waits(&server);
        must!(conn, "EVQ.RELEASE", P, "WORKER", "w").ok();
        let waiting = pending(&mut conn, "");
        let names = ["evq:{r}".to_owned(), format!("{P}:groups"), P.to_owned()];
        let dumps = names.each_ref().map(|name| must!(conn, "DUMP", name).bytes().to_vec());
        must!(conn, "EVQ.DROP", "r").ok();
        for (name, dump) in names.iter().zip(dumps) {
            must!(conn, "RESTORE", name, 0, dump).ok();
            searched(&mut conn);
            searched(&mut conn);
        }
        assert_eq!(pending(&mut conn, ""), waiting);
    });
}

#[test]
fn a_worker_that_refuses_what_was_removed_gets_the_next_one() {
    each_server(|server| {
        let (mut conn, mut first) = (ring(&server), server.connect());
        let all: Vec<_> = (0..5).map(|n| (["a", "b", "c", "d", "e"][n], "1")).collect();
        let ids = events(&mut conn, &all);
        take(&mut first, "COUNT 5");
        drop(first);
        let mut worker = server.connect();
        // What was in flight comes one at a time now.
        let pulled = pull(&mut worker, "AHEAD BLOCK 60000").expect("an event");
        assert_eq!(pulled.ids, ids[..1]);
        must!(conn, "XDEL", P, ids[0]);
        assert!(nack(&mut worker, &ids[0], "").is_empty());
        assert_eq!(take(&mut worker, "AHEAD").ids, ids[1..2]);
    });
}

#[test]
fn skip_finds_what_was_removed_by_hand_in_any_case() {
    each_server(|server| {
        let (mut conn, mut worker, ids) = one_waits(&server);
        // At once, before it is found.
        must!(conn, "MULTI").ok();
        must!(conn, "XDEL", P, ids[0]);
        must!(conn, "EVQ.DEAD", "default", "SKIP", P, ids[1]);
        must!(conn, "EVQ.DEAD", "default", "SKIP", P, ids[0]);
        let done = must!(conn, "EXEC");
        assert_eq!((done.at(1).int(), done.at(2).int()), (0, 1), "only what is gone");
        assert_eq!(take(&mut worker, "WORKER w").ids, [ids[1].clone()]);
        assert!(!must!(conn, "EXISTS", GROUPS).is_null());
        say(&mut conn, "EVQ.STATS r");
    });
}

#[test]
fn what_waits_in_a_partition_before_a_resize_and_is_removed_lets_its_key_go_on() {
    each_server(|server| {
        let mut conn = ring(&server);
        // Of many keys some move to the new partition.
        let keys: Vec<String> = (0..40).map(|n| format!("key:{n}")).collect();
        let all: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "1")).collect();
        let ids = events(&mut conn, &all);
        let mut worker = server.connect();
        take(&mut worker, "WORKER w COUNT 100");
        for id in &ids {
            nack(&mut worker, id, "WORKER w DELAY 3600000");
        }
        must!(conn, "EVQ.RESIZE", "r", 2);
        let moved =
            keys.iter().find(|key| must!(conn, "EVQ.ROUTE", key, "RING", "r").at(0).int() == 1);
        let moved = moved.expect("a key that moves");
        let id = must!(conn, "EVQ.TRIGGER", moved, "2", "RING", "r").at(1).str().to_owned();
        let mut next = server.connect();
        next.send(&crate::pull::words("EVQ.CONSUME evq:{r:1} BLOCK 0"));
        assert_eq!(next.try_read(std::time::Duration::from_millis(300)), None);
        must!(conn, "DEL", P);
        assert_eq!(Pull::of(&woken(&mut next)).unwrap().ids, [id]);
    });
}

/// What waits for an event that is removed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Waits {
    /// The next one of its key, held behind a retry.
    Retry,
    /// The next one of its key, held behind a dead event.
    Dead,
    /// One of another partition, to which the key has moved since.
    Downstream,
}

/// A ring in which an event waits for one that is going to be removed.
struct Scene {
    ring: String,
    how: &'static str,
    waits: Waits,
    /// The event that is removed, and the one that waits for it.
    ids: [String; 2],
    /// A key that stays in the partition.
    other: String,
}

/// All of them: what waits, and how the other event is removed.
fn scenes(conn: &mut Conn) -> Vec<Scene> {
    must!(conn, "EVQ.CREATE", "later", 2).ok();
    let keys: Vec<String> = (0..40).map(|n| format!("key:{n}")).collect();
    let at = |conn: &mut Conn, p: i64| {
        let is_there =
            |key: &&String| must!(conn, "EVQ.ROUTE", key, "RING", "later").at(0).int() == p;
        keys.iter().find(is_there).expect("a key of each partition").clone()
    };
    let (other, moves) = (at(conn, 0), at(conn, 1));
    let mut scenes = Vec::new();
    for waits in [Waits::Retry, Waits::Dead, Waits::Downstream] {
        for how in REMOVALS.into_iter().chain(["retention"]) {
            let ring = format!("r{}", scenes.len());
            must!(conn, "EVQ.CREATE", ring, 1, "MAXLEN", 3, "TRIM", "any").ok();
            let attempts = if waits == Waits::Dead { 1 } else { 9 };
            say(conn, &format!("EVQ.GROUP g RING {ring} MAXATTEMPTS {attempts} ONDEAD hold")).ok();
            let trigger = |conn: &mut Conn, payload: &str| {
                let reply = must!(conn, "EVQ.TRIGGER", moves, payload, "RING", ring);
                reply.at(1).str().to_owned()
            };
            let first = trigger(conn, "1");
            let second = (waits != Waits::Downstream).then(|| trigger(conn, "2"));
            say(conn, &format!("EVQ.CONSUME 0 RING {ring} GROUP g WORKER w COUNT 2 NOBLOCK"));
            let nack = format!("EVQ.NACK 0 {first} RING {ring} GROUP g WORKER w DELAY 3600000");
            assert!(!say(conn, &nack).is_error());
            say(conn, &format!("EVQ.RELEASE 0 RING {ring} GROUP g WORKER w")).ok();
            let second = second.unwrap_or_else(|| {
                must!(conn, "EVQ.RESIZE", ring, 2);
                trigger(conn, "2")
            });
            scenes.push(Scene { ring, how, waits, ids: [first, second], other: other.clone() });
        }
    }
    scenes
}

impl Scene {
    /// The partition in front of which a worker waits.
    fn partition(&self) -> i64 {
        i64::from(self.waits == Waits::Downstream)
    }

    /// Removes the first event; the id for which the worker waits from then on.
    fn remove(&self, conn: &mut Conn) -> String {
        let (stream, [first, second]) = (format!("evq:{{{}:0}}", self.ring), &self.ids);
        let (ms, seq) = first.split_once('-').unwrap();
        let after = format!("{ms}-{}", seq.parse::<u64>().unwrap() + 1);
        match self.how {
            "XDEL" => drop(must!(conn, "XDEL", stream, first)),
            "XTRIM MINID" => drop(must!(conn, "XTRIM", stream, "MINID", after)),
            "XTRIM MAXLEN" => drop(must!(conn, "XTRIM", stream, "MAXLEN", 1 - self.partition())),
            "retention" => {
                // Of at most three the oldest goes.
                for _ in 0..2 + self.partition() {
                    must!(conn, "EVQ.TRIGGER", self.other, "other", "RING", self.ring);
                }
            }
            how => {
                must!(conn, how, stream);
                if self.waits != Waits::Downstream {
                    // What waited is gone as well, and its key goes on with the next.
                    let reply = must!(conn, "EVQ.TRIGGER", self.other, "3", "RING", self.ring);
                    return reply.at(1).str().to_owned();
                }
            }
        }
        second.clone()
    }

    /// Pulls until it comes. Retention may have taken it, too, where it was pushed out.
    fn until_given(&self, worker: &mut Conn, id: &str) {
        for _ in 0..10 {
            let reply = worker.try_read(IN_TIME);
            let reply = reply.unwrap_or_else(|| panic!("{:?} {}: sleeps", self.waits, self.how));
            let given = Pull::of(&reply).expect("an event");
            let (last, p, ring) = (given.last().to_owned(), self.partition(), &self.ring);
            say(worker, &format!("EVQ.ACK {p} {last} RING {ring} GROUP g WORKER v"));
            if last == id {
                return;
            }
            worker.send(&crate::pull::words(&self.pull()));
        }
        panic!("{id} of {} never comes: {:?} {}", self.ring, self.waits, self.how);
    }

    fn pull(&self) -> String {
        format!("EVQ.CONSUME {} RING {} GROUP g WORKER v BLOCK 0", self.partition(), self.ring)
    }
}

/// Removes the first event of each scene, while a worker waits in front of it.
fn each_key_goes_on(server: &Server, scenes: &[Scene]) {
    let mut conn = server.connect();
    let mut workers: Vec<Conn> = scenes.iter().map(|_| server.connect()).collect();
    for (scene, worker) in scenes.iter().zip(&mut workers) {
        crate::pull::block_in(&mut conn, worker, &scene.pull());
    }
    let ids: Vec<String> = scenes.iter().map(|scene| scene.remove(&mut conn)).collect();
    for ((scene, worker), id) in scenes.iter().zip(&mut workers).zip(&ids) {
        scene.until_given(worker, id);
        let ring = &scene.ring;
        let left = say(&mut conn, &format!("EVQ.PENDING 0 RING {ring} GROUP g"));
        let is_left = left.array().iter().any(|row| row.get("id").str() == scene.ids[0]);
        assert!(!is_left, "{:?} {}: {left:?}", scene.waits, scene.how);
        let letters = say(&mut conn, &format!("EVQ.DEAD g LIST * RING {ring}")).array().len();
        assert_eq!(letters, usize::from(scene.waits == Waits::Dead), "it stays readable");
        assert_eq!(say(&mut conn, &format!("EVQ.DEAD g RETRY * * RING {ring}")).int(), 0);
    }
}

#[test]
fn whatever_is_removed_and_however_the_key_goes_on() {
    each_server(|server| {
        let scenes = scenes(&mut server.connect());
        each_key_goes_on(&server, &scenes);
    });
}

#[test]
fn whatever_is_removed_and_however_the_key_goes_on_after_a_failover() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let scenes = scenes(&mut primary.connect());
        wait_for_sync(&primary, &replica);
        must!(replica.connect(), "REPLICAOF", "NO", "ONE").ok();
        each_key_goes_on(&replica, &scenes);
    });
}
