//! Events that one node takes for another: through any node, while the other moves, stops, or
//! changes roles.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::scope;
use std::time::Duration;

use super::scene::{PARTITIONS, RING, Scene, copy, slot_of, stream};
use crate::harness::{
    Cluster, ClusterClient, Conn, PATIENCE, Users, Value, args, cmd, each_binary, must, until,
};

/// What a producer knows of an event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fate {
    Stored,
    /// The reply leaves it open, or there was none.
    Open,
    /// It was not appended.
    Refused,
}

/// What an error of a passed on event leaves open.
#[track_caller]
pub(super) fn fate(reply: &Value) -> Fate {
    if !reply.is_error() {
        return Fate::Stored;
    }
    match reply.err_code() {
        "EVQUNKNOWN" | "UNBLOCKED" | "CLUSTERDOWN" => Fate::Open,
        "EVQUNREACHABLE" | "MOVED" | "ASK" | "TRYAGAIN" | "READONLY" | "MASTERDOWN" | "LOADING" => {
            Fate::Refused
        }
        _ => panic!("{reply:?}"),
    }
}

/// The numbers that are stored for each key of all partitions, in their order.
#[track_caller]
pub(super) fn stored(client: &mut ClusterClient) -> BTreeMap<String, Vec<u64>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    for p in 0..PARTITIONS {
        for entry in must!(client, "XRANGE", stream(p), "-", "+").array() {
            let field = |name| entry.at(1).get(name).str().to_owned();
            all.entry(field("key")).or_default().push(field("payload").parse().unwrap());
        }
    }
    all
}

/// What was acknowledged is there once, what was refused is not, and each key is in order.
#[track_caller]
pub(super) fn judge(sent: &BTreeMap<String, Vec<Fate>>, stored: &BTreeMap<String, Vec<u64>>) {
    for (key, fates) in sent {
        let empty = Vec::new();
        let there = stored.get(key).unwrap_or(&empty);
        assert!(there.is_sorted_by(|a, b| a < b), "{key}: {there:?}");
        for (n, fate) in (0..).zip(fates) {
            let is_there = there.binary_search(&n).is_ok();
            let right = match fate {
                Fate::Stored => is_there,
                Fate::Refused => !is_there,
                Fate::Open => true,
            };
            assert!(right, "{key} #{n} is {fate:?}, stored: {is_there}");
        }
    }
}

/// A key that the server sends to node `n` and whose partition is at node `owner`.
pub(super) fn key_between(scene: &Scene, n: usize, owner: usize, number: usize) -> String {
    let between = |key: &String| {
        let p = scene.mapping.partition(key);
        scene.cluster.owner_of(key) == n && scene.cluster.owner_of(&stream(p)) == owner
    };
    (0..).map(|n| format!("k{n}")).filter(between).nth(number).expect("a key")
}

/// Triggers 0, 1, 2 ... for `key` at one node until `enough`, one after another.
fn produce(conn: &mut Conn, key: &str, enough: &AtomicBool, count: &AtomicUsize) -> Vec<Fate> {
    let mut fates = Vec::new();
    while !enough.load(Ordering::Relaxed) {
        let words = args!["EVQ.TRIGGER", key, fates.len(), "RING", RING];
        let reply = conn.try_cmd(&words);
        fates.push(reply.map_or(Fate::Open, |reply| fate(&reply)));
        count.fetch_add(1, Ordering::Relaxed);
    }
    fates
}

#[test]
fn a_triggered_event_gets_the_same_reply_through_every_node() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        for n in scene.cluster.masters() {
            for owner in scene.cluster.masters() {
                let key = key_between(&scene, n, owner, 0);
                let p = scene.mapping.partition(&key);
                let mut conn = scene.cluster.connect(n);
                let first = must!(conn, "EVQ.TRIGGER", key, "x", "RING", RING, "UNIQUE", "t");
                assert_eq!(first.at(0).int(), i64::from(p));
                let again = must!(conn, "EVQ.TRIGGER", key, "y", "RING", RING, "UNIQUE", "t");
                assert_eq!(again, first);
                let direct = must!(scene.client, "EVQ.APPEND", stream(p), key, "z", "UNIQUE", "t");
                assert_eq!(direct, first);
                let error = cmd!(conn, "EVQ.TRIGGER", key, "x", "RING", "none");
                assert_eq!(error.err_code(), "EVQNORING");
                for words in [args!["MULTI"].to_vec(), args!["EVQ.TRIGGER", key, "x"].to_vec()] {
                    conn.cmd(&words);
                }
                let refused = cmd!(conn, "EXEC");
                assert!(format!("{refused:?}").contains("EVQ.APPEND"), "{refused:?}");
            }
        }
        assert_eq!(scene.length(), 9);
    });
}

#[test]
fn without_credentials_of_its_own_a_node_passes_nothing_on_and_says_why() {
    each_binary(|binary| {
        let setup = Cluster::with(binary).users(Users::Default);
        let mut scene = Scene::without_ring(setup);
        let reply = cmd!(scene.client, "EVQ.CREATE", RING, PARTITIONS);
        // Redis 8 has a secret among its nodes that needs no setting.
        if reply.is_error() {
            assert!(reply.err().contains("evq.cluster-user"), "{reply:?}");
            let log = scene.cluster.node(scene.authority()).log();
            assert!(log.contains("evq.cluster-user"), "{log}");
        }
    });
}

#[test]
fn an_internal_user_of_its_own_is_enough_and_clients_are_refused() {
    each_binary(|binary| {
        let setup = Cluster::with(binary).users(Users::Own);
        let mut scene = Scene::by(setup);
        must!(scene.client, "EVQ.TRIGGER", "k0", "x", "RING", RING);
        let rings = must!(scene.cluster.connect(0), "EVQ.RINGS");
        assert_eq!(rings.array().iter().map(Value::str).collect::<Vec<_>>(), [RING]);
        let read = cmd!(scene.client, "EVQ.SHARD", super::scene::AUTHORITY, "READ");
        assert_eq!(read.err_code(), "NOPERM");
    });
}

/// How often the settings of a node were read.
fn reads_of_settings(conn: &mut Conn) -> usize {
    let stats = must!(conn, "INFO", "commandstats");
    let calls = stats.str().split("cmdstat_config|get:calls=").nth(1).expect("CONFIG GET");
    calls.split(',').next().unwrap().parse().unwrap()
}

#[test]
fn the_user_of_the_nodes_is_read_again_only_when_a_setting_changes() {
    each_binary(|binary| {
        let scene = Scene::start(binary, 0);
        let (p, owner) = scene.elsewhere();
        let (mut admin, mut node) = (scene.cluster.connect(owner), scene.cluster.connect(owner));
        must!(node, "AUTH", "node", "node-secret").ok();
        must!(admin, "CONFIG", "GET", "masteruser");
        let before = reads_of_settings(&mut admin);
        for _ in 0..1000 {
            must!(node, "EVQ.SHARD", copy(p), "READ");
        }
        // What the node itself asks others for now and then reads a few.
        let read = reads_of_settings(&mut admin) - before;
        assert!(read < 500, "settings were read {read} times");
        must!(admin, "CONFIG", "SET", "masteruser", "other").ok();
        assert_eq!(cmd!(node, "EVQ.SHARD", copy(p), "READ").err_code(), "NOPERM");
        must!(admin, "CONFIG", "SET", "masteruser", "node").ok();
        must!(node, "EVQ.SHARD", copy(p), "READ");
    });
}

#[test]
fn a_users_rights_are_those_of_the_partition_wherever_it_is() {
    each_binary(|binary| {
        let scene = Scene::start(binary, 0);
        for n in scene.cluster.masters() {
            let mut conn = scene.cluster.connect(n);
            let words = ["~evq:{r}", "~evq:{r:0}*", "+@all"];
            let mut user = args!["ACL", "SETUSER", "some", "on", ">secret", "resetkeys"].to_vec();
            user.extend(words.iter().map(|word| word.as_bytes().to_vec()));
            conn.must(&user).ok();
            for owner in scene.cluster.masters() {
                let key = key_between(&scene, n, owner, 0);
                let mut conn = scene.cluster.connect(n);
                must!(conn, "AUTH", "some", "secret").ok();
                let reply = cmd!(conn, "EVQ.TRIGGER", key, "x", "RING", RING);
                let may = scene.mapping.partition(&key) == 0;
                assert_eq!(reply.is_error(), !may, "{key}: {reply:?}");
                assert!(may || reply.err_code() == "NOPERM", "{reply:?}");
            }
        }
    });
}

#[test]
fn a_triggered_event_waits_for_a_half_moved_partition() {
    each_binary(|binary| {
        let scene = &mut Scene::start(binary, 0);
        let (p, _) = scene.elsewhere();
        scene.append_all(p, 3);
        scene.consume_all(p, "g");
        let key = scene.mapping.key_in(p, 0);
        for step in 0..2 {
            let to = scene.cluster.others(&stream(p))[0];
            let moving = scene.cluster.begin_move(slot_of(p), to);
            let first = moving.keys().swap_remove(step);
            moving.migrate(&first);
            let mut producer = scene.cluster.client();
            let words = args!["EVQ.TRIGGER", key, "waited", "RING", RING];
            let reply = scope(|threads| {
                let waiting = threads.spawn(|| producer.cmd(&words));
                moving.migrate_all();
                moving.finish();
                waiting.join().unwrap()
            });
            assert!(!reply.is_error(), "{reply:?}");
        }
        assert_eq!(scene.stored(p), ["0", "1", "2", "waited", "waited"]);
    });
}

/// A partition that stays torn in two: each reply names what is so. Nothing is written.
#[test]
fn a_partition_that_moves_for_too_long_is_told_as_moving() {
    each_binary(|binary| {
        let scene = &mut Scene::start(binary, 0);
        let (p, _) = scene.elsewhere();
        scene.append_all(p, 1);
        let key = scene.mapping.key_in(p, 0);
        let to = scene.cluster.others(&stream(p))[0];
        let moving = scene.cluster.begin_move(slot_of(p), to);
        moving.migrate(copy(p).as_bytes());
        let asked = [
            args!["EVQ.TRIGGER", key, "x", "RING", RING].to_vec(),
            args!["EVQ.SCHEDULED", "*", "RING", RING].to_vec(),
            args!["EVQ.STATS", RING].to_vec(),
            args!["EVQ.GROUP", "new", "RING", RING, "FROM", "first"].to_vec(),
        ];
        let replies = scope(|threads| {
            let ask = |words: &Vec<Vec<u8>>| {
                let mut client = scene.cluster.client().with_bound(Duration::ZERO);
                let words = words.clone();
                threads.spawn(move || client.cmd(&words))
            };
            let asked: Vec<_> = asked.iter().map(ask).collect();
            asked.into_iter().map(|it| it.join().unwrap()).collect::<Vec<Value>>()
        });
        assert_eq!(replies[0].err_code(), "TRYAGAIN");
        assert_eq!(replies[1].err_code(), "TRYAGAIN");
        assert_eq!(replies[2].get("unreachable").array().len(), 1, "{:?}", replies[2]);
        let rows = replies[2].get("partitions").array().len();
        assert_eq!(rows, usize::try_from(PARTITIONS).unwrap() - 1);
        assert_eq!(replies[3].err_code(), "EVQUNREACHABLE");
        moving.migrate_all();
        moving.finish();
        assert_eq!(scene.stored(p), ["0"]);
        // The new owner of the partition completes the change too, perhaps before this command.
        let again = cmd!(scene.client, "EVQ.GROUP", "new", "RING", RING, "FROM", "first");
        assert!(!again.is_error() || again.err().contains("FROM is for a new group"), "{again:?}");
        assert_eq!(scene.consume_all(p, "new"), ["0"]);
    });
}

/// Two nodes that pass on to each other under load, and one of them stops: the other one serves on
/// what is its own, and nothing lands late when the stopped one wakes.
#[test]
fn a_stopped_node_holds_up_only_what_is_its_own() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        let (here, there) = (scene.authority(), scene.other());
        let ends = [(here, there), (there, here), (here, here), (there, there)];
        let keys: Vec<_> = ends
            .iter()
            .flat_map(|(n, owner)| [0, 1].map(|i| (*n, key_between(&scene, *n, *owner, i))))
            .collect();
        let conns = keys.iter().map(|(n, key)| {
            let endpoint = scene.cluster.node(*n).tcp_endpoint();
            (endpoint.connect(), key.clone(), AtomicUsize::new(0))
        });
        let mut conns: Vec<_> = conns.collect();
        let enough = AtomicBool::new(false);
        let sent = scope(|threads| {
            let (producers, counts): (Vec<_>, Vec<_>) = conns
                .iter_mut()
                .map(|(conn, key, count)| {
                    let (enough, count) = (&enough, &*count);
                    let producer =
                        threads.spawn(move || (key.clone(), produce(conn, key, enough, count)));
                    (producer, count)
                })
                .unzip();
            let count = |i: usize| counts[i].load(Ordering::Relaxed);
            let all = 0..counts.len();
            until(PATIENCE, || all.clone().all(|i| count(i) > 50));
            scene.cluster.pause(there);
            // Those for this node, through this node: two at places 4 and 5.
            let before = [count(4), count(5)];
            until(PATIENCE, || count(4) > before[0] + 200 && count(5) > before[1] + 200);
            // Those for the other are told that it does not answer.
            let before = [count(0), count(1)];
            until(PATIENCE, || count(0) > before[0] + 2 && count(1) > before[1] + 2);
            scene.cluster.resume(there);
            let before: Vec<_> = all.clone().map(count).collect();
            until(PATIENCE, || all.clone().all(|i| count(i) > before[i] + 50));
            enough.store(true, Ordering::Relaxed);
            producers.into_iter().map(|producer| producer.join().unwrap()).collect()
        });
        let sent: BTreeMap<String, Vec<Fate>> = sent;
        judge(&sent, &stored(&mut scene.client));
        let last = |fates: &Vec<Fate>| fates.last() == Some(&Fate::Stored);
        assert!(sent.values().all(last), "all is well again");
        assert!(sent[&keys[0].1].iter().any(|fate| *fate != Fate::Stored), "nothing was held up");
        assert!(sent[&keys[4].1].iter().all(|fate| *fate == Fate::Stored));
    });
}

/// Says that it is enough when this drops.
struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A master may become a replica between the moment in which a client is unblocked and the callback
/// that serves it. What it acknowledges is there; what it cannot write it does not.
#[test]
fn a_failover_under_passed_on_events_loses_none_that_was_acknowledged() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 1);
        let enough = AtomicBool::new(false);
        let keys: Vec<_> = (0..6).map(|n| format!("k{n}")).collect();
        let mut clients: Vec<_> = keys.iter().map(|_| scene.cluster.client()).collect();
        let master = scene.authority();
        let sent = scope(|threads| {
            let producers: Vec<_> = keys
                .iter()
                .zip(&mut clients)
                .map(|(key, client)| {
                    let (key, enough) = (key.clone(), &enough);
                    threads.spawn(move || {
                        let mut fates = Vec::new();
                        while !enough.load(Ordering::Relaxed) {
                            let words = args!["EVQ.TRIGGER", key, fates.len(), "RING", RING];
                            let reply = client.try_cmd(&words);
                            fates.push(reply.map_or(Fate::Open, |reply| fate(&reply)));
                        }
                        (key, fates)
                    })
                })
                .collect();
            // Producers end with this, whatever happens here.
            let end = AtTheEnd(&enough);
            let mut now = master;
            // There and back: of one master the others allow a second failover only after twice the
            // node timeout, which is long here.
            for _ in 0..2 {
                let replica = scene.cluster.replica_of(now);
                scene.cluster.fail_over(replica);
                now = replica;
            }
            drop(end);
            producers.into_iter().map(|producer| producer.join().unwrap()).collect()
        });
        let sent: BTreeMap<String, Vec<Fate>> = sent;
        judge(&sent, &stored(&mut scene.client));
        let all: usize = sent.values().flatten().filter(|fate| **fate == Fate::Stored).count();
        assert!(all > 100, "{all} events");
        scene.cluster.assert_equal_replicas();
        scene.cluster.assert_healthy();
    });
}

/// More than may wait for a node goes there alone, and comes whole.
#[test]
fn an_event_of_many_megabytes_is_passed_on() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        let key = key_between(&scene, scene.authority(), scene.other(), 0);
        let mut conn = scene.cluster.connect(scene.authority());
        let payload = vec![b'\xff'; 70_000_000];
        // As its producer would: on a slow machine so much takes longer than a node waits.
        until(PATIENCE, || {
            let reply = cmd!(conn, "EVQ.TRIGGER", key, payload, "RING", RING, "UNIQUE", "t");
            fate(&reply) == Fate::Stored
        });
        let entries =
            must!(scene.client, "XRANGE", stream(scene.mapping.partition(&key)), "-", "+");
        assert_eq!(entries.array().len(), 1);
        assert!(entries.at(0).at(1).get("payload").bytes() == payload);
    });
}
