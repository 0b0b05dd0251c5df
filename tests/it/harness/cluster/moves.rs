//! Moving a slot: step by step, as `redis-cli --cluster reshard` does it, or at once where the
//! server can.

use super::Cluster;
use crate::harness::args::{args, must};
use crate::harness::value::Value;
use crate::harness::wait::{PATIENCE, until};
use crate::model::slots::Slot;

/// How long MIGRATE may take, and how many keys a step looks for.
const LONG_MS: u32 = 60_000;
const MANY: u32 = 1_000_000;

/// A slot on its way: both nodes know of it, and keys move one by one.
#[derive(Debug)]
pub(crate) struct Move<'a> {
    cluster: &'a Cluster,
    slot: Slot,
    from: usize,
    to: usize,
}

impl Cluster {
    /// Begins to move `slot` to `to`: MIGRATING at its owner, IMPORTING there.
    #[track_caller]
    pub(crate) fn begin_move(&self, slot: Slot, to: usize) -> Move<'_> {
        let from = self.owner(slot);
        let number = slot.number();
        // In this order: a client that is sent on must find a node that expects it.
        must!(self.connect(to), "CLUSTER", "SETSLOT", number, "IMPORTING", self.id(from)).ok();
        must!(self.connect(from), "CLUSTER", "SETSLOT", number, "MIGRATING", self.id(to)).ok();
        Move { cluster: self, slot, from, to }
    }

    /// Moves `slot` with all its keys to `to`, key by key.
    #[track_caller]
    pub(crate) fn move_slot(&self, slot: Slot, to: usize) {
        let moving = self.begin_move(slot, to);
        moving.migrate_all();
        moving.finish();
    }

    /// Whether the servers move slots at once, by CLUSTER MIGRATESLOTS.
    pub(crate) fn moves_at_once(&self) -> bool {
        let binary = self.node(0).binary();
        binary.is_valkey() && binary.version >= (9, 0, 0)
    }

    /// Moves `slot` with all its keys to `to` by CLUSTER MIGRATESLOTS, if [`Self::moves_at_once`].
    #[track_caller]
    pub(crate) fn move_at_once(&self, slot: Slot, to: usize) {
        let mut conn = self.connect(self.owner(slot));
        let (number, id) = (slot.number(), self.id(to));
        let words = args!["CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", number, number, "NODE", id];
        conn.must(&words).ok();
        until(PATIENCE, || {
            let jobs = must!(conn, "CLUSTER", "GETSLOTMIGRATIONS");
            // The newest comes first.
            let state = jobs.at(0).get("state").str().to_owned();
            assert!(state != "failed" && state != "cancelled", "{jobs:?}");
            state == "success"
        });
        self.settle();
        assert_eq!(self.owner(slot), to);
    }

    /// Moves `slot` in whatever way the servers do it by themselves.
    #[track_caller]
    pub(crate) fn move_somehow(&self, slot: Slot, to: usize) {
        if self.moves_at_once() {
            self.move_at_once(slot, to);
        } else {
            self.move_slot(slot, to);
        }
    }
}

impl Move<'_> {
    /// The node that has the slot.
    pub(crate) fn from(&self) -> usize {
        self.from
    }

    /// The node that gets it.
    pub(crate) fn to(&self) -> usize {
        self.to
    }

    /// The keys that have not moved yet, sorted.
    #[track_caller]
    pub(crate) fn keys(&self) -> Vec<Vec<u8>> {
        self.keys_at(self.from)
    }

    /// The keys of the slot that are at node `n`, sorted.
    #[track_caller]
    pub(crate) fn keys_at(&self, n: usize) -> Vec<Vec<u8>> {
        let mut conn = self.cluster.connect(n);
        let keys = must!(conn, "CLUSTER", "GETKEYSINSLOT", self.slot.number(), MANY);
        let mut keys: Vec<_> = keys.array().iter().map(|key| key.bytes().to_vec()).collect();
        keys.sort();
        keys
    }

    /// Moves one key.
    #[track_caller]
    pub(crate) fn migrate(&self, key: &[u8]) {
        self.try_migrate(key).ok();
    }

    /// Moves one key; the reply, which may be an error.
    #[track_caller]
    pub(crate) fn try_migrate(&self, key: &[u8]) -> Value {
        let port = self.cluster.port(self.to);
        let words = args!["MIGRATE", "127.0.0.1", port, "", 0, LONG_MS, "KEYS", key];
        self.cluster.connect(self.from).cmd(&words)
    }

    /// Moves all keys that are left, and those that come meanwhile.
    #[track_caller]
    pub(crate) fn migrate_all(&self) {
        loop {
            let keys = self.keys();
            if keys.is_empty() {
                return;
            }
            for key in keys {
                let reply = self.try_migrate(&key);
                // A key that is gone by now leaves nothing to move.
                let fine = !reply.is_error() && ["OK", "NOKEY"].contains(&reply.str());
                assert!(fine, "{}: {reply:?}", key.escape_ascii());
            }
        }
    }

    /// The slot belongs to the other node from now on; all agree.
    #[track_caller]
    pub(crate) fn finish(self) {
        self.hand_over();
        self.cluster.settle();
        assert_eq!(self.cluster.owner(self.slot), self.to);
    }

    /// As [`Move::finish`], without the wait.
    #[track_caller]
    pub(crate) fn hand_over(&self) {
        let (number, id) = (self.slot.number(), self.cluster.id(self.to));
        // The new owner first: a slot that nobody owned would be answered by CLUSTERDOWN.
        for n in [self.to, self.from] {
            must!(self.cluster.connect(n), "CLUSTER", "SETSLOT", number, "NODE", id).ok();
        }
    }

    /// Leaves the slot where it is. Only before a key has moved: afterwards there is no order of
    /// steps in which nobody could miss one.
    #[track_caller]
    pub(crate) fn cancel(self) {
        assert!(self.keys_at(self.to).is_empty(), "keys have moved");
        for n in [self.from, self.to] {
            let mut conn = self.cluster.connect(n);
            must!(conn, "CLUSTER", "SETSLOT", self.slot.number(), "STABLE").ok();
        }
    }
}
