//! EVQ.CREATE and EVQ.RING: making rings and describing them. What becomes of rings later is the
//! subject of `ring_life`.

use serde_json::{Value as Json, json};

use crate::harness::{Conn, Value, args, cmd, each_server, must};

/// Fails unless `reply` says what `json` says.
fn assert_says(reply: &Value, json: &Json) {
    match json {
        Json::Object(object) => {
            let pairs = reply.map();
            assert_eq!(pairs.len(), object.len());
            for (name, value) in pairs {
                assert_says(value, &object[name.str()]);
            }
        }
        Json::Array(items) => {
            assert_eq!(reply.array().len(), items.len());
            reply.array().iter().zip(items).for_each(|(part, item)| assert_says(part, item));
        }
        Json::Number(n) if n.is_f64() => {
            assert!((reply.double() - n.as_f64().unwrap()).abs() < 1e-12, "{reply:?} {n}");
        }
        Json::Number(n) => assert_eq!(Some(reply.int()), n.as_i64()),
        Json::String(text) => assert_eq!(reply.str(), text),
        Json::Null => assert!(reply.is_null()),
        Json::Bool(_) => panic!("no flag is in a description"),
    }
}

/// The description as JSON, after checking that RESP2 and RESP3 say the same.
fn described(flat: &mut Conn, mapped: &mut Conn, ring: &[&str]) -> Json {
    let words = |format: Option<&'static str>| -> Vec<String> {
        let all = ["EVQ.RING"].into_iter().chain(ring.iter().copied()).chain(format);
        all.map(str::to_owned).collect()
    };
    let document: Json = serde_json::from_slice(flat.must(&words(Some("JSON"))).bytes()).unwrap();
    assert_eq!(mapped.must(&words(Some("json"))), flat.must(&words(Some("JSON"))));
    let map = mapped.must(&words(None));
    assert!(matches!(map, Value::Map(_)), "{map:?}");
    assert_says(&map, &document);
    let array = flat.must(&words(None));
    assert!(matches!(array, Value::Array(_)), "{array:?}");
    assert_says(&array, &document);
    document
}

#[test]
fn a_ring_is_described_alike_in_resp2_resp3_and_json() {
    each_server(|server| {
        let (mut flat, mut mapped) = (server.connect(), server.connect());
        mapped.hello3();
        must!(flat, "EVQ.CREATE", "r", 2, "VNODES", 10, "WEIGHTS", 1, 3, "PAYLOAD", "JSON");
        let first = must!(flat, "XADD", "evq:{r:1}", "*", "key", "a").str().to_owned();
        let last = must!(flat, "XADD", "evq:{r:1}", "*", "key", "b").str().to_owned();
        let mut ring = described(&mut flat, &mut mapped, &["r"]);
        let shares: Vec<f64> = (0..2)
            .map(|p| ring["partitions"][p]["share"].take().as_f64().expect("a share"))
            .collect();
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{shares:?}");
        assert!(shares[0] > 0.0 && shares[1] > shares[0], "{shares:?}");
        let partition = |p, weight, length, first: Option<&str>, last: Option<&str>| {
            json!({
                "partition": p, "key": format!("evq:{{r:{p}}}"), "state": "active",
                "weight": weight, "length": length, "first-id": first, "last-id": last,
                "share": null,
            })
        };
        let expected = json!({
            "name": "r", "generation": 1, "hash": "murmur3_x86_32", "seed": 0, "vnodes": 10,
            "payload": "json", "max-depth": null, "max-length": null, "max-age-ms": 0,
            "trim": "finished", "unique-for-ms": 300_000,
            "partitions": [
                partition(0, 1, 0, None, None),
                partition(1, 3, 2, Some(&first), Some(&last)),
            ],
            "resizing": null,
        });
        assert_eq!(ring, expected);
    });
}

#[test]
fn the_default_ring_is_described_before_it_is_made() {
    each_server(|server| {
        let (mut flat, mut mapped) = (server.connect(), server.connect());
        mapped.hello3();
        let before = described(&mut flat, &mut mapped, &[]);
        assert_eq!(before["name"], "default");
        assert_eq!(before["vnodes"], 160);
        assert_eq!(before["partitions"].as_array().unwrap().len(), 8);
        assert_eq!(before, described(&mut flat, &mut mapped, &["default"]));
        assert_eq!(must!(flat, "DBSIZE").int(), 0);

        // The settings of the moment of the first use count.
        must!(flat, "CONFIG", "SET", "evq.partitions", 3, "evq.vnodes", 7);
        let then = described(&mut flat, &mut mapped, &[]);
        assert_eq!(then["partitions"].as_array().unwrap().len(), 3);
        must!(flat, "EVQ.TRIGGER", "k", "p");
        must!(flat, "CONFIG", "SET", "evq.partitions", 5);
        let mut made = described(&mut flat, &mut mapped, &[]);
        for partition in made["partitions"].as_array_mut().unwrap() {
            partition["length"] = json!(0);
            partition["first-id"] = Json::Null;
            partition["last-id"] = Json::Null;
        }
        assert_eq!(made, then);
    });
}

#[test]
fn the_word_json_alone_is_the_format() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "json", 1);
        let name = |reply: &Value| {
            let ring: Json = serde_json::from_slice(reply.bytes()).unwrap();
            ring["name"].as_str().unwrap().to_owned()
        };
        assert_eq!(name(&must!(conn, "EVQ.RING", "json")), "default");
        assert_eq!(name(&must!(conn, "EVQ.RING", "json", "JSON")), "json");
        assert_eq!(cmd!(conn, "EVQ.RING", "json", "json", "json").err_code(), "ERR");
        assert_eq!(cmd!(conn, "EVQ.RING", "none").err_code(), "EVQNORING");
    });
}

#[test]
fn creating_the_same_ring_again_is_fine_and_another_is_not() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2).ok();
        must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r");
        let digest = conn.digest();
        let same: [&[&str]; 4] = [
            &["2"],
            &["2", "VNODES", "160"],
            &["2", "weights", "1", "1", "payload", "any"],
            &["2", "PAYLOAD", "ANY", "VNODES", "160", "WEIGHTS", "1", "1"],
        ];
        for shape in same {
            conn.must(&[&["EVQ.CREATE", "r"], shape].concat()).ok();
        }
        let other: [&[&str]; 4] = [
            &["3"],
            &["2", "VNODES", "161"],
            &["2", "WEIGHTS", "1", "2"],
            &["2", "PAYLOAD", "json"],
        ];
        for shape in other {
            let reply = conn.cmd(&[&["EVQ.CREATE", "r"], shape].concat());
            assert_eq!(reply.err_code(), "EVQRINGEXISTS", "{shape:?}");
        }
        // A ring that was made by its first use is as any other.
        must!(conn, "EVQ.TRIGGER", "k", "p");
        must!(conn, "EVQ.CREATE", "default", 8).ok();
        assert_eq!(cmd!(conn, "EVQ.CREATE", "default", 9).err_code(), "EVQRINGEXISTS");
        must!(conn, "EVQ.DROP", "default");
        assert_eq!(conn.digest(), digest);
    });
}

#[test]
fn creating_the_same_ring_again_is_fine_after_the_setting_has_changed() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2).ok();
        // With 256 virtual nodes it would have more points than a ring may have.
        must!(conn, "EVQ.CREATE", "most", 2, "WEIGHTS", 1000, 600).ok();
        for vnodes in [80, 256] {
            must!(conn, "CONFIG", "SET", "evq.vnodes", vnodes).ok();
            must!(conn, "EVQ.CREATE", "r", 2).ok();
            must!(conn, "EVQ.CREATE", "r", 2, "VNODES", 160).ok();
            must!(conn, "EVQ.CREATE", "most", 2, "WEIGHTS", 1000, 600).ok();
            let other = cmd!(conn, "EVQ.CREATE", "r", 2, "VNODES", vnodes);
            assert_eq!(other.err_code(), "EVQRINGEXISTS");
        }
    });
}

#[test]
fn a_ring_without_vnodes_takes_the_setting() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "CONFIG", "SET", "evq.vnodes", 12);
        must!(conn, "EVQ.CREATE", "r", 2);
        assert_eq!(must!(conn, "EVQ.RING", "r").get("vnodes").int(), 12);
        // Only the default ring's number of partitions is a setting.
        must!(conn, "EVQ.CREATE", "s", 1024, "VNODES", 1);
        assert_eq!(must!(conn, "EVQ.RING", "s").get("partitions").array().len(), 1024);
    });
}

#[test]
fn a_ring_stays_within_the_documented_limits() {
    each_server(|server| {
        let mut conn = server.connect();
        let over: [&[&str]; 5] = [
            &["1025"],
            &["2000000000"],
            &["1", "VNODES", "4097"],
            &["1", "WEIGHTS", "1001"],
            &["1024", "VNODES", "257"],
        ];
        for shape in over {
            let reply = conn.cmd(&[&["EVQ.CREATE", "r"], shape].concat());
            assert_eq!(reply.err_code(), "EVQLIMIT", "{shape:?}");
            assert!(reply.err().contains("at most "), "{reply:?}");
        }
        // MAXLEN and the like do not exist yet; WEIGHTS takes exactly one per partition.
        let odd: [&[&str]; 10] = [
            &["0"],
            &["2", "WEIGHTS", "1"],
            &["2", "WEIGHTS", "1", "1", "1"],
            &["2", "WEIGHTS", "0", "1"],
            &["2", "MAXLEN", "0"],
            &["2", "MAXDEPTH", "0"],
            &["2", "MAXAGE", "-1"],
            &["2", "TRIM", "all"],
            &["2", "TRIM"],
            &["2", "PAYLOAD", "xml"],
        ];
        for shape in odd {
            let reply = conn.cmd(&[&["EVQ.CREATE", "r"], shape].concat());
            assert_eq!(reply.err_code(), "ERR", "{shape:?}");
        }
        assert_eq!(must!(conn, "DBSIZE").int(), 0);
        must!(conn, "EVQ.CREATE", "r", 1024, "VNODES", 256).ok();
    });
}

#[test]
fn a_json_ring_takes_json_and_tells_where_else_it_stops() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "PAYLOAD", "json");
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        let huge = [&b"-1"[..], &[b'0'; 1_000_000], b"e+", &[b'9'; 1_000_000]].concat();
        let good: [&[u8]; 12] = [
            b"{}",
            b" [1, 2.5e3, null] ",
            b"\"\xc3\xa9 \\ud83d\\ude00\"",
            b"-0",
            b"true",
            b"{\"a\":1,\"a\":2}",
            b"\"\"",
            &deep,
            // What a number or a string means is for who reads it: the grammar allows these.
            &huge,
            b"1e999999999",
            b"\"\\ud800 \\udc00\\ud800\"",
            b"\"\\u0000 \xf4\x8f\xbf\xbf\"",
        ];
        for payload in good {
            must!(conn, "EVQ.TRIGGER", "k", payload, "RING", "r");
        }
        let digest = conn.digest();
        let unclosed = vec![b'['; 100_000];
        let crossed = [&deep[..150_000], b"}"].concat();
        let bad: [(&[u8], &str); 24] = [
            (b"", "line 1 column 0"),
            (b"secret", "line 1 column 1"),
            (b"{\"a\":\n\n  secret}", "line 3 column 3"),
            (b"{} secret", "line 1 column 4"),
            (b"{\"secret\":", "line 1 column 10"),
            (b"\0", "line 1 column 1"),
            (b"\"\xff\xfe\"", "line 1 column 2"),
            (b"[\n\"a\xc3\"]", "line 2 column 3"),
            (b"\"sec\nret\"", "line 1 column 4"),
            (b"[1,]", "line 1 column 4"),
            (&unclosed, "line 1 column 100000"),
            (&crossed, "line 1 column 150001"),
            (b"\xef\xbb\xbf{}", "line 1 column 1"),
            (b"{}\0", "line 1 column 3"),
            (b"\"a\0b\"", "line 1 column 2"),
            (b"{}{}", "line 1 column 3"),
            (b"\"\xed\xa0\x80\"", "line 1 column 2"),
            (b"\"\\ud80\"", "line 1 column 7"),
            (b"\"\\x\"", "line 1 column 3"),
            (b"01", "line 1 column 2"),
            (b"+1", "line 1 column 1"),
            (b"1.", "line 1 column 2"),
            (b"NaN", "line 1 column 1"),
            (b"'a'", "line 1 column 1"),
        ];
        for (payload, place) in bad {
            let reply = cmd!(conn, "EVQ.TRIGGER", "k", payload, "RING", "r");
            let expected = format!("EVQPAYLOAD the payload is not JSON: {place}");
            assert_eq!(reply.err(), expected, "{}", payload.escape_ascii());
            let batch = args!["EVQ.MTRIGGER", 2, "k", "{}", "k", payload, "RING", "r"];
            assert_eq!(conn.cmd(&batch).err(), expected);
        }
        assert_eq!(conn.digest(), digest);
    });
}

#[test]
fn a_hundred_megabytes_of_json_are_checked_to_their_end() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "PAYLOAD", "json");
        let size = 100_000_000;
        let text = [&b"\""[..], &vec![b'x'; size], b"\""].concat();
        let depth = 2_000_000;
        let nested = [vec![b'['; depth], vec![b']'; depth]].concat();
        let mut send = |payload: &[u8]| {
            let head = format!("*5\r\n$11\r\nEVQ.TRIGGER\r\n$1\r\nk\r\n${}\r\n", payload.len());
            conn.send_raw(head.as_bytes());
            conn.send_raw(payload);
            conn.send_raw(b"\r\n$4\r\nRING\r\n$1\r\nr\r\n");
            conn.read()
        };
        let full = |at: usize| format!("EVQPAYLOAD the payload is not JSON: line 1 column {at}");
        assert_eq!(send(&text[..size + 1]).err(), full(size + 1));
        assert_eq!(send(&nested[..2 * depth - 1]).err(), full(2 * depth - 1));
        for good in [&text, &nested] {
            assert!(!send(good).is_error());
        }
        assert_eq!(must!(conn, "XLEN", "evq:{r:0}").int(), 2);
    });
}
