//! Who stands in which line: joining, becoming the owner, being released, leaving.
//!
//! In front of each (partition, group) stands a line: at most one waiting owner, who holds the
//! lease, and after it the standbys. Only an owner may be woken by an append; standbys are called
//! one by one when the lease ends. An owner that began to wait as an owner waits on the stream
//! itself, so that any kind of append wakes it; one that was promoted from the line is parked, and
//! is woken by EVQ.TRIGGER or, after an append by other means, by the sweep.
//!
//! Workers that take any partition (`EVQ.CONSUME *`) stand in a line of their own per ring and
//! group, that of the partition [`ANY`]; one at a time is called to a partition that has work.
//!
//! A wait ends in three steps. A client is released when its outcome is decided. The server is
//! told to unblock it, once. It leaves when the server runs its callback, whatever has become of it
//! by then. A client that leaves earlier, because its time is up or its connection closed, skips
//! steps.

use std::collections::{BTreeSet, VecDeque};

use super::any_lines::AnyLines;
use super::connections::Connections;
use super::fast_map::QuickMap;
use super::line::{ANY, Line};
use super::parked::ParkedOwners;
use super::waiter::{Blocking, Cause, Left, Outcome, Stage, Wait, Waiter};

/// Who stands in front of one (partition, group).
#[derive(Debug, Default)]
pub(in crate::model) struct Queue {
    pub(in crate::model) owner: Option<u64>,
    pub(in crate::model) standbys: VecDeque<u64>,
}

/// A client and a partition that it was called to and does not come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalledOff {
    /// The client id.
    pub client: u64,
    /// The line of the partition.
    pub line: Line,
}

/// All lines of a server, with `H` as what it needs to unblock a client. Volatile: all of it may be
/// lost at any moment without breaking a promise. Every use of it opens the key and checks.
#[derive(Debug)]
pub struct Lines<H> {
    /// By client id: a client waits for one thing at a time.
    pub(in crate::model) waiters: QuickMap<u64, Waiter<H>>,
    pub(in crate::model) queues: QuickMap<Line, Queue>,
    /// Clients that are released and of which the server has yet to be told.
    to_tell: VecDeque<u64>,
    /// When the time of each parked client is up.
    ends: BTreeSet<(u64, u64)>,
    /// Owners that an append does not reach by itself.
    pub(super) parked: ParkedOwners,
    pub(super) any_lines: AnyLines,
    pub(super) connections: Connections,
    /// Lines whose standbys get the lease once there is something to hand out.
    pub(super) claims: Vec<Line>,
    /// Calls that the sweep has to take back.
    pub(super) called_off: Vec<CalledOff>,
    pub(super) era: u64,
}

// Derived, it would ask the same of H.
impl<H> Default for Lines<H> {
    fn default() -> Self {
        Self {
            waiters: QuickMap::default(),
            queues: QuickMap::default(),
            to_tell: VecDeque::new(),
            ends: BTreeSet::new(),
            parked: ParkedOwners::default(),
            any_lines: AnyLines::default(),
            connections: Connections::default(),
            claims: Vec::new(),
            called_off: Vec::new(),
            era: 0,
        }
    }
}

impl<H> Lines<H> {
    /// A client begins to wait as the owner of its line's lease, on the stream key.
    pub fn wait_as_owner(&mut self, client: u64, wait: Wait, handle: H) {
        self.queues.entry(wait.line.clone()).or_default().owner = Some(client);
        self.insert(client, wait, handle, Blocking::OnStream);
    }

    /// A client begins to wait at the end of its line, until `ends_ms` if not for ever.
    pub fn wait_in_line(&mut self, client: u64, wait: Wait, handle: H, ends_ms: Option<u64>) {
        if wait.line.partition == ANY {
            self.any_lines.join(&wait.line);
        }
        self.queues.entry(wait.line.clone()).or_default().standbys.push_back(client);
        self.ends.extend(ends_ms.map(|at_ms| (at_ms, client)));
        self.insert(client, wait, handle, Blocking::Parked(ends_ms));
    }

    fn insert(&mut self, client: u64, wait: Wait, handle: H, blocking: Blocking) {
        let stage = Stage::Waiting;
        self.waiters.insert(client, Waiter { wait, handle, blocking, called: None, stage });
    }

    /// The standby `client` got the lease of its line: it waits on as the owner, parked.
    pub fn promote(&mut self, client: u64) {
        let Some(waiter) = self.waiters.get(&client) else { return };
        let line = &waiter.wait.line;
        if let Some(queue) = self.queues.get_mut(line) {
            queue.standbys.retain(|other| *other != client);
            queue.owner = Some(client);
        }
        self.parked.add(client, line);
    }

    /// The client, which waits for any partition, is called to this one: the next round of its line
    /// begins after it. True if it was not released before.
    pub fn call(&mut self, client: u64, partition: u32) -> bool {
        if let Some(waiter) = self.waiters.get_mut(&client) {
            waiter.called = Some(partition);
            self.any_lines.end_round(&waiter.wait.line, partition);
        }
        self.release(client, Outcome::Serve)
    }

    /// Decides how a client's wait ends; false if that was decided before, or it does not wait.
    /// Until the client is gone, a better reason than to be served still counts.
    pub fn release(&mut self, client: u64, outcome: Outcome) -> bool {
        let Some(waiter) = self.waiters.get_mut(&client) else { return false };
        match &mut waiter.stage {
            stage @ Stage::Waiting => *stage = Stage::Released(outcome),
            Stage::Released(known) | Stage::Told(known) => {
                if *known == Outcome::Serve {
                    *known = outcome;
                }
                return false;
            }
        }
        self.to_tell.push_back(client);
        self.parked.remove(client, &waiter.wait.line);
        if let Blocking::Parked(Some(at_ms)) = waiter.blocking {
            self.ends.remove(&(at_ms, client));
        }
        // A released standby is not next in line, but an owner is one until it has left.
        if let Some(queue) = self.queues.get_mut(&waiter.wait.line) {
            queue.standbys.retain(|other| *other != client);
        }
        true
    }

    /// The handle of a released client that the server has to be told to unblock. Each is given
    /// once, because telling twice would free it twice.
    pub fn next_to_tell(&mut self) -> Option<&H> {
        while let Some(client) = self.to_tell.pop_front() {
            // It may have gone by itself meanwhile, and may even wait for something else.
            let released = |waiter: &&mut Waiter<H>| matches!(waiter.stage, Stage::Released(_));
            if let Some(waiter) = self.waiters.get_mut(&client).filter(released) {
                if let Stage::Released(outcome) = &waiter.stage {
                    waiter.stage = Stage::Told(outcome.clone());
                }
                return self.waiters.get(&client).map(|waiter| &waiter.handle);
            }
        }
        None
    }

    /// Forgets a client that stops waiting for this `cause`.
    pub fn leave(&mut self, client: u64, cause: Cause) -> Option<Left<H>> {
        let Waiter { wait, handle, blocking, called, stage } = self.waiters.remove(&client)?;
        let (mut as_owner, mut is_followed) = (false, false);
        if let Some(queue) = self.queues.get_mut(&wait.line) {
            if queue.owner == Some(client) {
                as_owner = true;
                queue.owner = None;
            }
            queue.standbys.retain(|other| *other != client);
            is_followed = !queue.standbys.is_empty();
            if queue.owner.is_none() && !is_followed {
                self.queues.remove(&wait.line);
            }
            if !is_followed {
                self.claims.retain(|line| *line != wait.line);
            }
        }
        if wait.line.partition == ANY {
            self.any_lines.leave(&wait.line);
        }
        self.parked.remove(client, &wait.line);
        if let Blocking::Parked(Some(at_ms)) = blocking {
            self.ends.remove(&(at_ms, client));
        }
        let is_untold = blocking != Blocking::OnStream && !matches!(stage, Stage::Told(_));
        let outcome = match (stage, cause) {
            (Stage::Released(outcome) | Stage::Told(outcome), _) => outcome,
            (Stage::Waiting, Cause::Woken) => Outcome::Serve,
            (Stage::Waiting, Cause::TimedOut | Cause::Vanished) => Outcome::Nothing,
        };
        if let (Cause::Vanished, Some(partition)) = (cause, called) {
            self.called_off.push(CalledOff { client, line: wait.line.at(partition) });
        }
        Some(Left { wait, handle, outcome, called, as_owner, is_followed, is_untold })
    }

    /// Releases the parked clients whose time is up.
    pub fn expire(&mut self, now_ms: u64) {
        while let Some((_, client)) = self.ends.first().copied().filter(|(at, _)| *at <= now_ms) {
            // Forgets its end, or it would be first for ever.
            self.ends.pop_first();
            self.release(client, Outcome::Nothing);
        }
    }

    /// When the time of the next parked client is up.
    #[must_use]
    pub fn next_end(&self) -> Option<u64> {
        self.ends.first().map(|(at_ms, _)| *at_ms)
    }

    /// Whether nothing is kept of anybody.
    #[cfg(test)]
    pub(in crate::model) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
            && self.queues.is_empty()
            && self.to_tell.is_empty()
            && self.ends.is_empty()
            && self.parked.is_empty()
            && self.connections.is_empty()
            && self.claims.is_empty()
            && self.called_off.is_empty()
    }

    /// Whether nothing is kept of any ring either, as where its next round begins.
    #[cfg(test)]
    pub(in crate::model) fn is_bare(&self) -> bool {
        self.is_empty() && self.any_lines.is_empty()
    }
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
