//! The ring's promise to producers: exactly uhashring's mapping, evenly spread, and few keys move
//! when it changes.
//!
//! `tests/golden/ring.json` has uhashring's own answers (`scripts/golden` writes it). The
//! properties are checked on the whole hash space, not on samples, wherever that is possible.
//!
//! Run with `cargo test --no-default-features --test ring`: with the module compiled in, the
//! allocator is the server's, and there is no server here.

#![cfg(not(feature = "module"))]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use evq::model::hash::hash;
use evq::model::limits::MAX_PARTITIONS;
use evq::model::ring::continuum::{Continuum, Node};
use proptest::prelude::*;
use serde::Deserialize;

/// The virtual nodes of a ring that does not say.
const VNODES: u32 = 160;
const HASH_SPACE: u64 = 1 << 32;

// --- uhashring's answers -------------------------------------------------------------------------

#[derive(Deserialize)]
struct Golden {
    /// Each key in hex with its hash.
    keys: Vec<(String, i32)>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// Number and weight of each, in the ring's order.
    partitions: Vec<(u32, u32)>,
    vnodes: u32,
    points_count: usize,
    first: Vec<(i32, u32)>,
    last: Vec<(i32, u32)>,
    collisions: usize,
    /// FNV-1a 64 of all points as `point:partition;`, in hex.
    digest: String,
    /// The owners of `Golden::keys`, in their order.
    owners: Vec<u32>,
    /// Keys that matter to this ring only, in hex, with hash and owner.
    own_keys: BTreeMap<String, (i32, u32)>,
}

impl Case {
    fn nodes(&self) -> Vec<Node> {
        self.partitions.iter().map(|&(partition, weight)| Node { partition, weight }).collect()
    }

    fn continuum(&self) -> Continuum {
        Continuum::new(&self.nodes(), self.vnodes)
    }

    /// Every key of the case as (bytes, hash, owner).
    fn keys(&self, golden: &Golden) -> Vec<(Vec<u8>, i32, u32)> {
        assert_eq!(self.owners.len(), golden.keys.len(), "{}", self.name);
        let shared = golden.keys.iter().zip(&self.owners);
        let shared = shared.map(|((key, h), owner)| (unhex(key), *h, *owner));
        let own = self.own_keys.iter().map(|(key, (h, owner))| (unhex(key), *h, *owner));
        shared.chain(own).collect()
    }

    /// How many keys `lookup` sends elsewhere than uhashring does.
    fn misrouted(&self, golden: &Golden, lookup: impl Fn(&[u8]) -> u32) -> usize {
        self.keys(golden).iter().filter(|(key, _, owner)| lookup(key) != *owner).count()
    }
}

fn golden() -> Golden {
    let golden: Golden =
        serde_json::from_str(include_str!("golden/ring.json")).expect("the golden file");
    assert!(golden.keys.len() > 200 && golden.cases.len() > 10, "the golden file is cut short");
    golden
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

fn digest(points: &[(i32, u32)]) -> String {
    let text: String = points.iter().map(|(point, owner)| format!("{point}:{owner};")).collect();
    let step = |value: u64, byte| (value ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

#[test]
fn every_key_goes_where_uhashring_sends_it() {
    let golden = golden();
    for case in &golden.cases {
        let continuum = case.continuum();
        for (key, h, owner) in case.keys(&golden) {
            let shown = key[..key.len().min(80)].escape_ascii();
            assert_eq!(hash(&key), h, "{}: hash of {shown}", case.name);
            assert_eq!(continuum.route(&key), owner, "{}: owner of {shown}", case.name);
            assert_eq!(continuum.owner_of(h), owner, "{}: owner of {h}", case.name);
        }
    }
}

#[test]
fn every_point_is_uhashrings() {
    for case in golden().cases {
        let points: Vec<_> = case.continuum().points().collect();
        assert_eq!(points.len(), case.points_count, "{}", case.name);
        assert!(points.starts_with(&case.first), "{}: {:?}", case.name, &points[..3]);
        assert!(points.ends_with(&case.last), "{}: {:?}", case.name, points.last());
        assert_eq!(digest(&points), case.digest, "{}", case.name);
    }
}

/// Each way to get the mapping wrong must disagree with the golden file, or the file proves
/// nothing.
#[test]
fn the_golden_file_catches_each_known_mistake() {
    let golden = golden();
    let (mut strictness, mut wrapping, mut collisions) = (0, 0, 0);
    for case in &golden.cases {
        let right: Vec<_> = case.continuum().points().collect();
        let wrapped = |next: usize| right[next % right.len()].1;
        let correct = |key: &[u8]| wrapped(right.partition_point(|&(p, _)| p <= hash(key)));
        assert_eq!(case.misrouted(&golden, correct), 0, "{}", case.name);

        let not_strict = |key: &[u8]| wrapped(right.partition_point(|&(p, _)| p < hash(key)));
        strictness += case.misrouted(&golden, not_strict);
        let stuck = |key: &[u8]| {
            let next = right.partition_point(|&(p, _)| p <= hash(key));
            right[next.min(right.len() - 1)].1
        };
        wrapping += case.misrouted(&golden, stuck);

        let mut earlier_wins = BTreeMap::new();
        for (point, partition) in labelled(&case.nodes(), case.vnodes) {
            earlier_wins.entry(point).or_insert(partition);
        }
        let differ = case.misrouted(&golden, |key| lookup(&earlier_wins, hash(key)));
        let points: Vec<_> = earlier_wins.into_iter().collect();
        assert_eq!(digest(&points) != case.digest, case.collisions > 0, "{}", case.name);
        assert_eq!(differ > 0, case.collisions > 0, "{}", case.name);
        collisions += differ;
    }
    assert!(strictness > 500, "{strictness} keys depend on strictly greater");
    assert!(wrapping > 20, "{wrapping} keys depend on wrapping");
    assert!(collisions >= 20, "{collisions} keys depend on the later partition winning");
}

// --- the ring in the plainest words, to compare with ---------------------------------------------

/// All points in the ring's order, those of collisions as often as they occur.
fn labelled(nodes: &[Node], vnodes: u32) -> impl Iterator<Item = (i32, u32)> {
    let labels = move |node: &Node| {
        let partition = node.partition;
        (0..vnodes * node.weight)
            .map(move |i| (hash(format!("{partition}-{i}").as_bytes()), partition))
    };
    nodes.iter().flat_map(labels)
}

/// The owner of hash value `h`: of the first point after it, else of the first point.
fn lookup(points: &BTreeMap<i32, u32>, h: i32) -> u32 {
    let after = points.range((Excluded(h), Unbounded)).next();
    *after.or_else(|| points.first_key_value()).expect("a point").1
}

fn even(partitions: impl IntoIterator<Item = u32>) -> Vec<Node> {
    partitions.into_iter().map(|partition| Node { partition, weight: 1 }).collect()
}

/// How many hash values go from one owner to another between two rings, as
/// `(before, after) -> values`. Exact: owners only change at points.
fn moved(before: &Continuum, after: &Continuum) -> BTreeMap<(u32, u32), u64> {
    let points = before.points().chain(after.points()).map(|(point, _)| point);
    // A key that hashes to a point is the first of the next arc.
    let mut starts: BTreeSet<i32> = points.collect();
    starts.insert(i32::MIN);
    let ends = starts.iter().skip(1).map(|start| i64::from(*start)).chain([1 << 31]);
    let mut moved = BTreeMap::new();
    for (start, end) in starts.iter().zip(ends) {
        let owners = (before.owner_of(*start), after.owner_of(*start));
        if owners.0 != owners.1 {
            *moved.entry(owners).or_insert(0) += (end - i64::from(*start)).unsigned_abs();
        }
    }
    moved
}

fn part_of_space(values: u64) -> f64 {
    values as f64 / HASH_SPACE as f64
}

// --- properties ----------------------------------------------------------------------------------

/// Rings of any numbers in any order, any weights; small enough for the plain words above.
fn rings() -> impl Strategy<Value = (Vec<Node>, u32)> {
    let numbers = prop::collection::btree_set(0..MAX_PARTITIONS, 1..12);
    let shuffled = numbers.prop_map(Vec::from_iter).prop_shuffle();
    let weighted = shuffled.prop_flat_map(|numbers| {
        let weights = prop::collection::vec(1..5u32, numbers.len());
        weights.prop_map(move |weights| {
            let pairs = numbers.iter().zip(weights);
            pairs.map(|(&partition, weight)| Node { partition, weight }).collect::<Vec<_>>()
        })
    });
    (weighted, prop_oneof![Just(1), 2..40u32])
}

fn config() -> ProptestConfig {
    // A failure prints its smallest ring; no file is needed to find it again.
    ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_ring_and_any_bytes_agree_with_the_plain_words(
        (nodes, vnodes) in rings(),
        keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..20),
        hashes in prop::collection::vec(any::<i32>(), 1..20),
    ) {
        let continuum = Continuum::new(&nodes, vnodes);
        let plain: BTreeMap<_, _> = labelled(&nodes, vnodes).collect();
        prop_assert!(continuum.points().eq(plain.iter().map(|(point, owner)| (*point, *owner))));
        for key in keys {
            prop_assert_eq!(continuum.route(&key), lookup(&plain, hash(&key)));
        }
        let ends = plain.keys().flat_map(|&p| [p.wrapping_sub(1), p, p.wrapping_add(1)]);
        for h in ends.chain(hashes).chain([i32::MIN, i32::MAX]) {
            prop_assert_eq!(continuum.owner_of(h), lookup(&plain, h), "hash value {}", h);
        }
    }

    #[test]
    fn points_ascend_strictly_and_shares_cover_the_hash_space((nodes, vnodes) in rings()) {
        let continuum = Continuum::new(&nodes, vnodes);
        let points: Vec<_> = continuum.points().collect();
        prop_assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        prop_assert_eq!(continuum.shares().values().sum::<u64>(), HASH_SPACE);
        // Against a ring with another owner for everything, all that moves is the share.
        let other = Continuum::new(&even([MAX_PARTITIONS]), 1);
        let exact = moved(&continuum, &other).into_iter();
        let exact: BTreeMap<u32, u64> = exact.map(|((owner, _), values)| (owner, values)).collect();
        prop_assert_eq!(continuum.shares(), exact);
    }

    #[test]
    fn an_added_partition_takes_keys_and_no_others_move(
        (nodes, vnodes) in rings(),
        number in 0..MAX_PARTITIONS,
        place in any::<prop::sample::Index>(),
    ) {
        prop_assume!(nodes.iter().all(|node| node.partition != number));
        let before = Continuum::new(&nodes, vnodes);
        let mut more = nodes;
        more.insert(place.index(more.len() + 1), Node { partition: number, weight: 1 });
        let after = Continuum::new(&more, vnodes);
        let gained = after.shares().get(&number).copied().unwrap_or(0);
        let to_new = moved(&before, &after);
        prop_assert!(to_new.keys().all(|(_, to)| *to == number), "{to_new:?}");
        prop_assert_eq!(to_new.values().sum::<u64>(), gained);
        // The same seen backwards: removing it moves its keys and no others.
        let from_old = moved(&after, &before);
        prop_assert!(from_old.keys().all(|(from, _)| *from == number), "{from_old:?}");
        prop_assert_eq!(from_old.values().sum::<u64>(), gained);
    }
}

/// At 160 virtual nodes and up to 64 partitions, none gets less than 0.75 or more than 1.3 times
/// its even share of the hash space.
#[test]
fn partitions_are_balanced() {
    for count in 2..=64 {
        let shares = Continuum::new(&even(0..count), VNODES).shares();
        assert_eq!(shares.len(), count as usize);
        let times_even = |values: &u64| part_of_space(*values) * f64::from(count);
        let largest = shares.values().map(times_even).fold(0.0, f64::max);
        let smallest = shares.values().map(times_even).fold(f64::INFINITY, f64::min);
        assert!(largest < 1.3, "{count} partitions: the largest is {largest:.3} of even");
        assert!(smallest > 0.75, "{count} partitions: the smallest is {smallest:.3} of even");
    }
}

#[test]
fn growing_by_one_moves_one_share() {
    for count in 1..64 {
        let before = Continuum::new(&even(0..count), VNODES);
        let after = Continuum::new(&even(0..=count), VNODES);
        let moved = part_of_space(moved(&before, &after).values().sum()) * f64::from(count + 1);
        assert!((0.8..1.25).contains(&moved), "{count} and one more: {moved:.3} of 1/(N+1) moved");
    }
}

#[test]
fn shares_follow_weights() {
    for weights in [&[1, 2, 3][..], &[1, 1, 10], &[5, 1, 1, 1, 2]] {
        let numbered = (0..).zip(weights);
        let nodes: Vec<_> =
            numbered.map(|(partition, &weight)| Node { partition, weight }).collect();
        let total: u32 = weights.iter().sum();
        for (partition, values) in Continuum::new(&nodes, VNODES).shares() {
            let due = f64::from(weights[partition as usize]) / f64::from(total);
            let times_due = part_of_space(values) / due;
            assert!((0.8..1.2).contains(&times_due), "{weights:?}: {partition} has {times_due:.3}");
        }
    }
}

/// A larger weight adds points and takes none away, so keys only come.
#[test]
fn a_larger_weight_only_draws_keys() {
    let before = even(0..8);
    let mut after = before.clone();
    after[3].weight = 2;
    let moved = moved(&Continuum::new(&before, VNODES), &Continuum::new(&after, VNODES));
    assert!(!moved.is_empty() && moved.keys().all(|(_, to)| *to == 3), "{moved:?}");
}

/// The keys are fixed, so this cannot fail by chance; five standard deviations leave room for any
/// other set of keys.
#[test]
fn routed_keys_follow_the_shares() {
    const KEYS: u32 = 100_000;
    let continuum = Continuum::new(&even(0..12), VNODES);
    let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
    for n in 0..KEYS {
        *counts.entry(continuum.route(format!("user:{n}").as_bytes())).or_default() += 1;
    }
    for (partition, values) in continuum.shares() {
        let share = part_of_space(values);
        let expected = share * f64::from(KEYS);
        let deviation = (expected * (1.0 - share)).sqrt();
        let off = (f64::from(counts[&partition]) - expected) / deviation;
        assert!(off.abs() < 5.0, "partition {partition}: {off:.1} standard deviations off");
    }
}

#[test]
fn beyond_the_last_point_the_first_owns() {
    let continuum = Continuum::new(&even(0..8), 1);
    let points: Vec<_> = continuum.points().collect();
    let ((first, owner), (last, before)) = (points[0], points[points.len() - 1]);
    assert_ne!(owner, before);
    for h in [last, last + 1, i32::MAX, i32::MIN, first - 1] {
        assert_eq!(continuum.owner_of(h), owner, "hash value {h}");
    }
    assert_eq!(continuum.owner_of(last - 1), before);
    assert_eq!(continuum.owner_of(first), points[1].1);
}

/// So a ring must keep the order of its partitions: the same ones in another order are another
/// ring.
#[test]
fn on_a_collision_the_later_partition_wins() {
    let golden = golden();
    let case = golden.cases.iter().find(|case| case.name == "two that collide").expect("the case");
    let [(earlier, 1), (later, 1)] = case.partitions[..] else { panic!("two of weight 1") };
    let points_of = |partition| -> BTreeSet<i32> {
        labelled(&even([partition]), case.vnodes).map(|(point, _)| point).collect()
    };
    let shared = &points_of(earlier) & &points_of(later);
    assert_eq!(shared.len(), case.collisions);
    let forward = Continuum::new(&even([earlier, later]), case.vnodes);
    let backward = Continuum::new(&even([later, earlier]), case.vnodes);
    for point in shared {
        // The last hash value of the arc that ends at the point.
        assert_eq!(forward.owner_of(point - 1), later, "point {point}");
        assert_eq!(backward.owner_of(point - 1), earlier, "point {point}");
    }
    assert!(moved(&forward, &backward).keys().all(|owners| *owners == (later, earlier)));
}
