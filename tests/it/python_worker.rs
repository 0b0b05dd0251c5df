//! examples/worker.py and examples/producer.py against real servers: what people copy must hold
//! what it says of itself.
//!
//! A worker whose output nobody reads stands still in its handler as soon as the pipe is full:
//! so a test can hold one in the middle of its work without a sleep.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::harness::{Conn, Endpoint, PATIENCE, Server, TempDir, each_server, must, until};

/// worker.py with a handler of the test's around its own.
const PATCH: &str = "
import sys
sys.path.insert(0, sys.argv.pop(1))
import worker
handle = worker.handle
def tested(partition, epoch, id, event):
    number = int(event[b'payload'].split()[0])
    attempt = int(event.get(b'attempt', b'1'))
    BEFORE
    handle(partition, epoch, id, event)
worker.handle = tested
worker.HEARTBEAT_S = 0.05
worker.RING_S = 0.05
worker.main()
";

/// More than a pipe holds.
const PIPEFUL: usize = 200_000;

/// A running worker.py; killed when dropped.
pub(crate) struct Worker {
    process: Child,
    dir: TempDir,
}

impl Worker {
    /// Starts one; its output goes to a file.
    fn start(server: &Server) -> Self {
        let dir = TempDir::new();
        let output = File::create(dir.path().join("out")).unwrap();
        let process = spawn(server, "worker.py", &["mailer"], output.into(), &dir);
        Self { process, dir }
    }

    /// Starts one that runs `before` (Python, the body of a function) ahead of each event, and
    /// has `args` behind its group.
    pub(crate) fn start_with(server: &Server, before: &str, args: &[&str]) -> Self {
        let dir = TempDir::new();
        let output = File::create(dir.path().join("out")).unwrap();
        let program = dir.path().join("program.py");
        std::fs::write(&program, PATCH.replace("BEFORE", before)).unwrap();
        let args = [&["mailer"], args].concat();
        let process = spawn(server, program.to_str().unwrap(), &args, output.into(), &dir);
        Self { process, dir }
    }

    /// Starts one whose output waits in a pipe.
    fn start_piped(server: &Server) -> (Self, ChildStdout) {
        let dir = TempDir::new();
        let mut process = spawn(server, "worker.py", &["mailer"], Stdio::piped(), &dir);
        let output = process.stdout.take().unwrap();
        (Self { process, dir }, output)
    }

    /// Key and number of each event handled so far, in order.
    pub(crate) fn handled(&self) -> Vec<(String, u64)> {
        parse(&std::fs::read_to_string(self.dir.path().join("out")).unwrap())
    }

    pub(crate) fn complaints(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("err")).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s $0 $1", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    /// Waits until it has ended by itself, without an error.
    pub(crate) fn wait(&mut self) {
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.complaints());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(server: &Server, program: &str, args: &[&str], output: Stdio, dir: &TempDir) -> Child {
    let Endpoint::Unix(socket) = server.endpoint() else { panic!("a unix socket") };
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut command = Command::new("/usr/bin/python3");
    // An absolute path replaces the directory.
    command.arg("-B").arg(examples.join(program));
    if Path::new(program).is_absolute() {
        command.arg(examples);
    }
    command
        .arg(format!("unix://{}", socket.display()))
        .args(args)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(File::create(dir.path().join("err")).unwrap())
        .spawn()
        .expect("/usr/bin/python3 with python3-redis, as scripts/install-deps installs them")
}

/// Lines `partition id type key payload`, where the payload begins with the event's number. What a
/// killed process has left of a line is none.
fn parse(output: &str) -> Vec<(String, u64)> {
    let whole = output.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[3].to_owned(), words[4].parse().unwrap())
        })
        .collect()
}

/// Waits until `count` clients are blocked in EVQ.CONSUME.
fn until_waiting(conn: &mut Conn, count: usize) {
    until(PATIENCE, || {
        let clients = must!(conn, "CLIENT", "LIST");
        let waits = |line: &&str| line.to_lowercase().contains("cmd=evq.consume");
        clients.str().lines().filter(waits).count() == count
    });
}

pub(crate) fn trigger(conn: &mut Conn, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        for key in 0..20 {
            must!(conn, "EVQ.TRIGGER", format!("key:{key}"), n, "TYPE", "Numbered");
        }
    }
}

/// The numbers of one key, in the order of handling.
pub(crate) fn numbers(handled: &[(String, u64)], key: u64) -> Vec<u64> {
    let key = format!("key:{key}");
    handled.iter().filter(|(k, _)| *k == key).map(|(_, n)| *n).collect()
}

#[test]
fn a_python_worker_that_is_killed_is_replaced_and_every_key_stays_in_order() {
    each_server(|server| {
        let mut conn = server.connect();
        let mut first = Worker::start(&server);
        until_waiting(&mut conn, 8);
        let second = Worker::start(&server);
        until_waiting(&mut conn, 16);
        trigger(&mut conn, 1..=20);
        until(PATIENCE, || first.handled().len() >= 50);
        first.process.kill().unwrap();
        first.process.wait().unwrap();
        trigger(&mut conn, 21..=40);
        until(PATIENCE, || (0..20).all(|key| numbers(&second.handled(), key).contains(&40)));

        let (before, after) = (first.handled(), second.handled());
        for key in 0..20 {
            let before = numbers(&before, key);
            let done = before.len() as u64;
            assert_eq!(before, (1..=done).collect::<Vec<_>>(), "key:{key} before the kill");
            let after = numbers(&after, key);
            let from = after[0];
            assert!(from <= done + 1, "key:{key}: {done} done, then {from}");
            assert_eq!(after, (from..=40).collect::<Vec<_>>(), "key:{key} after the kill");
        }
    });
}

#[test]
fn a_python_worker_that_is_asked_to_stop_finishes_the_event_in_hand() {
    each_server(|server| {
        let mut conn = server.connect();
        let (mut worker, mut output) = Worker::start_piped(&server);
        until_waiting(&mut conn, 8);
        let long = |n: u32| format!("{n} {}", "x".repeat(PIPEFUL));
        must!(conn, "EVQ.MTRIGGER", 3, "key:1", long(1), "key:1", long(2), "key:1", long(3));
        let partition = must!(conn, "EVQ.ROUTE", "key:1").at(0).int();
        let mut text = vec![0; 1];
        // From the first byte on it is in its handler, and stays there: the pipe is too short.
        output.read_exact(&mut text).unwrap();
        worker.signal("TERM");
        // The seven that have nothing in hand go first: then all have been told.
        until(PATIENCE, || {
            let released = conn.info("commandstats", "cmdstat_EVQ.RELEASE");
            released.is_some_and(|calls| calls.starts_with("calls=7,"))
        });
        output.read_to_end(&mut text).unwrap();
        worker.wait();
        let handled = parse(std::str::from_utf8(&text).unwrap());
        assert_eq!(handled, [("key:1".to_owned(), 1)]);
        let released = conn.info("commandstats", "cmdstat_EVQ.RELEASE").unwrap();
        assert!(released.starts_with("calls=8,") && released.contains("failed_calls=0"));

        let next = must!(conn, "EVQ.CONSUME", partition, "GROUP", "mailer", "NOBLOCK");
        assert!(next.at(2).at(0).at(1).at(3).str().starts_with("2 x"), "the next event comes next");
        assert_eq!(worker.complaints(), "");
    });
}

#[test]
fn a_python_worker_that_was_taken_over_starts_over() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "CONFIG", "SET", "evq.lease-ms", 300);
        let (worker, mut output) = Worker::start_piped(&server);
        until_waiting(&mut conn, 8);
        let partition = must!(conn, "EVQ.ROUTE", "key:1").at(0).int();
        must!(conn, "EVQ.TRIGGER", "key:1", format!("1 {}", "x".repeat(PIPEFUL)));
        let mut byte = [0];
        output.read_exact(&mut byte).unwrap();

        // It stands still in its handler until its lease is over.
        let taken = must!(
            conn,
            "EVQ.CONSUME",
            partition,
            "GROUP",
            "mailer",
            "BLOCK",
            30_000,
            "LEASE",
            60_000
        );
        let id = taken.at(2).at(0).at(0).str();
        must!(conn, "EVQ.ACK", partition, id, "GROUP", "mailer");
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                sender.send(line.unwrap()).unwrap();
            }
        });
        lines.recv_timeout(PATIENCE).expect("the rest of the first event");
        until(PATIENCE, || worker.complaints().contains("EVQFENCED"));
        must!(conn, "EVQ.RELEASE", partition, "GROUP", "mailer");
        must!(conn, "EVQ.TRIGGER", "key:1", 2);
        let line = lines.recv_timeout(PATIENCE).expect("the second event");
        assert_eq!(parse(&format!("{line}\n")), [("key:1".to_owned(), 2)]);
    });
}

#[test]
fn a_python_worker_goes_on_after_the_server_was_killed() {
    crate::harness::each_binary(|binary| {
        let config = ["appendonly yes", "appendfsync always"];
        let mut server = Server::with(binary).config(&config).start();
        let worker = Worker::start(&server);
        until_waiting(&mut server.connect(), 8);
        trigger(&mut server.connect(), 1..=10);
        server.kill9();
        server.restart();
        trigger(&mut server.connect(), 11..=20);
        until(PATIENCE, || (0..20).all(|key| numbers(&worker.handled(), key).contains(&20)));
        for key in 0..20 {
            let mut furthest = 0;
            for n in numbers(&worker.handled(), key) {
                assert!(n <= furthest + 1, "key:{key}: {n} after {furthest}");
                furthest = furthest.max(n);
            }
            assert_eq!(furthest, 20);
        }
    });
}

/// The lag of the group over the whole ring.
pub(crate) fn lag(conn: &mut Conn) -> i64 {
    must!(conn, "EVQ.GROUPS").at(0).at(3).int()
}

#[test]
fn python_workers_of_any_partition_share_the_ring_and_one_may_be_killed() {
    each_server(|server| {
        let mut conn = server.connect();
        let mut first = Worker::start_with(&server, "pass", &["--any", "3"]);
        let second = Worker::start_with(&server, "pass", &["--any", "3"]);
        until_waiting(&mut conn, 6);
        let mut last = 0;
        until(PATIENCE, || {
            last += 1;
            trigger(&mut conn, last..=last);
            first.handled().len() >= 50 && second.handled().len() >= 50
        });
        first.process.kill().unwrap();
        first.process.wait().unwrap();
        trigger(&mut conn, last + 1..=last + 20);
        until(PATIENCE, || lag(&mut conn) == 0);
        let (before, after) = (first.handled(), second.handled());
        for key in 0..20 {
            // What the killed one had done and not acknowledged is done again, nothing else.
            let (mut before, after) = (numbers(&before, key), numbers(&after, key));
            assert!(before.is_sorted() && after.is_sorted(), "key:{key}: {before:?} {after:?}");
            before.extend(after);
            before.sort_unstable();
            before.dedup();
            assert_eq!(before, (1..=last + 20).collect::<Vec<_>>(), "key:{key}");
        }
    });
}

#[test]
fn a_python_worker_keeps_its_partition_during_long_work() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "CONFIG", "SET", "evq.lease-ms", 2500).ok();
        let partition = must!(conn, "EVQ.TRIGGER", "key:1", 1).at(0).int();
        let slow = "print('begun', file=sys.stderr, flush=True); worker.time.sleep(5)";
        let worker = Worker::start_with(&server, slow, &[]);
        until(PATIENCE, || worker.complaints().contains("begun"));
        let taken = must!(conn, "EVQ.CONSUME", partition, "GROUP", "mailer", "BLOCK", 4000);
        assert!(taken.is_null(), "{taken:?}");
        until(PATIENCE, || worker.handled().len() == 1);
        assert_eq!(worker.complaints(), "begun\n");
    });
}

fn resize(conn: &mut Conn, partitions: usize) {
    assert!(must!(conn, "EVQ.RESIZE", "default", partitions).int() > 1);
}

#[test]
fn a_python_worker_goes_along_when_the_ring_is_resized() {
    each_server(|server| {
        let mut conn = server.connect();
        for (n, args) in [&[][..], &["--any", "3"]].into_iter().enumerate() {
            let any = n > 0;
            let mut worker = Worker::start_with(&server, "pass", args);
            let waiting = |partitions| if any { 3 } else { partitions };
            until_waiting(&mut conn, waiting(8));
            trigger(&mut conn, 1..=10);
            resize(&mut conn, 12);
            trigger(&mut conn, 11..=20);
            until_waiting(&mut conn, waiting(12));
            resize(&mut conn, 3);
            trigger(&mut conn, 21..=30);
            until(PATIENCE, || lag(&mut conn) == 0);
            until(PATIENCE, || worker.handled().len() == 600);
            for key in 0..20 {
                let expected: Vec<u64> = (1..=30).collect();
                assert_eq!(numbers(&worker.handled(), key), expected, "key:{key} {args:?}");
            }
            // Its threads end where retention has emptied a partition that leaves.
            for p in 0..12 {
                must!(conn, "XTRIM", format!("evq:{{default:{p}}}"), "MAXLEN", 0);
            }
            until_waiting(&mut conn, waiting(3));
            // A number that comes again gets a thread again.
            resize(&mut conn, 8);
            until_waiting(&mut conn, waiting(8));
            assert_eq!(worker.complaints(), "");
            worker.signal("TERM");
            worker.wait();
        }
    });
}

#[test]
fn the_python_producer_triggers_what_it_prints() {
    each_server(|server| {
        let dir = TempDir::new();
        let producer = spawn(&server, "producer.py", &["5"], Stdio::piped(), &dir);
        let output = producer.wait_with_output().unwrap();
        assert!(output.status.success());
        let lines: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 5);
        let mut conn = server.connect();
        for line in lines {
            let words: Vec<&str> = line.splitn(5, ' ').collect();
            let key = format!("evq:{{default:{}}}", words[0]);
            let found = must!(conn, "XRANGE", key, words[1], words[1]);
            assert_eq!(found.at(0).at(1).at(1).str(), words[3]);
            assert_eq!(found.at(0).at(1).at(3).str(), words[4]);
            assert_eq!(found.at(0).at(1).at(5).str(), words[2]);
        }
    });
}
