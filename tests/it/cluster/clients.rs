//! Client libraries with a cluster client of their own, as they come: they find the nodes, follow
//! MOVED, and events keep their order. Python's is in `examples`.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use super::scene::{RING, Scene};
use crate::harness::{each_binary, must};
use crate::languages::program::directory;

const EVENTS: usize = 600;

/// The keys that the programs have.
const KEYS: usize = 12;

/// Runs a program that produces and handles all events; each key's come in their order, once.
#[track_caller]
fn assert_in_order(scene: &mut Scene, command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("a program");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    let mut by_key = BTreeMap::<String, Vec<usize>>::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (key, n) = line.split_once(' ').expect("a key and a number");
        by_key.entry(key.to_owned()).or_default().push(n.parse().unwrap());
    }
    assert_eq!(by_key.len(), KEYS);
    for (key, numbers) in by_key {
        let first: usize = key.split_once(':').unwrap().1.parse().unwrap();
        let expected: Vec<_> = (first..EVENTS).step_by(KEYS).collect();
        assert_eq!(numbers, expected, "{key}");
    }
    let groups = must!(scene.client, "EVQ.GROUPS", "RING", RING);
    assert_eq!(groups.at(0).get("lag").int(), 0, "all is acknowledged: {groups:?}");
}

#[test]
fn ioredis_produces_and_consumes_through_its_cluster_client() {
    let Some(dir) = directory("node") else { return };
    each_binary(|binary| {
        let scene = &mut Scene::start(binary, 0);
        let mut node = Command::new("node");
        node.args(["--input-type=module", "-e", include_str!("client.mjs")]).current_dir(&dir);
        node.args([scene.cluster.port(0).to_string(), EVENTS.to_string()]);
        assert_in_order(scene, &mut node);
    });
}

#[test]
fn redis_rs_produces_and_consumes_through_its_cluster_client() {
    let Some(dir) = directory("cluster-rust") else { return };
    each_binary(|binary| {
        let scene = &mut Scene::start(binary, 0);
        let url = format!("redis://127.0.0.1:{}", scene.cluster.port(0));
        let mut program = Command::new(dir.join("bin/evq-cluster-client"));
        assert_in_order(scene, program.args([url, EVENTS.to_string()]));
    });
}
