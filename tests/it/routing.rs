//! Where keys go: EVQ.ROUTE, EVQ.POINTS and EVQ.TRIGGER agree with each other and with uhashring,
//! whose own answers are in `tests/golden/ring.json`; and a partition can be named by its number
//! or by its stream key in every command.

use serde_json::Value as Json;

use crate::harness::{Arg, Conn, Value, args, cmd, each_server, must};

/// A ring of the golden file that EVQ.CREATE can make: partitions 0..N-1 in this order.
struct Case {
    name: String,
    weights: Vec<u64>,
    vnodes: u64,
    json: Json,
}

fn golden() -> (Vec<Vec<u8>>, Vec<Case>) {
    let golden: Json =
        serde_json::from_str(include_str!("../golden/ring.json")).expect("the golden file");
    let keys = array(&golden["keys"]).iter().map(|key| unhex(key[0].as_str().unwrap())).collect();
    let cases = array(&golden["cases"]).iter().filter_map(|case| {
        let partitions = array(&case["partitions"]);
        let in_order = partitions.iter().zip(0..).all(|(node, p)| node[0] == p);
        in_order.then(|| Case {
            name: case["name"].as_str().unwrap().to_owned(),
            weights: partitions.iter().map(|node| node[1].as_u64().unwrap()).collect(),
            vnodes: case["vnodes"].as_u64().unwrap(),
            json: case.clone(),
        })
    });
    (keys, cases.collect())
}

fn array(json: &Json) -> &[Json] {
    json.as_array().expect("an array")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

/// FNV-1a 64 of all points as `point:partition;`, as the golden file has it.
fn digest(points: &Value) -> String {
    let text: String = points
        .array()
        .iter()
        .map(|point| format!("{}:{};", point.at(0).int(), point.at(1).int()))
        .collect();
    let step = |value: u64, byte| (value ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

#[test]
fn every_key_and_point_is_where_uhashring_puts_it() {
    let (keys, cases) = golden();
    assert!(keys.len() > 200 && cases.len() >= 9, "the golden file is cut short");
    each_server(|server| {
        let mut conn = server.connect();
        for (n, case) in cases.iter().enumerate() {
            let ring = format!("r{n}");
            let mut create =
                args!["EVQ.CREATE", ring, case.weights.len(), "VNODES", case.vnodes, "WEIGHTS"]
                    .to_vec();
            create.extend(case.weights.iter().map(Arg::to_arg));
            conn.must(&create).ok();
            let points = must!(conn, "EVQ.POINTS", "RING", ring);
            assert_eq!(digest(&points), case.json["digest"].as_str().unwrap(), "{}", case.name);

            let routes: Vec<_> =
                keys.iter().map(|key| args!["EVQ.ROUTE", key, "RING", ring]).collect();
            let owners = array(&case.json["owners"]);
            assert_eq!(owners.len(), keys.len());
            for (reply, owner) in conn.pipeline(&routes).iter().zip(owners) {
                let owner = owner.as_i64().unwrap();
                assert_eq!(reply.at(0).int(), owner, "{}", case.name);
                assert_eq!(reply.at(1).str(), format!("evq:{{{ring}:{owner}}}"));
                assert_eq!(reply.array().len(), 2);
            }
        }
    });
}

#[test]
fn an_event_goes_where_route_says() {
    let (keys, _) = golden();
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "weights", 3, "WEIGHTS", 1, 2, 3);
        for ring in ["default", "weights"] {
            for key in &keys {
                let route = must!(conn, "EVQ.ROUTE", key, "RING", ring);
                let event = must!(conn, "EVQ.TRIGGER", key, "p", "RING", ring);
                assert_eq!(event.at(0), route.at(0));
                let last = must!(conn, "XREVRANGE", route.at(1).bytes(), "+", "-", "COUNT", 1);
                assert_eq!(last.at(0).at(0), event.at(1));
                assert_eq!(last.at(0).at(1).at(1).bytes(), key);
                let batch = must!(conn, "EVQ.MTRIGGER", 1, key, "p", "RING", ring);
                assert_eq!(batch.at(0).at(0), route.at(0));
            }
        }
    });
}

#[test]
fn a_client_can_route_by_the_points() {
    let (keys, _) = golden();
    let golden: Json = serde_json::from_str(include_str!("../golden/ring.json")).unwrap();
    let hashes: Vec<i64> = array(&golden["keys"]).iter().map(|k| k[1].as_i64().unwrap()).collect();
    each_server(|server| {
        let mut conn = server.connect();
        let points = must!(conn, "EVQ.POINTS");
        let points: Vec<(i64, i64)> =
            points.array().iter().map(|p| (p.at(0).int(), p.at(1).int())).collect();
        assert!(points.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(points.len(), 1280);
        for (key, hash) in keys.iter().zip(&hashes) {
            let next = points.iter().find(|(point, _)| point > hash).unwrap_or(&points[0]);
            assert_eq!(must!(conn, "EVQ.ROUTE", key).at(0).int(), next.1);
        }
    });
}

#[test]
fn a_read_of_the_default_ring_does_not_make_it() {
    each_server(|server| {
        let mut conn = server.connect();
        let route = must!(conn, "EVQ.ROUTE", "k");
        let points = must!(conn, "EVQ.POINTS");
        let share = must!(conn, "EVQ.RING").clone();
        assert_eq!(must!(conn, "DBSIZE").int(), 0);
        assert!(must!(conn, "EVQ.RINGS").array().is_empty());
        must!(conn, "EVQ.CREATE", "default", 8);
        assert_eq!(must!(conn, "EVQ.ROUTE", "k"), route);
        assert_eq!(must!(conn, "EVQ.POINTS"), points);
        assert_eq!(must!(conn, "EVQ.RING"), share);
    });
}

/// Consumes everything of a partition, word by word as given, and finishes it.
fn work(conn: &mut Conn, partition: &[&str], events: usize) -> Vec<Value> {
    let with = |head: &[&str], tail: &[&str]| {
        let parts = [head, partition, tail];
        parts.into_iter().flatten().map(|word| Arg::to_arg(*word)).collect::<Vec<_>>()
    };
    // The partition comes first and RING is an option, so an id goes between the two.
    let ack = |id: &str| {
        let mut words = args!["EVQ.ACK", partition[0], id].to_vec();
        words.extend(partition[1..].iter().map(Arg::to_arg));
        words
    };
    let reply = conn.must(&with(&["EVQ.CONSUME"], &["NOBLOCK", "COUNT", "100"]));
    let given = reply.at(2).array().to_vec();
    assert_eq!(given.len(), events);
    conn.must(&with(&["EVQ.EXTEND"], &["LEASE", "60000"])).ok();
    assert_eq!(conn.must(&ack(given[0].at(0).str())).int(), 1);
    let last = given[events - 1].at(0).str().to_owned();
    let rest = conn.must(&with(&["EVQ.CONSUME"], &["NOBLOCK", "ACK", &last]));
    assert!(rest.is_null(), "{rest:?}");
    assert_eq!(conn.must(&ack(&last)).int(), 0);
    conn.must(&with(&["EVQ.RELEASE"], &[])).ok();
    given
}

#[test]
fn a_partition_is_named_by_number_or_by_stream_key() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "a.b-C_1", 2);
        for ring in ["default", "a.b-C_1"] {
            let forms: [&[&str]; 3] = [
                &["1", "RING", ring],
                &[&format!("evq:{{{ring}:1}}")],
                &[&format!("evq:{{{ring}:1}}"), "ring", ring],
            ];
            for form in forms {
                let ids: Vec<_> = (0..3)
                    .map(|_| must!(conn, "XADD", format!("evq:{{{ring}:1}}"), "*", "key", "k"))
                    .collect();
                // The default ring is made by its first use; by hand nothing makes it.
                let given = work(&mut conn, form, 3);
                assert_eq!(given.iter().map(|e| e.at(0).clone()).collect::<Vec<_>>(), ids);
            }
        }
        assert!(cmd!(conn, "EVQ.CONSUME", 1, "NOBLOCK").is_null());
    });
}

#[test]
fn a_stream_key_of_another_ring_than_ring_is_an_error() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "a", 2);
        must!(conn, "EVQ.CREATE", "b", 2);
        for (command, more) in
            [("CONSUME", None), ("ACK", Some("1-1")), ("EXTEND", None), ("RELEASE", None)]
        {
            let ask = |conn: &mut Conn, partition: &str, ring: &[&str]| {
                let words = [&format!("EVQ.{command}"), partition];
                let all = words.into_iter().chain(more).chain(ring.iter().copied());
                conn.cmd(&all.collect::<Vec<_>>()).err_code().to_owned()
            };
            assert_eq!(ask(&mut conn, "evq:{a:1}", &["RING", "b"]), "ERR", "{command}");
            assert_eq!(ask(&mut conn, "evq:{a:2}", &[]), "EVQNOPARTITION", "{command}");
            assert_eq!(ask(&mut conn, "2", &["RING", "a"]), "EVQNOPARTITION", "{command}");
            assert_eq!(ask(&mut conn, "4294967297", &["RING", "a"]), "EVQNOPARTITION", "{command}");
            assert_eq!(ask(&mut conn, "evq:{c:1}", &[]), "EVQNORING", "{command}");
            for bad in ["evq:{a:01}", "evq:{a}", "evq:{a:1}:groups", "evq:{a:1} ", "one", "-1"] {
                assert_eq!(ask(&mut conn, bad, &[]), "ERR", "{command} {bad}");
            }
        }
    });
}
