//! How a cluster is to be started, and its start.

use super::{Cluster, Node};
use crate::harness::args::must;
use crate::harness::options::Options;
use crate::harness::server::Server;
use crate::harness::servers::Binary;
use crate::harness::wait::{PATIENCE, until};
use crate::model::slots::SLOTS;

/// After how many milliseconds of silence a node is held to be down, where nodes are promoted
/// without a test's doing.
const TIMEOUT_MS: u32 = 1500;

/// The same where they are not: longer than any machine stands still.
const CALM_MS: u32 = 600_000;

/// By which user the nodes know each other. A test's own connections are always the default user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Users {
    /// The default user, without a password: anybody is the nodes' equal.
    Default,
    /// `masteruser` and `masterauth` name a user of their own.
    Master,
    /// As `Master`, and `evq.cluster-user` and `evq.cluster-password` name another one.
    Own,
}

impl Users {
    fn config(self) -> &'static [&'static str] {
        const MASTER: [&str; 3] =
            ["user node on >node-secret ~* &* +@all", "masteruser node", "masterauth node-secret"];
        const OWN: [&str; 6] = [
            MASTER[0],
            MASTER[1],
            MASTER[2],
            // Exactly what docs/cluster.md says that it needs.
            "user evq on >evq-secret ~evq:* &* +evq.shard +evq.rings +cluster|slots +asking \
             +time +client|setname +hello +auth",
            "evq.cluster-user evq",
            "evq.cluster-password evq-secret",
        ];
        match self {
            Self::Default => &[],
            Self::Master => &MASTER,
            Self::Own => &OWN,
        }
    }
}

/// Settings of a cluster that is not started yet; made by [`Cluster::with`].
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    options: Options,
    masters: usize,
    replicas: usize,
    pub(super) heals: bool,
    coverage: bool,
    users: Users,
}

impl Setup {
    /// So many masters, which share the slots evenly.
    pub(crate) fn masters(mut self, masters: usize) -> Self {
        self.masters = masters;
        self
    }

    /// So many replicas of each master.
    pub(crate) fn replicas(mut self, replicas: usize) -> Self {
        self.replicas = replicas;
        self
    }

    /// The nodes promote a replica by themselves when its master is silent.
    pub(crate) fn heals(mut self) -> Self {
        self.heals = true;
        self
    }

    /// No slot is served while one has no owner.
    pub(crate) fn with_full_coverage(mut self) -> Self {
        self.coverage = true;
        self
    }

    /// By which user the nodes know each other; [`Users::Master`] by default.
    pub(crate) fn users(mut self, users: Users) -> Self {
        self.users = users;
        self
    }

    /// Further lines of each node's redis.conf.
    pub(crate) fn config(mut self, lines: &[&str]) -> Self {
        self.options = self.options.config(lines);
        self
    }

    /// Servers on their own.
    pub(crate) fn without_module(mut self) -> Self {
        self.options = self.options.without_module();
        self
    }

    /// Starts all nodes and waits until they agree.
    #[track_caller]
    pub(crate) fn start(self) -> Cluster {
        let count = self.masters * (1 + self.replicas);
        let nodes = (0..count).map(|_| self.start_node()).collect();
        let cluster = Cluster { setup: self, nodes };
        cluster.give_slots();
        cluster.introduce();
        cluster.give_replicas();
        cluster.settle();
        (0..count).for_each(|n| cluster.setup.calm(cluster.node(n)));
        cluster
    }

    /// A node that knows nobody yet.
    #[track_caller]
    pub(super) fn start_node(&self) -> Node {
        let coverage = if self.coverage { "yes" } else { "no" };
        let lines = [
            // Short until all is in place: nodes hear of each other the sooner.
            &format!("cluster-node-timeout {TIMEOUT_MS}"),
            &format!("cluster-require-full-coverage {coverage}"),
            // A replica stays with its master, and a master that has lost its last slot stays one.
            "cluster-allow-replica-migration no",
            // A replica may be promoted however long it has not heard of its master: the machine
            // may have stood still.
            "cluster-replica-validity-factor 0",
            "cluster-replica-no-failover yes",
        ];
        let options = self.options.clone().cluster().config(&lines).config(self.users.config());
        let server = options.start();
        let id = must!(server.connect(), "CLUSTER", "MYID").str().to_owned();
        Node { server, id, away: false }
    }

    /// From now on roles change by a test only, or without one.
    pub(super) fn calm(&self, server: &Server) {
        let (timeout, holds) = if self.heals { (TIMEOUT_MS, "no") } else { (CALM_MS, "yes") };
        let mut conn = server.connect();
        must!(conn, "CONFIG", "SET", "cluster-node-timeout", timeout).ok();
        must!(conn, "CONFIG", "SET", "cluster-replica-no-failover", holds).ok();
        // For its next start.
        server.append_config(&format!("cluster-node-timeout {timeout}"));
        server.append_config(&format!("cluster-replica-no-failover {holds}"));
    }
}

impl Cluster {
    /// Settings to change before the start; three masters without replicas that serve what they
    /// have while others are away.
    pub(crate) fn with(binary: &Binary) -> Setup {
        Setup {
            options: Server::with(binary),
            masters: 3,
            replicas: 0,
            heals: false,
            coverage: false,
            users: Users::Master,
        }
    }

    /// Each master has a range of slots, and an epoch of its own: otherwise nodes would have to
    /// find out whose claims count.
    #[track_caller]
    fn give_slots(&self) {
        let (all, masters) = (usize::from(SLOTS), self.setup.masters);
        for n in 0..self.len() {
            let mut conn = self.connect(n);
            must!(conn, "CLUSTER", "SET-CONFIG-EPOCH", n + 1).ok();
            if n < masters {
                let (first, next) = (n * all / masters, (n + 1) * all / masters);
                must!(conn, "CLUSTER", "ADDSLOTSRANGE", first, next - 1).ok();
            }
        }
    }

    /// The first node meets all others, and waits until all know all.
    #[track_caller]
    fn introduce(&self) {
        (1..self.len()).for_each(|n| self.meet(0, n));
        for n in 0..self.len() {
            let mut conn = self.connect(n);
            until(PATIENCE, || {
                super::View::of(&mut conn)
                    .is_some_and(|view| view.len() == self.len() && view.is_settled())
            });
        }
    }

    /// Tells node `n` where node `other` is.
    #[track_caller]
    pub(super) fn meet(&self, n: usize, other: usize) {
        let bus = must!(self.connect(other), "CONFIG", "GET", "cluster-port");
        let bus = bus.get("cluster-port").str().to_owned();
        must!(self.connect(n), "CLUSTER", "MEET", "127.0.0.1", self.port(other), bus).ok();
    }

    #[track_caller]
    fn give_replicas(&self) {
        let (masters, each) = (self.setup.masters, self.setup.replicas);
        for n in masters..self.len() {
            let master = (n - masters) / each;
            must!(self.connect(n), "CLUSTER", "REPLICATE", self.id(master)).ok();
        }
    }
}
