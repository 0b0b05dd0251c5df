//! `scripts/demo`, played fast: it ends by itself, its exit code tells whether the order held over
//! a killed worker and a resize, and it leaves no process and no file behind, however it ends.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::harness::{
    Binary, Endpoint, PATIENCE, TempDir, each_binary, module_path, must, until, until_some,
};

/// The demo with a directory for all its temporary files.
fn start(binary: &Binary, speed: u32, arguments: &[&str]) -> (Child, TempDir) {
    let dir = TempDir::new();
    let demo = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/demo"))
        .args(arguments)
        .env("TMPDIR", dir.path())
        .env("EVQ_MODULE", module_path())
        .env("EVQ_SERVER", &binary.program)
        .env("EVQ_DEMO_SPEED", speed.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    (demo, dir)
}

/// The socket of the demo's server, as soon as it answers.
fn endpoint(dir: &TempDir) -> Endpoint {
    until_some(PATIENCE, || {
        let demo = fs::read_dir(dir.path()).unwrap().next()?.unwrap().path();
        let endpoint = Endpoint::Unix(demo.join("socket"));
        endpoint.try_connect().ok()?.try_cmd(&["PING"]).ok().map(|_| endpoint)
    })
}

/// The processes that work in `dir` or name it.
fn processes(dir: &Path) -> Vec<PathBuf> {
    let name = format!("{}/", dir.display());
    let all = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    all.filter(|process| {
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        let inside = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        inside || String::from_utf8_lossy(&command).contains(&name)
    })
    .collect()
}

#[track_caller]
fn assert_nothing_left(dir: &TempDir) {
    assert_eq!(processes(dir.path()), Vec::<PathBuf>::new());
    let files: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert!(files.is_empty(), "{files:?}");
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(both).unwrap()
}

#[test]
fn the_demo_plays_to_its_end_and_leaves_nothing() {
    each_binary(|binary| {
        let (demo, dir) = start(binary, 20, &[]);
        let output = demo.wait_with_output().unwrap();
        let text = text(&output);
        assert!(output.status.success(), "{text}");
        assert!(text.contains("Order held in all 21 threads and nothing is missing."), "{text}");
        assert!(text.contains("the standby took partition 2 over"), "{text}");
        assert!(text.contains("EVQ.RESIZE default 4: the ring is in generation 2"), "{text}");
        assert!(text.contains("the standby found partition 3 by itself"), "{text}");
        assert!(text.contains("4 threads moved to another partition on the way"), "{text}");
        assert!(!text.contains("WRONG"), "{text}");
        assert_nothing_left(&dir);
    });
}

#[test]
fn the_demo_over_a_cluster_plays_to_its_end_and_leaves_nothing() {
    each_binary(|binary| {
        let (demo, dir) = start(binary, 20, &["--cluster"]);
        let output = demo.wait_with_output().unwrap();
        let text = text(&output);
        assert!(output.status.success(), "{text}");
        let verdict = "Order held in all 20 threads and nothing is missing: 160 posts";
        assert!(text.contains(verdict), "{text}");
        assert!(text.contains("slots have moved from node"), "{text}");
        assert!(text.contains(", its replica, is the master of"), "{text}");
        assert!(!text.contains("WRONG"), "{text}");
        assert_nothing_left(&dir);
    });
}

#[test]
fn the_demo_fails_if_something_was_handled_that_nobody_triggered() {
    each_binary(|binary| {
        let (demo, dir) = start(binary, 20, &[]);
        let record = r#"{"handled": [0, 1, "1-0", "thread:1", 1, 0.0], "type": "Forged"}"#;
        must!(endpoint(&dir).connect(), "RPUSH", "forum:handled", record);
        let output = demo.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(text(&output).contains("WRONG: thread:1 (1-0) was never triggered"));
        assert_nothing_left(&dir);
    });
}

#[test]
fn the_demo_checks_what_it_says_it_checks() {
    // The examples in check.py are its tests.
    let check = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/forum/check.py");
    let output = Command::new("/usr/bin/python3").args(["-B", "-m", "doctest", check]).output();
    let output = output.expect("/usr/bin/python3");
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_demo_that_is_stopped_in_the_middle_leaves_nothing() {
    each_binary(|binary| {
        let (demo, dir) = start(binary, 1, &[]);
        let mut conn = endpoint(&dir).connect();
        until(PATIENCE, || must!(conn, "LLEN", "forum:handled").int() > 0);
        let pid = demo.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill $0", &pid]).status().unwrap().success());
        let output = demo.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(143), "{}", text(&output));
        assert_nothing_left(&dir);
    });
}

#[test]
fn a_kept_demo_leaves_its_server_to_try() {
    each_binary(|binary| {
        let (demo, dir) = start(binary, 20, &["--keep"]);
        // The server keeps no end of our pipes, or this would wait for it.
        let output = demo.wait_with_output().unwrap();
        let text = text(&output);
        assert!(output.status.success(), "{text}");
        assert_eq!(processes(dir.path()).len(), 1, "the server alone");
        let stop = text.lines().find(|line| line.contains("kill ") && line.contains("rm -r"));
        let mut conn = endpoint(&dir).connect();
        must!(conn, "EVQ.TRIGGER", "thread:1", "by hand");
        assert!(Command::new("sh").args(["-c", stop.unwrap()]).status().unwrap().success());
        until(PATIENCE, || processes(dir.path()).is_empty());
        assert_nothing_left(&dir);
    });
}
