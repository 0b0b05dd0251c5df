//! The keys that move when one continuum replaces another.

use std::iter::Peekable;

use super::continuum::Continuum;

/// The keys that move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// The partitions between which keys move, ascending.
    pub pairs: Vec<Move>,
    /// The hash values that move, out of 2^32.
    pub values: u64,
}

/// Two partitions between which keys move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Move {
    /// The partition that had them.
    pub loses: u32,
    /// The partition that has them now.
    pub gains: u32,
}

/// The keys that move when `new` replaces `old`. O(points of both + partitions of the one *
/// partitions of the other / 64).
#[must_use]
pub fn moves(old: &Continuum, new: &Continuum) -> Moves {
    let mut pairs = Pairs::new(old, new);
    let (mut before, mut now) = (Owners::of(old.points()), Owners::of(new.points()));
    let (mut values, mut first, mut since) = (0, None, None);
    // Between two neighbours of all points each ring has one owner.
    while let Some(point) = before.next_point().into_iter().chain(now.next_point()).min() {
        if let Some(begin) = since.replace(i64::from(point)) {
            values += pairs.note(before.owner(), now.owner(), i64::from(point) - begin);
        } else {
            first = Some(i64::from(point));
        }
        before.pass(point);
        now.pass(point);
    }
    // The last stretch wraps around.
    if let (Some(begin), Some(first)) = (since, first) {
        values += pairs.note(before.owner(), now.owner(), first + (1 << 32) - begin);
    }
    Moves { pairs: pairs.list(), values }
}

/// A set of pairs of partitions, a bit for each that there can be.
struct Pairs {
    bits: Vec<u64>,
    width: usize,
}

impl Pairs {
    fn new(old: &Continuum, new: &Continuum) -> Self {
        let most = |all: &Continuum| all.points().map(|(_, owner)| owner).max();
        let width = most(new).map_or(0, |most| most as usize + 1);
        let pairs = most(old).map_or(0, |most| (most as usize + 1) * width);
        Self { bits: vec![0; pairs.div_ceil(64)], width }
    }

    /// Hash values, so many, have gone from one to another; those that did, if it is another.
    fn note(&mut self, loses: u32, gains: u32, values: i64) -> u64 {
        if loses == gains {
            return 0;
        }
        let at = loses as usize * self.width + gains as usize;
        if let Some(word) = self.bits.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
        values.unsigned_abs()
    }

    /// All of them, ascending.
    fn list(&self) -> Vec<Move> {
        let ones = |(at, word): (usize, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        };
        let noted = self.bits.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(ones);
        let pair =
            |at: usize| Move { loses: (at / self.width) as u32, gains: (at % self.width) as u32 };
        noted.map(pair).collect()
    }
}

/// The owners of a continuum, read in ascending order of hash values, without a search for each.
struct Owners<I: Iterator<Item = (i32, u32)>> {
    /// The points that have not been passed.
    ahead: Peekable<I>,
    /// Who owns what lies beyond the last point.
    first: u32,
}

impl<I: Iterator<Item = (i32, u32)>> Owners<I> {
    fn of(points: I) -> Self {
        let mut ahead = points.peekable();
        let first = ahead.peek().map_or(0, |(_, owner)| *owner);
        Self { ahead, first }
    }

    fn next_point(&mut self) -> Option<i32> {
        self.ahead.peek().map(|(point, _)| *point)
    }

    fn pass(&mut self, point: i32) {
        self.ahead.next_if(|(next, _)| *next == point);
    }

    /// The owner of the hash values between the last point that was passed and the next one.
    fn owner(&mut self) -> u32 {
        self.ahead.peek().map_or(self.first, |(_, owner)| *owner)
    }
}
