//! A Redis or Valkey Cluster: masters with their replicas, each a [`Server`] in a directory of its
//! own.
//!
//! ```text
//! let mut cluster = Cluster::with(binary).masters(3).replicas(1).start();
//! let mut client = cluster.client();
//! must!(client, "SET", "key", "value");
//! let owner = cluster.owner_of("key");
//! cluster.kill9(owner);
//! cluster.take_over(cluster.replica_of(owner));
//! ```
//!
//! Nodes are numbered as they were started: the masters first, then the replicas of the first
//! master, and so on. A number stays with its node whatever role the node has.
//!
//! A cluster is calm unless [`Setup::heals`] was called: only a test promotes a node, so that no
//! role changes when the machine stands still for a while. After each change here all nodes that
//! are up agree about slots and roles; [`Cluster::settle`] is the wait for it.

mod client;
mod moves;
mod roles;
mod setup;
mod view;

use super::conn::Conn;
use super::replica::wait_for_sync;
use super::server::Server;
use super::wait::{PATIENCE, until, until_some};
use crate::model::slots::Slot;

pub(crate) use client::ClusterClient;
pub(crate) use moves::Move;
pub(crate) use setup::{Setup, Users};
use view::View;

/// A node of a cluster.
#[derive(Debug)]
struct Node {
    server: Server,
    /// Its name among the nodes: 40 hexadecimal digits.
    id: String,
    /// Killed or stopped by the test: nobody waits for it.
    away: bool,
}

/// A running cluster; its processes end with it.
#[derive(Debug)]
pub(crate) struct Cluster {
    setup: Setup,
    nodes: Vec<Node>,
}

impl Cluster {
    /// How many nodes there are, those that are away and those that were forgotten among them.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Node `n`.
    pub(crate) fn node(&self, n: usize) -> &Server {
        &self.nodes[n].server
    }

    /// Node `n`, to look into its health.
    pub(crate) fn node_mut(&mut self, n: usize) -> &mut Server {
        &mut self.nodes[n].server
    }

    /// The name that the nodes know node `n` by.
    pub(crate) fn id(&self, n: usize) -> &str {
        &self.nodes[n].id
    }

    /// A connection to node `n`, as the default user.
    #[track_caller]
    pub(crate) fn connect(&self, n: usize) -> Conn {
        self.node(n).connect()
    }

    /// The TCP port of node `n`: what MOVED names.
    pub(crate) fn port(&self, n: usize) -> u16 {
        self.node(n).port().expect("nodes have a TCP port")
    }

    /// The node that listens there.
    #[track_caller]
    pub(crate) fn at_port(&self, port: u16) -> usize {
        let found = (0..self.len()).find(|n| self.port(*n) == port);
        found.unwrap_or_else(|| panic!("no node at port {port}"))
    }

    /// A client that follows redirections.
    pub(crate) fn client(&self) -> ClusterClient {
        ClusterClient::new((0..self.len()).map(|n| self.port(n)).collect())
    }

    /// The nodes that are up.
    pub(crate) fn up(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len()).filter(|n| !self.nodes[*n].away)
    }

    /// The masters with slots that are up, by number.
    #[track_caller]
    pub(crate) fn masters(&self) -> Vec<usize> {
        let view = self.view();
        self.up().filter(|n| view.has_slots(self.id(*n))).collect()
    }

    /// The node that owns `slot`, as the nodes that are up see it.
    #[track_caller]
    pub(crate) fn owner(&self, slot: Slot) -> usize {
        let view = self.view();
        let id = view.owner(slot).unwrap_or_else(|| panic!("nobody owns slot {slot}"));
        self.by_id(id)
    }

    /// The node that owns the slot of `key`.
    #[track_caller]
    pub(crate) fn owner_of(&self, key: &str) -> usize {
        self.owner(Slot::of(key.as_bytes()))
    }

    /// The masters with slots that do not own `key`'s.
    #[track_caller]
    pub(crate) fn others(&self, key: &str) -> Vec<usize> {
        let owner = self.owner_of(key);
        self.masters().into_iter().filter(|n| *n != owner).collect()
    }

    /// The replicas of `master` that are up.
    #[track_caller]
    pub(crate) fn replicas_of(&self, master: usize) -> Vec<usize> {
        let view = self.view();
        let is_its = |n: &usize| view.master_of(self.id(*n)) == Some(self.id(master));
        self.up().filter(is_its).collect()
    }

    /// The first replica of `master`.
    #[track_caller]
    pub(crate) fn replica_of(&self, master: usize) -> usize {
        let replicas = self.replicas_of(master);
        *replicas.first().unwrap_or_else(|| panic!("node {master} has no replica that is up"))
    }

    /// The number of the node with this name.
    #[track_caller]
    fn by_id(&self, id: &str) -> usize {
        let found = self.nodes.iter().position(|node| node.id == id);
        found.unwrap_or_else(|| panic!("no node {id}"))
    }

    /// Waits until all nodes that are up agree who is a master of what, and that the cluster is up;
    /// replicas are linked to their masters. Slots of a master that is away may be nobody's.
    #[track_caller]
    pub(crate) fn settle(&self) {
        until(3 * PATIENCE, || self.agreed().is_some());
    }

    /// What all nodes that are up say, if they say the same.
    fn agreed(&self) -> Option<View> {
        let mut views =
            self.up().map(|n| View::of(&mut self.node(n).endpoint().try_connect().ok()?));
        let first = views.next()??;
        let same = views.all(|view| view.is_some_and(|view| view == first));
        let whole = same && first.is_settled() && self.up().all(|n| self.is_well(n, &first));
        whole.then_some(first)
    }

    /// Whether node `n` calls the cluster up, and, if it is a replica of a master that is up, has a
    /// link to it.
    fn is_well(&self, n: usize, view: &View) -> bool {
        let Ok(mut conn) = self.node(n).endpoint().try_connect() else { return false };
        let linked = view.master_of(self.id(n)).is_none_or(|master| {
            self.nodes[self.by_id(master)].away
                || conn.info("replication", "master_link_status").as_deref() == Some("up")
        });
        linked && (!self.is_whole(view) || view::state(&mut conn).as_deref() == Some("ok"))
    }

    /// Whether no node is away that the others still know.
    fn is_whole(&self, view: &View) -> bool {
        self.nodes.iter().all(|node| !node.away || !view.knows(&node.id))
    }

    /// What a node that is up says.
    #[track_caller]
    fn view(&self) -> View {
        until_some(3 * PATIENCE, || self.agreed())
    }

    /// Stops the node of this number as a power cut would.
    #[track_caller]
    pub(crate) fn kill9(&mut self, n: usize) {
        self.nodes[n].server.kill9();
        self.nodes[n].away = true;
    }

    /// Starts a node that was killed, or stops and starts one that runs; waits until all agree.
    #[track_caller]
    pub(crate) fn restart(&mut self, n: usize) {
        self.nodes[n].server.restart();
        self.nodes[n].away = false;
        self.settle();
    }

    /// As [`Cluster::restart`], without the wait.
    #[track_caller]
    pub(crate) fn start(&mut self, n: usize) {
        self.nodes[n].server.restart();
        self.nodes[n].away = false;
    }

    /// Freezes a node until [`Cluster::resume`].
    pub(crate) fn pause(&mut self, n: usize) {
        self.nodes[n].server.pause();
        self.nodes[n].away = true;
    }

    /// Lets it go on; does not wait for what the others think of it.
    pub(crate) fn resume(&mut self, n: usize) {
        self.nodes[n].server.resume();
        self.nodes[n].away = false;
    }

    /// Waits until each replica that is up has all that its master has, and fails unless each then
    /// comes to store exactly the same.
    #[track_caller]
    pub(crate) fn assert_equal_replicas(&self) {
        let mut compared = 0;
        for master in self.masters() {
            for replica in self.replicas_of(master) {
                // What the module does in the background may come between two digests.
                until(PATIENCE, || {
                    wait_for_sync(self.node(master), self.node(replica));
                    self.node(master).digest() == self.node(replica).digest()
                });
                compared += 1;
            }
        }
        assert!(compared > 0, "there is no replica to compare");
    }

    /// Fails if a node has crashed, or has ended by itself.
    #[track_caller]
    pub(crate) fn assert_healthy(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.server.assert_healthy());
    }
}
