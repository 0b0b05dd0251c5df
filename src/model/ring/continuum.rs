//! The continuum: which partition a key belongs to.
//!
//! Consistent hashing with virtual nodes (Karger et al., "Consistent Hashing and Random Trees",
//! 1997), laid out exactly as Python's uhashring 2.5 does with `hash_fn=mmh3.hash`: partition `p`
//! has the points `hash("<p>-<i>")` for `i` in `0..vnodes * weight`; a key belongs to the first
//! point strictly greater than its own hash, wrapping at the end; where two partitions share a
//! point, the later one in the ring's order has it. So a producer can compute the mapping itself.

use std::collections::BTreeSet;

use crate::model::hash::hash;
use crate::model::memory::block;

/// One partition's place on the continuum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// The partition's number; its decimal form is the node name that is hashed.
    pub partition: u32,
    /// Multiplies the number of virtual nodes; at least 1.
    pub weight: u32,
}

/// All points of a ring, ascending, each with its owner. Immutable: a changed ring is a new one.
#[derive(Debug)]
pub struct Continuum {
    /// Each point with its owner, side by side: a search mostly ends where it begins.
    points: Vec<(i32, u32)>,
    /// Where the points of each part begin; the parts of the hash space are equal. A part has few
    /// points, side by side, so a search ends at once. More parts would not fit the processor's
    /// cache.
    begins: Vec<u32>,
    /// The bits of a hash value to the right of the number of its part.
    shift: u32,
}

/// Points of one part, about.
const POINTS_PER_PART: usize = 4;

/// The place of a hash value in the order of the continuum, from 0.
fn place(h: i32) -> u32 {
    h.cast_unsigned() ^ (1 << 31)
}

impl Continuum {
    /// Places `vnodes * weight` points for each node. O(points log points).
    ///
    /// The order of `nodes` decides collisions, so it is part of a ring's identity.
    #[must_use]
    pub fn new(nodes: &[Node], vnodes: u32) -> Self {
        let mut placed: Vec<(i32, usize, u32)> = Vec::new();
        let mut label = String::new();
        for (order, node) in nodes.iter().enumerate() {
            for i in 0..u64::from(vnodes) * u64::from(node.weight) {
                use std::fmt::Write as _;
                label.clear();
                // Writing to a String cannot fail.
                let _ = write!(label, "{}-{i}", node.partition);
                placed.push((hash(label.as_bytes()), order, node.partition));
            }
        }
        placed.sort_unstable();
        let mut points: Vec<(i32, u32)> = Vec::with_capacity(placed.len());
        for (point, _, partition) in placed {
            points.pop_if(|(last, _)| *last == point);
            points.push((point, partition));
        }
        points.shrink_to_fit();
        let parts = (points.len() / POINTS_PER_PART).next_power_of_two().max(2);
        let shift = u32::BITS - parts.trailing_zeros();
        let parts = 0..=u32::MAX >> shift;
        let begin = |part: u32| points.partition_point(|(p, _)| place(*p) < part << shift) as u32;
        let begins = parts.map(begin).collect();
        Self { points, begins, shift }
    }

    /// The partition that `key` belongs to. O(1) on average, however many points there are. A ring
    /// without partitions cannot be made, so the 0 of an empty continuum is never seen.
    #[must_use]
    pub fn route(&self, key: &[u8]) -> u32 {
        self.owner_of(hash(key))
    }

    /// The partition that owns the hash value `h`.
    #[must_use]
    pub fn owner_of(&self, h: i32) -> u32 {
        let begin = self.begins.get((place(h) >> self.shift) as usize).copied().unwrap_or(0);
        let behind = self.points.get(begin as usize..).unwrap_or_default();
        let next = behind.iter().find(|(point, _)| *point > h).or_else(|| self.points.first());
        next.map_or(0, |(_, owner)| *owner)
    }

    /// Every point with its owner, ascending.
    pub fn points(&self) -> impl ExactSizeIterator<Item = (i32, u32)> + '_ {
        self.points.iter().copied()
    }

    /// Each owner's share of the hash space in hash values, out of 2^32, as
    /// `(partition, values)` for every partition that owns a point. O(points).
    #[must_use]
    pub fn shares(&self) -> std::collections::BTreeMap<u32, u64> {
        let mut shares = std::collections::BTreeMap::new();
        let mut previous = match self.points.last() {
            // The first point also owns what lies beyond the last one.
            Some((last, _)) => i64::from(*last) - (1 << 32),
            None => return shares,
        };
        for (point, partition) in self.points() {
            let width = i64::from(point) - previous;
            *shares.entry(partition).or_insert(0) += width.unsigned_abs();
            previous = i64::from(point);
        }
        shares
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        block(self.points.capacity() * size_of::<(i32, u32)>())
            + block(self.begins.capacity() * size_of::<u32>())
    }
}

/// The keys that move when one continuum replaces another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    /// The partitions between which keys move.
    pub pairs: BTreeSet<Move>,
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

/// The keys that move when `new` replaces `old`. O(points of both).
#[must_use]
pub fn moves(old: &Continuum, new: &Continuum) -> Moves {
    let mut points: Vec<i32> = old.points().chain(new.points()).map(|(point, _)| point).collect();
    // A stable sort merges the two runs in linear time.
    points.sort();
    points.dedup();
    let mut moves = Moves::default();
    let (mut owners_before, mut owners_now) = (Owners::of(old), Owners::of(new));
    // Between two neighbours of all points each ring has one owner. The last stretch wraps around.
    for (at, point) in points.iter().enumerate() {
        let (loses, gains) = (owners_before.from(*point), owners_now.from(*point));
        if loses != gains {
            moves.pairs.insert(Move { loses, gains });
            let next = points.get(at + 1).map_or_else(
                || points.first().map_or(0, |first| i64::from(*first) + (1 << 32)),
                |next| i64::from(*next),
            );
            moves.values += (next - i64::from(*point)).unsigned_abs();
        }
    }
    moves
}

/// The owners of a continuum, read in ascending order of hash values, without a search for each.
struct Owners<'a> {
    points: Box<dyn Iterator<Item = (i32, u32)> + 'a>,
    /// The first point that is greater than what was asked for, or the first of all.
    next: Option<(i32, u32)>,
    first: u32,
}

impl<'a> Owners<'a> {
    fn of(continuum: &'a Continuum) -> Self {
        let mut points = Box::new(continuum.points());
        let next = points.next();
        Self { points, next, first: next.map_or(0, |(_, owner)| owner) }
    }

    /// The owner of the hash values from `point` on.
    fn from(&mut self, point: i32) -> u32 {
        while self.next.is_some_and(|(next, _)| next <= point) {
            self.next = self.points.next();
        }
        self.next.map_or(self.first, |(_, owner)| owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_the_first_point_greater_than_the_hash() {
        for (partitions, vnodes) in [(1, 1), (1, 2), (2, 1), (3, 1), (8, 160), (64, 40), (300, 7)] {
            let nodes: Vec<_> = (0..partitions).map(|p| Node { partition: p, weight: 1 }).collect();
            let continuum = Continuum::new(&nodes, vnodes);
            let around = |(p, _): &(i32, u32)| [p.wrapping_sub(1), *p, p.wrapping_add(1)];
            let beside = continuum.points.iter().flat_map(around);
            let spread = (0..1000).map(|n: i32| n.wrapping_mul(0x9e37_79b9_u32.cast_signed()));
            for h in beside.chain(spread).chain([i32::MIN, -1, 0, 1, i32::MAX]) {
                let next = continuum.points.partition_point(|(point, _)| *point <= h);
                let (_, owner) = continuum.points.get(next).unwrap_or(&continuum.points[0]);
                assert_eq!(continuum.owner_of(h), *owner, "{partitions} {vnodes} {h}");
            }
        }
    }
}
