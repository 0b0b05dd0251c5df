//! `examples/once.py`: each event counts once, even if a worker stands still in the middle of its
//! transaction and another one takes its partition over.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::harness::{Conn, Endpoint, Server, each_server, must};

/// Counts one event, and waits for a line at two places: before the transaction begins, and in
/// the middle of it, when all is queued and nothing is sent.
const PROGRAM: &str = "
import sys
sys.path.insert(0, sys.argv[1])
import once, redis
client = redis.Redis.from_url(sys.argv[2])
finish = once.finish_once
def stop(where):
    print(where, flush=True)
    sys.stdin.readline()
def watched(client, partition, group, epoch, id, write):
    stop('before')
    def queue(pipe):
        write(pipe)
        stop('inside')
    return finish(client, partition, group, epoch, id, queue)
once.finish_once = watched
try:
    while not once.count(client, 'counter'):
        pass
    print('done', flush=True)
except redis.RedisError as error:
    print(str(error).split()[0], flush=True)
";

struct Counting {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Counting {
    fn start(server: &Server) -> Self {
        let Endpoint::Unix(socket) = server.endpoint() else { panic!("a unix socket") };
        let mut process = Command::new("/usr/bin/python3")
            .args(["-B", "-c", PROGRAM, concat!(env!("CARGO_MANIFEST_DIR"), "/examples")])
            .arg(format!("unix://{}", socket.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("/usr/bin/python3 with python3-redis, as scripts/install-deps installs them");
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Self { process, input, output }
    }

    /// The next line it prints.
    fn says(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn go_on(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn counted(conn: &mut Conn) -> Option<String> {
    let count = must!(conn, "HGET", "counts", "thread:42");
    (!count.is_null()).then(|| count.str().to_owned())
}

/// One event; its partition.
fn prepare(conn: &mut Conn) -> i64 {
    must!(conn, "EVQ.TRIGGER", "thread:42", "{}").at(0).int()
}

#[test]
fn an_event_is_counted_and_finished_in_one_step() {
    each_server(|server| {
        let mut conn = server.connect();
        prepare(&mut conn);
        let mut worker = Counting::start(&server);
        assert_eq!(worker.says(), "before");
        worker.go_on();
        assert_eq!(worker.says(), "inside");
        assert_eq!(counted(&mut conn), None);
        worker.go_on();
        assert_eq!(worker.says(), "done");
        assert_eq!(counted(&mut conn).as_deref(), Some("1"));
        assert_eq!(must!(conn, "EVQ.GROUPS").at(0).at(3).int(), 0, "nothing is left to do");
    });
}

#[test]
fn a_worker_that_was_taken_over_writes_nothing_wherever_it_stood() {
    for place in ["before", "inside"] {
        each_server(|server| {
            let mut conn = server.connect();
            must!(conn, "CONFIG", "SET", "evq.lease-ms", 100).ok();
            let partition = prepare(&mut conn);
            let mut worker = Counting::start(&server);
            assert_eq!(worker.says(), "before");
            if place == "inside" {
                worker.go_on();
                assert_eq!(worker.says(), "inside");
            }
            // It stands still past its lease; another one takes over and counts the event.
            let taken = must!(conn, "EVQ.CONSUME", partition, "GROUP", "counter", "BLOCK", 30_000);
            let id = taken.at(2).at(0).at(0).str();
            must!(conn, "HINCRBY", "counts", "thread:42", 1);
            must!(conn, "EVQ.ACK", partition, id, "GROUP", "counter", "EPOCH", taken.at(1).int());
            worker.go_on();
            // In the middle, EXEC does nothing, and the partition is not its own to give up.
            assert_eq!(worker.says(), "EVQFENCED", "{place}");
            assert_eq!(counted(&mut conn).as_deref(), Some("1"), "{place}");
        });
    }
}

#[test]
fn acknowledgements_of_another_group_do_not_disturb_a_transaction() {
    each_server(|server| {
        let mut conn = server.connect();
        let partition = prepare(&mut conn);
        must!(conn, "EVQ.TRIGGER", "thread:42", "{}");
        let other = must!(conn, "EVQ.CONSUME", partition, "GROUP", "other", "COUNT", 2);
        let mut worker = Counting::start(&server);
        assert_eq!(worker.says(), "before");
        worker.go_on();
        assert_eq!(worker.says(), "inside");
        for n in 0..2 {
            let id = other.at(2).at(n).at(0).str();
            assert_eq!(must!(conn, "EVQ.ACK", partition, id, "GROUP", "other").int(), 1);
        }
        worker.go_on();
        assert_eq!(worker.says(), "done", "at the first try");
        assert_eq!(counted(&mut conn).as_deref(), Some("1"));
    });
}

#[test]
fn a_transaction_that_was_disturbed_is_done_under_a_new_epoch() {
    each_server(|server| {
        let mut conn = server.connect();
        let partition = prepare(&mut conn);
        let other = must!(conn, "EVQ.CONSUME", partition, "GROUP", "other");
        let mut worker = Counting::start(&server);
        assert_eq!(worker.says(), "before");
        worker.go_on();
        assert_eq!(worker.says(), "inside");
        must!(conn, "EVQ.NACK", partition, other.at(2).at(0).at(0).str(), "GROUP", "other");
        worker.go_on();
        assert_eq!(worker.says(), "before", "the event again");
        worker.go_on();
        assert_eq!(worker.says(), "inside");
        assert_eq!(counted(&mut conn), None);
        worker.go_on();
        assert_eq!(worker.says(), "done");
        assert_eq!(counted(&mut conn).as_deref(), Some("1"));
    });
}
