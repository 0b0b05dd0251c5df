//! The volatile part of a group's progress: the lease, what is in flight under it, and the count of
//! entries below the cursor. After a restart, a reload or a change of role there is none of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::counts::Reply;
use super::exceptions::State;
use super::lease::{Caller, Lease, Pace};
use super::{Progress, Source};
use crate::model::ids::EventId;
use crate::model::limits::MAX_EXCEPTIONS;
use crate::model::now::Now;

/// What a pull read of the stream, and handed out of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandedOut {
    /// The first event that was handed out; none if nothing was.
    pub first: Option<EventId>,
    /// The stream was read up to here.
    pub last: EventId,
    /// How many entries were read.
    pub entries: u64,
    /// How many of them were handed out.
    pub given: u64,
}

/// The volatile part of a group's progress.
impl Progress {
    /// Volatile: the worker of `caller` owns the last issued epoch, from the cursor.
    pub fn begin_lease(&mut self, caller: &Caller, now: Now, lease_ms: u64, era: u64) {
        self.lease = Some(Box::new(Lease {
            worker: caller.worker.clone(),
            connection: caller.connection,
            deadline_ms: now.ms().saturating_add(lease_ms),
            lease_ms,
            first: None,
            given: self.cursor,
            position: self.cursor,
            pace: Pace::Steady,
            revived: BTreeSet::new(),
            refused: BTreeMap::new(),
            keys: None,
            repeated: 0,
            redelivering: BTreeSet::new(),
            behind: false,
            shared: false,
            called: false,
            told_nothing: false,
            abandoned: false,
            era,
            replies: VecDeque::new(),
        }));
    }

    /// Volatile: the owner's pull moves the lease to its connection, if it has one, and renews it.
    pub fn continue_lease(&mut self, connection: Option<u64>, now: Now, lease_ms: u64) {
        if let Some(lease) = &mut self.lease {
            lease.connection = connection.or(lease.connection);
            lease.abandoned = false;
            lease.lease_ms = lease_ms;
        }
        self.renew(now);
    }

    /// Volatile: the owner's pull goes on there; at a steady pace, what is in flight comes again.
    pub fn set_pace(&mut self, pace: Pace) {
        if let Some(lease) = &mut self.lease {
            lease.pace = pace;
            if pace == Pace::Steady && lease.position > self.cursor {
                lease.position = self.cursor;
                // Their entries are counted when they are read again.
                lease.replies.clear();
            }
        }
    }

    /// Volatile: the lease was pulled by partition, or (`shared`) with all others of the ring.
    pub fn share_lease(&mut self, shared: bool) {
        if let Some(lease) = &mut self.lease {
            (lease.shared, lease.called) = (shared, false);
            lease.told_nothing = false;
        }
    }

    /// Volatile: the owner, if it is `caller`, was told that there is nothing and does not wait.
    /// What renews the lease does not change that, only its next pull.
    pub fn tell_nothing(&mut self, caller: &Caller) {
        let epoch = self.epoch;
        if let Some(lease) = &mut self.lease {
            let by_name = caller.worker.is_some() && lease.worker == caller.worker;
            let by_connection =
                caller.connection.is_some() && lease.connection == caller.connection;
            lease.told_nothing |= by_name || by_connection || caller.epoch == Some(epoch);
        }
    }

    /// Volatile: the owner waits in `EVQ.CONSUME *` and is called to this partition.
    pub fn call_owner(&mut self) {
        if let Some(lease) = &mut self.lease {
            (lease.shared, lease.called) = (true, true);
        }
    }

    /// Volatile: `connection`, if it was called here, does not come: the lease is anybody's.
    pub fn call_off(&mut self, connection: u64) {
        if let Some(lease) = &mut self.lease
            && lease.connection == Some(connection)
        {
            lease.called = false;
        }
    }

    /// Volatile: whether the last reply left something behind, and what an event took in it, if
    /// that is known.
    pub fn note_reply(&mut self, behind: bool, event_bytes: Option<u32>) {
        if let Some(lease) = &mut self.lease {
            lease.behind = behind;
        }
        self.event_bytes = event_bytes.unwrap_or(self.event_bytes);
    }

    /// Volatile: a sign of life from the owner moves the deadline.
    pub fn renew(&mut self, now: Now) {
        if let Some(lease) = &mut self.lease {
            lease.deadline_ms = now.ms().saturating_add(lease.lease_ms);
        }
    }

    /// Volatile: as [`Progress::renew`], if `connection` holds the lease.
    pub fn renew_for(&mut self, connection: u64, now: Now) {
        if self.lease.as_ref().is_some_and(|lease| lease.connection == Some(connection)) {
            self.renew(now);
        }
    }

    /// Volatile: the connection of the lease's named owner has closed.
    pub fn abandon_lease(&mut self) {
        if let Some(lease) = &mut self.lease {
            (lease.abandoned, lease.called) = (true, false);
        }
    }

    /// Volatile: renews with another length from now on.
    pub fn extend(&mut self, now: Now, lease_ms: u64) {
        if let Some(lease) = &mut self.lease {
            lease.lease_ms = lease_ms;
        }
        self.renew(now);
    }

    /// Volatile: the stream was read on, and what was read may have been handed out.
    pub fn hand_out(&mut self, handed_out: HandedOut, now: Now) {
        let HandedOut { first, last, entries, given } = handed_out;
        if entries == 0 {
            return;
        }
        self.totals.deliver(now, given);
        if let Some(lease) = &mut self.lease {
            lease.first = lease.first.or(first);
            if given > 0 && last > lease.given {
                self.turn = Source::Redeliveries;
            }
            if first.is_some_and(|first| first <= lease.given) {
                lease.repeated = lease.repeated.saturating_add(1);
                self.totals.repeats += 1;
            }
            let start = lease.position.max(self.cursor);
            lease.position = lease.position.max(last);
            lease.given = lease.given.max(last);
            lease.note_reply(Reply { start, last, entries });
        }
    }

    /// Volatile: the exception `id` was handed out again.
    pub fn redeliver(&mut self, id: EventId, now: Now) {
        self.totals.deliver(now, 1);
        if let Some(lease) = &mut self.lease {
            lease.refused.remove(&id);
            if lease.redelivering.insert(id) {
                self.turn = Source::Fresh;
            } else {
                lease.repeated = lease.repeated.saturating_add(1);
                self.totals.repeats += 1;
            }
        }
    }

    /// Volatile: the owner refused an event, which holds others of its key.
    pub fn refuse(&mut self, id: EventId, held: Vec<EventId>) {
        if let Some(lease) = &mut self.lease {
            lease.refused.insert(id, held);
            // There may be so many exceptions, and what is skipped is none.
            if lease.refused.len() > 2 * MAX_EXCEPTIONS {
                lease.refused.pop_first();
            }
        }
    }

    /// Volatile: a lease is over that was lost, and `blamed` for it. Whatever was in flight is
    /// handed out one event at a time until it is finished.
    pub fn lose_lease(&mut self, blamed: Option<EventId>) {
        if let Some(lease) = self.lease.take() {
            self.careful.until = self.careful.until.max(lease.given);
            self.careful.redelivered.extend(lease.redelivering);
            let retried = |id: &EventId| {
                self.exceptions.get(*id).is_some_and(|e| matches!(e.state, State::Retry(_)))
            };
            self.careful.redelivered.extend(blamed.filter(retried));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::progress::lease::{Scene, Turn};

    const NOW: Now = Now { unix_us: 5_000_000 };
    const SCENE: Scene = Scene { owner_waits: false, owner_gone: false, queue: false, era: 1 };

    fn caller(connection: u64) -> Caller {
        Caller { worker: None, epoch: None, connection: Some(connection) }
    }

    /// A lease with nothing in flight that `EVQ.CONSUME *` of connection 7 has.
    fn shared() -> Progress {
        let mut progress = Progress::new(EventId::default());
        progress.begin_lease(&caller(7), NOW, 1000, SCENE.era);
        progress.share_lease(true);
        progress
    }

    #[test]
    fn a_worker_that_is_called_finds_what_it_was_called_for() {
        let mut progress = shared();
        assert!(progress.is_free(NOW, SCENE));
        progress.call_owner();
        assert!(!progress.is_free(NOW, SCENE));
        assert_eq!(progress.turn(&caller(8), NOW, SCENE), Turn::Wait);
        assert_eq!(progress.turn(&caller(7), NOW, SCENE), Turn::Continue);
        // Pulling is to have come.
        progress.share_lease(true);
        assert!(progress.is_free(NOW, SCENE));
    }

    #[test]
    fn who_is_called_and_does_not_come_holds_nobody_up() {
        let mut progress = shared();
        progress.call_owner();
        progress.call_off(8);
        assert!(!progress.is_free(NOW, SCENE), "another was called");
        progress.call_off(7);
        assert!(progress.is_free(NOW, SCENE));
        progress.call_owner();
        progress.abandon_lease();
        assert!(progress.is_free(NOW, SCENE));
        progress.call_owner();
        assert!(progress.is_free(Now { unix_us: 6_000_000 }, SCENE), "its deadline has passed");
    }
}
