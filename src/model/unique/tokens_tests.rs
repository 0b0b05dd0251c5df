//! The tokens of a partition against a plain list of them.

use proptest::prelude::*;

use super::tokens::{Change, Clock, Token, Tokens, hash};
use crate::model::ids::EventId;
use crate::model::limits::MAX_TOKENS;

const WINDOW_MS: u64 = 100;

fn clock(now_ms: u64) -> Clock {
    Clock::new(now_ms, WINDOW_MS)
}

fn id(seq: u64) -> EventId {
    EventId { ms: 7, seq }
}

fn remember(tokens: &mut Tokens, now_ms: u64, hash: u128, seq: u64) {
    tokens.apply(Change::Remembered(clock(now_ms), vec![(hash, id(seq))]));
}

#[test]
fn a_token_counts_within_its_window_and_not_after() {
    let mut tokens = Tokens::new([1, 2]);
    remember(&mut tokens, 1000, 5, 1);
    assert_eq!(tokens.find(5, clock(1000)), Some(id(1)));
    assert_eq!(tokens.find(5, clock(1099)), Some(id(1)));
    assert_eq!(tokens.find(5, clock(1100)), None);
    assert_eq!(tokens.find(6, clock(1000)), None);
    // The same token again after its window is another one, whether or not the old one is gone.
    remember(&mut tokens, 1100, 5, 2);
    assert_eq!(tokens.find(5, clock(1199)), Some(id(2)));
    assert_eq!(tokens.find(5, clock(1200)), None);
}

#[test]
fn a_token_belongs_to_its_key() {
    let pairs: [(&[u8], &[u8]); 5] =
        [(b"a", b"bc"), (b"ab", b"c"), (b"", b"abc"), (b"abc", b""), (b"a", b"b")];
    let hashes: std::collections::HashSet<_> =
        pairs.iter().map(|(key, token)| hash([3, 4], key, token)).collect();
    assert_eq!(hashes.len(), pairs.len());
    assert_ne!(hash([3, 4], b"k", b"t"), hash([3, 5], b"k", b"t"), "the secret matters");
}

#[test]
fn a_new_token_forgets_a_few_old_ones_and_the_rest_go_in_steps() {
    let mut tokens = Tokens::new([1, 2]);
    for n in 0..50 {
        remember(&mut tokens, 1000, n, 1);
    }
    remember(&mut tokens, 2000, 99, 1);
    assert_eq!(tokens.len(), 50 - 16 + 1);
    assert_eq!(tokens.forgettable(1000, clock(2000)), Some(34));
    assert_eq!(tokens.forgettable(9, clock(2000)), Some(9));
    tokens.apply(Change::Forgot(clock(2000), 10));
    assert_eq!(tokens.len(), 25);
    tokens.apply(Change::Forgot(clock(2000), 1000));
    assert_eq!((tokens.len(), tokens.forgettable(1000, clock(2000))), (1, None));
    assert_eq!(tokens.find(99, clock(2000)), Some(id(1)));
}

#[test]
fn tokens_of_a_clock_that_was_ahead_are_neither_lost_nor_kept_for_ever() {
    let mut tokens = Tokens::new([1, 2]);
    remember(&mut tokens, 1000, 1, 1);
    remember(&mut tokens, 900_000, 2, 2);
    // Only the old one is gone; by the clock that went back there is something to do.
    assert_eq!((tokens.len(), tokens.find(2, clock(1001))), (1, Some(id(2))));
    assert_eq!(tokens.forgettable(9, clock(1001)), Some(0));
    tokens.apply(Change::Forgot(clock(1001), 0));
    assert_eq!((tokens.len(), tokens.forgettable(9, clock(1001))), (1, None));
    assert_eq!(tokens.find(2, clock(1100)), Some(id(2)));
    assert_eq!(tokens.find(2, clock(1101)), None);
    tokens.apply(Change::Forgot(clock(1101), 1));
    assert!(tokens.is_empty());
}

#[test]
fn a_partition_has_room_for_so_many_and_for_those_that_replace_old_ones() {
    let mut tokens = Tokens::new([1, 2]);
    for n in 0..MAX_TOKENS {
        assert!(tokens.check_room(1, clock(1000)).is_ok());
        remember(&mut tokens, 1000, n as u128, 1);
    }
    assert!(tokens.check_room(1, clock(1099)).is_err());
    assert!(tokens.check_room(0, clock(1099)).is_ok());
    assert!(tokens.check_room(MAX_TOKENS, clock(1100)).is_ok());
    assert!(tokens.check_room(MAX_TOKENS + 1, clock(1100)).is_err());
    for n in 0..MAX_TOKENS {
        remember(&mut tokens, 1100, n as u128, 2);
        assert!(tokens.len() <= MAX_TOKENS);
    }
}

#[test]
fn a_token_takes_at_most_64_bytes_however_many_there_are() {
    let mut tokens = Tokens::new([1, 2]);
    for n in 0..200_000u64 {
        // Without a limit here: the real one is higher than that of the tests.
        remember(&mut tokens, 1000, u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)), n);
        if n > 1000 && n % 997 == 0 {
            let each = tokens.heap_bytes() as u64 / n;
            assert!(each <= 64, "{each} bytes each of {n}");
        }
    }
    tokens.apply(Change::Forgot(clock(2000), 199_000));
    assert!(tokens.heap_bytes() < 1000 * 80, "{}", tokens.heap_bytes());
}

/// What the tokens must be, as plainly as can be.
#[derive(Default)]
struct Plain(Vec<Token>);

impl Plain {
    fn tick(&mut self, clock: Clock) {
        self.0.iter_mut().for_each(|token| token.at_ms = token.at_ms.min(clock.now_ms));
    }

    fn forget(&mut self, most: usize, clock: Clock) {
        let old = self.0.iter().take_while(|token| token.at_ms <= clock.cut_ms).count();
        self.0.drain(..old.min(most));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn tokens_are_what_a_plain_list_of_them_is(
        steps in prop::collection::vec((0u8..5, 0u128..30, -150i64..150), 0..200),
    ) {
        let (mut tokens, mut plain) = (Tokens::new([8, 9]), Plain::default());
        let mut now_ms = 10_000i64;
        for (seq, (what, hash, passed)) in (0..).zip(steps) {
            // Mostly on, and sometimes back.
            now_ms += if what == 4 { passed } else { passed.abs() / 10 };
            let clock = clock(now_ms.unsigned_abs());
            match what {
                0 => {
                    tokens.apply(Change::Forgot(clock, 3));
                    plain.tick(clock);
                    plain.forget(3, clock);
                }
                _ => {
                    let pair = [(hash, id(seq)), (hash + 1, id(seq))];
                    tokens.apply(Change::Remembered(clock, pair.into()));
                    plain.tick(clock);
                    for (hash, id) in pair {
                        plain.forget(16, clock);
                        plain.0.push(Token { hash, id, at_ms: clock.now_ms });
                    }
                }
            }
            prop_assert_eq!(tokens.iter().collect::<Vec<_>>(), plain.0.clone());
            prop_assert!(tokens.iter().is_sorted_by_key(|token| token.at_ms));
            for hash in 0..32 {
                let last = plain.0.iter().rfind(|token| token.hash == hash);
                let live = last.filter(|token| token.at_ms > clock.cut_ms).map(|token| token.id);
                prop_assert_eq!(tokens.find(hash, clock), live);
            }
            for until_ms in [clock.cut_ms, clock.now_ms - 50, clock.now_ms] {
                let since = plain.0.iter().any(|t| t.at_ms > clock.cut_ms && t.at_ms <= until_ms);
                prop_assert_eq!(tokens.lives_since(until_ms, clock), since);
            }
        }
    }
}
