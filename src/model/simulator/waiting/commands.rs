//! Commands, hands and events of the server, as `src/command` and `src/server/entry` pass them on.

use std::collections::btree_map::Entry;

use super::clients::{Blocked, CLIENTS, Play};
use super::flaws::Flaw;
use super::replies::Answer;
use super::world::{At, DB, GROUPS, Hands, PARTITIONS, Ring, group_name, ring_name};
use crate::model::deadlines::Reason;
use crate::model::ids::EventId;
use crate::model::progress::lease::Lease;
use crate::model::waiting::calls;
use crate::model::waiting::hand_over::hand_over;
use crate::model::waiting::waiter::Cause;

impl Play {
    /// Something is appended, by EVQ.TRIGGER or by hand.
    pub(super) fn append(&mut self, ring: usize, partition: u32, poison: bool, by_hand: bool) {
        if !self.world.rings.contains_key(&ring) {
            return;
        }
        self.check_nobody_else_wakes(ring, partition);
        let now = self.world.now();
        self.world.streams.entry((ring, partition)).or_default().append(now, poison);
        if !by_hand && !self.world.has(Flaw::Deaf) {
            calls::appended(&mut self.world, DB, &ring_name(ring), partition, now);
        }
        self.ready(ring, partition);
    }

    /// Hands are in the keys of a ring: a worker that was called may find nothing.
    pub(super) fn excuse(&mut self, ring: usize) {
        for client in &mut self.clients {
            if let Some(blocked) = client.blocked.as_mut().filter(|b| b.pull.ring == ring) {
                blocked.excused = true;
            }
        }
    }

    pub(super) fn dismiss(&mut self, ring: usize, group: Option<usize>) {
        let group = group.map(group_name);
        if self.world.lines.dismiss(DB, &ring_name(ring), group.as_ref()) {
            self.world.tell_soon();
        }
    }

    /// Whether the client may answer for what it holds there.
    fn may_answer(&self, c: usize, at: At, id: EventId) -> bool {
        let in_flight = |lease| {
            self.world.sides.get(&at).is_some_and(|s| s.progress.check_in_flight(lease, id).is_ok())
        };
        self.lease_of(c, at).is_some_and(in_flight)
    }

    /// The `nth` event that a client holds.
    fn held(&self, c: usize, nth: usize) -> Option<(At, EventId)> {
        let client = self.clients.get(c).filter(|client| client.blocked.is_none())?;
        client.holds.get(nth % client.holds.len().max(1)).copied()
    }

    /// EVQ.ACK.
    pub(super) fn ack(&mut self, c: usize, nth: usize) {
        let Some((at, id)) = self.held(c, nth) else { return };
        self.acknowledge(c, at, id);
        // What is acknowledged acknowledges what was handed out before it.
        self.clients[c].holds.retain(|(other, held)| *other != at || *held > id);
        self.clients[c].answer = Some(Answer::Ack(at, id));
    }

    pub(super) fn acknowledge(&mut self, c: usize, at: At, id: EventId) {
        if self.may_answer(c, at, id) {
            let was_plain = self.world.side(at).is_plain();
            self.world.side(at).finish(id);
            self.answered(at, was_plain);
        } else if let Some(lease) = self.lease_of(c, at)
            && id <= lease.given
        {
            // It is finished already.
            self.renew(at);
        }
    }

    /// The lease, if the client may answer under it.
    fn lease_of(&self, c: usize, at: At) -> Option<&Lease> {
        let side = self.world.sides.get(&at).filter(|_| self.world.exists(at))?;
        side.progress.authorize(&self.clients[c].caller(), self.world.scene_of(at)).ok()
    }

    fn renew(&mut self, at: At) {
        let now = self.world.now();
        self.world.side(at).progress.renew(now);
    }

    /// EVQ.NACK of the first event that a client holds somewhere.
    pub(super) fn nack(&mut self, c: usize, nth: usize, delay_ms: u64) {
        let Some((at, _)) = self.held(c, nth) else { return };
        let here = self.clients[c].holds.iter().filter(|(other, _)| *other == at);
        let Some(id) = here.map(|(_, id)| *id).min() else { return };
        self.refuse(c, at, id, delay_ms);
        self.clients[c].holds.retain(|held| *held != (at, id));
        self.clients[c].answer = Some(Answer::Nack { at, id, delay_ms });
    }

    pub(super) fn refuse(&mut self, c: usize, at: At, id: EventId, delay_ms: u64) {
        if self.lease_of(c, at).is_some_and(|lease| lease.refused.contains_key(&id)) {
            // It is refused already.
            return self.renew(at);
        }
        // A side fails the first of what is in flight, or a redelivery.
        let cursor = self.world.side(at).progress.cursor();
        let is_first = self.world.stream(at).after(cursor).next().is_none_or(|first| first >= id);
        if is_first && self.may_answer(c, at, id) {
            let due_ms = self.world.now_ms + delay_ms;
            self.world.side(at).fail(id, due_ms);
            self.answered(at, false);
        }
    }

    /// Renews the lease; with nothing in flight, a shared one is anybody's, and so is one whose
    /// owner was told that there is nothing.
    fn answered(&mut self, at: At, was_plain: bool) {
        let now = self.world.now();
        self.renew(at);
        if !was_plain {
            self.world.look_again(at);
        }
        let (scene, passes_null) = (self.world.scene_of(at), !self.world.has(Flaw::Unpassed));
        let side = self.world.side(at);
        let lease = side.progress.lease();
        let passes_on =
            lease.is_some_and(|lease| lease.shared || lease.told_nothing && passes_null);
        let is_free = side.progress.is_free(now, scene) || side.progress.is_claimable(scene);
        if passes_on && scene.queue && is_free {
            self.world.arm(Reason::Lease, 0);
        }
    }

    /// EVQ.RELEASE of the first partition that a client has the lease of.
    pub(super) fn release(&mut self, c: usize) {
        let caller = self.clients[c].caller();
        let owns = |at: &At| {
            let side = self.world.sides.get(at).filter(|_| self.world.exists(*at));
            side.is_some_and(|s| s.progress.authorize(&caller, self.world.scene_of(*at)).is_ok())
        };
        if self.clients[c].blocked.is_none()
            && let Some(at) = all_places().into_iter().find(owns)
        {
            self.move_group(at, None);
        }
    }

    /// EVQ.SEEK of a group to its beginning or to the end.
    pub(super) fn seek(&mut self, at: At, to_end: bool) {
        if self.world.exists(at) {
            let end = self.world.stream(at).last;
            self.move_group(at, Some(if to_end { end } else { EventId::ZERO }));
        }
    }

    /// Ends the lease under a new epoch, and goes on from a cursor if there is one.
    fn move_group(&mut self, at: At, cursor: Option<EventId>) {
        self.excuse(at.ring);
        let now = self.world.now();
        let side = self.world.side(at);
        let epoch = side.progress.next_epoch(now);
        match cursor {
            Some(cursor) => side.seek(cursor, epoch),
            None => side.end(epoch),
        }
        self.world.fence_owner(at, None);
        hand_over(&mut self.world, &at.line(), now).expect("no other types");
        self.world.look_again(at);
    }

    /// A barrier closes in front of a side, or searches begin to stop early: settings have changed.
    pub(super) fn hinder(&mut self, at: At, closed: bool, stops: u8) {
        if !self.world.exists(at) {
            return;
        }
        self.excuse(at.ring);
        let side = self.world.side(at);
        (side.closed, side.stops) = (closed, stops);
        if self.world.lines.watch_ring(DB, &ring_name(at.ring), None) {
            self.world.arm(Reason::Watch, 0);
        }
    }

    /// A barrier opens.
    pub(super) fn open(&mut self, at: At, by_hand: bool) {
        self.world.side(at).closed = false;
        if !by_hand {
            self.world.arm(Reason::Barrier, 0);
        }
    }

    /// XDEL by hand.
    pub(super) fn delete(&mut self, ring: usize, partition: u32, nth: usize) {
        self.excuse(ring);
        if let Some(stream) = self.world.streams.get_mut(&(ring, partition)) {
            let last = stream.events.len().max(1);
            if !stream.events.is_empty() {
                stream.events.remove(nth % last);
            }
        }
    }

    /// EVQ.DROP.
    pub(super) fn drop_ring(&mut self, ring: usize) {
        if self.world.rings.remove(&ring).is_some() {
            self.world.streams.retain(|(of, _), _| *of != ring);
            self.world.sides.retain(|at, _| at.ring != ring);
            self.dismiss(ring, None);
        }
    }

    /// EVQ.DELGROUP.
    pub(super) fn delete_group(&mut self, ring: usize, group: usize) {
        let Some(of) = self.world.rings.get_mut(&ring) else { return };
        if of.groups.remove(&group) {
            self.world.sides.retain(|at, _| (at.ring, at.group) != (ring, group));
            self.dismiss(ring, Some(group));
        }
    }

    /// A ring's definition and the delivery state are deleted by hand; its events stay.
    pub(super) fn lose_ring(&mut self, ring: usize) {
        self.excuse(ring);
        self.world.rings.remove(&ring);
        self.world.sides.retain(|at, _| at.ring != ring);
        self.hands = Hands::Any;
    }

    /// EVQ.CREATE.
    pub(super) fn create(&mut self, ring: usize) {
        if let Entry::Vacant(vacant) = self.world.rings.entry(ring) {
            vacant.insert(Ring::default());
            self.excuse(ring);
            self.hands = Hands::Any;
        }
    }

    /// The server changes its role: whoever is blocked is cut off, and every lease is over.
    pub(super) fn change_role(&mut self) {
        self.world.lines.begin_era();
        for c in 0..CLIENTS {
            if self.clients[c].blocked.is_some() {
                self.vanish(c);
            }
        }
        self.hands = Hands::Any;
    }

    /// CLIENT PAUSE, and its end.
    pub(super) fn pause(&mut self, paused: bool) {
        (0..2).for_each(|ring| self.excuse(ring));
        self.world.paused = paused;
    }

    /// CLIENT UNBLOCK of a client that the server has not been told to unblock.
    pub(super) fn unblock_by_hand(&mut self, c: usize) {
        let told = self.world.unblocked.contains(&self.clients[c].id);
        if self.clients[c].blocked.as_ref().is_some_and(|_: &Blocked| !told) {
            self.wake(c, Cause::TimedOut);
        }
    }
}

/// Every partition and group that there may be.
pub(super) fn all_places() -> Vec<At> {
    let rings = 0..super::world::RINGS;
    let partitions = rings.flat_map(|ring| (0..PARTITIONS).map(move |partition| (ring, partition)));
    partitions
        .flat_map(|(ring, partition)| (0..GROUPS).map(move |group| At { ring, partition, group }))
        .collect()
}
