//! Servers that hold one ring together: the masters of a cluster, or a server by itself.

use std::path::PathBuf;
use std::time::Duration;

use crate::cases::key;
use crate::conn::Outcome;
use crate::resp::encode;
use crate::server::{Sample, Server, Setting, against_the_clock, wait};

/// Partitions of the ring `default`, which every fleet has. Each of four masters has eight.
pub(crate) const PARTITIONS: usize = 32;

/// Keys of events: enough for each pair of a partition and one of eight nodes.
const KEYS: usize = 40_000;

const SLOTS: usize = 16_384;

/// How long the nodes of a new cluster may take to agree.
const PATIENCE: Duration = Duration::from_secs(60);

/// No node is held to be down, however long the machine stands still.
const NODE_TIMEOUT_MS: &str = "600000";

/// Where servers listen, and their processes.
pub(crate) type Addresses = Vec<(PathBuf, u32)>;

/// All that is compared.
pub(crate) struct Fleets {
    /// A server by itself.
    pub(crate) single: Fleet,
    /// Clusters of different sizes.
    pub(crate) clusters: Vec<Fleet>,
    /// What events have as keys.
    pub(crate) keys: Vec<Key>,
    /// The slot of each partition.
    slots: Vec<usize>,
}

/// A key that events have.
pub(crate) struct Key {
    /// Its bytes.
    pub(crate) name: String,
    /// Its partition.
    pub(crate) partition: usize,
    /// Its slot: the server routes a command by it whose first argument is the key.
    slot: usize,
}

/// Servers that are loaded together. As a cluster they have equal shares of the slots, in order.
pub(crate) struct Fleet {
    /// The servers.
    pub(crate) nodes: Vec<Server>,
}

impl Fleets {
    /// Of a server by itself, and of servers that become clusters.
    pub(crate) fn new(single: Server, clusters: &[Addresses]) -> Outcome<Self> {
        let single = Fleet { nodes: vec![single] };
        let clusters = clusters.iter().map(Fleet::form).collect::<Outcome<Vec<_>>>()?;
        let slot_of = ["CLUSTER", "KEYSLOT"];
        let names: Vec<String> = (0..KEYS).map(key).collect();
        let streams: Vec<String> = (0..PARTITIONS).map(stream).collect();
        let node = clusters.first().ok_or("no clusters")?.node(0)?;
        let (slots, of_keys) =
            (numbers(node, &slot_of, &streams)?, numbers(node, &slot_of, &names)?);
        // A cluster has the same mapping.
        single.begin()?;
        let partitions = numbers(single.node(0)?, &["EVQ.ROUTE"], &names)?;
        let keys = names.into_iter().zip(partitions).zip(of_keys);
        let keys = keys.map(|((name, partition), slot)| Key { name, partition, slot }).collect();
        Ok(Self { single, clusters, keys, slots })
    }

    /// The cluster with so many masters.
    pub(crate) fn cluster(&self, masters: usize) -> Outcome<&Fleet> {
        let found = self.clusters.iter().find(|fleet| fleet.nodes.len() == masters);
        found.ok_or_else(|| format!("no cluster of {masters} masters").into())
    }

    /// The number of the node of a fleet that has this partition.
    pub(crate) fn owner(&self, fleet: &Fleet, partition: usize) -> usize {
        fleet.node_of(self.slots.get(partition).copied().unwrap_or_default())
    }

    /// The number of the node of a fleet to which a client sends EVQ.TRIGGER with this key.
    pub(crate) fn door(&self, fleet: &Fleet, key: &Key) -> usize {
        fleet.node_of(key.slot)
    }
}

impl Fleet {
    /// Makes a cluster of servers that know nobody.
    fn form(addresses: &Addresses) -> Outcome<Self> {
        let server = |(socket, pid): &(PathBuf, u32)| {
            Server::new(socket.clone(), *pid, Setting::Plain, false)
        };
        let nodes = addresses.iter().map(server).collect::<Outcome<Vec<_>>>()?;
        let fleet = Self { nodes };
        let masters = fleet.nodes.len();
        for (n, node) in fleet.nodes.iter().enumerate() {
            // The first slots of two nodes, rounded up as `node_of` rounds down.
            let first = |n: usize| (n * SLOTS).div_ceil(masters);
            let (from, to) = (first(n).to_string(), (first(n + 1) - 1).to_string());
            node.call(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()])?;
            node.call(&["CLUSTER", "ADDSLOTSRANGE", &from, &to])?;
            let port = port(node)?;
            if n > 0 {
                fleet.node(0)?.call(&["CLUSTER", "MEET", "127.0.0.1", &port])?;
            }
        }
        let agreed = [
            "cluster_state:ok".to_owned(),
            format!("cluster_slots_ok:{SLOTS}"),
            format!("cluster_known_nodes:{masters}"),
            format!("cluster_size:{masters}"),
        ];
        for node in &fleet.nodes {
            wait(PATIENCE, "a cluster that is whole", || {
                let info = String::from_utf8(node.call(&["CLUSTER", "INFO"])?)?;
                Ok(agreed.iter().all(|field| info.lines().any(|line| line.trim() == field)))
            })?;
            node.call(&["CONFIG", "SET", "cluster-node-timeout", NODE_TIMEOUT_MS])?;
        }
        Ok(fleet)
    }

    /// A node by its number.
    pub(crate) fn node(&self, n: usize) -> Outcome<&Server> {
        self.nodes.get(n).ok_or_else(|| format!("no node {n}").into())
    }

    fn node_of(&self, slot: usize) -> usize {
        slot * self.nodes.len() / SLOTS
    }

    /// Empties all servers and makes ring and group anew, so that each slice finds the same. No
    /// partition has seen a worker then.
    pub(crate) fn begin_unused(&self) -> Outcome<()> {
        self.nodes.iter().try_for_each(Server::empty)?;
        self.call(&["EVQ.CREATE", "default", &PARTITIONS.to_string()])?;
        self.call(&["EVQ.GROUP", "default", "FROM", "first"])
    }

    /// As `begin_unused`, and every partition has seen a worker, which makes its delivery state.
    pub(crate) fn begin(&self) -> Outcome<()> {
        self.begin_unused()?;
        let pull = |p| self.call(&["EVQ.CONSUME", &stream(p), "NOBLOCK"]);
        (0..PARTITIONS).try_for_each(pull)
    }

    /// One command, at the node that has the slot of its first argument.
    pub(crate) fn call(&self, words: &[&str]) -> Outcome<()> {
        for node in &self.nodes {
            match node.call(words) {
                Err(error) if error.to_string().starts_with("-MOVED") => {}
                done => return done.map(drop),
            }
        }
        Err(format!("no node has the slot for {}", words.join(" ")).into())
    }

    /// Runs a slice of `events` against the clock. The CPU time is that of all threads of all
    /// servers: a command that is passed on costs in two of them, and in a thread of its own.
    pub(crate) fn measure(
        &self,
        events: usize,
        work: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<Sample> {
        let cpu_ns = || -> Outcome<u64> { self.nodes.iter().map(Server::cpu_ns_of_all).sum() };
        against_the_clock(events, cpu_ns, work)
    }
}

/// The stream of a partition.
pub(crate) fn stream(partition: usize) -> String {
    format!("evq:{{default:{partition}}}")
}

fn port(node: &Server) -> Outcome<String> {
    let reply = String::from_utf8(node.call(&["CONFIG", "GET", "port"])?)?;
    Ok(reply.lines().nth(4).ok_or("CONFIG GET returns no port")?.to_owned())
}

/// The number in the reply to a command with each of these words as its last.
fn numbers(server: &Server, command: &[&str], words: &[String]) -> Outcome<Vec<usize>> {
    const AT_A_TIME: usize = 1000;
    let (mut conn, mut numbers) = (server.connect()?, Vec::with_capacity(words.len()));
    for words in words.chunks(AT_A_TIME) {
        let mut bytes = Vec::new();
        for word in words {
            encode(&mut bytes, &[command, &[word]].concat());
        }
        conn.send(&bytes)?;
        for _ in words {
            let mut number = None;
            conn.each(|element| {
                if element.is_number {
                    number = std::str::from_utf8(element.text).ok().and_then(|t| t.parse().ok());
                }
            })?;
            numbers.push(number.ok_or("a reply without a number")?);
        }
    }
    Ok(numbers)
}
