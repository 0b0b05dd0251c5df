//! The cluster client of the redis crate on a ring over a cluster: `evq-cluster-client url events`.
//!
//! Events are produced by EVQ.TRIGGER and, for each other one, straight to their partition, found
//! by EVQ.POINTS. They are consumed by stream key. Prints a line `key payload` for each, in the
//! order of its handling.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use redis::cluster::{ClusterClient, ClusterConnection};
use redis::{RedisResult, cmd};

const KEYS: u32 = 12;

/// Partition, epoch, and events with their fields.
type Pull = Option<(u32, u64, Vec<(String, BTreeMap<String, String>)>)>;

fn main() -> RedisResult<()> {
    let mut words = std::env::args().skip(1);
    let url = words.next().expect("a URL");
    let events: u32 = words.next().and_then(|n| n.parse().ok()).expect("a number");
    let mut conn = ClusterClient::new([url])?.get_connection()?;
    let points: Vec<(i32, u32)> = cmd("EVQ.POINTS").arg("RING").arg("r").query(&mut conn)?;
    let points: BTreeMap<i32, u32> = points.into_iter().collect();
    for n in 0..events {
        produce(&mut conn, &points, &format!("rust:{}", n % KEYS), n)?;
    }
    let mut partitions: Vec<u32> = points.values().copied().collect();
    partitions.sort_unstable();
    partitions.dedup();
    for p in partitions {
        consume(&mut conn, &stream(p))?;
    }
    Ok(())
}

fn produce(
    conn: &mut ClusterConnection,
    points: &BTreeMap<i32, u32>,
    key: &str,
    n: u32,
) -> RedisResult<()> {
    let above = points.range((Excluded(hash(key.as_bytes())), Unbounded)).next();
    let (_, p) = above.or_else(|| points.first_key_value()).expect("a ring has points");
    let (at, _): (u32, String) = if n / KEYS % 2 == 0 {
        cmd("EVQ.TRIGGER").arg(key).arg(n).arg("RING").arg("r").query(conn)?
    } else {
        cmd("EVQ.APPEND").arg(stream(*p)).arg(key).arg(n).query(conn)?
    };
    assert_eq!(at, *p, "{key}");
    Ok(())
}

/// Handles all that a partition has. The connection to its node is shared: the worker has a name.
fn consume(conn: &mut ClusterConnection, stream: &str) -> RedisResult<()> {
    let mut done: Option<String> = None;
    loop {
        let mut pull = cmd("EVQ.CONSUME");
        pull.arg(stream).arg("GROUP").arg("g").arg("WORKER").arg("rust");
        pull.arg("COUNT").arg(7).arg("NOBLOCK");
        if let Some(id) = done.take() {
            pull.arg("ACK").arg(id);
        }
        let Some((_, _, events)) = pull.query::<Pull>(conn)? else { break };
        for (id, fields) in events {
            println!("{} {}", fields["key"], fields["payload"]);
            done = Some(id);
        }
    }
    cmd("EVQ.RELEASE").arg(stream).arg("GROUP").arg("g").arg("WORKER").arg("rust").exec(conn)
}

fn stream(p: u32) -> String {
    format!("evq:{{r:{p}}}")
}

/// murmur3_x86_32 with seed 0.
fn hash(key: &[u8]) -> i32 {
    let mix = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (blocks, tail) = key.as_chunks::<4>();
    let mut h = 0_u32;
    for block in blocks {
        h = (h ^ mix(u32::from_le_bytes(*block))).rotate_left(13);
        h = h.wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let last = tail.iter().rev().fold(0, |k, byte| k << 8 | u32::from(*byte));
    h = h ^ mix(last) ^ u32::try_from(key.len()).expect("a short key");
    h = (h ^ h >> 16).wrapping_mul(0x85eb_ca6b);
    h = (h ^ h >> 13).wrapping_mul(0xc2b2_ae35);
    (h ^ h >> 16).cast_signed()
}
