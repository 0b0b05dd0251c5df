//! What EVQ.MTRIGGER says of each event by itself: TYPES, HEADERS, UNIQUES.

use crate::harness::{Value, args, each_server, must, wait_for_sync};
use crate::travel::ids::{Chain, run_ahead};

fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

fn fields(entry: &Value) -> Vec<&str> {
    entry.at(1).array().iter().map(Value::str).collect()
}

#[test]
fn each_event_gets_its_own_type_and_headers() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let batch = args![
            "EVQ.MTRIGGER",
            3,
            "a",
            1,
            "b",
            2,
            "c",
            3,
            "HEADERS",
            "x",
            3,
            "x1",
            "",
            "x3",
            "types",
            3,
            "A",
            "B",
            "",
            "ring",
            "r",
            "HEADERS",
            "y",
            3,
            "",
            "",
            "y3",
            "UNIQUES",
            3,
            "t",
            "",
            "u"
        ];
        conn.must(&batch);
        let entries = must!(conn, "XRANGE", "evq:{r:0}", "-", "+");
        let entries: Vec<_> = entries.array().iter().map(fields).collect();
        let wanted: [&[&str]; 3] = [
            &["key", "a", "payload", "1", "type", "A", "h:x", "x1"],
            &["key", "b", "payload", "2", "type", "B"],
            &["key", "c", "payload", "3", "h:x", "x3", "h:y", "y3"],
        ];
        assert_eq!(entries, wanted);
    });
}

#[test]
fn a_wrong_number_of_values_is_err_and_nothing_is_written() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let digest = conn.digest();
        for wrong in [
            "TYPES 1 A",
            "TYPES 3 A B C",
            "TYPES 2 A",
            "TYPES 2 A B C",
            "TYPES 0",
            "TYPES",
            "TYPES A B",
            "TYPE T TYPES 2 A B",
            "TYPES 2 A B TYPE T",
            "TYPES 2 A B TYPES 2 A B",
            "HEADERS x 1 a",
            "HEADERS x 3 a b c",
            "HEADERS x 2 a",
            "HEADERS 2 a b",
            "HEADERS x",
            "HEADERS",
            "UNIQUES 1 t",
            "UNIQUES 3 t u v",
            "UNIQUES 2 t",
            "UNIQUES 2 t u UNIQUES 2 t u",
            "UNIQUE t",
            "HEADER a b",
            "UNIQUES -2 t u",
            "UNIQUES 99999999999999999999 t u",
        ] {
            let line = format!("EVQ.MTRIGGER 2 a 1 b 2 RING r {wrong}");
            let reply = conn.cmd(&words(&line));
            assert_eq!(reply.err_code(), "ERR", "{wrong}");
        }
        assert_eq!(conn.digest(), digest);
    });
}

#[test]
fn a_batch_has_as_many_headers_as_an_event() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let batch = |headers: usize| {
            let mut words = args!["EVQ.MTRIGGER", 1, "k", "p", "RING", "r"].to_vec();
            words.extend((0..headers).flat_map(|n| args!["HEADERS", format!("h{n}"), 1, n]));
            words
        };
        conn.must(&batch(64));
        let digest = conn.digest();
        assert_eq!(conn.cmd(&batch(65)).err_code(), "EVQLIMIT");
        assert_eq!(conn.digest(), digest);
    });
}

/// Some ids of a batch follow and some do not; some events are repeated: what travels by itself has
/// its own columns, and the replica, the file and whoever loads it hold the same.
#[test]
fn a_part_of_a_batch_travels_with_its_own_columns() {
    crate::harness::each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 4);
        run_ahead(&mut chain.conn, "r", 2);
        wait_for_sync(&chain.servers[0], &chain.servers[1]);
        for round in 0..30 {
            let count = 1 + round % 7;
            let mut batch = args!["EVQ.MTRIGGER", count].to_vec();
            batch.extend((0..count).flat_map(|n| args![format!("k{}", n * 5 % 8), n]));
            batch.extend(args!["RING", "r", "TYPES", count]);
            batch.extend((0..count).map(|n| if n % 3 == 0 { Vec::new() } else { b"T".to_vec() }));
            for header in ["x", "y"] {
                batch.extend(args!["HEADERS", header, count]);
                batch.extend((0..count).map(|n| format!("{header}{round}.{n}").into_bytes()));
            }
            batch.extend(args!["UNIQUES", count]);
            // Some come again in the next round, some twice in this one.
            let token = |n: usize| format!("{}", (round + n) / 2 % 9).into_bytes();
            batch.extend((0..count).map(|n| if n % 4 == 3 { Vec::new() } else { token(n) }));
            let reply = chain.conn.must(&batch);
            assert_eq!(reply.array().len(), count);
            if round % 10 == 0 {
                chain.assert_same();
            }
        }
        chain.assert_same_for_good();
    });
}
