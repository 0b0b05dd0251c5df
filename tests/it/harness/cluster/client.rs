//! A client of a cluster: it sends each command to the owner of its first key and follows
//! redirections, as client libraries do.
//!
//! It repeats what certainly was not carried out: after MOVED, ASK, TRYAGAIN, CLUSTERDOWN and
//! READONLY, and where nobody listens. A connection that breaks after sending leaves the outcome
//! open; then it returns the error of the socket and repeats nothing.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::{Duration, Instant};

use crate::harness::conn::Conn;
use crate::harness::stream::Endpoint;
use crate::harness::value::Value;
use crate::harness::wait::PATIENCE;
use crate::model::slots::Slot;

/// For how long it repeats by default.
const BOUND: Duration = PATIENCE;

/// The wait before a repetition where the cluster has to get on first.
const PAUSE: Duration = Duration::from_millis(5);

/// A client with a connection of its own to each node that it has talked to.
#[derive(Debug)]
pub(crate) struct ClusterClient {
    /// The ports of nodes to begin with.
    seeds: Vec<u16>,
    /// The port of the owner of each range of slots, by its last.
    owners: BTreeMap<u16, u16>,
    conns: HashMap<u16, Conn>,
    patience: Duration,
    bound: Duration,
    /// How often each redirection was followed, by its code.
    pub(crate) followed: BTreeMap<String, u64>,
}

/// What to do after a reply.
enum Next {
    Done,
    /// At this port, at once.
    At(u16),
    /// There for this command only, after ASKING.
    Ask(u16),
    /// The same after a while, by a fresh map.
    Later,
}

impl ClusterClient {
    pub(crate) fn new(seeds: Vec<u16>) -> Self {
        Self {
            seeds,
            owners: BTreeMap::new(),
            conns: HashMap::new(),
            patience: PATIENCE,
            bound: BOUND,
            followed: BTreeMap::new(),
        }
    }

    /// How long it waits for a reply from now on.
    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self.conns.clear();
        self
    }

    /// For how long it repeats what was not carried out. Then the reply is what it was told last.
    pub(crate) fn with_bound(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// Sends a command whose second word is its key.
    #[track_caller]
    pub(crate) fn cmd<T: AsRef<[u8]>>(&mut self, words: &[T]) -> Value {
        let reply = self.try_cmd(words);
        reply.unwrap_or_else(|e| panic!("{:?} got no reply: {e}", shown(words)))
    }

    /// As [`ClusterClient::cmd`], but an error reply fails the test.
    #[track_caller]
    pub(crate) fn must<T: AsRef<[u8]>>(&mut self, words: &[T]) -> Value {
        let reply = self.cmd(words);
        assert!(!reply.is_error(), "{:?} replied {reply:?}", shown(words));
        reply
    }

    /// As [`ClusterClient::cmd`] for nodes that may be gone.
    ///
    /// # Errors
    /// Those of the socket. The outcome of the command is then unknown, if its kind is not
    /// `NotConnected`: then nobody was there to be sent to.
    pub(crate) fn try_cmd<T: AsRef<[u8]>>(&mut self, words: &[T]) -> io::Result<Value> {
        let slot = Slot::of(words[1].as_ref());
        self.try_at_slot(slot, words)
    }

    /// As [`ClusterClient::try_cmd`] for a command that has its key elsewhere.
    pub(crate) fn try_at_slot<T: AsRef<[u8]>>(
        &mut self,
        slot: Slot,
        words: &[T],
    ) -> io::Result<Value> {
        let start = Instant::now();
        let mut at = None;
        let mut asking = false;
        loop {
            let late = start.elapsed() > self.bound;
            let Some(port) = at.take().or_else(|| self.owner(slot)) else {
                if late {
                    return Err(io::ErrorKind::NotConnected.into());
                }
                self.later();
                continue;
            };
            let Some(conn) = self.conn(port) else {
                if late {
                    return Err(io::ErrorKind::NotConnected.into());
                }
                self.later();
                continue;
            };
            let reply = send(conn, words, asking).inspect_err(|_| self.forget(port))?;
            let next = next(&reply);
            if late || matches!(next, Next::Done) {
                return Ok(reply);
            }
            *self.followed.entry(reply.err_code().to_owned()).or_default() += 1;
            asking = matches!(next, Next::Ask(_));
            match next {
                Next::Done => {}
                Next::At(port) => {
                    self.learn(slot, port);
                    at = Some(port);
                }
                Next::Ask(port) => at = Some(port),
                Next::Later => self.later(),
            }
        }
    }

    /// The port of the node that it holds for the owner of `slot`.
    pub(crate) fn owner(&mut self, slot: Slot) -> Option<u16> {
        if self.owners.is_empty() {
            self.refresh();
        }
        self.owners.range(slot.number()..).next().map(|(_, port)| *port)
    }

    /// The connection to the node at `port`, made now if there is none.
    pub(crate) fn conn(&mut self, port: u16) -> Option<&mut Conn> {
        if !self.conns.contains_key(&port) {
            let conn = Endpoint::Tcp(port).try_connect().ok()?.with_patience(self.patience);
            self.conns.insert(port, conn);
        }
        self.conns.get_mut(&port)
    }

    /// Closes the connection to the node at `port`, and asks anew who owns what.
    pub(crate) fn forget(&mut self, port: u16) {
        self.conns.remove(&port);
        self.owners.clear();
    }

    /// Closes all connections: leases of this client end.
    pub(crate) fn close(&mut self) {
        self.conns.clear();
    }

    fn later(&mut self) {
        self.owners.clear();
        std::thread::sleep(PAUSE);
    }

    /// One slot has another owner than the map says.
    fn learn(&mut self, slot: Slot, port: u16) {
        let (slot, before) = (slot.number(), self.owners.range(slot.number()..).next());
        // What lies before the slot in its range keeps its owner.
        if let Some(owner) = before.map(|(_, port)| *port).filter(|_| slot > 0) {
            self.owners.entry(slot - 1).or_insert(owner);
        }
        self.owners.insert(slot, port);
    }

    /// Asks the first node that answers who owns what.
    fn refresh(&mut self) {
        for port in self.seeds.clone() {
            let Some(conn) = self.conn(port) else { continue };
            match conn.try_cmd(&["CLUSTER", "SLOTS"]) {
                Ok(reply) if !reply.is_error() && !reply.array().is_empty() => {
                    let last = |range: &Value| u16::try_from(range.at(1).int()).expect("a slot");
                    let port = |range: &Value| range.at(2).at(1).int().try_into().expect("a port");
                    self.owners = reply.array().iter().map(|it| (last(it), port(it))).collect();
                    // The node that was asked first this time may be the one that is behind.
                    self.seeds.rotate_left(1);
                    return;
                }
                Ok(_) => {}
                Err(_) => drop(self.conns.remove(&port)),
            }
        }
    }
}

/// ASKING and the command go together: a connection forgets the former after the next command.
fn send<T: AsRef<[u8]>>(conn: &mut Conn, words: &[T], asking: bool) -> io::Result<Value> {
    if asking {
        let reply = conn.try_cmd(&["ASKING"])?;
        assert!(!reply.is_error(), "ASKING replied {reply:?}");
    }
    conn.try_cmd(words)
}

fn next(reply: &Value) -> Next {
    if !reply.is_error() {
        return Next::Done;
    }
    let port = || {
        let address = reply.err().split(' ').nth(2).and_then(|address| address.rsplit_once(':'));
        address.and_then(|(_, port)| port.parse().ok()).expect("an address")
    };
    match reply.err_code() {
        "MOVED" => Next::At(port()),
        "ASK" => Next::Ask(port()),
        "TRYAGAIN" | "CLUSTERDOWN" | "READONLY" | "MASTERDOWN" | "LOADING" => Next::Later,
        _ => Next::Done,
    }
}

fn shown<T: AsRef<[u8]>>(words: &[T]) -> String {
    let shown = words.iter().map(|word| word.as_ref().escape_ascii().to_string());
    shown.collect::<Vec<_>>().join(" ")
}
