//! Memory of values, for MEMORY USAGE: what the server's allocator takes for them, reckoned from
//! their sizes. The allocator rounds to blocks, and a B-tree does not show its nodes.

/// Entries of a full B-tree node, as the standard library builds them.
const NODE_ENTRIES: usize = 11;

/// The way a B-tree got its entries, which decides how full its nodes are.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) enum Filled {
    /// One by one in order, as ids come and as whatever is read back: a full leaf splits off 6, and
    /// 1 goes up.
    InOrder,
    /// One by one, anywhere.
    Anywhere,
    /// From all of them at once: every leaf is full, and 1 goes up.
    AtOnce,
}

impl Filled {
    /// Entries for each leaf, those that went up included.
    fn per_leaf(self) -> usize {
        match self {
            Self::InOrder => 7,
            Self::Anywhere => 8,
            Self::AtOnce => NODE_ENTRIES + 1,
        }
    }
}

/// The bytes that jemalloc, the servers' allocator, takes for a block: a multiple of 16 up to 128,
/// then one of four steps to the next power of two.
#[must_use]
pub(in crate::model) fn block(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        1..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => bytes.next_multiple_of(bytes.next_power_of_two() / 8),
    }
}

/// The bytes of the nodes of a B-tree of so many keys of type `K` with values of type `V`.
#[must_use]
pub(in crate::model) fn tree<K, V>(entries: usize, filled: Filled) -> usize {
    // Beside its entries a leaf has a link up, its place there and its length; an inner node also
    // has a link down between any two entries and at both ends.
    let leaf = (NODE_ENTRIES * (size_of::<K>() + size_of::<V>()) + 12).next_multiple_of(8);
    let inner = leaf + (NODE_ENTRIES + 1) * size_of::<usize>();
    match entries.checked_sub(NODE_ENTRIES) {
        None if entries == 0 => 0,
        None | Some(0) => block(leaf),
        Some(more) => {
            let leaves = 1 + more.div_ceil(filled.per_leaf());
            // Each level has so many times fewer nodes than the one below.
            leaves * block(leaf) + leaves.div_ceil(filled.per_leaf() - 1) * block(inner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_of_the_allocators_sizes() {
        for (asked, taken) in [
            (0, 0),
            (1, 8),
            (9, 16),
            (100, 112),
            (128, 128),
            (129, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (720, 768),
            (1025, 1280),
            (262_144 * 4, 262_144 * 4),
        ] {
            assert_eq!(block(asked), taken, "{asked}");
        }
    }

    #[test]
    fn a_small_tree_is_one_node_and_a_large_one_grows_with_its_entries() {
        for filled in [Filled::InOrder, Filled::Anywhere, Filled::AtOnce] {
            let bytes = |entries| tree::<u64, u64>(entries, filled);
            assert_eq!(bytes(0), 0);
            // 11 entries of 16 bytes and 12 more.
            assert_eq!((bytes(1), bytes(11)), (192, 192));
            assert!((9 * bytes(7_000)..=11 * bytes(7_000)).contains(&bytes(70_000)));
        }
    }
}
