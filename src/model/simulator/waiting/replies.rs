//! Replies that get lost: a client gives up on one, and its connection stays open. It may send the
//! command once more, which the server runs when the first is through; and it may send an answer
//! once more at any time.

use super::clients::{CLIENTS, Play, Pull, Reply};
use super::world::At;
use crate::model::ids::EventId;
use crate::model::progress::lease::Pace;

/// An event in a reply that its worker did not see.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missed {
    at: At,
    id: EventId,
    /// The epoch under which it was handed out.
    epoch: u64,
}

/// What a worker said of an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Ack(At, EventId),
    Nack { at: At, id: EventId, delay_ms: u64 },
}

impl Play {
    /// A client that waits reads the reply no more, and may send its command once more.
    pub(super) fn give_up(&mut self, c: usize, again: bool) {
        let client = &mut self.clients[c];
        if let Some(blocked) = &mut client.blocked {
            blocked.given_up = true;
            client.resent = again.then_some(blocked.pull).or(client.resent);
        }
    }

    /// A client does not read the reply to its EVQ.CONSUME, and may send it once more.
    pub(super) fn pull_unread(&mut self, c: usize, pull: Pull, again: bool) {
        if self.clients[c].blocked.is_some() {
            return;
        }
        if let Some(reply) = self.first(c, pull) {
            self.miss(c, &reply);
        }
        self.give_up(c, false);
        self.clients[c].resent = again.then_some(pull);
        self.catch_up();
    }

    /// The server runs what was sent behind commands that are through now.
    pub(super) fn catch_up(&mut self) {
        for c in 0..CLIENTS {
            let client = &mut self.clients[c];
            if client.blocked.is_none()
                && let Some(pull) = client.resent.take()
            {
                self.pull(c, pull);
            }
        }
    }

    /// An answer is sent once more.
    pub(super) fn answer_again(&mut self, c: usize) {
        let client = &self.clients[c];
        match client.answer.filter(|_| client.blocked.is_none()) {
            Some(Answer::Ack(at, id)) => self.acknowledge(c, at, id),
            Some(Answer::Nack { at, id, delay_ms }) => self.refuse(c, at, id, delay_ms),
            None => {}
        }
    }

    /// The client has read a reply.
    pub(super) fn note(&mut self, c: usize, reply: &Reply) {
        if let Reply::Events(at, given) = reply {
            let client = &mut self.clients[c];
            client.missed.retain(|missed| missed.at != *at || !given.contains(&missed.id));
            client.holds.retain(|(other, id)| other != at || !given.contains(id));
            client.holds.extend(given.iter().map(|id| (*at, *id)));
        }
    }

    /// The client has not read a reply.
    pub(super) fn miss(&mut self, c: usize, reply: &Reply) {
        if let Reply::Events(at, given) = reply {
            let epoch = self.world.side(*at).progress.epoch();
            let missed = given.iter().map(|id| Missed { at: *at, id: *id, epoch });
            self.clients[c].missed.extend(missed);
        }
    }

    /// A pull without AHEAD goes on after what is acknowledged: what its worker has not seen under
    /// this lease comes first.
    pub(super) fn check_missed(&mut self, c: usize, pull: &Pull, at: At, given: &[EventId]) {
        let stream = self.world.stream(at);
        let side = self.world.side(at);
        let (cursor, epoch) = (side.progress.cursor(), side.progress.epoch());
        let again = side.progress.lease().map(|lease| lease.redelivering.clone());
        let again = again.unwrap_or_default();
        let closed = side.closed;
        self.clients[c].missed.retain(|missed| missed.at != at || missed.epoch == epoch);
        if pull.pace == Pace::Ahead || given.first().is_some_and(|id| again.contains(id)) {
            return;
        }
        let is_open = |id: &EventId| {
            again.contains(id) || !closed && stream.after(cursor).any(|other| other == *id)
        };
        let here = self.clients[c].missed.iter().filter(|missed| missed.at == at);
        for id in here.map(|missed| missed.id).filter(is_open) {
            let comes = given.first().is_some_and(|first| *first <= id);
            assert!(comes, "{id} was missed in {at:?} and passed over: {given:?}");
        }
    }
}
