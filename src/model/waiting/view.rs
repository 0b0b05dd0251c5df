//! What can be read of the lines. Nothing changes.

use super::line::{ANY, Line};
use super::lines::{Lines, Queue};
use super::waiter::{Outcome, Stage, Wait, Waiter};
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::model::progress::lease::Scene;

/// A client that waits, with what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The client id.
    pub client: u64,
    /// What it waits for.
    pub wait: Wait,
}

/// What the wake-up of an owner has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The last event it was given.
    pub position: EventId,
    /// Whether any event after that is for it.
    pub plain: bool,
}

/// How many clients wait, and as what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Owners of a lease.
    pub owners: u64,
    /// Those that wait for another's lease to end.
    pub standbys: u64,
    /// Those that take any partition.
    pub any_partition: u64,
}

impl<H> Lines<H> {
    /// The current era: see [`Scene::era`].
    #[must_use]
    pub fn era(&self) -> u64 {
        self.era
    }

    /// What is known about a line beside its saved progress.
    #[must_use]
    pub fn scene(&self, line: &Line, progress: Option<&Progress>) -> Scene {
        let queue = self.queues.get(line);
        Scene {
            owner_waits: queue.is_some_and(|queue| queue.owner.is_some()),
            queue: queue.is_some_and(|queue| !queue.standbys.is_empty()),
            ..self.scene_of_lease(progress)
        }
    }

    /// The same but for who waits: enough to tell whether a lease stands.
    #[must_use]
    #[inline]
    pub fn scene_of_lease(&self, progress: Option<&Progress>) -> Scene {
        let connection = progress.and_then(Progress::lease).and_then(|lease| lease.connection);
        let owner_gone = connection.is_some_and(|client| self.connections.is_gone(client));
        Scene { owner_gone, era: self.era, ..Scene::default() }
    }

    /// Whether an append may concern anybody whom the stream key does not wake.
    #[must_use]
    pub fn awaits_appends(&self) -> bool {
        !self.parked.is_empty() || !self.any_lines.is_idle() || !self.claims.is_empty()
    }

    /// What the wake-up of the owner `client` has to know, and the handle of it.
    #[must_use]
    pub fn awaited(&self, client: u64) -> Option<(&H, Awaited)> {
        let waiter = self.waiters.get(&client)?;
        let Wait { position, plain, .. } = waiter.wait;
        Some((&waiter.handle, Awaited { position, plain }))
    }

    /// What a blocked client waits for.
    #[must_use]
    pub fn wait_of(&self, client: u64) -> Option<&Wait> {
        self.waiters.get(&client).map(|waiter| &waiter.wait)
    }

    /// Whether a client stands in `line`, and was not released from it.
    #[must_use]
    pub fn stands_in(&self, client: u64, line: &Line) -> bool {
        let waiter = self.waiters.get(&client);
        waiter.is_some_and(|waiter| waiter.wait.line == *line && is_waiting(waiter))
    }

    /// The client that waits as the owner of `line`.
    #[must_use]
    pub fn waiting_owner(&self, line: &Line) -> Option<u64> {
        self.queues.get(line)?.owner
    }

    /// Whether anybody waits in `line` for the lease.
    #[must_use]
    pub fn has_standbys(&self, line: &Line) -> bool {
        self.queues.get(line).is_some_and(|queue| !queue.standbys.is_empty())
    }

    /// The standby of `line` that `n` others stand before.
    #[must_use]
    pub fn nth_standby(&self, line: &Line, n: usize) -> Option<Worker> {
        let client = *self.queues.get(line)?.standbys.get(n)?;
        Some(Worker { client, wait: self.wait_of(client)?.clone() })
    }

    /// Whether a client that is to be served from the partition of `line` has yet to come.
    /// O(clients that wait).
    #[must_use]
    pub fn is_on_its_way(&self, line: &Line) -> bool {
        self.waiters.values().any(|waiter| {
            let served = [Stage::Released(Outcome::Serve), Stage::Told(Outcome::Serve)];
            let own = &waiter.wait.line;
            served.contains(&waiter.stage)
                && own.at(waiter.called.unwrap_or(own.partition)) == *line
        })
    }

    /// Every line in front of one partition.
    #[must_use]
    pub fn lines_of_partitions(&self) -> Vec<Line> {
        self.queues.keys().filter(|line| line.partition != ANY).cloned().collect()
    }

    /// Every line that has standbys.
    #[must_use]
    pub fn lines_with_standbys(&self) -> Vec<Line> {
        let standing = self.queues.iter().filter(|(_, queue)| !queue.standbys.is_empty());
        standing.map(|(line, _)| line.clone()).collect()
    }

    /// Whether there is any parked owner.
    #[must_use]
    pub fn has_parked_owners(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Every parked owner.
    #[must_use]
    pub fn parked_owners(&self) -> Vec<Worker> {
        let standing = |client| Some(Worker { client, wait: self.wait_of(client)?.clone() });
        self.parked.all().into_iter().filter_map(standing).collect()
    }

    /// Every owner that waits and for whom each event has to be checked.
    #[must_use]
    pub fn watchful_owners(&self) -> Vec<Worker> {
        let watchful = |queue: &Queue| {
            let client = queue.owner?;
            let waiter = self.waiters.get(&client)?;
            let watchful = !waiter.wait.plain && is_waiting(waiter);
            watchful.then(|| Worker { client, wait: waiter.wait.clone() })
        };
        self.queues.values().filter_map(watchful).collect()
    }

    /// Everybody who waits in front of a ring, for one group or for all.
    #[must_use]
    pub fn waiters_of_ring(&self, db: i32, ring: &Name, group: Option<&Name>) -> Vec<u64> {
        let here = |waiter: &Waiter<H>| waiter.wait.line.is_of(db, ring, group);
        let waiters = self.waiters.iter().filter(|(_, waiter)| here(waiter));
        waiters.map(|(client, _)| *client).collect()
    }

    /// Whether anybody waits in front of a ring for `group`.
    #[must_use]
    pub fn is_group_waited_for(&self, db: i32, ring: &Name, group: &Name) -> bool {
        self.waiters.values().any(|waiter| waiter.wait.line.is_of(db, ring, Some(group)))
    }

    /// The partition at which the next round of a line of [`ANY`] begins.
    #[must_use]
    pub fn round_begins_at(&self, any: &Line) -> u32 {
        self.any_lines.begins_at(any)
    }

    /// Counts who waits. O(lines).
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (line, queue) in &self.queues {
            let standbys = queue.standbys.len() as u64;
            totals.owners += u64::from(queue.owner.is_some());
            if line.partition == ANY {
                totals.any_partition += standbys;
            } else {
                totals.standbys += standbys;
            }
        }
        totals
    }
}

fn is_waiting<H>(waiter: &Waiter<H>) -> bool {
    waiter.stage == Stage::Waiting
}
