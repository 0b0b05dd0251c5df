//! The bound of 10,000 exceptions of a group in a partition: there the partition waits and EVQ.NACK
//! is refused; nothing is lost, and it goes on when room is made.

use crate::failing::{events, letters};
use crate::harness::{Conn, Value, args, each_server, must};
use crate::pull::{P, pull, refused, ring, say, take};

const BOUND: usize = 10_000;

/// Triggers `count` events of one key.
fn flood(conn: &mut Conn, key: &str, count: usize) {
    let one = args!["EVQ.TRIGGER", key, "p", "RING", "r"].to_vec();
    for reply in conn.pipeline(&vec![one; count]) {
        assert!(!reply.is_error(), "{reply:?}");
    }
}

fn held(conn: &mut Conn) -> i64 {
    let stats = say(conn, "EVQ.STATS r");
    stats.get("partitions").at(0).get("groups").at(0).get("held").int()
}

#[test]
fn at_the_bound_the_partition_waits_and_goes_on_when_room_is_made() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 1 ONDEAD hold").ok();
        let first = events(&mut conn, &[("a", "1")]).remove(0);
        take(&mut conn, "WORKER w");
        must!(conn, "EVQ.NACK", P, first, "WORKER", "w");
        flood(&mut conn, "a", BOUND + 49);
        let others = events(&mut conn, &[("b", "b1"), ("c", "c1")]);
        // 9,999 are held behind the dead one; the next of its key cannot be, and blocks the others.
        let mut pulls = 0;
        while held(&mut conn) < BOUND as i64 - 1 {
            assert_eq!(pull(&mut conn, "WORKER w COUNT 1000 NOBLOCK"), None);
            pulls += 1;
            assert!(pulls < 10, "{}", held(&mut conn));
        }
        assert_eq!(pull(&mut conn, "WORKER w COUNT 1000 NOBLOCK"), None);
        assert_eq!(held(&mut conn), BOUND as i64 - 1);
        let told = "evq:{r:0} delivers nothing to group default: 10000 events wait";
        assert_eq!(server.log().matches(told).count(), 1, "{}", server.log());
        let lag = say(&mut conn, "EVQ.GROUPS RING r").at(0).get("lag").int();
        assert_eq!(lag, 10_052);

        // Room for the rest as soon as the key is let go: all of it comes, once, in order.
        assert_eq!(say(&mut conn, "EVQ.DEAD default SKIP * * RING r").int(), 1);
        assert!(letters(&mut conn, "default").is_empty());
        let (mut ids, mut line) = (Vec::new(), String::new());
        while let Some(pull) = pull(&mut conn, &format!("WORKER w COUNT 1000 NOBLOCK {line}")) {
            line = format!("ACK {}", pull.last());
            ids.extend(pull.ids);
        }
        let stream = must!(conn, "XRANGE", P, format!("({first}"), "+");
        let all: Vec<_> = stream.array().iter().map(|entry| entry.at(0).str()).collect();
        let of_a = ids.iter().filter(|id| !others.contains(id)).map(String::as_str);
        assert!(of_a.eq(all.iter().copied().filter(|id| !others.contains(&(*id).to_owned()))));
        assert_eq!(ids.len(), all.len());
        assert_eq!(say(&mut conn, "EVQ.GROUPS RING r").at(0).get("lag").int(), 0);
    });
}

#[test]
fn at_the_bound_nack_is_refused_and_the_worker_can_still_acknowledge() {
    each_server(|server| {
        let mut conn = ring(&server);
        let of = |n: usize| args!["EVQ.TRIGGER", n, "p", "RING", "r"].to_vec();
        conn.pipeline(&(0..BOUND + 2).map(of).collect::<Vec<_>>());
        let nack =
            |id: &String| args!["EVQ.NACK", P, id, "WORKER", "w", "DELAY", 1_000_000].to_vec();
        for _ in 0..BOUND / 100 {
            let ids = take(&mut conn, "WORKER w COUNT 100").ids;
            for reply in conn.pipeline(&ids.iter().map(nack).collect::<Vec<_>>()) {
                assert_eq!(reply, Value::Array(Vec::new()));
            }
        }
        let rest = take(&mut conn, "WORKER w COUNT 10").ids;
        assert_eq!(rest.len(), 2);
        let digest = conn.digest();
        assert_eq!(refused(&mut conn, &format!("EVQ.NACK {P} {} WORKER w", rest[0])), "EVQLIMIT");
        assert_eq!(conn.digest(), digest);
        assert_eq!(must!(conn, "EVQ.ACK", P, rest[0], "WORKER", "w").int(), 1);
        // Poison that kills its worker still becomes dead, or the partition could not go on.
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 1").ok();
        say(&mut conn, &format!("EVQ.RELEASE {P} WORKER w")).ok();
        assert_eq!(take(&mut server.connect(), "WORKER v LEASE 1").ids, rest[1..]);
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(say(&mut conn, &format!("EVQ.CONSUME {P} WORKER w NOBLOCK")), Value::Null);
        assert_eq!(letters(&mut conn, "default").len(), 1);
        say(&mut conn, &format!("EVQ.SEEK default {P} last")).ok();
        assert_eq!(say(&mut conn, "EVQ.GROUPS RING r").at(0).get("lag").int(), 0);
    });
}

#[test]
fn retry_of_all_does_what_has_room_elsewhere() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2).ok();
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 1").ok();
        let of = |conn: &mut Conn, p: i64| {
            let at = |key: &String| must!(conn, "EVQ.ROUTE", key, "RING", "r").at(0).int() == p;
            (0..).map(|n| format!("k{n}")).find(at).expect("a key")
        };
        let (full, free) = (of(&mut conn, 0), of(&mut conn, 1));
        // A dead event in each, and the first partition at its bound.
        for (p, key) in [(0, &full), (1, &free)] {
            let id = events(&mut conn, &[(key, "dead")]).remove(0);
            must!(conn, "EVQ.CONSUME", p, "RING", "r", "WORKER", "w", "NOBLOCK");
            must!(conn, "EVQ.NACK", p, id, "RING", "r", "WORKER", "w");
        }
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 9").ok();
        let first = events(&mut conn, &[(&full, "first")]).remove(0);
        must!(conn, "EVQ.CONSUME", 0, "RING", "r", "WORKER", "w", "NOBLOCK");
        must!(conn, "EVQ.NACK", 0, first, "RING", "r", "WORKER", "w", "DELAY", 3_600_000);
        flood(&mut conn, &full, BOUND);
        while held(&mut conn) < BOUND as i64 - 1 {
            must!(conn, "EVQ.CONSUME", 0, "RING", "r", "WORKER", "w", "NOBLOCK");
        }
        let retry = "EVQ.DEAD default RETRY * * RING r";
        assert_eq!(say(&mut conn, retry).int(), 1);
        assert_eq!(refused(&mut conn, retry), "EVQLIMIT", "nothing can be done");
        let again = must!(conn, "EVQ.CONSUME", 1, "RING", "r", "WORKER", "w", "NOBLOCK");
        assert_eq!(again.at(2).at(0).at(1).get("payload").str(), "dead");
    });
}
