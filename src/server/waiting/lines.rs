//! Who waits for what: plain bookkeeping, no calls to the server.
//!
//! In front of each (partition, group) stands a line: at most one waiting owner, who holds the
//! lease, and behind it the standbys. Only an owner may be woken by an append; standbys are called
//! one by one when the lease ends. An owner who began to wait as an owner waits on the stream
//! itself, so that any kind of append wakes it; one that was promoted from the line is parked and
//! is woken by EVQ.TRIGGER or, after an append by other means, by the sweep.
//!
//! Workers that pull from any partition (`EVQ.CONSUME *`) stand in a line of their own per ring and
//! group, that of the partition [`ANY`]; one at a time is called to a partition that has work.
//!
//! All of this is lost at any moment without breaking a promise. Every use of it opens the key
//! and checks. Everything runs on the server's main thread.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use super::fast_map::QuickMap;
use super::waiter::{Outcome, Wait, Waiter};
use super::{any_lines, connections};
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::model::progress::lease::Scene;
use crate::server::api::ffi::raw;
use crate::server::keyspace::key_names::PartitionNames;
use crate::server::keyspace::line::{ANY, Line};

#[derive(Debug, Default)]
struct Queue {
    owner: Option<u64>,
    standbys: VecDeque<u64>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By client id: a client waits for one thing at a time.
    waiters: QuickMap<u64, Waiter>,
    queues: QuickMap<Line, Queue>,
    /// Clients that are released and of which the server has yet to be told.
    to_tell: VecDeque<u64>,
    /// When whose time is up.
    ends: BTreeSet<(u64, u64)>,
    /// Owners that an append does not reach by itself, by ring, then by database and partition.
    parked_owners: QuickMap<Name, QuickMap<(i32, u32), Vec<u64>>>,
}

thread_local! {
    static WAITING: RefCell<Waiting> = RefCell::default();
    /// Whether there is any parked owner: the one thing EVQ.TRIGGER asks.
    static ANY_PARKED: Cell<bool> = const { Cell::new(false) };
    static ERA: Cell<u64> = const { Cell::new(0) };
}

impl Waiting {
    fn park_owner(&mut self, client: u64, line: &Line) {
        let ring = self.parked_owners.entry(line.ring.clone()).or_default();
        ring.entry((line.db, line.partition)).or_default().push(client);
        ANY_PARKED.set(true);
    }

    fn unpark_owner(&mut self, client: u64, line: &Line) {
        let Some(ring) = self.parked_owners.get_mut(&line.ring) else { return };
        if let Some(clients) = ring.get_mut(&(line.db, line.partition)) {
            clients.retain(|other| *other != client);
        }
        ring.retain(|_, clients| !clients.is_empty());
        if ring.is_empty() {
            self.parked_owners.remove(&line.ring);
        }
        ANY_PARKED.set(!self.parked_owners.is_empty());
    }

    fn forget_end(&mut self, client: u64, ends_ms: Option<u64>) {
        if let Some(at_ms) = ends_ms {
            self.ends.remove(&(at_ms, client));
        }
    }
}

/// The current era: see [`Scene::era`].
pub(crate) fn era() -> u64 {
    ERA.get()
}

/// The server changed its role: every lease is over.
pub(crate) fn new_era() {
    ERA.set(ERA.get() + 1);
    connections::forget_all();
}

/// What is known about a line beside its saved progress.
pub(crate) fn scene(line: &Line, progress: Option<&Progress>) -> Scene {
    WAITING.with_borrow(|all| {
        let queue = all.queues.get(line);
        let connection = progress.and_then(Progress::lease).and_then(|lease| lease.connection);
        Scene {
            owner_waits: queue.is_some_and(|queue| queue.owner.is_some()),
            owner_gone: connection.is_some_and(connections::is_gone),
            queue: queue.is_some_and(|queue| !queue.standbys.is_empty()),
            era: era(),
        }
    })
}

/// A client begins to wait as the owner of its line's lease, on the stream key.
pub(crate) fn wait_as_owner(client: u64, waiter: Waiter) {
    WAITING.with_borrow_mut(|all| {
        all.queues.entry(waiter.wait.line.clone()).or_default().owner = Some(client);
        all.waiters.insert(client, waiter);
    });
}

/// A client begins to wait at the end of its line.
pub(crate) fn wait_in_line(client: u64, waiter: Waiter) {
    WAITING.with_borrow_mut(|all| {
        let line = waiter.wait.line.clone();
        if line.partition == ANY {
            any_lines::join(&line);
        }
        all.queues.entry(line).or_default().standbys.push_back(client);
        all.ends.extend(waiter.ends_ms.map(|at_ms| (at_ms, client)));
        all.waiters.insert(client, waiter);
    });
}

/// Forgets a client that stops waiting; also tells whether it waited as the owner of its line.
pub(crate) fn remove(client: u64) -> Option<(Waiter, bool)> {
    WAITING.with_borrow_mut(|all| {
        let waiter = all.waiters.remove(&client)?;
        let line = &waiter.wait.line;
        let mut owner = false;
        if let Some(queue) = all.queues.get_mut(line) {
            if queue.owner == Some(client) {
                owner = true;
                queue.owner = None;
            }
            queue.standbys.retain(|other| *other != client);
            if queue.owner.is_none() && queue.standbys.is_empty() {
                all.queues.remove(line);
            }
        }
        if line.partition == ANY {
            any_lines::leave(line);
        }
        all.unpark_owner(client, line);
        all.forget_end(client, waiter.ends_ms);
        Some((waiter, owner))
    })
}

/// What the wake-up of an owner asks: its stream, the last event it was given, and whether any
/// event after that is for it.
pub(crate) fn awaited(client: u64) -> Option<(Rc<PartitionNames>, EventId, bool)> {
    WAITING.with_borrow(|all| {
        let wait = &all.waiters.get(&client)?.wait;
        Some((Rc::clone(&wait.names), wait.position, wait.plain))
    })
}

/// What a blocked client waits for.
pub(crate) fn wait_of(client: u64) -> Option<Wait> {
    WAITING.with_borrow(|all| all.waiters.get(&client).map(|waiter| waiter.wait.clone()))
}

/// Whether a client stands in `line`, and was not released from it.
pub(crate) fn stands_in(client: u64, line: &Line) -> bool {
    WAITING.with_borrow(|all| {
        let waiter = all.waiters.get(&client);
        waiter.is_some_and(|waiter| waiter.wait.line == *line && !waiter.released)
    })
}

/// The client that waits as the owner of `line`.
pub(crate) fn waiting_owner(line: &Line) -> Option<u64> {
    WAITING.with_borrow(|all| all.queues.get(line)?.owner)
}

/// The first standby of `line`, who stays where it is.
pub(crate) fn first_standby(line: &Line) -> Option<u64> {
    nth_standby(line, 0)
}

/// The standby of `line` that `n` others stand before.
pub(crate) fn nth_standby(line: &Line, n: usize) -> Option<u64> {
    WAITING.with_borrow(|all| all.queues.get(line)?.standbys.get(n).copied())
}

/// The client, which waits for any partition, is called to this one.
pub(crate) fn note_call(client: u64, partition: u32) {
    WAITING.with_borrow_mut(|all| {
        if let Some(waiter) = all.waiters.get_mut(&client) {
            waiter.called = Some(partition);
        }
    });
}

/// The standby `client` got the lease of its line: it waits on as the owner, parked.
pub(crate) fn promote(client: u64) {
    WAITING.with_borrow_mut(|all| {
        let Some(line) = all.waiters.get(&client).map(|waiter| waiter.wait.line.clone()) else {
            return;
        };
        if let Some(queue) = all.queues.get_mut(&line) {
            queue.standbys.retain(|other| *other != client);
            queue.owner = Some(client);
        }
        all.park_owner(client, &line);
    });
}

/// Decides how a client's wait ends; false if that was decided before, or it does not wait. Until
/// the client is gone, a better reason than to be served still counts.
pub(crate) fn release(client: u64, outcome: Outcome) -> bool {
    WAITING.with_borrow_mut(|all| {
        let Some(waiter) = all.waiters.get_mut(&client) else { return false };
        if waiter.outcome == Outcome::Serve {
            waiter.outcome = outcome;
        }
        if std::mem::replace(&mut waiter.released, true) {
            return false;
        }
        let (line, ends_ms) = (waiter.wait.line.clone(), waiter.ends_ms);
        all.to_tell.push_back(client);
        all.unpark_owner(client, &line);
        all.forget_end(client, ends_ms);
        // Who is on the way out is not next in line, but an owner is one until it is gone.
        if let Some(queue) = all.queues.get_mut(&line) {
            queue.standbys.retain(|other| *other != client);
        }
        true
    })
}

/// The handle of a released client that the server has to be told to unblock; each is given once,
/// because telling twice would free it twice.
pub(crate) fn next_to_tell() -> Option<*mut raw::RedisModuleBlockedClient> {
    WAITING.with_borrow_mut(|all| {
        loop {
            let client = all.to_tell.pop_front()?;
            // It may have gone by itself meanwhile, and may even wait for something else.
            let here = all.waiters.get_mut(&client);
            if let Some(waiter) = here.filter(|waiter| waiter.released && !waiter.told) {
                waiter.told = true;
                return Some(waiter.handle);
            }
        }
    })
}

/// The parked clients whose time is up.
pub(crate) fn time_is_up(now_ms: u64) -> Vec<u64> {
    WAITING.with_borrow(|all| {
        all.ends.range(..(now_ms.saturating_add(1), 0)).map(|(_, client)| *client).collect()
    })
}

/// When the time of the next parked client is up.
pub(crate) fn next_end() -> Option<u64> {
    WAITING.with_borrow(|all| all.ends.first().map(|(at_ms, _)| *at_ms))
}

/// Whether any parked owner exists.
pub(crate) fn any_parked_owner() -> bool {
    ANY_PARKED.get()
}

/// The parked owners of one partition, whatever their group.
pub(crate) fn parked_owners(db: i32, ring: &Name, partition: u32) -> Vec<u64> {
    WAITING.with_borrow(|all| {
        let owners = all.parked_owners.get(ring).and_then(|ring| ring.get(&(db, partition)));
        owners.cloned().unwrap_or_default()
    })
}

/// Every parked owner.
pub(crate) fn all_parked_owners() -> Vec<u64> {
    WAITING.with_borrow(|all| {
        all.parked_owners.values().flat_map(QuickMap::values).flatten().copied().collect()
    })
}

/// Every owner that waits and for whom each event has to be looked at.
pub(crate) fn watchful_owners() -> Vec<(u64, Line)> {
    WAITING.with_borrow(|all| {
        let watchful = |(line, queue): (&Line, &Queue)| {
            let client = queue.owner?;
            let waiter = all.waiters.get(&client)?;
            (!waiter.wait.plain && !waiter.released).then(|| (client, line.clone()))
        };
        all.queues.iter().filter_map(watchful).collect()
    })
}

/// From now on each event has to be looked at for the owner that waits in `line`. False if nobody
/// waits there, nor for any partition of its ring.
pub(crate) fn be_watchful(line: &Line) -> bool {
    WAITING.with_borrow_mut(|all| {
        let owner = all.queues.get(line).and_then(|queue| queue.owner);
        if let Some(waiter) = owner.and_then(|client| all.waiters.get_mut(&client)) {
            waiter.wait.plain = false;
        }
        let any = Line { partition: ANY, ..line.clone() };
        owner.is_some() || any_lines::is_waited_in(&any)
    })
}

/// From now on each event has to be looked at for the owners that wait in front of a ring, for one
/// group or for all. False if nobody waits there.
pub(crate) fn be_watchful_in(db: i32, ring: &Name, group: Option<&Name>) -> bool {
    WAITING.with_borrow_mut(|all| {
        let mut any = false;
        for waiter in all.waiters.values_mut() {
            let line = &waiter.wait.line;
            if line.db == db && line.ring == *ring && group.is_none_or(|group| line.group == *group)
            {
                waiter.wait.plain = false;
                any = true;
            }
        }
        any
    })
}

/// What was seen of an owner's stream brought nothing: it is not looked at again.
pub(crate) fn move_on(client: u64, position: EventId) {
    WAITING.with_borrow_mut(|all| {
        if let Some(waiter) = all.waiters.get_mut(&client) {
            waiter.wait.position = waiter.wait.position.max(position);
        }
    });
}

/// Every line that has standbys.
pub(crate) fn lines_with_standbys() -> Vec<Line> {
    WAITING.with_borrow(|all| {
        let standing = all.queues.iter().filter(|(_, queue)| !queue.standbys.is_empty());
        standing.map(|(line, _)| line.clone()).collect()
    })
}

/// How many clients wait, and as what.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WaitingTotals {
    /// Owners of a lease.
    pub(crate) owners: u64,
    /// Behind somebody's lease.
    pub(crate) standbys: u64,
    /// For any partition.
    pub(crate) any_partition: u64,
}

/// Counts who waits. O(lines).
pub(crate) fn totals() -> WaitingTotals {
    WAITING.with_borrow(|all| {
        let mut totals = WaitingTotals::default();
        for (line, queue) in &all.queues {
            let standbys = queue.standbys.len() as u64;
            totals.owners += u64::from(queue.owner.is_some());
            if line.partition == ANY {
                totals.any_partition += standbys;
            } else {
                totals.standbys += standbys;
            }
        }
        totals
    })
}

/// Everybody who waits in front of a ring, for one group or for all.
pub(crate) fn waiters_of_ring(db: i32, ring: &Name, group: Option<&Name>) -> Vec<u64> {
    WAITING.with_borrow(|all| {
        let here = |waiter: &&Waiter| {
            let line = &waiter.wait.line;
            line.db == db && line.ring == *ring && group.is_none_or(|group| line.group == *group)
        };
        let waiters = all.waiters.iter().filter(|(_, waiter)| here(waiter));
        waiters.map(|(client, _)| *client).collect()
    })
}
