//! Laying out a continuum: from nothing, or from that of the shape before, most of whose points
//! stay where they are. The second is what a resize does while the server waits: it hashes and
//! sorts the points of those partitions only that are new or have another weight.

use super::continuum::{Continuum, Node, place};
use crate::model::hash::hash;

/// A point in one word that sorts as points do: by its place, and then by the order of its owner,
/// so that of those that share a place the one that has it comes last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Placed(u64);

impl Placed {
    fn new(point: i32, order: u32) -> Self {
        Self(u64::from(place(point)) << 32 | u64::from(order))
    }

    fn point(self) -> i32 {
        ((self.0 >> 32) as u32 ^ 1 << 31).cast_signed()
    }

    fn order(self) -> u32 {
        self.0 as u32
    }
}

/// Adds the points of a node, unsorted.
fn put(node: Node, vnodes: u32, order: u32, all: &mut Vec<Placed>) {
    let mut label = format!("{}-", node.partition).into_bytes();
    let prefix = label.len();
    for i in 0..u64::from(vnodes) * u64::from(node.weight) {
        count(&mut label, prefix, i);
        all.push(Placed::new(hash(&label), order));
    }
}

/// Writes the decimal form of `i` behind the prefix, where that of `i - 1` stands or nothing.
fn count(label: &mut Vec<u8>, prefix: usize, i: u64) {
    if i == 0 {
        return label.push(b'0');
    }
    for digit in label.iter_mut().skip(prefix).rev() {
        if *digit < b'9' {
            *digit += 1;
            return;
        }
        *digit = b'0';
    }
    label.insert(prefix, b'1');
}

impl Continuum {
    /// Places `vnodes * weight` points for each node. O(points log points).
    ///
    /// The order of `nodes` decides collisions, so it is part of a ring's identity.
    #[must_use]
    pub fn new(nodes: &[Node], vnodes: u32) -> Self {
        let mut all = Vec::new();
        for (order, node) in (0..).zip(nodes) {
            put(*node, vnodes, order, &mut all);
        }
        all.sort_unstable();
        let owner = |order: u32| nodes.get(order as usize).map_or(0, |node| node.partition);
        Self::of(all.iter().map(|placed| (placed.point(), owner(placed.order()))), all.len())
    }

    /// The continuum of the shape with the weights `after`, where this one is that of the shape
    /// with the weights `before` and as many virtual nodes. The same as that shape's own, sooner:
    /// O(points + changed points * log changed points).
    #[must_use]
    pub(super) fn resized(&self, before: &[u32], after: &[u32], vnodes: u32) -> Self {
        let same: Vec<bool> = before.iter().zip(after).map(|(old, new)| old == new).collect();
        let stays = |p: u32| same.get(p as usize) == Some(&true);
        let hidden = self.hidden.iter().filter(|(_, owner)| stays(*owner));
        let mut fresh: Vec<_> = hidden.map(|(point, owner)| Placed::new(*point, *owner)).collect();
        for (partition, weight) in (0..).zip(after).filter(|(p, _)| !stays(*p)) {
            put(Node { partition, weight: *weight }, vnodes, partition, &mut fresh);
        }
        fresh.sort_unstable();
        let most = self.points().len() + fresh.len();
        let fresh = fresh.into_iter().map(|placed| (placed.point(), placed.order()));
        let (mut fresh, mut stay) = (fresh.peekable(), self.points().filter(|(_, p)| stays(*p)));
        let mut old = stay.next();
        let all = std::iter::from_fn(|| match (old, fresh.peek()) {
            (Some(next), Some(new)) if next > *new => fresh.next(),
            (None, _) => fresh.next(),
            _ => std::mem::replace(&mut old, stay.next()),
        });
        Self::of(all, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ring::shape::laid_out;
    use proptest::prelude::*;

    #[test]
    fn labels_count_up() {
        let mut label = b"17-".to_vec();
        for i in 0..=12_000 {
            count(&mut label, 3, i);
            assert_eq!(label, format!("17-{i}").into_bytes());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn from_the_one_before_it_is_the_same(
            steps in prop::collection::vec(prop::collection::vec(1u32..4, 1..12), 1..6),
            vnodes in 1u32..40,
        ) {
            let mut before = vec![1; 3];
            let mut stepwise = laid_out(&before, vnodes);
            for after in steps {
                stepwise = stepwise.resized(&before, &after, vnodes);
                prop_assert_eq!(&stepwise, &laid_out(&after, vnodes));
                before = after;
            }
        }
    }

    /// Where points meet, the one that has the place leaves, and comes back.
    #[test]
    fn a_hidden_point_comes_up_again() {
        let (many, few) = (vec![1; 700], vec![1; 400]);
        let whole = laid_out(&many, 300);
        assert!(!whole.hidden.is_empty());
        let less = whole.resized(&many, &few, 300);
        assert_eq!(less, laid_out(&few, 300));
        assert_eq!(less.resized(&few, &many, 300), whole);
        let mut heavier = many.clone();
        whole.hidden.iter().for_each(|(_, owner)| heavier[*owner as usize] = 2);
        assert_eq!(whole.resized(&many, &heavier, 300), laid_out(&heavier, 300));
    }
}
