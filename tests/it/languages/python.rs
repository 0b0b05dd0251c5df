//! What Python's file alone has: keys side by side, a limit to its length, its decorator, the
//! README's program.

use std::process::{Command, Stdio};

use super::each_language;
use super::lines::handled;
use crate::harness::{Endpoint, PATIENCE, Server, TempDir, each_server, must, until};

#[test]
fn python_handles_the_keys_of_a_pull_side_by_side_and_each_key_in_order() {
    each_language(|language, server| {
        if !language.name.contains("python") && language.name != "asyncio" {
            return;
        }
        let (mut conn, dir) = (server.connect(), TempDir::new());
        must!(conn, "EVQ.CREATE", "default", 1).ok();
        must!(conn, "EVQ.GROUP", "default", "FROM", "first").ok();
        let posts = [("slow", 60_000), ("quick", 1), ("slow", 2), ("quick", 3), ("other", 4)];
        for (key, ms) in posts {
            let payload = format!("{{\"ms\":{ms}}}");
            must!(conn, "EVQ.TRIGGER", key, payload, "TYPE", "PostCreated");
        }
        let lines = dir.path().join("lines");
        let settings = [("EVQ_PARALLEL", "3")];
        let mut worker = language.worker(server.port().unwrap(), &lines, &settings);
        until(PATIENCE, || handled(&lines).len() == 3);
        let done = handled(&lines);
        let quick: Vec<_> = done.iter().filter(|one| one.key == "quick").collect();
        assert_eq!(quick[0].payload, "{\"ms\":1}");
        assert_eq!(quick[1].payload, "{\"ms\":3}");
        assert!(done.iter().all(|one| one.key != "slow"), "{done:?}");
        worker.kill9();
    });
}

#[test]
fn the_python_file_is_short_enough_to_be_read_before_it_is_copied() {
    let lines = include_str!("../../../examples/python/evq.py").lines().count();
    assert!(lines <= 250, "{lines} lines");
}

#[test]
fn a_python_handler_of_all_other_types_needs_no_parentheses() {
    for file in ["evq", "evq_asyncio"] {
        let program = format!(
            "from {file} import Queue\n\
             queue = Queue('redis://localhost:6379')\n\
             @queue.on\n\
             def one(event): pass\n\
             @queue.on()\n\
             def two(event): pass\n\
             assert queue.handlers == {{None: [one, two]}}, queue.handlers"
        );
        let mut python = Command::new("/usr/bin/python3");
        python.args(["-B", "-c", &program]);
        python.env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python"));
        assert!(python.status().expect("/usr/bin/python3").success(), "{file}");
    }
}

/// A program of the README in a directory with nothing but the copied file.
struct Program(std::process::Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn readme_program(server: &Server, dir: &TempDir) -> Program {
    let readme = include_str!("../../../README.md");
    let (_, part) = readme.split_once("## In your language").expect("the section");
    let (_, code) = part.split_once("```python\n").expect("a program");
    let (code, _) = code.split_once("```").expect("its end");
    let Endpoint::Unix(socket) = server.endpoint() else { panic!("a unix socket") };
    let url = format!("unix://{}", socket.display());
    assert!(code.contains("redis://localhost:6379"));
    let code = code.replace("redis://localhost:6379", &url);
    std::fs::write(dir.path().join("app.py"), code).unwrap();
    let file = include_str!("../../../examples/python/evq.py");
    std::fs::write(dir.path().join("evq.py"), file).unwrap();
    let output = std::fs::File::create(dir.path().join("out")).unwrap();
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-B", "-u", "app.py"]).current_dir(dir.path());
    Program(command.stdin(Stdio::null()).stdout(output).spawn().expect("/usr/bin/python3"))
}

#[test]
fn the_python_program_of_the_readme_runs_as_it_stands() {
    each_server(|server| {
        let dir = TempDir::new();
        let _program = readme_program(&server, &dir);
        let said = || std::fs::read_to_string(dir.path().join("out")).unwrap();
        until(PATIENCE, || said() == "thread:42 {'text': 'Hello'}\n");
        let mut conn = server.connect();
        until(PATIENCE, || must!(conn, "EVQ.GROUPS").at(0).get("lag").int() == 0);
    });
}
