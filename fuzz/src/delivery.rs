//! Delivery against a ledger: the bytes are what happens to a partition (events, pulls, answers,
//! closed connections, time, operators, hands in the stream, restarts), and after each step the
//! server's answer is what the ledger owes, the replica is a copy, and what is saved can be loaded.
//! In the end a patient worker finishes everything.

use evq::model::error::Error;
use evq::model::ids::EventId;
use evq::model::limits::MAX_EXCEPTIONS;
use evq::model::name::Name;
use evq::model::progress::lease::{Caller, Turn};
use evq::model::ring::group::{Group, OnDead};
use evq::model::saved::effect::Fate;

use super::bytes::Bytes;
use super::ledger::{Ledger, Owner, Stage};
use super::shell::{LEASE_MS, REPEATED, Server};

/// Events of one run: the reference is slow.
const MAX_EVENTS: usize = 60;
/// Past every delay.
const PATIENCE_MS: u64 = 1_000_000;

/// Plays what the bytes say.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let backoff_min_ms = bytes.one_of(&[0, 50]);
    let group = Group {
        types: bytes
            .one_of(&[None, None, Some(&[0u8])])
            .map(|kind| kind[..].into())
            .into_iter()
            .collect(),
        max_attempts: bytes.one_of(&[1, 2, 3, 10]),
        backoff_min_ms,
        backoff_max_ms: backoff_min_ms * 2,
        on_dead: bytes.one_of(&[OnDead::Skip, OnDead::Hold]),
        ..Group::default()
    };
    let mut play = Play {
        shell: Server::new(group),
        ledger: Ledger::default(),
        connections: [1, 2],
        next_connection: 3,
        deleted: false,
    };
    while !bytes.is_empty() {
        play.act(&mut bytes);
        play.shell.check();
    }
    play.finish();
}

struct Play {
    shell: Server,
    ledger: Ledger,
    /// The connection of each worker.
    connections: [u64; 2],
    next_connection: u64,
    /// Entries were deleted by hand: who has one in flight does not know, nor does the ledger.
    deleted: bool,
}

impl Play {
    fn act(&mut self, bytes: &mut Bytes<'_>) {
        let dice = bytes.below(20);
        let (w, named) = (bytes.below(2), bytes.below(2) == 1);
        match dice {
            0..=3 if self.shell.stream.events.len() < MAX_EVENTS => {
                let (key, kind) = (bytes.byte() % 4, bytes.byte() % 2);
                self.shell.trigger(key, kind);
            }
            0..=7 => self.pull(w, named, 1 + u64::from(bytes.byte() % 5)),
            8..=11 => {
                let id = self.chosen(bytes);
                self.ack(w, named, id);
            }
            12..=14 => {
                let (id, delay) = (self.chosen(bytes), bytes.one_of(&[None, Some(0), Some(70)]));
                self.nack(w, named, id, delay);
            }
            15 => self.shell.now_ms += u64::from(bytes.byte()),
            16 => self.close(w),
            17 => {
                if self.shell.release(&self.caller(w, named)).is_ok() {
                    assert!(self.may(w, named), "who may release");
                    self.ledger.end_lease(&self.shell.stream, false);
                    self.note_epoch();
                } else {
                    assert!(!self.may(w, named), "the owner may release");
                }
            }
            18 => self.operate(bytes),
            _ => match bytes.below(4) {
                0 => {
                    self.shell.restart();
                    self.ledger.restart();
                }
                1 => self.delete(bytes),
                2 => self.shell.group.max_attempts = 1 + u32::from(bytes.byte() % 4),
                _ => {
                    self.shell.has_work();
                }
            },
        }
    }

    /// Any event, more often one that was handed out.
    fn chosen(&self, bytes: &mut Bytes<'_>) -> EventId {
        let (stream, n) = (&self.shell.stream, usize::from(bytes.byte()));
        let in_flight = self.ledger.in_flight(stream);
        let all: Vec<EventId> = stream.events.iter().map(|event| event.id).collect();
        let from = if n < 200 && !in_flight.is_empty() { &in_flight } else { &all };
        n.checked_rem(from.len()).map_or(EventId { ms: 1, seq: 1 }, |at| from[at])
    }

    fn caller(&self, w: usize, named: bool) -> Caller {
        let name = Name::worker(format!("w{w}").as_bytes()).expect("a name");
        let worker = named.then_some(name);
        Caller { worker, epoch: None, connection: Some(self.connections[w]) }
    }

    /// Whether the lease is this worker's by what it says.
    fn may(&self, w: usize, named: bool) -> bool {
        let gone = self.shell.owner_gone;
        self.ledger.owner.as_ref().is_some_and(|owner| match (owner.named, named) {
            (false, false) => owner.worker == w && !gone,
            // It says nothing, but through its connection.
            (true, false) => owner.worker == w && !gone,
            (true, true) => owner.worker == w,
            (false, true) => false,
        })
    }

    fn note_epoch(&mut self) {
        let epoch = self.shell.progress().epoch();
        assert!(epoch > self.ledger.epoch, "epochs only grow");
        self.ledger.epoch = epoch;
    }

    fn pull(&mut self, w: usize, named: bool, count: u64) {
        let caller = self.caller(w, named);
        let (now_ms, gone) = (self.shell.now_ms, self.shell.owner_gone);
        let free = self
            .ledger
            .owner
            .as_ref()
            .is_none_or(|owner| now_ms >= owner.deadline_ms || gone && !owner.named);
        // The worker's own lease goes on through its connection; its name takes it anew.
        let own = self.ledger.owner.as_ref().is_some_and(|owner| owner.worker == w);
        let by_name = own && named && self.ledger.owner.as_ref().is_some_and(|owner| owner.named);
        match self.shell.turn(&caller) {
            Turn::Wait | Turn::Claim(_) => {
                return assert!(!free && !self.may(w, named), "who waits for nobody");
            }
            Turn::Continue => assert!(own && self.may(w, named), "somebody else goes on"),
            Turn::Grant(epoch) => {
                assert!(free || by_name, "{:?} has the lease", self.ledger.owner);
                self.grant(&caller, epoch);
            }
        }
        let deadline_ms = now_ms + LEASE_MS;
        let named = self.ledger.owner.as_ref().map_or(named, |owner| owner.named);
        self.ledger.owner = Some(Owner { worker: w, named, deadline_ms });
        let given = self.shell.pull(&caller, count);
        let (group, stream) = (&self.shell.group, &self.shell.stream);
        self.ledger.give(group, stream, now_ms, &given, count);
    }

    fn grant(&mut self, caller: &Caller, epoch: u64) {
        let in_flight = self.ledger.in_flight(&self.shell.stream);
        let had_owner = self.ledger.owner.is_some();
        let loss = self.shell.grant(caller, epoch);
        assert!(had_owner || loss.is_none(), "what nobody has cannot be lost");
        self.ledger.end_lease(&self.shell.stream, loss.is_some());
        if let Some(loss) = loss {
            let alone = in_flight.first().copied().filter(|_| in_flight.len() == 1);
            assert_eq!(loss.blamed, alone, "who is to blame");
            if let Some(id) = loss.blamed {
                self.ledger.blame(&self.shell.group, id);
            }
        }
        self.note_epoch();
    }

    fn ack(&mut self, w: usize, named: bool, id: EventId) {
        let (may, handed) = (self.may(w, named), self.ledger.was_handed(id));
        let finished = self.ledger.finished_by(id);
        match self.shell.ack(&self.caller(w, named), id) {
            Ok(reply) => {
                assert!(may, "who lost the lease cannot acknowledge");
                assert!(self.deleted || reply != finished.is_empty(), "{id}: {reply}");
                self.ledger.finish(&finished);
                self.renew();
            }
            Err(Error::Fenced) => assert!(!may, "the owner is fenced"),
            Err(Error::BadId(_)) => assert!(may && !handed, "{id} was handed out"),
            Err(error) => panic!("{error}: what was given can be acknowledged"),
        }
    }

    fn renew(&mut self) {
        if let Some(owner) = &mut self.ledger.owner {
            owner.deadline_ms = self.shell.now_ms + LEASE_MS;
        }
    }

    fn nack(&mut self, w: usize, named: bool, id: EventId, delay_ms: Option<u64>) {
        let (may, group) = (self.may(w, named), self.shell.group.clone());
        let event = self.shell.stream.events.iter().find(|event| event.id == id).copied();
        let in_flight = self.ledger.in_flight(&self.shell.stream).contains(&id);
        let behind = event.map(|event| self.ledger.behind(&group, &self.shell.stream, &event));
        match self.shell.nack(&self.caller(w, named), id, delay_ms) {
            Ok(None) => assert!(may && event.is_none()),
            Ok(Some(failure)) => {
                assert!(may && in_flight, "{id} is refused");
                let due_ms = match failure.fate {
                    Fate::Retry(due_ms) => due_ms,
                    Fate::Dead | Fate::Skipped => 0,
                };
                let delay = delay_ms.unwrap_or_else(|| group.backoff_ms(failure.attempts));
                assert!(due_ms == 0 || due_ms == self.shell.now_ms + delay, "when it is due");
                assert_eq!(Some(&failure.held), behind.as_ref(), "what is held behind {id}");
                self.ledger.refuse(&group, id, due_ms, &failure.held);
                let expected = match failure.fate {
                    Fate::Retry(_) => Stage::Open,
                    Fate::Dead => Stage::Dead,
                    Fate::Skipped => Stage::Skipped,
                };
                assert_eq!(self.ledger.of(id).stage, expected);
                self.renew();
            }
            Err(Error::Fenced) => assert!(!may, "the owner is fenced"),
            Err(Error::BadId(why)) => {
                assert!(may && !in_flight, "{id} is in flight");
                if why == REPEATED {
                    self.renew();
                }
            }
            Err(Error::Limit(..)) => {
                let more = behind.map_or(0, |ids| ids.len()) + 1;
                assert!(self.shell.progress().exceptions().len() + more > MAX_EXCEPTIONS);
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The worker's connection closes, and it comes back through another.
    fn close(&mut self, w: usize) {
        if let Some(lease) = self.shell.progress().lease()
            && lease.connection == Some(self.connections[w])
        {
            self.shell.owner_gone = true;
        }
        self.connections[w] = self.next_connection;
        self.next_connection += 1;
    }

    fn delete(&mut self, bytes: &mut Bytes<'_>) {
        let events = &mut self.shell.stream.events;
        if let Some(at) = usize::from(bytes.byte()).checked_rem(events.len()) {
            self.deleted = true;
            let front = bytes.below(2) == 1;
            events.drain(if front { 0..at + 1 } else { at..at + 1 });
        }
    }

    fn operate(&mut self, bytes: &mut Bytes<'_>) {
        let id = self.chosen(bytes);
        let Some(event) = self.shell.stream.events.iter().find(|e| e.id == id).copied() else {
            return;
        };
        match bytes.below(4) {
            0 => self.shell.seek(id),
            1 => self.shell.seek(EventId::ZERO),
            2 => {
                if self.shell.skip(id) {
                    assert_eq!(self.ledger.of(id).stage, Stage::Dead, "{id} is skipped");
                    self.ledger.finish(&[id]);
                } else {
                    assert_ne!(self.ledger.of(id).stage, Stage::Dead, "{id} is dead");
                }
                return;
            }
            _ => {
                // Only what became a letter can be revived.
                if matches!(self.ledger.of(id).stage, Stage::Dead | Stage::Skipped)
                    && let Ok(true) = self.shell.revive(&event)
                {
                    self.ledger.revive(id);
                }
                return;
            }
        }
        let cursor = self.shell.progress().cursor();
        self.ledger.seek(&self.shell.stream, cursor);
        self.note_epoch();
    }

    /// A patient worker finishes everything; what is dead and in its way is skipped.
    fn finish(&mut self) {
        for _ in 0..2 * MAX_EVENTS {
            self.shell.now_ms += PATIENCE_MS;
            self.close(0);
            self.close(1);
            // A pull takes a bounded number of steps, and may end without an event.
            let mut in_vain = 0;
            while in_vain < MAX_EVENTS {
                self.shell.now_ms += PATIENCE_MS;
                self.shell.group.max_attempts = 1_000_000;
                self.pull(0, true, 3);
                let in_flight = self.ledger.in_flight(&self.shell.stream);
                match in_flight.last() {
                    Some(last) => self.ack(0, true, *last),
                    None => in_vain += 1,
                }
                self.shell.check();
            }
            // Also one whose entry was deleted: it holds its key all the same.
            let Some(dead) = self.ledger.first_dead() else { break };
            assert!(self.shell.skip(dead), "{dead} is dead");
            self.ledger.finish(&[dead]);
        }
        let (group, stream) = (&self.shell.group, &self.shell.stream);
        let owed: Vec<EventId> = self.ledger.owed(group, stream).map(|event| event.id).collect();
        assert!(owed.is_empty(), "{owed:?} are never finished: {:?}", self.shell.progress());
    }
}
