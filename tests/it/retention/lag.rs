//! Lags stay exact while retention trims, for groups too far behind to be counted at once.

use crate::failing::{ack, nack};
use crate::harness::{Conn, PATIENCE, args, each_server, must, until};
use crate::kept::ring_with;
use crate::pull::{P, say, take};

/// Lag of the group, whether it is exact, and the length of the stream.
fn stat(conn: &mut Conn) -> (i64, i64, i64) {
    let stats = say(conn, "EVQ.STATS r");
    let partition = stats.get("partitions").at(0);
    let group = partition.get("groups").at(0);
    let number = |field| group.get(field).int();
    (number("lag"), number("lag-exact"), partition.get("length").int())
}

fn backlog(conn: &mut Conn, events: usize) {
    let batch: Vec<_> =
        (0..5000).map(|n| args!["XADD", P, "*", "key", n % 1000].to_vec()).collect();
    for _ in 0..events / 5000 {
        conn.pipeline(&batch);
    }
}

#[test]
fn the_lag_stays_exact_while_what_is_finished_goes() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 60000");
        say(&mut conn, "EVQ.GROUP default RING r FROM first MAXATTEMPTS 3").ok();
        backlog(&mut conn, 100_000);
        until(PATIENCE, || stat(&mut conn).1 == 1);
        assert_eq!(stat(&mut conn), (100_000, 1, 100_000));
        for n in 1..=5 {
            let pull = take(&mut conn, "WORKER w COUNT 10000");
            assert_eq!(ack(&mut conn, pull.last(), "WORKER w"), 1);
            let (lag, exact, _) = stat(&mut conn);
            assert_eq!((lag, exact), (100_000 - 10_000 * n, 1));
        }
        // 50,000 are finished, of which 40,000 go, step by step.
        let mut lengths = Vec::new();
        until(PATIENCE, || {
            let (lag, exact, length) = stat(&mut conn);
            assert_eq!((lag, exact), (50_000, 1));
            lengths.push(length);
            length == 60_000
        });
        // It goes on from there, also with replies in flight, and with a failure.
        let ahead = "WORKER w COUNT 10000 AHEAD";
        let (one, two) = (take(&mut conn, ahead), take(&mut conn, ahead));
        nack(&mut conn, &one.ids[9000], "WORKER w DELAY 1000000");
        backlog(&mut conn, 10_000);
        until(PATIENCE, || stat(&mut conn).2 == 60_000);
        assert_eq!((stat(&mut conn).0, stat(&mut conn).1), (60_000, 1));
        assert_eq!(ack(&mut conn, one.last(), "WORKER w"), 1);
        assert_eq!((stat(&mut conn).0, stat(&mut conn).1), (50_001, 1));
        // Each thousandth event has the key of the failed one, and is held behind it.
        assert_eq!(ack(&mut conn, two.last(), "WORKER w"), 1);
        assert_eq!((stat(&mut conn).0, stat(&mut conn).1), (40_011, 1));
    });
}

#[test]
fn trim_any_takes_away_from_the_lag_what_it_removes() {
    each_server(|server| {
        let mut conn = ring_with(&server, "MAXLEN 70000 TRIM any");
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        backlog(&mut conn, 60_000);
        until(PATIENCE, || stat(&mut conn).1 == 1);
        let pull = take(&mut conn, "WORKER w COUNT 10000");
        ack(&mut conn, &pull.ids[4999], "WORKER w");
        assert_eq!(stat(&mut conn), (55_000, 1, 60_000));
        take(&mut conn, "WORKER w COUNT 10000");
        backlog(&mut conn, 40_000);
        // More goes than is finished, and more than was handed out in the first reply.
        until(PATIENCE, || {
            let (lag, exact, length) = stat(&mut conn);
            assert_eq!(exact, 1);
            // One of two: finished ones are left, or all that is left is to be done.
            assert_eq!(lag, length.min(95_000));
            length == 70_000
        });
        let first = must!(conn, "XRANGE", P, "-", "+", "COUNT", 1).at(0).at(0).str().to_owned();
        assert!(first > pull.ids[9999]);
        let rest = take(&mut conn, "WORKER w COUNT 10000");
        assert_eq!(ack(&mut conn, rest.last(), "WORKER w"), 1);
        let (lag, exact, length) = stat(&mut conn);
        let left = must!(conn, "XRANGE", P, format!("({}", rest.last()), "+").array().len();
        assert_eq!((lag, exact, length), (i64::try_from(left).unwrap(), 1, 70_000));
    });
}
