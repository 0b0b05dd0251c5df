//! The continuum: which partition a key belongs to.
//!
//! Consistent hashing with virtual nodes (Karger et al., "Consistent Hashing and Random Trees",
//! 1997), laid out exactly as Python's uhashring 2.5 does with `hash_fn=mmh3.hash`: partition `p`
//! has the points `hash("<p>-<i>")` for `i` in `0..vnodes * weight`; a key belongs to the first
//! point strictly greater than its own hash, wrapping at the end; where two partitions share a
//! point, the later one in the ring's order has it. So a producer can compute the mapping itself.

use super::hash::hash;

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
    /// Kept apart from the owners so that a search touches as few cache lines as possible.
    points: Vec<i32>,
    owners: Vec<u32>,
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
        let mut points = Vec::with_capacity(placed.len());
        let mut owners: Vec<u32> = Vec::with_capacity(placed.len());
        for (point, _, partition) in placed {
            if points.last() == Some(&point) {
                owners.pop();
            } else {
                points.push(point);
            }
            owners.push(partition);
        }
        points.shrink_to_fit();
        owners.shrink_to_fit();
        Self { points, owners }
    }

    /// The partition that `key` belongs to. O(log points). A ring without partitions cannot be
    /// made, so the 0 of an empty continuum is never seen.
    #[must_use]
    pub fn route(&self, key: &[u8]) -> u32 {
        self.owner_of(hash(key))
    }

    /// The partition that owns the hash value `h`.
    #[must_use]
    pub fn owner_of(&self, h: i32) -> u32 {
        let next = self.points.partition_point(|point| *point <= h);
        self.owners.get(next).or_else(|| self.owners.first()).copied().unwrap_or(0)
    }

    /// Every point with its owner, ascending.
    pub fn points(&self) -> impl ExactSizeIterator<Item = (i32, u32)> + '_ {
        self.points.iter().copied().zip(self.owners.iter().copied())
    }

    /// Each owner's share of the hash space in hash values, out of 2^32, as
    /// `(partition, values)` for every partition that owns a point. O(points).
    #[must_use]
    pub fn shares(&self) -> std::collections::BTreeMap<u32, u64> {
        let mut shares = std::collections::BTreeMap::new();
        let mut previous = match self.points.last() {
            // The first point also owns what lies beyond the last one.
            Some(last) => i64::from(*last) - (1 << 32),
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
        self.points.capacity() * size_of::<i32>() + self.owners.capacity() * size_of::<u32>()
    }
}
