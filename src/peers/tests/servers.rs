//! Clusters of plain servers, each in a directory of its own, on ports that were found free.

use std::net::{SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use redis::{Client, Cmd, Connection, ConnectionLike, Value};

use super::process::{signal, wait_for_end};
use super::tempdir::TempDir;
use super::wait::{PATIENCE, until, until_some};

/// How many slots there are.
const SLOTS: usize = 16_384;

/// Runs `test` for each server binary; a failure on one does not keep it from the others.
#[track_caller]
pub(super) fn each(test: impl Fn(&str)) {
    let list = std::env::var("EVQ_TEST_SERVERS");
    let list = list.unwrap_or_else(|_| "redis-server:valkey-server".to_owned());
    let failed: Vec<&str> = list
        .split([':', ','])
        .map(str::trim)
        .filter(|program| !program.is_empty())
        .filter(|program| catch_unwind(AssertUnwindSafe(|| test(program))).is_err())
        .collect();
    assert!(failed.is_empty(), "failed on {}", failed.join(" and on "));
}

/// Several servers. They are killed when dropped.
pub(super) struct Servers {
    all: Vec<Server>,
}

pub(super) struct Server {
    program: String,
    child: Child,
    ports: [u16; 3],
    dir: TempDir,
    lines: Vec<String>,
}

impl Servers {
    /// A cluster of `count` masters that share the slots evenly.
    pub(super) fn cluster(program: &str, count: usize) -> Self {
        Self::with(program, count, |_, _| Vec::new())
    }

    /// The same, with more words for the command line of each: `more` gets the number of the
    /// server and its port for TLS.
    pub(super) fn with(
        program: &str,
        count: usize,
        more: impl Fn(usize, u16) -> Vec<String>,
    ) -> Self {
        let all = (0..count).map(|number| Server::start(program, number, &more)).collect();
        let servers = Self { all };
        let first = servers.all[0].ports;
        for (number, server) in servers.all.iter().enumerate() {
            server.must(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            let [from, to] = [number, number + 1].map(|part| part * SLOTS / count);
            let range = [from.to_string(), (to - 1).to_string()];
            server.must(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]);
            let [port, bus, _] = first.map(|port| port.to_string());
            server.must(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        servers.wait_until_agreed();
        servers
    }

    /// Waits until all know all, and that all slots have an owner.
    pub(super) fn wait_until_agreed(&self) {
        for server in &self.all {
            let count = format!("cluster_known_nodes:{}\r", self.all.len());
            until(PATIENCE, || {
                let info = server.text(&["CLUSTER", "INFO"]);
                ["cluster_state:ok\r", "cluster_slots_ok:16384\r", count.as_str()]
                    .iter()
                    .all(|line| info.contains(line))
            });
        }
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    pub(super) fn server(&self, number: usize) -> &Server {
        &self.all[number]
    }

    pub(super) fn server_mut(&mut self, number: usize) -> &mut Server {
        &mut self.all[number]
    }

    pub(super) fn address(&self, number: usize) -> SocketAddr {
        self.all[number].address()
    }

    /// The number of the server that has `slot` by the count of `cluster`.
    pub(super) fn first_owner(&self, slot: u16) -> usize {
        let count = self.all.len();
        (0..count).find(|number| usize::from(slot) < (number + 1) * SLOTS / count).unwrap()
    }

    /// Begins to move `slot` from one server to another.
    pub(super) fn begin_to_move(&self, slot: u16, from: usize, to: usize) {
        let [source, target] = [from, to].map(|number| self.all[number].id());
        let slot = slot.to_string();
        self.all[to].must(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]);
        self.all[from].must(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]);
    }

    /// Moves one key of a slot that is being moved.
    pub(super) fn migrate(&self, key: &str, from: usize, to: usize) {
        let port = self.all[to].ports[0].to_string();
        self.all[from].must(&["MIGRATE", "127.0.0.1", &port, key, "0", "10000"]);
    }

    /// Ends the move of `slot`; all of its keys must have been moved.
    pub(super) fn end_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, id) = (slot.to_string(), self.all[to].id());
        for number in [to, from] {
            self.all[number].must(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
    }

    /// Waits until all nodes know the same owners, by the same epochs. A slot that moves on before
    /// that can be claimed by two nodes under one epoch, and each sends clients to the other.
    pub(super) fn wait_until_moves_are_known(&self) {
        until(PATIENCE, || {
            let mut views =
                self.all.iter().map(|server| owners(&server.text(&["CLUSTER", "NODES"])));
            let first = views.next();
            views.all(|view| Some(view) == first)
        });
    }
}

/// The id, epoch and slots of each node, in a reply to CLUSTER NODES.
fn owners(nodes: &str) -> Vec<[String; 3]> {
    let mut owners: Vec<_> = nodes
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            // Slots in brackets are on the move; only the two nodes themselves say so.
            let slots = words.iter().skip(8).filter(|word| !word.starts_with('['));
            [words[0].to_owned(), words[6].to_owned(), slots.copied().collect()]
        })
        .collect();
    owners.sort_unstable();
    owners
}

impl Server {
    fn start(program: &str, number: usize, more: &impl Fn(usize, u16) -> Vec<String>) -> Self {
        let ports = free_ports();
        let [port, bus, tls] = ports.map(|port| port.to_string());
        let dir = TempDir::new();
        let own = ["--port", &port, "--cluster-port", &bus, "--cluster-enabled", "yes"];
        let all = ["--save", "", "--bind", "127.0.0.1", "--cluster-node-timeout", "5000"];
        // One that is away does not take the others with it.
        let alone = ["--cluster-require-full-coverage", "no"];
        let file = ["--dir", dir.path().to_str().unwrap(), "--logfile", "log"];
        let words = [&own[..], &all[..], &alone[..], &file[..]].concat();
        let mut lines: Vec<String> = words.into_iter().map(str::to_owned).collect();
        lines.extend(more(number, tls.parse().unwrap()));
        let child = spawn(program, &lines);
        let server = Self { program: program.to_owned(), child, ports, dir, lines };
        server.wait_until_up();
        server
    }

    fn wait_until_up(&self) {
        until(PATIENCE, || self.try_connect().is_some());
    }

    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[0]))
    }

    pub(super) fn tls_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[2]))
    }

    fn try_connect(&self) -> Option<Connection> {
        let mut connection =
            Client::open(format!("redis://{}", self.address())).ok()?.get_connection().ok()?;
        connection.check_connection().then_some(connection)
    }

    /// The reply to a command, on a connection of its own.
    pub(super) fn ask(&self, words: &[&str]) -> Value {
        let mut command = Cmd::new();
        for word in words {
            command.arg(*word);
        }
        let mut connection = until_some(PATIENCE, || self.try_connect());
        connection.req_command(&command).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The same, but no error.
    pub(super) fn must(&self, words: &[&str]) -> Value {
        let reply = self.ask(words);
        assert!(!matches!(reply, Value::ServerError(_)), "{words:?}: {reply:?}");
        reply
    }

    /// A reply that is a text.
    pub(super) fn text(&self, words: &[&str]) -> String {
        redis::from_redis_value(self.must(words)).unwrap()
    }

    pub(super) fn id(&self) -> String {
        self.text(&["CLUSTER", "MYID"])
    }

    /// How often the server has replied an error with this code.
    pub(super) fn errors(&self, code: &str) -> u64 {
        let info = self.text(&["INFO", "errorstats"]);
        let head = format!("errorstat_{code}:count=");
        let line = info.lines().find_map(|line| line.strip_prefix(&head));
        line.map_or(0, |count| count.trim().parse().unwrap())
    }

    pub(super) fn stop(&self) {
        signal(&self.child, "STOP");
    }

    pub(super) fn go_on(&self) {
        signal(&self.child, "CONT");
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        wait_for_end(&mut self.child);
    }

    pub(super) fn start_again(&mut self) {
        self.child = spawn(&self.program, &self.lines);
        self.wait_until_up();
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().rev().take(10).collect();
            eprintln!("--- {}: {lines:#?}", self.address());
        }
    }
}

fn spawn(program: &str, words: &[String]) -> Child {
    Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} does not start: {error}"))
}

/// Ports that nobody listens on, all different. Below those that the kernel hands out for outgoing
/// connections: one of these may take such a port before the server does.
fn free_ports() -> [u16; 3] {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 8_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(101);
    let mut ports = (0..COUNT)
        .map(|_| start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT + FIRST)
        .filter_map(|port| u16::try_from(port).ok())
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    [(); 3].map(|()| ports.next().expect("a free TCP port"))
}
