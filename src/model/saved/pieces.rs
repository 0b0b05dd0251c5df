//! The tokens of a partition as pieces of bytes: a head that says how many there are, then so many
//! tokens in each. No piece grows with the value, so nothing is too large to be read back.

use serde::{Deserialize, Serialize};

use super::effect::Effect;
use super::snapshot::{Corrupt, Snapshot, decode, encode};
use crate::model::error::Error;
use crate::model::limits::{MAX_TOKENS, MAX_TOKENS_A_PIECE};
use crate::model::unique::keyed_hash::Secret;
use crate::model::unique::tokens::{Change, Clock, Token, Tokens, check_piece};

/// What comes before the tokens.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    secret: Secret,
    clock: Clock,
    tokens: u64,
}

/// Some tokens.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Piece(pub(super) Vec<Token>);

impl Snapshot for Head {
    fn check(&self) -> Result<(), Error> {
        if self.tokens > MAX_TOKENS as u64 {
            return Err(Error::Limit("tokens of a partition", MAX_TOKENS as u64));
        }
        Ok(())
    }
}

impl Snapshot for Piece {
    fn check(&self) -> Result<(), Error> {
        check_piece(self.0.len())
    }
}

/// The tokens, so many together as make a piece.
pub(super) fn pieces(tokens: &Tokens) -> impl Iterator<Item = Vec<Token>> + '_ {
    let mut all = tokens.iter().peekable();
    std::iter::from_fn(move || {
        all.peek()?;
        Some(all.by_ref().take(MAX_TOKENS_A_PIECE).collect())
    })
}

/// Writes all tokens piece by piece.
///
/// # Errors
/// [`Error::Limit`], which their bound rules out.
pub fn save(tokens: &Tokens, mut write: impl FnMut(&[u8])) -> Result<(), Error> {
    let (secret, clock) = (tokens.secret(), tokens.clock());
    write(&encode(&Head { secret, clock, tokens: tokens.len() as u64 })?);
    pieces(tokens).try_for_each(|piece| encode(&Piece(piece)).map(|bytes| write(&bytes)))
}

/// Reads tokens whose first piece is `head`; `next` reads one more.
///
/// # Errors
/// [`Corrupt`], whatever the bytes are.
pub fn load<B: AsRef<[u8]>>(
    head: &[u8],
    mut next: impl FnMut() -> Option<B>,
) -> Result<Tokens, Corrupt> {
    let Head { secret, clock, tokens } = decode(head)?;
    load_tokens(secret, clock, tokens, &mut next)
}

/// Reads so many tokens from the pieces that `next` reads.
///
/// # Errors
/// [`Corrupt`], whatever the bytes are.
pub(super) fn load_tokens<B: AsRef<[u8]>>(
    secret: Secret,
    clock: Clock,
    count: u64,
    next: &mut impl FnMut() -> Option<B>,
) -> Result<Tokens, Corrupt> {
    let mut tokens = Tokens::new(secret);
    let mut last_ms = 0;
    while (tokens.len() as u64) < count {
        let bytes = next().ok_or(Corrupt::Malformed)?;
        let Piece(piece) = decode(bytes.as_ref())?;
        // They lie in the order of their moments, and none in the future of their clock.
        let moments = [last_ms].into_iter().chain(piece.iter().map(|token| token.at_ms));
        let sorted = moments.chain([clock.now_ms]).is_sorted();
        if !sorted || piece.len() as u64 > count - tokens.len() as u64 {
            return Err(Corrupt::OutOfBounds);
        }
        last_ms = piece.last().map_or(last_ms, |token| token.at_ms);
        tokens.apply(Change::Kept(clock, piece));
        if !tokens.is_sound() {
            return Err(Corrupt::OutOfBounds);
        }
    }
    tokens.apply(Change::Kept(clock, Vec::new()));
    Ok(tokens)
}

/// The effects that make these tokens from nothing.
pub fn effects(tokens: &Tokens) -> impl Iterator<Item = Effect> + '_ {
    let clock = tokens.clock();
    let kept = pieces(tokens).map(move |piece| Effect::Unique(Change::Kept(clock, piece)));
    // Where there are none, the clock has to be told by itself.
    let clock = tokens.is_empty().then_some(Effect::Unique(Change::Forgot(clock, 0)));
    [Effect::Unique(Change::Begun(tokens.secret()))].into_iter().chain(kept).chain(clock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::EventId;
    use proptest::prelude::*;

    fn some(count: u64) -> Tokens {
        let mut tokens = Tokens::new([4, 5]);
        for n in 0..count {
            let clock = Clock::new(1000 + n / 3, 100);
            let one = (u128::from(n) << 70 | u128::from(n % 4), EventId { ms: n, seq: 1 });
            tokens.apply(Change::Remembered(clock, vec![one]));
        }
        tokens
    }

    fn saved(tokens: &Tokens) -> Vec<Vec<u8>> {
        let mut pieces = Vec::new();
        save(tokens, |piece| pieces.push(piece.to_vec())).unwrap();
        pieces
    }

    fn loaded(pieces: &[Vec<u8>]) -> Result<Tokens, Corrupt> {
        let mut rest = pieces[1..].iter();
        load(&pieces[0], || rest.next())
    }

    #[test]
    fn tokens_come_back_from_pieces_and_from_effects() {
        for count in [0, 1, 2, MAX_TOKENS_A_PIECE as u64, MAX_TOKENS as u64] {
            let tokens = some(count.min(MAX_TOKENS as u64));
            let pieces = saved(&tokens);
            assert_eq!(pieces.len(), 1 + tokens.len().div_ceil(MAX_TOKENS_A_PIECE));
            assert_eq!(saved(&loaded(&pieces).unwrap()), pieces);
            let mut made = Tokens::default();
            for effect in effects(&tokens) {
                let effect: Effect = decode(&encode(&effect).unwrap()).unwrap();
                let Effect::Unique(change) = effect else { panic!("another effect") };
                made.apply(change);
            }
            assert_eq!(saved(&made), pieces, "{count}");
        }
    }

    #[test]
    fn what_was_never_written_is_refused() {
        let pieces = saved(&some(30));
        assert!(pieces.len() > 3);
        assert!(matches!(loaded(&pieces[..3]), Err(Corrupt::Malformed)), "too few");
        let mut swapped = pieces.clone();
        swapped.swap(1, 2);
        assert!(matches!(loaded(&swapped), Err(Corrupt::OutOfBounds)), "not in their order");
        let mut fewer = pieces.clone();
        fewer[0] = encode(&Head { secret: [4, 5], clock: some(30).clock(), tokens: 29 }).unwrap();
        assert!(matches!(loaded(&fewer), Err(Corrupt::OutOfBounds)), "more than there are");
        let early = Clock { now_ms: 1000, cut_ms: 0 };
        fewer[0] = encode(&Head { secret: [4, 5], clock: early, tokens: 30 }).unwrap();
        assert!(matches!(loaded(&fewer), Err(Corrupt::OutOfBounds)), "from the future");
        let many = Head { secret: [0, 0], clock: early, tokens: u64::MAX };
        assert!(matches!(loaded(&[encode(&many).unwrap()]), Err(Corrupt::OutOfBounds)), "too many");
        let mut empty = pieces;
        empty[1] = encode(&Piece(Vec::new())).unwrap();
        assert!(matches!(loaded(&empty), Err(Corrupt::OutOfBounds)), "an empty piece");
    }

    proptest! {
        #[test]
        fn one_changed_byte_is_tokens_within_limits_or_a_refusal(
            piece in 0usize..4,
            at in 0usize..400,
            to in any::<u8>(),
        ) {
            let mut pieces = saved(&some(30));
            let piece = piece % pieces.len();
            let at = at % pieces[piece].len();
            pieces[piece][at] = to;
            if let Ok(tokens) = loaded(&pieces) {
                prop_assert!(tokens.len() <= MAX_TOKENS);
                // A head that says fewer leaves pieces over, which are the server's to refuse.
                prop_assert!(pieces.starts_with(&saved(&tokens)));
            }
        }
    }
}
