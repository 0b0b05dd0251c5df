//! A node over `maxmemory`: events are refused with OOM, whichever node was asked, and nothing of
//! them is done. What frees memory goes on: pulling, acknowledging, trimming, dropping, and what
//! nodes say to each other for it.

use super::scene::{PARTITIONS, RING, Scene, numbers, stream};
use crate::harness::{Cluster, PATIENCE, Value, args, cmd, each_binary, must, until};

#[track_caller]
fn set_maxmemory(scene: &Scene, n: usize, bytes: u32) {
    must!(scene.cluster.connect(n), "CONFIG", "SET", "maxmemory", bytes).ok();
}

/// The digests of all nodes.
fn digests(scene: &Scene) -> Vec<String> {
    scene.cluster.up().map(|n| scene.cluster.node(n).digest()).collect()
}

/// A ring that keeps one finished event of a partition, with the group `g`.
#[track_caller]
fn scene(binary: &crate::harness::Binary) -> Scene {
    let mut scene = Scene::without_ring(Cluster::with(binary));
    must!(scene.client, "EVQ.CREATE", RING, PARTITIONS, "MAXLEN", 1).ok();
    must!(scene.client, "EVQ.GROUP", "g", "RING", RING, "FROM", "first").ok();
    scene
}

#[test]
fn an_owner_over_maxmemory_refuses_events_and_lets_workers_go_on() {
    each_binary(|binary| {
        let mut scene = scene(binary);
        let (p, owner) = scene.elsewhere();
        let here = scene.authority();
        let own = scene.partitions_at(here)[0];
        let (full, fine) = (scene.key_at(here, p), scene.key_at(here, own));
        scene.append_all(p, 5);
        let mut conn = scene.cluster.connect(here);
        set_maxmemory(&scene, owner, 1);
        let before = digests(&scene);
        for words in [
            args!["EVQ.TRIGGER", full, "x", "RING", RING, "UNIQUE", "t"].to_vec(),
            args!["EVQ.SCHEDULE", full, "x", "IN", 1, "RING", RING, "UNIQUE", "t"].to_vec(),
        ] {
            assert_eq!(conn.cmd(&words).err_code(), "OOM");
        }
        let key = scene.mapping.key_in(p, 0);
        let direct = cmd!(scene.client, "EVQ.APPEND", stream(p), key, "x");
        assert_eq!(direct.err_code(), "OOM");
        assert_eq!(digests(&scene), before, "nothing of them is done");

        // Of a batch, the events of the other partitions are there.
        let words = args!["EVQ.MTRIGGER", 3, full, "x", fine, "x", full, "x", "RING", RING];
        let batch = conn.must(&words);
        let codes = batch.array().iter().map(|it| if it.is_error() { it.err_code() } else { "" });
        assert_eq!(codes.collect::<Vec<_>>(), ["OOM", "", "OOM"], "{batch:?}");
        assert_eq!(scene.stored(p), numbers(0..5));
        assert_eq!(scene.stored(own), ["x"]);

        // Definitions are read, and confirmed: only then is anything trimmed.
        must!(scene.cluster.connect(owner), "DEBUG", "RELOAD").ok();
        assert_eq!(scene.consume_all(p, "g"), numbers(0..5));
        until(PATIENCE, || must!(scene.client, "XLEN", stream(p)).int() == 1);
        for words in [
            args!["EVQ.RING", RING].to_vec(),
            args!["EVQ.STATS", RING].to_vec(),
            args!["EVQ.DEAD", "g", "LIST", "*", "RING", RING].to_vec(),
        ] {
            scene.client.must(&words);
        }
        assert_eq!(must!(conn, "EVQ.GROUPS", "RING", RING).array().len(), 1);

        set_maxmemory(&scene, owner, 0);
        // The token was not kept: this is the first event of it.
        let words = args!["EVQ.TRIGGER", full, "after", "RING", RING, "UNIQUE", "t"];
        let first = conn.must(&words);
        assert_eq!(conn.must(&words), first);
        assert_eq!(scene.consume_all(p, "g"), ["after"]);
        // A full shard does not keep a ring from being removed.
        set_maxmemory(&scene, owner, 1);
        must!(scene.client, "EVQ.DROP", RING).ok();
        assert_eq!(must!(scene.client, "EXISTS", stream(p)).int(), 0);
    });
}

#[test]
fn a_passing_node_over_maxmemory_refuses_events_and_serves_the_others() {
    each_binary(|binary| {
        let mut scene = scene(binary);
        let (p, owner) = scene.elsewhere();
        let here = scene.authority();
        let own = scene.partitions_at(here)[0];
        let (away, back) = (scene.key_at(here, p), scene.key_at(owner, own));
        let (near, third) = (scene.key_at(owner, p), scene.key_at(here, own));
        scene.append_all(own, 3);
        set_maxmemory(&scene, here, 1);
        let before = digests(&scene);
        let (mut full, mut fine) = (scene.cluster.connect(here), scene.cluster.connect(owner));
        let oom = |reply: &Value| assert_eq!(reply.err_code(), "OOM", "{reply:?}");
        for key in [&away, &third] {
            oom(&cmd!(full, "EVQ.TRIGGER", key, "x", "RING", RING));
        }
        oom(&cmd!(fine, "EVQ.TRIGGER", back, "x", "RING", RING));
        assert_eq!(digests(&scene), before, "nothing of them is done");
        let ring = (0..).map(|n| format!("ring-{n}"));
        let ring = ring.into_iter().find(|ring| scene.cluster.owner_of(ring) == here).unwrap();
        oom(&cmd!(full, "EVQ.CREATE", ring, PARTITIONS));
        assert_eq!(cmd!(full, "EVQ.RING", ring).err_code(), "EVQNORING");

        // The other node serves what is its own, and what is read from the full one.
        must!(fine, "EVQ.TRIGGER", near, "x", "RING", RING);
        assert_eq!(scene.consume_all(p, "g"), ["x"]);
        assert_eq!(must!(fine, "EVQ.GROUPS", "RING", RING).at(0).get("lag").int(), 3);
        assert_eq!(must!(full, "EVQ.GROUPS", "RING", RING).at(0).get("lag").int(), 3);
        // The authority is there: a node that forgot all it knew of the ring asks it.
        must!(fine, "DEBUG", "RELOAD").ok();
        assert_eq!(scene.consume_all(own, "g"), numbers(0..3));
        until(PATIENCE, || must!(scene.client, "XLEN", stream(own)).int() == 1);
        set_maxmemory(&scene, here, 0);
        must!(full, "EVQ.TRIGGER", away, "y", "RING", RING);
        assert_eq!(scene.consume_all(p, "g"), ["y"]);
    });
}
