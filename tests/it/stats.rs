//! EVQ.PENDING, EVQ.STATS and `INFO evq`: what they name, that it is so, and that all forms of a
//! reply say the same.

use serde_json::{Value as Json, json};

use crate::failing::{ack, again, clock_ms, events, nack};
use crate::harness::{Conn, PATIENCE, Value, each_server, must, until};
use crate::pull::{P, block, pull, ring, say, take, until_blocked};

/// A reply as JSON: maps of either protocol version as objects.
fn tree(value: &Value, as_map: &dyn Fn(&Value) -> bool) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Int(n) => json!(n),
        Value::Map(_) => object(value, as_map),
        Value::Array(_) if as_map(value) => object(value, as_map),
        Value::Array(items) => items.iter().map(|item| tree(item, as_map)).collect(),
        text => json!(text.str()),
    }
}

fn object(value: &Value, as_map: &dyn Fn(&Value) -> bool) -> Json {
    let pairs = value.map().into_iter();
    pairs.map(|(name, value)| (name.str().to_owned(), tree(value, as_map))).collect()
}

/// In RESP2 a map is a flat array that begins with its first field's name.
fn flat_map(value: &Value) -> bool {
    matches!(value.array().first(), Some(Value::Bulk(_)))
}

fn group(conn: &mut Conn) -> Value {
    say(conn, "EVQ.STATS r").get("partitions").at(0).get("groups").at(0).clone()
}

#[test]
fn resp2_resp3_and_json_say_the_same() {
    each_server(|server| {
        let (mut two, mut three) = (ring(&server), server.connect());
        three.hello3();
        say(&mut two, "EVQ.GROUP other RING r TYPES 1 T").ok();
        say(&mut two, "EVQ.GROUP default RING r MAXATTEMPTS 1").ok();
        let ids = events(&mut two, &[("a", "1"), ("b", "2"), ("a", "3")]);
        take(&mut two, "WORKER w COUNT 2");
        nack(&mut two, &ids[0], "WORKER w");
        // The ages go on between two calls, and the rate is that of the last second.
        let steady = |mut stats: Json| {
            for partition in stats["partitions"].as_array_mut().unwrap() {
                for group in partition["groups"].as_array_mut().unwrap() {
                    let group = group.as_object_mut().unwrap();
                    assert!(group.remove("oldest-unfinished-ms").is_some());
                    assert!(group.remove("deliveries-per-second").is_some());
                    assert!(group.remove("idle-ms").is_some());
                }
            }
            stats
        };
        let resp2 = steady(tree(&say(&mut two, "EVQ.STATS r"), &flat_map));
        let resp3 = steady(tree(&say(&mut three, "EVQ.STATS r"), &|_| false));
        let text = say(&mut two, "EVQ.STATS r JSON");
        let json = steady(serde_json::from_str(text.str()).unwrap());
        assert_eq!(resp2, json);
        assert_eq!(resp3, json);
        assert_eq!(json["partitions"][0]["length"], 3);
        let names: Vec<_> = json["partitions"][0]["groups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|g| &g["group"])
            .collect();
        assert_eq!(names, ["default", "other"]);
        for line in ["EVQ.GROUPS RING r", "EVQ.GROUP default RING r", &format!("EVQ.PENDING {P}")] {
            let steady = |mut reply: Json| {
                for row in reply.as_array_mut().into_iter().flatten() {
                    let row = row.as_object_mut().unwrap();
                    for field in ["oldest-unfinished-ms", "deliveries-per-second", "idle-ms"] {
                        row.remove(field);
                    }
                }
                reply
            };
            let resp2 = steady(tree(&say(&mut two, line), &flat_map));
            assert_eq!(resp2, steady(tree(&say(&mut three, line), &|_| false)), "{line}");
        }
    });
}

#[test]
fn pending_shows_every_state_with_its_worker_attempts_and_what_holds_it() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 2 ONDEAD hold").ok();
        let of = ["d", "r", "d", "r", "f", "r", "x"].map(|key| (key, "p"));
        let ids = events(&mut conn, &of);
        take(&mut conn, "WORKER w COUNT 7");
        for n in [0, 1] {
            nack(&mut conn, &ids[n], "WORKER w DELAY 0");
        }
        ack(&mut conn, &ids[3], "WORKER w");
        assert_eq!(again(&mut conn, "WORKER w AHEAD NOBLOCK").0.ids[0], ids[0]);
        nack(&mut conn, &ids[0], "WORKER w");
        let before = clock_ms(&mut conn);
        assert_eq!(again(&mut conn, "WORKER w AHEAD NOBLOCK").0.ids[0], ids[1]);
        let rows = say(&mut conn, &format!("EVQ.PENDING {P}"));
        let row = |n: usize| {
            let row = rows.at(n);
            let text = |field| tree(row.get(field), &flat_map);
            (
                text("id"),
                text("key"),
                text("state"),
                text("worker"),
                text("attempts"),
                text("behind"),
            )
        };
        let none = Json::Null;
        let (w, dead) = (json!("w"), json!("dead"));
        let flight = json!("in-flight");
        let expected = [
            (0, "d", dead, none.clone(), 2, none.clone()),
            (1, "r", flight.clone(), w.clone(), 2, none.clone()),
            (2, "d", json!("held"), none.clone(), 0, json!(ids[0])),
            (3, "r", json!("held"), none.clone(), 0, json!(ids[1])),
            (4, "f", flight.clone(), w.clone(), 1, none.clone()),
            (5, "r", json!("held"), none.clone(), 0, json!(ids[1])),
            (6, "x", flight, w, 1, none.clone()),
        ];
        assert_eq!(rows.array().len(), expected.len());
        for (n, key, state, worker, attempts, behind) in expected {
            let expected = (json!(ids[n]), json!(key), state, worker, json!(attempts), behind);
            assert_eq!(row(n), expected);
            assert!(rows.at(n).get("due-ms").is_null());
        }
        nack(&mut conn, &ids[4], "WORKER w DELAY 5000");
        let after = clock_ms(&mut conn);
        let due = say(&mut conn, &format!("EVQ.PENDING {P}")).at(4).get("due-ms").int();
        assert!((before + 5000..=after + 5000).contains(&u64::try_from(due).unwrap()));
        // The oldest first, and no more than asked for.
        for count in [1, 3, 6] {
            let some = say(&mut conn, &format!("EVQ.PENDING {P} COUNT {count}"));
            let some: Vec<_> = some.array().iter().map(|row| row.get("id").str()).collect();
            assert_eq!(some, ids[..count]);
        }
    });
}

#[test]
fn stats_tell_who_owns_a_partition_until_when_and_since_when_it_waits() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let stats = group(&mut conn);
        assert!(stats.get("owner").is_null() && stats.get("lease-ends-ms").is_null());
        assert_eq!(stats.get("epoch").int(), 0);
        let id = must!(conn, "XADD", P, "5-1", "key", "k").str().to_owned();
        let clock_ms = |conn: &mut Conn| i64::try_from(clock_ms(conn)).unwrap();
        let before = clock_ms(&mut conn);
        let stats = group(&mut conn);
        let after = clock_ms(&mut conn);
        assert_eq!(stats.get("oldest-unfinished-id").str(), id);
        let age = stats.get("oldest-unfinished-ms").int();
        assert!((before - 5..=after - 5).contains(&age), "{age}");
        let before = clock_ms(&mut conn);
        let epoch = take(&mut conn, "WORKER w LEASE 7000").epoch;
        let after = clock_ms(&mut conn);
        let stats = group(&mut conn);
        assert_eq!(stats.get("owner").str(), "w");
        assert_eq!(stats.get("epoch").int(), epoch);
        let ends = stats.get("lease-ends-ms").int();
        assert!((before + 7000..=after + 7000).contains(&ends));
        say(&mut conn, &format!("EVQ.RELEASE {P} WORKER w")).ok();
        let stats = group(&mut conn);
        assert!(stats.get("owner").is_null());
        assert!(stats.get("epoch").int() > epoch);
        // Who has no name is its connection.
        let mut worker = server.connect();
        take(&mut worker, "");
        let owner = format!("connection {}", worker.id());
        assert_eq!(group(&mut conn).get("owner").str(), owner);
        drop(worker);
        until(PATIENCE, || group(&mut conn).get("owner").is_null());
    });
}

#[test]
fn stats_and_info_count_what_happens() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, "EVQ.GROUP default RING r MAXATTEMPTS 2").ok();
        let ids = events(&mut conn, &[("a", "1"), ("b", "2"), ("c", "3")]);
        take(&mut conn, "WORKER w COUNT 3");
        nack(&mut conn, &ids[0], "WORKER w DELAY 0");
        ack(&mut conn, &ids[2], "WORKER w");
        again(&mut conn, "WORKER w NOBLOCK");
        nack(&mut conn, &ids[0], "WORKER w");
        assert_eq!(ack(&mut conn, &ids[2], "WORKER w"), 0);
        let stats = group(&mut conn);
        let of = |field| stats.get(field).int();
        let counts =
            ["deliveries", "retries", "dead", "dead-letters", "retrying", "held", "dead-held"];
        assert_eq!(counts.map(of), [4, 1, 1, 1, 0, 0, 0]);
        let number = |conn: &mut Conn, field: &str| -> u64 {
            let found = conn.info("evq", &format!("evq_{field}"));
            found.unwrap_or_else(|| panic!("no {field}")).parse().unwrap()
        };
        let fields =
            ["triggered", "delivered", "redelivered", "acknowledgements", "retries", "dead"];
        assert_eq!(fields.map(|field| number(&mut conn, field)), [3, 4, 1, 1, 1, 1]);
        assert_eq!(number(&mut conn, "leases_granted"), 1);
        let (mut owner, mut standby, mut any) =
            (server.connect(), server.connect(), server.connect());
        assert_eq!(take(&mut owner, "GROUP g COUNT 10").ids, ids);
        block(&mut conn, &mut owner, "GROUP g AHEAD BLOCK 0");
        block(&mut conn, &mut standby, "GROUP g BLOCK 0");
        any.send(&["EVQ.CONSUME", "*", "RING", "r", "GROUP", "g", "BLOCK", "0"]);
        until_blocked(&mut conn, 3);
        let waiting = ["owners_waiting", "standbys_waiting", "any_partition_waiting"];
        assert_eq!(waiting.map(|field| number(&mut conn, field)), [1, 1, 1]);
        drop((owner, standby, any));
        until_blocked(&mut conn, 0);
        assert_eq!(waiting.map(|field| number(&mut conn, field)), [0, 0, 0]);
        assert_eq!(pull(&mut conn, "WORKER w NOBLOCK"), None);
    });
}
