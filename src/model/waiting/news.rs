//! What happens around those who wait, and whom it concerns: a lease that moves, a state that
//! changes, a ring that goes, a connection that closes, a change of role.
//!
//! A function that returns true asks for a sweep.

use super::connections::Gone;
use super::line::Line;
use super::lines::{CalledOff, Lines};
use super::waiter::{Outcome, Waiter};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::lease::Caller;

/// Whom an append concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// A parked owner was released.
    pub releases: bool,
    /// A parked owner has to be checked: the event may not be for it.
    pub watched: bool,
    /// Standbys get a lease whose owner was told that there is nothing.
    pub claimed: bool,
    /// The lines of workers that take any partition for which this one has to be checked.
    pub any_lines: Vec<Line>,
}

impl<H> Lines<H> {
    /// Something was appended to a partition. Releases the parked owners that any event is for.
    pub fn appended(&mut self, db: i32, ring: &Name, partition: u32) -> Appended {
        let mut appended = Appended::default();
        if !self.parked.is_empty() {
            for client in self.parked.of(db, ring, partition) {
                if self.wait_of(client).is_some_and(|wait| wait.plain) {
                    appended.releases |= self.release(client, Outcome::Serve);
                } else {
                    appended.watched = true;
                }
            }
        }
        if !self.claims.is_empty() {
            let before = self.claims.len();
            self.claims.retain(|line| line.partition != partition || !line.is_of(db, ring, None));
            appended.claimed = self.claims.len() < before;
        }
        if !self.any_lines.is_idle() {
            appended.any_lines = self.any_lines.to_check(db, ring, partition);
        }
        appended
    }

    /// The standbys of `line` get its lease once there is something to hand out: an append to its
    /// partition has them checked, once.
    pub fn claim(&mut self, line: &Line) {
        if !self.claims.contains(line) {
            self.claims.push(line.clone());
        }
    }

    /// `partition` was checked for the line `any`: that need not be done again before the next
    /// sweep.
    pub fn note_check(&mut self, any: &Line, partition: u32) {
        self.any_lines.note(any, partition);
    }

    /// `partition` was free and had work for the line `any`.
    pub fn offer(&mut self, any: &Line, partition: u32) {
        self.any_lines.offer(any, partition);
    }

    /// The partitions that were offered to the line `any`, for a sweep, which checks every
    /// partition again.
    pub fn take_offers(&mut self, any: &Line) -> Vec<u32> {
        self.any_lines.take_offers(any)
    }

    /// A worker of the line `any` was served in `partition`: its next round begins after it.
    pub fn end_round(&mut self, any: &Line, partition: u32) {
        self.any_lines.end_round(any, partition);
    }

    /// What was seen of an owner's stream brought nothing: it is not read again.
    pub fn move_on(&mut self, client: u64, position: EventId) {
        if let Some(waiter) = self.waiters.get_mut(&client) {
            waiter.wait.position = waiter.wait.position.max(position);
        }
    }

    /// From now on each event has to be checked for the owner that waits in `line`. False if nobody
    /// waits there, nor for any partition of its ring.
    pub fn watch(&mut self, line: &Line) -> bool {
        let owner = self.waiting_owner(line);
        if let Some(waiter) = owner.and_then(|client| self.waiters.get_mut(&client)) {
            waiter.wait.plain = false;
        }
        owner.is_some() || !self.any_lines.is_idle() && self.any_lines.is_waited_in(&line.any())
    }

    /// From now on each event has to be checked for the owners that wait in front of a ring, for
    /// one group or for all. False if nobody waits there.
    pub fn watch_ring(&mut self, db: i32, ring: &Name, group: Option<&Name>) -> bool {
        let mut any = false;
        for waiter in self.waiters.values_mut() {
            if waiter.wait.line.is_of(db, ring, group) {
                waiter.wait.plain = false;
                any = true;
            }
        }
        any
    }

    /// Another than the client `but` got the lease of `line`: the owner that still waits under the
    /// old one is refused.
    pub fn fence_owner(&mut self, line: &Line, but: Option<u64>) -> bool {
        let other = self.waiting_owner(line).filter(|client| Some(*client) != but);
        other.is_some_and(|client| self.release(client, Outcome::Refuse(Error::Fenced)))
    }

    /// The lease of `line` goes on at the client `connection`: an owner that waits under it
    /// elsewhere waits in vain.
    pub fn move_wait(&mut self, line: &Line, connection: u64) -> bool {
        let elsewhere = self.waiting_owner(line).filter(|client| *client != connection);
        elsewhere.is_some_and(|client| self.release(client, Outcome::Nothing))
    }

    /// A ring, or one group of it, is gone: everybody who waits in front of it is refused.
    pub fn dismiss(&mut self, db: i32, ring: &Name, group: Option<&Name>) -> bool {
        let error = if group.is_some() { Error::NoGroup } else { Error::NoRing };
        let all = self.waiters_of_ring(db, ring, group);
        let releases = self.refuse(all, &error);
        self.any_lines.forget(db, ring, group);
        releases
    }

    /// A partition of a ring, or a group of it, is gone, has moved or begins anew: whoever waits
    /// in front of it is refused.
    pub fn dismiss_partition(
        &mut self,
        (db, ring, partition): (i32, &Name, u32),
        group: Option<&Name>,
        error: &Error,
    ) -> bool {
        let here = |waiter: &Waiter<H>| {
            let line = &waiter.wait.line;
            line.partition == partition && line.is_of(db, ring, group)
        };
        let waiters = self.waiters.iter().filter(|(_, waiter)| here(waiter));
        let all = waiters.map(|(client, _)| *client).collect();
        self.refuse(all, error)
    }

    fn refuse(&mut self, clients: Vec<u64>, error: &Error) -> bool {
        let mut releases = false;
        for client in clients {
            releases |= self.release(client, Outcome::Refuse(error.clone()));
        }
        releases
    }

    /// Remembers that the lease of `line` is now with the connection of `caller`.
    pub fn note_owner(&mut self, line: &Line, caller: &Caller) {
        self.connections.note_owner(line, caller);
    }

    /// Remembers that the lease of `line` is now with the connection of `caller`, which pulls from
    /// any partition.
    pub fn note_any_owner(&mut self, line: &Line, caller: &Caller) {
        self.connections.note_any_owner(line, caller);
    }

    /// Remembers that the connection of `caller` was handed events of `line` in such a pull.
    pub fn note_given(&mut self, line: &Line, caller: &Caller) {
        self.connections.note_given(line, caller);
    }

    /// Remembers that the connection of `caller` has nothing in flight in `line`.
    pub fn note_answered(&mut self, line: &Line, caller: &Caller) {
        self.connections.note_answered(line, caller);
    }

    /// Whether the connection `client` may have something in flight in `line`.
    #[must_use]
    pub fn was_given(&self, client: u64, line: &Line) -> bool {
        self.connections.was_given(client, line)
    }

    /// A connection closed. True if a lease ends with it, which the sweep then does.
    pub fn connection_closed(&mut self, client: u64) -> bool {
        self.connections.close(client)
    }

    /// The closed connections, whose leases the sweep ends; each is given once.
    pub fn take_gone(&mut self) -> Vec<Gone> {
        self.connections.take_gone()
    }

    /// The calls that the sweep has to take back; each is given once.
    pub fn take_called_off(&mut self) -> Vec<CalledOff> {
        std::mem::take(&mut self.called_off)
    }

    /// The server changed its role: every lease is over.
    pub fn begin_era(&mut self) {
        self.era += 1;
        self.connections = Default::default();
    }

    /// Two databases changed places, and with them the leases that are in their values.
    pub fn swap_databases(&mut self, one: i32, other: i32) {
        self.connections.swap(one, other);
    }
}
