//! `JSON`: every command that describes something gives the same as one document, and nothing is
//! lost in it that is not text.

use serde_json::{Value as Json, json};

use crate::failing::nack;
use crate::harness::{Conn, Value, each_server, must};
use crate::pull::{P, refused, ring, say, take};

fn document(conn: &mut Conn, line: &str) -> Json {
    let reply = say(conn, line);
    serde_json::from_str(reply.str()).unwrap_or_else(|error| panic!("{line}: {error}: {reply:?}"))
}

/// A reply of RESP3 as JSON: all of its texts are UTF-8.
fn tree(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Int(n) => json!(n),
        Value::Map(pairs) => {
            pairs.iter().map(|(name, value)| (name.str().to_owned(), tree(value))).collect()
        }
        Value::Array(items) => items.iter().map(tree).collect(),
        text => json!(text.str()),
    }
}

/// Takes out what goes on by itself between two looks.
fn stop_the_clock(reply: &mut Json) {
    match reply {
        Json::Array(items) => items.iter_mut().for_each(stop_the_clock),
        Json::Object(fields) => {
            for name in ["oldest-unfinished-ms", "idle-ms", "deliveries-per-second"] {
                fields.remove(name);
            }
            fields.values_mut().for_each(stop_the_clock);
        }
        _ => {}
    }
}

#[test]
fn every_description_is_also_one_document() {
    each_server(|server| {
        let mut conn = ring(&server);
        conn.hello3();
        must!(conn, "EVQ.CREATE", "other", 2).ok();
        say(&mut conn, "EVQ.GROUP default RING other FROM first").ok();
        say(&mut conn, "EVQ.GROUP default RING r TYPES 2 T U MAXATTEMPTS 1 ONDEAD hold").ok();
        for n in 0..3 {
            let headers = ["HEADER", "user", "17", "HEADER", "trace", "a b"];
            let event = ["EVQ.TRIGGER", "k", ["x", "{}", ""][n], "RING", "r", "TYPE", "T"];
            conn.must(&[&event[..], &headers[..]].concat());
        }
        let given = take(&mut conn, "WORKER w COUNT 3");
        nack(&mut conn, &given.ids[0], "WORKER w REASON why");
        let mut same = |line: &str, text: &str| {
            // The age goes on between the two.
            let steady = |mut reply: Json| {
                stop_the_clock(&mut reply);
                reply
            };
            let native = steady(tree(&say(&mut conn, line)));
            assert_eq!(native, steady(document(&mut conn, text)), "{line}");
        };
        same("EVQ.RINGS", "EVQ.RINGS json");
        same("EVQ.STATS r", "EVQ.STATS r JSON");
        same("EVQ.STATS r PARTITION 0 GROUP default", "EVQ.STATS r JSON GROUP default PARTITION 0");
        same("EVQ.GROUP default RING r", "EVQ.GROUP default JSON RING r");
        same("EVQ.GROUPS RING r", "EVQ.GROUPS JSON RING r");
        same("EVQ.PENDING 0 RING r", "EVQ.PENDING 0 JSON RING r COUNT 100");
        // The fields of a letter are names and values in turn, and each an object as JSON.
        let list = say(&mut conn, "EVQ.DEAD default LIST * RING r");
        let found = document(&mut conn, "EVQ.DEAD default LIST * RING r JSON");
        let letter = list.at(0);
        assert_eq!(found[0]["partition"], letter.at(0).int());
        assert_eq!(found[0]["letter"], letter.at(1).str());
        let fields = letter.at(2).array().chunks(2);
        let fields = fields.map(|of| json!({ "name": of[0].str(), "value": of[1].str() }));
        assert_eq!(found[0]["fields"], fields.collect::<Json>());
        let names = found[0]["fields"].as_array().unwrap().iter();
        let names: Vec<_> = names.map(|field| field["name"].as_str().unwrap()).collect();
        let event = ["id", "key", "payload", "type", "h:user", "h:trace"];
        assert_eq!(names[..6], event);
        assert_eq!(names[6..], ["attempts", "reason", "worker", "first-ms", "last-ms"]);
        assert_eq!(document(&mut conn, "EVQ.DEAD default LIST * RING other JSON"), json!([]));
    });
}

#[test]
fn what_is_no_text_is_exact_natively_and_in_base64_as_json() {
    each_server(|server| {
        let mut conn = ring(&server);
        must!(conn, "EVQ.GROUP", "g", "RING", "r", "TYPES", 2, "T", b"\xff\0").ok();
        must!(conn, "EVQ.GROUP", "g", "RING", "r", "MAXATTEMPTS", 1).ok();
        let group = say(&mut conn, "EVQ.GROUP g RING r");
        let types: Vec<_> = group.get("types").array().iter().map(Value::bytes).collect();
        assert_eq!(types, [&b"T"[..], b"\xff\0"]);
        let found = document(&mut conn, "EVQ.GROUP g RING r JSON");
        assert_eq!(found["types-base64"], json!(["VA==", "/wA="]));
        assert_eq!(found.get("types"), None);

        let (key, payload, name) = (b"k\xfe", b"\x80\x81", b"n\xfd");
        must!(
            conn,
            "EVQ.TRIGGER",
            key,
            payload,
            "RING",
            "r",
            "TYPE",
            b"\xff\0",
            "HEADER",
            name,
            "v"
        );
        must!(conn, "EVQ.TRIGGER", "gr\u{fc}n", "p", "RING", "r", "TYPE", "T");
        let given = must!(conn, "EVQ.CONSUME", P, "GROUP", "g", "WORKER", "w", "COUNT", 2);
        let rows = say(&mut conn, &format!("EVQ.PENDING {P} GROUP g"));
        assert_eq!(rows.at(0).get("key").bytes(), key);
        let found = document(&mut conn, &format!("EVQ.PENDING {P} GROUP g JSON"));
        assert_eq!((&found[0]["key-base64"], found[0].get("key")), (&json!("a/4="), None));
        assert_eq!((&found[1]["key"], found[1].get("key-base64")), (&json!("gr\u{fc}n"), None));

        let id = given.at(2).at(0).at(0).str().to_owned();
        must!(conn, "EVQ.NACK", P, id, "GROUP", "g", "WORKER", "w", "REASON", b"\xc3");
        let letter = say(&mut conn, "EVQ.DEAD g LIST * RING r").at(0).at(2).clone();
        let bytes: Vec<_> = letter.array().iter().map(Value::bytes).collect();
        let pairs: Vec<_> = bytes.chunks(2).map(|of| (of[0], of[1])).collect();
        for pair in [
            (&b"key"[..], &key[..]),
            (b"payload", payload),
            (b"type", b"\xff\0"),
            (b"h:n\xfd", b"v"),
            (b"reason", b"\xc3"),
        ] {
            assert!(pairs.contains(&pair), "{pairs:?}");
        }
        let found = document(&mut conn, "EVQ.DEAD g LIST * RING r JSON");
        let fields = found[0]["fields"].as_array().unwrap();
        for field in [
            json!({ "name": "key", "value-base64": "a/4=" }),
            json!({ "name": "payload", "value-base64": "gIE=" }),
            json!({ "name": "type", "value-base64": "/wA=" }),
            json!({ "name-base64": "aDpu/Q==", "value": "v" }),
            json!({ "name": "reason", "value-base64": "ww==" }),
            json!({ "name": "attempts", "value": "1" }),
        ] {
            assert!(fields.contains(&field), "{field}: {fields:?}");
        }
    });
}

#[test]
fn json_is_for_what_is_described() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, "EVQ.GROUP g RING r FROM first").ok();
        for line in [
            "EVQ.GROUP g RING r JSON MAXATTEMPTS 3",
            "EVQ.GROUP g RING r MAXATTEMPTS 3 JSON",
            "EVQ.GROUP g RING r JSON JSON",
            "EVQ.RINGS JSON JSON",
            "EVQ.RINGS r",
            "EVQ.DEAD g RETRY * * RING r JSON",
            "EVQ.DEAD g LIST * RING r JSON JSON",
        ] {
            let digest = conn.digest();
            assert_eq!(refused(&mut conn, line), "ERR", "{line}");
            assert_eq!(conn.digest(), digest, "{line}");
        }
        assert_eq!(refused(&mut conn, "EVQ.GROUP none RING r JSON"), "EVQNOGROUP");
    });
}
