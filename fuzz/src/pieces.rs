//! Values that are saved in pieces, tokens and scheduled events: the bytes of a RESTORE or an RDB
//! file. Whatever they are, the answer is a refusal or a value within the limits that is written
//! and read back the same, also as effects, and with which nothing that the server does panics.
//!
//! A byte says which value it is, then come chunks, each with its length in front: the head, so
//! many pieces as the next byte says, then effects on the value.

use evq::model::ids::EventId;
use evq::model::later::schedule::{Change, Schedule};
use evq::model::limits::{MAX_SCHEDULED, MAX_TOKENS};
use evq::model::saved::effect::Effect;
use evq::model::saved::snapshot::{Corrupt, decode, encode};
use evq::model::saved::{pieces, schedule};
use evq::model::unique::tokens::{Clock, Tokens};

use super::bytes::Bytes;

/// Moments before, at and after what a value may hold.
const CLOCKS: [Clock; 4] = [
    Clock { now_ms: 0, cut_ms: 0 },
    Clock { now_ms: 1_700_000_000_000, cut_ms: 1_699_999_000_000 },
    Clock { now_ms: u64::MAX, cut_ms: u64::MAX - 1 },
    Clock { now_ms: 1, cut_ms: u64::MAX },
];

/// Reads the pieces and uses the value that they are.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    if bytes.below(2) == 0 {
        play::<Tokens>(&mut bytes);
    } else {
        play::<Schedule>(&mut bytes);
    }
}

fn play<V: Value>(bytes: &mut Bytes<'_>) {
    let (head, count) = (bytes.chunk(), bytes.byte());
    let given: Vec<&[u8]> = (0..count).map(|_| bytes.chunk()).collect();
    let mut rest = given.into_iter();
    let value = V::load(head, &mut || rest.next()).ok();
    if let Some(value) = &value {
        check_saved(value);
        value.clone().check_use();
    }
    let mut primary = value.unwrap_or_default();
    let mut replica = primary.clone();
    while !bytes.is_empty() {
        let Ok(effect) = decode::<Effect>(bytes.chunk()) else { continue };
        primary.change(effect.clone());
        replica.change(effect);
        assert_eq!(saved(&primary), saved(&replica), "two that apply the same are the same");
    }
    primary.check_use();
}

/// What is common to the values that are saved in pieces.
trait Value: Clone + Default {
    fn load<'a>(head: &[u8], next: &mut dyn FnMut() -> Option<&'a [u8]>) -> Result<Self, Corrupt>;

    fn save(&self, write: &mut dyn FnMut(&[u8]));

    fn effects(&self) -> Vec<Effect>;

    /// Applies an effect; one on another kind of value changes nothing.
    fn change(&mut self, effect: Effect);

    /// Does with the value what the commands do.
    fn check_use(self);
}

fn saved<V: Value>(value: &V) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    value.save(&mut |piece| all.push(piece.to_vec()));
    all
}

/// A value that was loaded comes back from what is written of it, either way.
fn check_saved<V: Value>(value: &V) {
    let written = saved(value);
    let mut rest = written.iter().skip(1).map(Vec::as_slice);
    let back = V::load(&written[0], &mut || rest.next()).expect("what is written can be read");
    assert_eq!(rest.next(), None, "every piece is read");
    assert_eq!(saved(&back), written, "it comes back the same");
    let mut made = V::default();
    for effect in value.effects() {
        let bytes = encode(&effect).expect("an effect of a value can be written");
        made.change(decode(&bytes).expect("and read"));
    }
    assert_eq!(saved(&made), written, "its effects make the same");
}

impl Value for Tokens {
    fn load<'a>(head: &[u8], next: &mut dyn FnMut() -> Option<&'a [u8]>) -> Result<Self, Corrupt> {
        let tokens = pieces::load(head, next)?;
        assert!(tokens.len() <= MAX_TOKENS && tokens.is_sound(), "within the limits");
        let moments = tokens.iter().map(|token| token.at_ms).chain([tokens.clock().now_ms]);
        assert!(moments.is_sorted(), "in the order of their moments");
        for token in tokens.iter() {
            assert!(tokens.find(token.hash, Clock::default()).is_some() || token.at_ms == 0);
        }
        Ok(tokens)
    }

    fn save(&self, write: &mut dyn FnMut(&[u8])) {
        pieces::save(self, write).expect("within the limits");
    }

    fn effects(&self) -> Vec<Effect> {
        pieces::effects(self).collect()
    }

    fn change(&mut self, effect: Effect) {
        if let Effect::Unique(change) = effect {
            self.apply(change);
        }
    }

    fn check_use(mut self) {
        let _ = (self.heap_bytes(), self.pieces(), self.oldest_ms());
        let hash = self.hash(b"key", b"token");
        for clock in CLOCKS {
            let _ = (self.find(hash, clock), self.lives_since(clock.now_ms, clock));
            let old = self.forgettable(u32::MAX, clock).unwrap_or_default();
            assert!(old as usize <= self.len());
            if self.check_room(1, clock).is_ok() {
                self.tick(clock);
                self.remember(hash, EventId::MAX);
                let old = clock.now_ms <= clock.cut_ms;
                let found = self.find(hash, clock) == Some(EventId::MAX);
                assert!(old || found || !self.is_sound(), "it is found");
            }
        }
    }
}

impl Value for Schedule {
    fn load<'a>(head: &[u8], next: &mut dyn FnMut() -> Option<&'a [u8]>) -> Result<Self, Corrupt> {
        let all = schedule::load(head, next)?;
        assert!(all.len() <= MAX_SCHEDULED && all.is_sound(), "within the limits");
        assert_eq!(all.iter().count(), all.len());
        for event in all.iter() {
            assert_eq!(all.find(event.place.ticket), Some(event.place), "found by its ticket");
            assert_eq!(all.get(event.place).as_ref(), Some(&event), "found by its place");
            let (key, token) = (event.parts.key(), event.parts.token());
            let known = |token| all.repeated(key, token, CLOCKS[0]).is_some();
            assert!(token.is_none_or(known), "the token of one that waits is known");
        }
        Ok(all)
    }

    fn save(&self, write: &mut dyn FnMut(&[u8])) {
        schedule::save(self, write).expect("within the limits");
    }

    fn effects(&self) -> Vec<Effect> {
        schedule::effects(self).collect()
    }

    fn change(&mut self, effect: Effect) {
        if let Effect::Later(change) = effect {
            self.apply(change);
        }
    }

    fn check_use(mut self) {
        let _ = (self.heap_bytes(), self.pieces(), self.first(), self.has_no_tokens());
        let waiting: Vec<_> = self.iter().collect();
        for event in &waiting {
            let parts = &event.parts;
            let _ = (parts.kind(), parts.headers().count(), parts.payload().len());
            if let Some(token) = parts.token() {
                let _ = self.repeated(parts.key(), token, CLOCKS[0]);
            }
            for clock in CLOCKS {
                let _ = self.check_room(parts, clock);
            }
        }
        // Some come due, the others are cancelled.
        for (n, event) in waiting.into_iter().enumerate() {
            let (ticket, clock) = (event.place.ticket, CLOCKS[n % CLOCKS.len()]);
            self.apply(match n % 3 {
                0 => Change::Removed(ticket),
                _ => Change::Appended(clock, ticket),
            });
            assert_eq!(self.find(ticket), None, "it does not wait any more");
        }
        assert!(self.is_empty() && self.first().is_none());
        let _ = self.heap_bytes();
    }
}
