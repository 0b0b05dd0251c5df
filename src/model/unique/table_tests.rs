//! The table against a plain list of items.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::unique::keyed_hash::keyed_hash;

/// What the table must find.
fn assert_finds(table: &Table, items: &BTreeMap<u32, u128>, hash: u128) {
    let mut found: Vec<_> = table.find(hash, |item| items[&item] == hash).collect();
    found.sort_unstable();
    let wanted = items.iter().filter(|(_, other)| **other == hash).map(|(item, _)| *item);
    assert_eq!(found, wanted.collect::<Vec<_>>(), "{hash:#x}");
}

/// The directory leads to each page by exactly the tags that begin with its bits.
fn assert_in_order(table: &Table, items: usize) {
    let taken: usize = table.pages.iter().map(|page| page.taken).sum();
    assert_eq!(taken, items);
    assert!(table.pages.is_empty() || table.directory.len() == 1 << table.depth);
    for (at, page) in table.pages.iter().enumerate() {
        assert_eq!(page.items().count(), page.taken);
        let leads = table.directory.iter().filter(|other| **other as usize == at).count();
        assert_eq!(leads, 1 << (table.depth - page.depth));
        let mask = u32::MAX.checked_shl(u32::BITS - page.depth).unwrap_or(0);
        assert!(page.items().all(|place| place.tag & mask == page.bits));
        assert_eq!(table.page_of(page.bits), Some(at));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn finds_what_was_added_and_not_removed(
        steps in prop::collection::vec((any::<bool>(), 0u32..40), 0..300),
        shift in 0u32..28,
    ) {
        let (mut table, mut items) = (Table::default(), BTreeMap::new());
        for (item, (adds, hash)) in (0..).zip(steps) {
            // Some in one place, some far from each other, some equal.
            let hash = u128::from(hash << shift);
            if adds {
                items.insert(item, hash);
                prop_assert!(table.add(hash, item));
            } else if let Some((old, hash)) = items.pop_first() {
                table.remove(hash, old);
            }
            assert_in_order(&table, items.len());
            (0u32..40).for_each(|n| assert_finds(&table, &items, u128::from(n << shift)));
        }
    }
}

#[test]
fn grows_and_shrinks_with_its_items() {
    let (mut table, mut items) = (Table::default(), BTreeMap::new());
    let hash = |item: u32| keyed_hash([1, 2], &[&item.to_le_bytes()]);
    for (first, count) in [(0, 30_000), (30_000, 50), (40_000, 3_000)] {
        for item in first..first + count {
            items.insert(item, hash(item));
            assert!(table.add(hash(item), item));
        }
        assert_in_order(&table, items.len());
        for item in (0..first + count).step_by(97) {
            assert_finds(&table, &items, hash(item));
        }
        // All but a few go, from the oldest on.
        while items.len() > 40 {
            let (old, hash) = items.pop_first().unwrap();
            table.remove(hash, old);
        }
        assert_in_order(&table, items.len());
        assert!(table.heap_bytes() < 40 * 60, "{} bytes for 40 items", table.heap_bytes());
    }
}

#[test]
fn hashes_that_no_good_hash_gives_are_refused_and_cost_little() {
    let mut table = Table::default();
    let added = (0..10_000).filter(|item| table.add(7, *item)).count();
    assert!((100..PLACES).contains(&added), "{added}");
    assert_in_order(&table, added);
    assert!(table.heap_bytes() < 10_000_000, "{}", table.heap_bytes());
    // Others are none the worse for it.
    assert!(table.add(1 << 31, 99_999));
}
