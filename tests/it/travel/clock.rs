//! The clock of a ring: with it events of many partitions follow from their streams too, and
//! wherever it stands, primary, replicas and files agree.

use std::collections::BTreeSet;

use crate::harness::{Conn, args, each_binary, must, wait_for_sync};
use crate::restore::{signed, taken_apart};
use crate::travel::ids::{Chain, after, run_ahead, trigger};

fn parts(id: &str) -> (u64, u64) {
    let (ms, seq) = id.split_once('-').unwrap();
    (ms.parse().unwrap(), seq.parse().unwrap())
}

/// What replicas are told of events that got these ids in this order, in streams that were there:
/// by the clock, by XADD and as they were sent.
fn told(ids: &[(i64, String)]) -> [i64; 3] {
    let (mut clock, mut begun) = (0, 0);
    let [mut ticks, mut xadds, mut sent] = [0; 3];
    for (_, id) in ids {
        let (ms, seq) = parts(id);
        if ms == clock || (seq > 0 && ms > clock) {
            sent += 1;
        } else if begun == ms {
            (ticks, sent, clock) = (ticks + 1, sent + 1, ms);
        } else {
            (xadds, begun) = (xadds + 1, ms);
        }
    }
    [ticks, xadds, sent]
}

#[test]
fn a_millisecond_is_told_once_for_all_partitions() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 64);
        for p in 0..64 {
            must!(chain.conn, "XADD", format!("evq:{{r:{p}}}"), "1-1", "key", "k");
        }
        wait_for_sync(&chain.servers[0], &chain.servers[1]);
        let names = ["EVQ.APPLY", "xadd", "EVQ.TRIGGER"];
        let before = names.map(|name| chain.carried_out(name));
        let events: Vec<_> =
            (0..5000).map(|n| args!["EVQ.TRIGGER", format!("k{n}"), n, "RING", "r"]).collect();
        let replies = chain.conn.pipeline(&events);
        let ids: Vec<_> =
            replies.iter().map(|got| (got.at(0).int(), got.at(1).str().to_owned())).collect();
        chain.assert_same();
        let after = names.map(|name| chain.carried_out(name));
        let told_now: Vec<_> =
            before.iter().zip(after).map(|(before, after)| after - before).collect();
        assert_eq!(told_now, told(&ids));
        // Otherwise each partition would be told each millisecond.
        let times = |(p, id): &(i64, String)| (*p, id.split_once('-').unwrap().0.to_owned());
        let by_partition: BTreeSet<_> = ids.iter().map(times).collect();
        let by_ring: BTreeSet<_> = ids.iter().map(|event| times(event).1).collect();
        let [ticks, xadds, sent] = told(&ids);
        assert!(xadds as usize <= by_ring.len() && ticks as usize <= by_ring.len());
        assert!(by_partition.len() > 2 * by_ring.len(), "too slow to tell anything");
        assert_eq!(sent + xadds, 5000);
        chain.assert_same_for_good();
    });
}

#[test]
fn a_batch_for_many_partitions_travels_as_one_command() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 64);
        let mut batch = args!["EVQ.MTRIGGER", 500].to_vec();
        batch.extend((0..500).flat_map(|n| args![format!("k{n}"), n]));
        batch.extend(args!["RING", "r"]);
        let mut clock = 0;
        // Whether the clock has to be told before an event, which then begins a command of its own.
        let mut is_tick = |id: &str| {
            let (ms, seq) = parts(id);
            let follows = ms == clock || (seq > 0 && ms > clock);
            clock = if follows { clock } else { ms };
            !follows
        };
        let mut begun = BTreeSet::new();
        for got in chain.conn.must(&batch).array() {
            // The first event of a stream travels as XADD.
            if !begun.insert(got.at(0).int()) {
                is_tick(got.at(1).str());
            }
        }
        wait_for_sync(&chain.servers[0], &chain.servers[1]);
        let (xadds, batches) = (chain.carried_out("xadd"), chain.carried_out("EVQ.MTRIGGER"));
        let mut expected = 0;
        for _ in 0..20 {
            let reply = chain.conn.must(&batch);
            let ticks = reply.array().iter().map(|got| is_tick(got.at(1).str()));
            // The first one begins a command as it is.
            expected += 1 + ticks.collect::<Vec<_>>()[1..].iter().filter(|tick| **tick).count();
        }
        chain.assert_same();
        assert_eq!(chain.carried_out("xadd"), xadds);
        // One that the clock ran through travels in parts.
        let sent = chain.carried_out("EVQ.MTRIGGER") - batches;
        assert_eq!(sent, i64::try_from(expected).unwrap());
        assert_eq!(begun.len(), 64);
        chain.assert_same_for_good();
    });
}

/// Sets the clock of the ring `r`, which stands at the end of its saved value.
fn set_clock(conn: &mut Conn, ms: u64) {
    must!(conn, "CONFIG", "SET", "rdbcompression", "no");
    let (mut value, version) = taken_apart(must!(conn, "DUMP", "evq:{r}").bytes());
    let clock = value.len() - 9..value.len() - 1;
    value[clock].copy_from_slice(&ms.to_le_bytes());
    must!(conn, "RESTORE", "evq:{r}", 0, signed(&value, &version), "REPLACE").ok();
}

#[test]
fn after_the_clock_was_put_back_or_forth() {
    after(|conn| {
        set_clock(conn, u64::MAX);
        trigger(conn);
        set_clock(conn, 1);
        trigger(conn);
        set_clock(conn, 5_000_000_000_000);
        must!(conn, "XTRIM", "evq:{r:1}", "MAXLEN", 0);
    });
}

#[test]
fn after_a_ring_took_the_place_of_another() {
    after(|conn| {
        must!(conn, "EVQ.CREATE", "s", 2);
        must!(conn, "DEL", "evq:{s:0}", "evq:{s:1}");
        run_ahead(conn, "s", 2);
        must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "s");
        must!(conn, "COPY", "evq:{r}", "evq:{t}", "REPLACE");
        must!(conn, "RENAME", "evq:{s}", "evq:{r}");
        trigger(conn);
        must!(conn, "RENAME", "evq:{t}", "evq:{r}");
    });
}
