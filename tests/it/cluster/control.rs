//! What concerns a whole ring while a shard is away, or comes back with less than it had: making
//! and dropping rings and groups, and trimming what a group was promised.

use super::scene::{AUTHORITY, Mapping, PARTITIONS, RING, Scene, copy, numbers, slot_of, stream};
use crate::harness::{
    Cluster, ClusterClient, PATIENCE, Value, args, cmd, each_binary, must, until, wait_for_sync,
};

/// The code of an error, `OK` of anything else.
fn code(reply: &Value) -> &str {
    if reply.is_error() { reply.err_code() } else { "OK" }
}

/// Lets the replica of `master` miss everything from now on, without losing its node. Returns the
/// replica.
#[track_caller]
fn leave_behind(cluster: &mut Cluster, master: usize) -> usize {
    let replica = cluster.replica_of(master);
    wait_for_sync(cluster.node(master), cluster.node(replica));
    cluster.pause(replica);
    // What lies in the socket would be read after the pause; what comes from now on is not sent.
    must!(cluster.connect(master), "CLIENT", "KILL", "TYPE", "replica");
    replica
}

/// Replaces `master` by `replica`, which was left behind.
#[track_caller]
fn replace(cluster: &mut Cluster, master: usize, replica: usize) {
    cluster.kill9(master);
    cluster.resume(replica);
    cluster.take_over(replica);
}

/// The names of the groups, as any node says.
#[track_caller]
fn groups(client: &mut ClusterClient) -> Vec<String> {
    let groups = must!(client, "EVQ.GROUPS", "RING", RING);
    let mut names: Vec<_> =
        groups.array().iter().map(|group| group.get("group").str().to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_ring_is_made_described_and_dropped_through_any_node() {
    each_binary(|binary| {
        let mut scene = Scene::without_ring(Cluster::with(binary));
        let points = Mapping::of(PARTITIONS);
        for n in 0..3 {
            // The server sends the client to one node by the ring's name; others do as well.
            let ring = (0..).map(|i| format!("ring-{i}"));
            let ring = ring.into_iter().find(|ring| scene.cluster.owner_of(ring) == n).unwrap();
            let mut conn = scene.cluster.connect(n);
            assert_eq!(cmd!(conn, "EVQ.RING", ring).err_code(), "EVQNORING");
            must!(conn, "EVQ.CREATE", ring, PARTITIONS).ok();
            must!(conn, "EVQ.CREATE", ring, PARTITIONS).ok();
            let other = cmd!(conn, "EVQ.CREATE", ring, PARTITIONS + 1);
            assert_eq!(other.err_code(), "EVQRINGEXISTS");
            let read = Mapping::read(&must!(scene.client, "EVQ.POINTS", "RING", ring));
            assert_eq!((0..99).map(|n| read.partition(&format!("k{n}"))).collect::<Vec<_>>(), {
                (0..99).map(|n| points.partition(&format!("k{n}"))).collect::<Vec<_>>()
            });
            let described = must!(scene.client, "EVQ.RING", ring);
            assert_eq!(described.get("partitions").array().len(), PARTITIONS as usize);
            let listed = must!(conn, "EVQ.RINGS");
            assert!(format!("{listed:?}").contains(&ring), "{listed:?}");
            must!(conn, "EVQ.DROP", ring).ok();
            assert_eq!(cmd!(scene.client, "EVQ.RING", ring).err_code(), "EVQNORING");
        }
    });
}

#[test]
fn a_dropped_ring_leaves_nothing_that_stays() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 1);
        for p in 0..PARTITIONS {
            scene.append_all(p, 2);
            scene.consume_all(p, "g");
        }
        must!(scene.client, "EVQ.DROP", RING).ok();
        assert_eq!(must!(scene.client, "EXISTS", AUTHORITY).int(), 0);
        for n in scene.cluster.masters() {
            let mut conn = scene.cluster.connect(n);
            for key in must!(conn, "KEYS", "*").array() {
                assert!(key.str().ends_with(":ring"), "{key:?} is left");
                assert!(must!(conn, "PTTL", key.bytes()).int() > 0, "{key:?} stays for ever");
            }
        }
        let reply = cmd!(scene.client, "EVQ.APPEND", stream(0), scene.mapping.key_in(0, 0), "x");
        assert_eq!(reply.err_code(), "EVQNORING");
        // And the name may be used at once.
        must!(scene.client, "EVQ.CREATE", RING, PARTITIONS).ok();
        must!(scene.client, "EVQ.GROUP", "g", "RING", RING, "FROM", "first").ok();
        scene.append(0, "new");
        assert_eq!(scene.consume_all(0, "g"), ["new"]);
        scene.cluster.assert_equal_replicas();
    });
}

/// DROP and CREATE of another shape with one shard away: that shard never joins the new ring with
/// what it has of the old one.
#[test]
fn a_ring_of_another_shape_waits_for_the_shard_that_has_the_old_one() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        (0..PARTITIONS).for_each(|p| drop(scene.append(p, "old")));
        let (p, away) = scene.elsewhere();
        scene.cluster.pause(away);
        let mut conn = scene.cluster.connect(scene.authority());
        let reply = cmd!(conn, "EVQ.DROP", RING);
        assert_eq!(code(&reply), "EVQUNREACHABLE", "{reply:?}");
        let reply = cmd!(conn, "EVQ.CREATE", RING, 5);
        assert!(["EVQUNREACHABLE", "EVQRINGEXISTS"].contains(&code(&reply)), "{reply:?}");

        scene.cluster.resume(away);
        scene.cluster.settle();
        until(PATIENCE, || code(&cmd!(conn, "EVQ.DROP", RING)) != "EVQUNREACHABLE");
        assert_eq!(must!(scene.client, "EXISTS", stream(p)).int(), 0);
        until(PATIENCE, || code(&cmd!(conn, "EVQ.CREATE", RING, 5)) == "OK");
        must!(conn, "EVQ.GROUP", "g", "RING", RING, "FROM", "first").ok();
        scene.mapping = Mapping::of(5);
        for p in 0..5 {
            scene.append(p, "new");
            assert_eq!(scene.consume_all(p, "g"), ["new"], "partition {p}");
        }
        for p in 5..PARTITIONS {
            let reply = cmd!(scene.client, "EVQ.APPEND", stream(p), "k", "x");
            assert!(["EVQNOPARTITION", "EVQNORING"].contains(&code(&reply)), "{reply:?}");
            assert_eq!(must!(scene.client, "EXISTS", stream(p)).int(), 0);
        }
    });
}

#[test]
fn a_ring_that_one_shard_has_missed_is_completed_by_the_same_command() {
    each_binary(|binary| {
        let mut scene = Scene::without_ring(Cluster::with(binary));
        let (p, away) = scene.elsewhere();
        scene.cluster.pause(away);
        let mut conn = scene.cluster.connect(scene.authority());
        let create = args!["EVQ.CREATE", RING, PARTITIONS];
        let reply = conn.cmd(&create);
        assert_eq!(code(&reply), "EVQUNREACHABLE", "{reply:?}");
        let address = format!("127.0.0.1:{}", scene.cluster.port(away));
        assert!(reply.err().contains(&address), "names the shard: {reply:?}");
        scene.cluster.resume(away);
        scene.cluster.settle();
        until(PATIENCE, || {
            let reply = conn.cmd(&create);
            assert!(["OK", "EVQUNREACHABLE"].contains(&code(&reply)), "{reply:?}");
            code(&reply) == "OK"
        });
        assert_eq!(cmd!(conn, "EVQ.CREATE", RING, 5).err_code(), "EVQRINGEXISTS");
        scene.append(p, "x");
    });
}

/// The authority failed over without its last version: what all partitions were told is not taken
/// back, and no version is issued twice.
#[test]
fn an_authority_that_lost_its_last_version_takes_no_group_back() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 1);
        let (p, _) = scene.elsewhere();
        let authority = scene.authority();
        let beside = scene.partitions_at(authority)[0];
        let behind = leave_behind(&mut scene.cluster, authority);
        must!(scene.client, "EVQ.GROUP", "late", "RING", RING, "FROM", "first").ok();
        scene.append_all(p, 3);
        assert_eq!(scene.consume_all(p, "late"), numbers(0..3));
        replace(&mut scene.cluster, authority, behind);
        scene.client.close();

        scene.append(p, "3");
        assert_eq!(scene.consume_all(p, "late"), ["3"], "the group and its cursor are there");
        // The next change goes on from the highest version that anybody has.
        let next = args!["EVQ.GROUP", "next", "RING", RING, "FROM", "first"];
        until(PATIENCE, || code(&scene.client.cmd(&next)) == "OK");
        assert_eq!(groups(&mut scene.client), ["g", "late", "next"]);
        scene.append(beside, "0");
        for group in ["late", "next"] {
            assert_eq!(scene.consume_all(beside, group), ["0"], "{group}");
        }
        assert_eq!(scene.consume_all(p, "late"), Vec::<String>::new());
        // A group of the same name is another one.
        must!(scene.client, "EVQ.DELGROUP", "late", "RING", RING).ok();
        must!(scene.client, "EVQ.GROUP", "late", "RING", RING, "FROM", "first").ok();
        assert_eq!(scene.consume_all(p, "late"), numbers(0..4));
        scene.cluster.restart(authority);
        scene.cluster.assert_equal_replicas();
    });
}

/// DELGROUP that misses a partition, then GROUP: the new group does not go on from the old one's
/// cursor.
#[test]
fn a_group_made_anew_begins_anew_in_the_partition_that_missed_its_end() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        for p in 0..PARTITIONS {
            scene.append_all(p, 3);
            assert_eq!(scene.consume_all(p, "g"), numbers(0..3));
        }
        let away = scene.other();
        scene.cluster.pause(away);
        let mut conn = scene.cluster.connect(scene.authority());
        // Whatever node the server would send a client to: this one is up.
        let mut at_authority = |words: &[Vec<u8>]| {
            let reply = conn.cmd(words);
            if code(&reply) != "MOVED" {
                return reply;
            }
            let up = scene.cluster.others(AUTHORITY)[0];
            scene.cluster.connect(up).cmd(words)
        };
        let reply = at_authority(&args!["EVQ.DELGROUP", "g", "RING", RING]);
        assert_eq!(code(&reply), "EVQUNREACHABLE", "{reply:?}");
        scene.cluster.resume(away);
        scene.cluster.settle();
        // What was read first may have been all that was done: the same command completes it.
        until(PATIENCE, || {
            let reply = scene.client.cmd(&args!["EVQ.DELGROUP", "g", "RING", RING]);
            ["OK", "EVQNOGROUP"].contains(&code(&reply))
        });
        let make = args!["EVQ.GROUP", "g", "RING", RING, "FROM", "first"];
        until(PATIENCE, || {
            let reply = scene.client.cmd(&make);
            assert!(["OK", "EVQUNREACHABLE"].contains(&code(&reply)), "{reply:?}");
            code(&reply) == "OK"
        });
        for p in 0..PARTITIONS {
            assert_eq!(scene.consume_all(p, "g"), numbers(0..3), "partition {p}");
        }
    });
}

/// A group promised, then the owner's replica promoted: the replica, which has never heard of the
/// group, trims nothing that it was promised.
#[test]
fn a_promoted_replica_trims_nothing_before_it_knows_all_groups() {
    const COUNT: usize = 100;
    each_binary(|binary| {
        let mut scene = Scene::without_ring(Cluster::with(binary).replicas(1));
        must!(scene.client, "EVQ.CREATE", RING, PARTITIONS, "MAXLEN", 1).ok();
        must!(scene.client, "EVQ.GROUP", "g", "RING", RING, "FROM", "first").ok();
        let (authority, others) = (scene.authority(), scene.cluster.others(AUTHORITY));
        let [owner, third] = others[..] else { panic!("three masters: {others:?}") };
        let (p, q) = (scene.partitions_at(owner)[0], scene.partitions_at(third)[0]);
        scene.append_all(p, COUNT);
        scene.append_all(q, COUNT);
        let behind = leave_behind(&mut scene.cluster, owner);
        must!(scene.client, "EVQ.GROUP", "late", "RING", RING, "FROM", "first").ok();
        scene.cluster.pause(authority);
        replace(&mut scene.cluster, owner, behind);
        scene.client.close();

        assert_eq!(scene.consume_all(p, "g"), numbers(0..COUNT));
        // The same where the groups are known: there the ring is trimmed.
        for group in ["g", "late"] {
            assert_eq!(scene.consume_all(q, group), numbers(0..COUNT));
        }
        until(PATIENCE, || must!(scene.client, "XLEN", stream(q)).int() == 1);
        assert_eq!(scene.stored(p), numbers(0..COUNT));

        scene.cluster.resume(authority);
        scene.cluster.settle();
        let late = args!["EVQ.PENDING", stream(p), "GROUP", "late"];
        until(PATIENCE, || code(&scene.client.cmd(&late)) == "OK");
        assert_eq!(scene.consume_all(p, "late"), numbers(0..COUNT));
        until(PATIENCE, || must!(scene.client, "XLEN", stream(p)).int() == 1);
    });
}

/// Events are appended and consumed while the shard of the authority is away.
#[test]
fn the_partitions_go_on_without_the_authority() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        let (p, _) = scene.elsewhere();
        let authority = scene.authority();
        scene.append(p, "0");
        scene.cluster.pause(authority);
        scene.append(p, "1");
        assert_eq!(scene.consume_all(p, "g"), numbers(0..2));
        // Also after a restart, which leaves copies unconfirmed.
        must!(scene.cluster.connect(scene.cluster.owner_of(&stream(p))), "DEBUG", "RELOAD").ok();
        scene.append(p, "2");
        assert_eq!(scene.consume_all(p, "g"), ["2"]);
        scene.cluster.resume(authority);
    });
}

/// What collects from all shards names those that do not answer, and has the others.
#[test]
fn totals_without_a_shard_name_it() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        (0..PARTITIONS).for_each(|p| drop(scene.append(p, "x")));
        let lag = |scene: &mut Scene| {
            must!(scene.client, "EVQ.GROUPS", "RING", RING).at(0).get("lag").int()
        };
        assert_eq!(lag(&mut scene), i64::from(PARTITIONS));
        let away = scene.other();
        let lost = scene.partitions_at(away).len();
        let address = format!("127.0.0.1:{}", scene.cluster.port(away));
        scene.cluster.pause(away);
        let mut conn = scene.cluster.connect(scene.authority());
        let stats = must!(conn, "EVQ.STATS", RING);
        assert!(format!("{stats:?}").contains(&address), "{stats:?}");
        let there = stats.get("partitions").array().len();
        assert!(there == PARTITIONS as usize - lost || there == PARTITIONS as usize, "{stats:?}");
        scene.cluster.resume(away);
        scene.cluster.settle();
        scene.client.close();
        until(PATIENCE, || lag(&mut scene) == i64::from(PARTITIONS));
    });
}

/// Every partition has its copy in its own slot, and it moves with it.
#[test]
fn a_copy_moves_with_its_partition() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        let (p, _) = scene.elsewhere();
        let to = scene.authority();
        assert_eq!(must!(scene.client, "TYPE", copy(p)).str(), "evq-ring1");
        assert_eq!(must!(scene.client, "TYPE", AUTHORITY).str(), "evq-ring1");
        scene.cluster.move_somehow(slot_of(p), to);
        assert_eq!(must!(scene.cluster.connect(to), "TYPE", copy(p)).str(), "evq-ring1");
        scene.append(p, "0");
        must!(scene.client, "EVQ.GROUP", "late", "RING", RING, "FROM", "first").ok();
        assert_eq!(scene.consume_all(p, "late"), ["0"]);
    });
}

/// A node looks after a partition from the moment in which it has it, though nobody waits there.
#[test]
fn a_new_ring_is_trimmed_where_nobody_waits() {
    each_binary(|binary| {
        let mut scene = Scene::without_ring(Cluster::with(binary));
        must!(scene.client, "EVQ.CREATE", RING, PARTITIONS, "MAXLEN", 1).ok();
        must!(scene.client, "EVQ.GROUP", "g", "RING", RING, "FROM", "first").ok();
        let (p, _) = scene.elsewhere();
        scene.append_all(p, 10);
        assert_eq!(scene.consume_all(p, "g"), numbers(0..10));
        until(PATIENCE, || must!(scene.client, "XLEN", stream(p)).int() == 1);
        let key = scene.mapping.key_in(p, 0);
        must!(scene.client, "EVQ.SCHEDULE", key, "due", "IN", 1, "RING", RING);
        until(PATIENCE, || scene.stored(p).last().is_some_and(|payload| payload == "due"));
    });
}

/// A shard that has lost everything gets its partitions again, empty, by the command that made the
/// ring; the others keep theirs.
#[test]
fn a_shard_that_lost_its_data_begins_anew_by_the_same_create() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        let (p, lost) = scene.elsewhere();
        let kept = scene.partitions_at(scene.authority())[0];
        for p in [p, kept] {
            scene.append_all(p, 3);
            assert_eq!(scene.consume_all(p, "g"), numbers(0..3));
        }
        must!(scene.cluster.connect(lost), "FLUSHALL").ok();
        let key = scene.mapping.key_in(p, 0);
        assert_eq!(cmd!(scene.client, "EVQ.APPEND", stream(p), key, "x").err_code(), "EVQNORING");
        must!(scene.client, "EVQ.CREATE", RING, PARTITIONS).ok();
        for p in [p, kept] {
            scene.append(p, "new");
            assert_eq!(scene.consume_all(p, "g"), ["new"]);
        }
        // The same of the shard that has the definition itself.
        must!(scene.cluster.connect(scene.authority()), "FLUSHALL").ok();
        must!(scene.client, "EVQ.CREATE", RING, PARTITIONS).ok();
        for p in [p, kept] {
            scene.append(p, "last");
            assert_eq!(scene.consume_all(p, "g"), ["last"]);
        }
    });
}
