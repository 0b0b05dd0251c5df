//! examples/cluster as it stands: a producer that knows the partition, a worker of all shards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::scene::{RING, Scene, slot_of, stream};
use crate::harness::{Cluster, PATIENCE, TempDir, each_binary, until};
use crate::lossy::python_path;

/// One of the example's programs on a cluster; killed when dropped.
struct Program(Child);

impl Program {
    fn start(scene: &Scene, name: &str, args: &[&str], dir: &TempDir, path: Option<&Path>) -> Self {
        let url = format!("redis://127.0.0.1:{}", scene.cluster.port(0));
        let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cluster/");
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-B", &format!("{examples}{name}.py"), &url, RING]).args(args);
        if let Some(path) = path {
            command.env("PYTHONPATH", path);
        }
        let file = |kind| File::create(dir.path().join(format!("{name}.{kind}"))).unwrap();
        command.stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        Self(command.spawn().expect("/usr/bin/python3 with python3-redis"))
    }

    /// Ends by itself, or by SIGTERM.
    #[track_caller]
    fn ends(mut self, dir: &TempDir) {
        let status = self.0.wait().unwrap();
        let errors: Vec<_> = ["producer.err", "worker.err"]
            .iter()
            .filter_map(|name| read_to_string(dir.path().join(name)).ok())
            .collect();
        assert!(status.success(), "{status}: {errors:?}");
    }

    fn terminate(&self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill $0", &pid]).status().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The redis-py of the system, and a new one if scripts/install-deps has got it.
fn versions() -> Vec<Option<PathBuf>> {
    [None].into_iter().chain(python_path().map(Some)).collect()
}

/// Lines `partition id key payload`: each key's ids in the order in which they were handled first.
fn handled(dir: &TempDir) -> BTreeMap<String, Vec<(u64, u64)>> {
    let (mut seen, mut by_key) = (BTreeSet::new(), BTreeMap::<String, Vec<_>>::new());
    let output = read_to_string(dir.path().join("worker.out")).unwrap();
    for line in output.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let words: Vec<&str> = line.split(' ').collect();
        let (ms, n) = words[1].split_once('-').expect("an id");
        let id = (ms.parse().unwrap(), n.parse().unwrap());
        if seen.insert((words[0].to_owned(), id)) {
            by_key.entry(words[2].to_owned()).or_default().push(id);
        }
    }
    by_key
}

fn count(dir: &TempDir) -> usize {
    handled(dir).values().map(Vec::len).sum()
}

#[test]
fn the_examples_go_on_while_partitions_move_and_masters_change() {
    each_binary(|binary| {
        for path in versions() {
            let (scene, dir) = (&mut Scene::by(Cluster::with(binary).replicas(1)), TempDir::new());
            let start = |scene: &Scene, name: &str, args: &[&str]| {
                Program::start(scene, name, args, &dir, path.as_deref())
            };
            let worker = start(scene, "worker", &["g"]);
            start(scene, "producer", &["30"]).ends(&dir);
            until(PATIENCE, || count(&dir) == 30);

            let p = scene.mapping.partition("thread:0");
            let to = scene.cluster.others(&stream(p))[0];
            scene.cluster.move_slot(slot_of(p), to);
            start(scene, "producer", &["30"]).ends(&dir);
            until(PATIENCE, || count(&dir) == 60);

            let replica = scene.cluster.replica_of(to);
            scene.cluster.fail_over(replica);
            start(scene, "producer", &["30"]).ends(&dir);
            until(PATIENCE, || count(&dir) == 90);
            worker.terminate();
            worker.ends(&dir);
            let handled = handled(&dir);
            assert_eq!(handled.len(), 3, "{handled:?}");
            assert!(handled.values().all(|ids| ids.is_sorted() && ids.len() == 30), "{handled:?}");
        }
    });
}

/// The hash of the example is that of the server's.
#[test]
fn the_example_hashes_as_the_server_does() {
    let keys = ["", "a", "ab", "abc", "abcd", "thread:7", "\u{e4}\u{20ac}", "x\0y"];
    let program = "import sys; from murmur3 import hash\n\
                   for key in sys.stdin.buffer.read().split(b'|'): print(hash(key))";
    let dir = TempDir::new();
    let input = dir.path().join("keys");
    std::fs::write(&input, keys.join("|")).unwrap();
    let output = Command::new("/usr/bin/python3")
        .args(["-B", "-c", program])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cluster"))
        .stdin(File::open(input).unwrap())
        .output()
        .expect("/usr/bin/python3");
    let printed = String::from_utf8(output.stdout).unwrap();
    let expected = keys.map(|key| crate::model::hash::hash(key.as_bytes()).to_string());
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
}
