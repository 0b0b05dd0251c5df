//! The words of the tests about a ring over a cluster: ring, partitions and keys by name, whole
//! partitions read and consumed.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use crate::harness::{Binary, Cluster, ClusterClient, Conn, Setup, Value, args, must};
use crate::model::hash::hash;
use crate::model::slots::Slot;
use crate::pull::Pull;

/// The ring of these tests.
pub(super) const RING: &str = "r";

/// Its authority's key.
pub(super) const AUTHORITY: &str = "evq:{r}";

/// Enough partitions that each of three masters has some.
pub(super) const PARTITIONS: u32 = 12;

/// The stream of a partition.
pub(super) fn stream(p: u32) -> String {
    format!("evq:{{{RING}:{p}}}")
}

/// The copy of the definition beside a partition.
pub(super) fn copy(p: u32) -> String {
    format!("{}:ring", stream(p))
}

/// The slot of all keys of a partition.
pub(super) fn slot_of(p: u32) -> Slot {
    Slot::of(stream(p).as_bytes())
}

/// A cluster of three masters with its ring, and a client of it.
pub(super) struct Scene {
    pub(super) cluster: Cluster,
    pub(super) client: ClusterClient,
    pub(super) mapping: Mapping,
}

impl Scene {
    /// The ring has the group `g`, which begins at the first event. Persistence of files is off.
    #[track_caller]
    pub(super) fn start(binary: &Binary, replicas: usize) -> Self {
        Self::by(Cluster::with(binary).replicas(replicas))
    }

    /// As [`Scene::start`], on another cluster.
    #[track_caller]
    pub(super) fn by(setup: Setup) -> Self {
        let scene = Self::without_ring(setup);
        let mut client = scene.cluster.client();
        must!(client, "EVQ.CREATE", RING, PARTITIONS).ok();
        must!(client, "EVQ.GROUP", "g", "RING", RING, "FROM", "first", "BACKOFF", 1, 1).ok();
        scene
    }

    #[track_caller]
    pub(super) fn without_ring(setup: Setup) -> Self {
        let cluster = setup.start();
        let client = cluster.client();
        Self { cluster, client, mapping: Mapping::of(PARTITIONS) }
    }

    /// The partitions whose owner is node `n`.
    #[track_caller]
    pub(super) fn partitions_at(&self, n: usize) -> Vec<u32> {
        let at = |p: &u32| self.cluster.owner_of(&stream(*p)) == n;
        let found: Vec<u32> = (0..PARTITIONS).filter(at).collect();
        assert!(!found.is_empty(), "no partition is at node {n}");
        found
    }

    /// The node of the authority.
    pub(super) fn authority(&self) -> usize {
        self.cluster.owner_of(AUTHORITY)
    }

    /// A master without the authority.
    pub(super) fn other(&self) -> usize {
        self.cluster.others(AUTHORITY)[0]
    }

    /// A partition that is not where the authority is, and its node.
    pub(super) fn elsewhere(&self) -> (u32, usize) {
        let other = self.other();
        (self.partitions_at(other)[0], other)
    }

    /// A key of partition `p` that the server leaves at node `n`.
    #[track_caller]
    pub(super) fn key_at(&mut self, n: usize, p: u32) -> String {
        let port = Some(self.cluster.port(n));
        let mut keys = (0..).map(|n| format!("k{n}"));
        let found = keys.find(|key| {
            let is_here = self.client.owner(Slot::of(key.as_bytes())) == port;
            is_here && self.mapping.partition(key) == p
        });
        found.expect("a key")
    }

    /// Appends an event with this payload to partition `p`, under a key that belongs there.
    #[track_caller]
    pub(super) fn append(&mut self, p: u32, payload: &str) -> String {
        let key = self.mapping.key_in(p, 0);
        let reply = must!(self.client, "EVQ.APPEND", stream(p), key, payload);
        assert_eq!(reply.at(0).int(), i64::from(p));
        reply.at(1).str().to_owned()
    }

    /// Appends events 0 to `count` - 1 to partition `p`.
    #[track_caller]
    pub(super) fn append_all(&mut self, p: u32, count: usize) {
        (0..count).for_each(|n| drop(self.append(p, &n.to_string())));
    }

    /// The payloads of the events of partition `p`.
    #[track_caller]
    pub(super) fn stored(&mut self, p: u32) -> Vec<String> {
        let entries = must!(self.client, "XRANGE", stream(p), "-", "+");
        entries.array().iter().map(|it| it.at(1).get("payload").str().to_owned()).collect()
    }

    /// How many events all partitions have.
    #[track_caller]
    pub(super) fn length(&mut self) -> i64 {
        (0..PARTITIONS).map(|p| must!(self.client, "XLEN", stream(p)).int()).sum()
    }

    /// Consumes all that `group` has left in partition `p`; the payloads in their order.
    #[track_caller]
    pub(super) fn consume_all(&mut self, p: u32, group: &str) -> Vec<String> {
        let mut payloads = Vec::new();
        let pull = |client: &mut ClusterClient, more: &[&str]| {
            let mut words =
                args!["EVQ.CONSUME", stream(p), "GROUP", group, "WORKER", "all"].to_vec();
            words.extend(args!["COUNT", 1000, "NOBLOCK"]);
            words.extend(more.iter().map(|word| word.as_bytes().to_vec()));
            Pull::of(&client.must(&words))
        };
        let mut next = pull(&mut self.client, &[]);
        while let Some(it) = next {
            next = pull(&mut self.client, &["ACK", it.last()]);
            payloads.extend(it.payloads);
        }
        // Another worker may hold the partition, or have got it when this one was told nothing.
        let words = args!["EVQ.RELEASE", stream(p), "GROUP", group, "WORKER", "all"];
        let reply = self.client.cmd(&words);
        assert!(!reply.is_error() || reply.err_code() == "EVQFENCED", "{reply:?}");
        payloads
    }
}

/// Numbers from `from` on as texts.
pub(super) fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

/// The ring's continuum, computed as a producer does.
#[derive(Debug)]
pub(super) struct Mapping(BTreeMap<i32, u32>);

impl Mapping {
    /// Of a ring of so many equal partitions with 160 points each.
    pub(super) fn of(partitions: u32) -> Self {
        let points = (0..partitions).flat_map(|p| (0..160).map(move |i| (p, i)));
        // Where two meet, the later one holds the point.
        Self(points.map(|(p, i)| (hash(format!("{p}-{i}").as_bytes()), p)).collect())
    }

    /// As EVQ.POINTS has it.
    pub(super) fn read(points: &Value) -> Self {
        let number = |it: &Value| it.int();
        let pair = |it: &Value| (number(it.at(0)).try_into().unwrap(), number(it.at(1)));
        let pairs = points.array().iter().map(pair);
        Self(pairs.map(|(point, p)| (point, p.try_into().unwrap())).collect())
    }

    /// The partition of a key: that of the first point above its hash.
    pub(super) fn partition(&self, key: &str) -> u32 {
        let above = self.0.range((Excluded(hash(key.as_bytes())), Unbounded)).next();
        *above.or_else(|| self.0.first_key_value()).expect("a ring has points").1
    }

    /// The key number `n` of those that belong to partition `p`.
    pub(super) fn key_in(&self, p: u32, n: usize) -> String {
        let keys = (0..).map(|n: u32| format!("k{n}"));
        keys.filter(|key| self.partition(key) == p).nth(n).expect("a key")
    }
}

/// The codes by which a node that has not all of a partition refuses a command.
pub(super) const ELSEWHERE: [&str; 4] = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"];

/// Sends a command to a node that imports a slot.
#[track_caller]
pub(super) fn asking<T: AsRef<[u8]>>(conn: &mut Conn, words: &[T]) -> Value {
    must!(conn, "ASKING").ok();
    conn.cmd(words)
}
