//! The continuum: which partition a key belongs to.
//!
//! Consistent hashing with virtual nodes (Karger et al., "Consistent Hashing and Random Trees",
//! 1997), laid out exactly as Python's uhashring 2.5 does with `hash_fn=mmh3.hash`: partition `p`
//! has the points `hash("<p>-<i>")` for `i` in `0..vnodes * weight`; a key belongs to the first
//! point strictly greater than its own hash, wrapping at the end; where two partitions share a
//! point, the later one in the ring's order has it. So a producer can compute the mapping itself.

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
#[derive(Debug, PartialEq, Eq)]
pub struct Continuum {
    /// Each point with its owner, side by side: a search mostly ends where it begins.
    points: Vec<(i32, u32)>,
    /// The points that another has hidden, ascending: they come up where that one leaves.
    pub(super) hidden: Vec<(i32, u32)>,
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
pub(super) fn place(h: i32) -> u32 {
    h.cast_unsigned() ^ (1 << 31)
}

impl Continuum {
    /// The continuum of these points with their owners, at most so many and ascending; of those
    /// that share a place the last has it. O(points).
    pub(super) fn of(sorted: impl Iterator<Item = (i32, u32)>, most: usize) -> Self {
        let (mut points, mut hidden) = (Vec::with_capacity(most), Vec::new());
        for (point, owner) in sorted {
            hidden.extend(points.pop_if(|(last, _): &mut (i32, u32)| *last == point));
            points.push((point, owner));
        }
        points.shrink_to_fit();
        hidden.shrink_to_fit();
        let parts = (points.len() / POINTS_PER_PART).next_power_of_two().max(2);
        let shift = u32::BITS - parts.trailing_zeros();
        let mut begins = Vec::with_capacity(parts);
        for (at, (point, _)) in (0..).zip(&points) {
            begins.resize(begins.len().max((place(*point) >> shift) as usize + 1), at);
        }
        begins.resize(parts, points.len() as u32);
        Self { points, hidden, begins, shift }
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
            + block(self.hidden.capacity() * size_of::<(i32, u32)>())
            + block(self.begins.capacity() * size_of::<u32>())
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
