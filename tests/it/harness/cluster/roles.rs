//! Changes of roles and of the nodes that there are.

use std::time::{Duration, Instant};

use super::Cluster;
use crate::harness::args::must;
use crate::harness::wait::{PATIENCE, until};

/// By then a server has given up a failover that it was asked for: it takes five seconds at most.
const GIVEN_UP: Duration = Duration::from_secs(10);

impl Cluster {
    /// Promotes `replica` in agreement with its master, which lives and becomes its replica.
    #[track_caller]
    pub(crate) fn fail_over(&self, replica: usize) {
        let mut asked: Option<Instant> = None;
        until(3 * PATIENCE, || {
            // Refused for a while after a restart, or while the link is down; given up where the
            // machine stands still meanwhile.
            if asked.is_none_or(|at| at.elapsed() > GIVEN_UP) {
                let reply = self.connect(replica).cmd(&["CLUSTER", "FAILOVER"]);
                asked = (!reply.is_error()).then(Instant::now);
            }
            self.is_promoted(replica)
        });
        self.settle();
    }

    /// Promotes `replica` without asking anybody, as after the death of its master.
    #[track_caller]
    pub(crate) fn take_over(&self, replica: usize) {
        must!(self.connect(replica), "CLUSTER", "FAILOVER", "TAKEOVER").ok();
        until(3 * PATIENCE, || self.is_promoted(replica));
        self.settle();
    }

    /// Whether node `n` is a master, by its own account.
    fn is_promoted(&self, n: usize) -> bool {
        let Ok(mut conn) = self.node(n).endpoint().try_connect() else { return false };
        conn.try_cmd(&["ROLE"]).is_ok_and(|role| !role.is_error() && role.at(0).str() == "master")
    }

    /// Waits until the nodes have promoted a replica of the dead node `n` by themselves, and agree;
    /// returns the new master of its slots. The cluster must be one that heals.
    #[track_caller]
    pub(crate) fn until_healed(&self, n: usize, replicas: &[usize]) -> usize {
        assert!(self.setup.heals, "nobody promotes anybody here");
        let mut promoted = None;
        until(3 * PATIENCE, || {
            let Some(view) = self.agreed() else { return false };
            promoted = replicas.iter().copied().find(|replica| view.has_slots(self.id(*replica)));
            promoted.is_some() && !view.has_slots(self.id(n))
        });
        promoted.expect("a replica")
    }

    /// Starts one more node, a master without slots; returns its number.
    #[track_caller]
    pub(crate) fn add_master(&mut self) -> usize {
        let node = self.setup.start_node();
        self.nodes.push(node);
        let added = self.len() - 1;
        let known = self.up().next().expect("a node that is up");
        self.meet(known, added);
        self.settle();
        self.setup.calm(self.node(added));
        added
    }

    /// Starts one more node, a replica of `master`; returns its number.
    #[track_caller]
    pub(crate) fn add_replica(&mut self, master: usize) -> usize {
        let added = self.add_master();
        must!(self.connect(added), "CLUSTER", "REPLICATE", self.id(master)).ok();
        self.settle();
        added
    }

    /// Ends node `n`, which has no slots, and lets the others forget it.
    #[track_caller]
    pub(crate) fn forget(&mut self, n: usize) {
        if !self.nodes[n].away {
            self.kill9(n);
        }
        let id = self.id(n).to_owned();
        // One that was not told yet would tell the others again within a minute, but they do not
        // listen for so long.
        for other in self.up() {
            must!(self.connect(other), "CLUSTER", "FORGET", id).ok();
        }
        let knows = |n| super::View::of(&mut self.connect(n)).is_some_and(|view| view.knows(&id));
        until(PATIENCE, || !self.up().any(knows));
        self.settle();
    }
}
