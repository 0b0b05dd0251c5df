//! Snapshots and effects: bytes from a RESTORE, an RDB, a replica's primary. Whatever they are, the
//! answer is a refusal or a value within the limits that is written and read back the same, and
//! with which nothing that the server does then panics.
//!
//! The bytes are chunks, each with its length in front: a ring, a partition, then effects.

use evq::model::ids::EventId;
use evq::model::limits::MAX_POINTS;
use evq::model::progress::lease::Caller;
use evq::model::progress::partition::Partition;
use evq::model::ring::group::Group;
use evq::model::ring::{Ring, Shape};
use evq::model::rules::shell::Shell;
use evq::model::saved::effect::Effect;
use evq::model::saved::snapshot::{Snapshot, decode, encode};

use super::bytes::Bytes;
use super::shell::{Event, Server, Stream};

/// Reads the chunks and uses what they are.
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let ring = read::<Ring>(bytes.chunk());
    let partition = read::<Partition>(bytes.chunk());
    if let Some(ring) = &ring {
        use_ring(ring);
    }
    if let Some(partition) = &partition {
        use_partition(partition);
    }
    let plain = Shape::even(2, 1).expect("a small shape");
    let mut copies = (ring.unwrap_or_else(|| Ring::new(plain)), partition.unwrap_or_default());
    let mut primary = copies.clone();
    while !bytes.is_empty() {
        let Some(effect) = read::<Effect>(bytes.chunk()) else { continue };
        let known = primary.0.apply(effect.clone());
        assert_eq!(copies.0.apply(effect.clone()), known);
        assert_eq!(copies.1.apply(effect.clone()), primary.1.apply(effect));
        assert_eq!(written(&primary.0), written(&copies.0), "two that apply the same are the same");
        assert_eq!(written(&primary.1), written(&copies.1), "two that apply the same are the same");
    }
    use_partition(&primary.1);
}

fn written<T: Snapshot>(value: &T) -> Vec<u8> {
    encode(value).expect("what was read is not too large to be written")
}

/// The value, if the bytes are one.
fn read<T: Snapshot>(bytes: &[u8]) -> Option<T> {
    let value: T = decode(bytes).ok()?;
    value.check().expect("what is read is within the limits");
    let again = written(&value);
    let back: T = decode(&again).expect("what is written can be read");
    assert_eq!(written(&back), again, "it comes back the same");
    Some(value)
}

fn use_ring(ring: &Ring) {
    let nodes: u64 = ring.nodes().map(|node| u64::from(node.weight)).sum();
    assert!(nodes * u64::from(ring.vnodes()) <= MAX_POINTS);
    assert!(ring.check_partition(0).is_ok() && ring.check_partition(u32::MAX).is_err());
    // Laying out a large ring takes too long to do it for every input.
    let past = ring.past().iter().flat_map(|past| &past.weights).map(|weight| u64::from(*weight));
    if (nodes + past.sum::<u64>()) * u64::from(ring.vnodes()) <= 4096 {
        let continuum = ring.continuum();
        assert!(ring.check_partition(continuum.route(b"a key")).is_ok());
        if let Some(history) = ring.history(&continuum) {
            let _ = (history.heap_bytes(), history.is_crossed(0, EventId::ZERO, EventId::MAX));
        }
    }
    for (_, group) in ring.groups() {
        let delays = [0, 1, 2, 40, u32::MAX].map(|attempts| group.backoff_ms(attempts));
        assert!(delays.is_sorted(), "{delays:?}");
    }
    let _ = (ring.heap_bytes(), ring.generation(), ring.check_room_for_group());
}

/// Does with a partition what the commands do, on a stream around what it knows.
fn use_partition(partition: &Partition) {
    let _ = (partition.heap_bytes(), partition.floor());
    for (name, progress) in partition.iter().take(4) {
        let mut stream = Stream::default();
        let known = progress.exceptions().iter().map(|(id, _)| id).take(20);
        let mut ids: Vec<EventId> = known.chain([progress.cursor()]).collect();
        ids.extend(ids.clone().into_iter().filter_map(EventId::next));
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| *id > EventId::ZERO);
        stream.events = ids.iter().map(|id| Event { id: *id, key: [0], kind: [0] }).collect();
        for (now_ms, group) in [
            (0, Group::default()),
            (1_700_000_000_000, Group { max_attempts: 1, ..Group::default() }),
            (u64::MAX, Group { types: vec![b"other".as_slice().into()], ..Group::default() }),
        ] {
            let caller = Caller { worker: None, epoch: None, connection: Some(1) };
            let mut server = Server::over(partition.clone(), name.clone(), stream.clone(), group);
            server.now_ms = now_ms;
            let progress = server.progress();
            let _ = (progress.next_due_ms(server.now()), progress.highest_id());
            server.has_work();
            let (_, epoch) = (server.turn(&caller), server.progress().next_epoch(server.now()));
            server.grant(&caller, epoch);
            for _ in 0..8 {
                server.pull(&caller, 3);
            }
            for id in &ids {
                let _ = (server.progress().retry(*id, 0), server.progress().skip(*id));
                let _ = server.nack(&caller, *id, None);
                let _ = server.ack(&caller, *id);
            }
            server.pull(&caller, 1);
            server.lose();
        }
    }
}
