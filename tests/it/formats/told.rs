//! What a server told about its data, kept as JSON, and whether another one tells the same.

use serde_json::{Value as Json, json};

use crate::harness::{Binary, Conn, Value, must};

/// Fields that do not outlive a server, or are ages.
const VOLATILE: [&str; 10] = [
    "oldest-unfinished-ms",
    "owner",
    "owners",
    "in-flight",
    "lease-ends-ms",
    "deliveries",
    "retries",
    "dead",
    "deliveries-per-second",
    "idle-ms",
];

/// Questions with their answers, and what was handed out afterwards.
pub(super) struct Told {
    json: Json,
}

impl Told {
    pub(super) fn parse(text: &str) -> Self {
        Self { json: serde_json::from_str(text).expect("JSON") }
    }

    /// Asks `questions`, lines of plain words, each in its database.
    pub(super) fn ask(conn: &mut Conn, questions: &[(i64, String)]) -> Self {
        let asked: Vec<Json> = questions
            .iter()
            .map(|(db, line)| json!({"db": db, "asked": line, "reply": reply(conn, *db, line)}))
            .collect();
        Self { json: json!({ "asked": asked, "then": [] }) }
    }

    /// Pulls by each of `lines` and keeps the events, whatever their epoch.
    pub(super) fn go_on(&mut self, conn: &mut Conn, lines: &[String]) {
        let then = lines.iter().map(|line| json!({"asked": line, "events": events(conn, line)}));
        self.json["then"] = then.collect();
    }

    /// One question a line, so that a change is readable in a diff.
    pub(super) fn to_text(&self, binary: &Binary) -> String {
        let program = binary.program.rsplit('/').next().unwrap_or_default();
        let (major, minor, patch) = binary.version;
        let lines = |of: &Json| {
            let lines = of.as_array().expect("an array").iter().map(Json::to_string);
            lines.collect::<Vec<_>>().join(",\n")
        };
        format!(
            "{{\n\"evq\":\"{}\",\n\"server\":\"{program} {major}.{minor}.{patch}\",\n\
             \"asked\":[\n{}\n],\n\"then\":[\n{}\n]\n}}\n",
            env!("CARGO_PKG_VERSION"),
            lines(&self.json["asked"]),
            lines(&self.json["then"]),
        )
    }

    /// Fails unless the server tells all that was told.
    pub(super) fn check(&self, conn: &mut Conn) {
        for entry in self.json["asked"].as_array().expect("an array") {
            let (db, line) = (entry["db"].as_i64().unwrap(), entry["asked"].as_str().unwrap());
            let now = reply(conn, db, line);
            assert!(includes(&now, &entry["reply"]), "{line}:\n{now}\nwas\n{}", entry["reply"]);
        }
        must!(conn, "SELECT", 0);
    }

    /// Fails unless the same is handed out.
    pub(super) fn check_going_on(&self, conn: &mut Conn) {
        let then = self.json["then"].as_array().expect("an array");
        assert!(!then.is_empty(), "nothing is handed out");
        for entry in then {
            let line = entry["asked"].as_str().unwrap();
            assert_eq!(events(conn, line), entry["events"], "{line}");
        }
    }
}

fn reply(conn: &mut Conn, db: i64, line: &str) -> Json {
    must!(conn, "SELECT", db);
    conn.hello3();
    let words: Vec<&str> = line.split(' ').collect();
    of(&conn.must(&words))
}

fn events(conn: &mut Conn, line: &str) -> Json {
    let words: Vec<&str> = line.split(' ').collect();
    let reply = conn.must(&words);
    if reply.is_null() { Json::Null } else { of(reply.at(2)) }
}

/// A reply as JSON. Bytes that are no text are escaped.
fn of(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Int(n) => json!(n),
        // As text: not every reader of JSON gives back the same number.
        Value::Double(n) => json!(n.to_string()),
        Value::Bulk(bytes) => json!(bytes.escape_ascii().to_string()),
        Value::Simple(text) => json!(text),
        Value::Array(items) => items.iter().map(of).collect(),
        Value::Map(pairs) => {
            let kept = pairs.iter().filter(|(name, _)| !VOLATILE.contains(&name.str()));
            Json::Object(kept.map(|(name, value)| (name.str().to_owned(), of(value))).collect())
        }
        other => panic!("no reply of these commands: {other:?}"),
    }
}

/// Whether `now` has everything that `then` has. A later version may add fields to a map.
fn includes(now: &Json, then: &Json) -> bool {
    match (now, then) {
        (Json::Object(now), Json::Object(then)) => {
            then.iter().all(|(name, value)| now.get(name).is_some_and(|now| includes(now, value)))
        }
        (Json::Array(now), Json::Array(then)) => {
            now.len() == then.len() && now.iter().zip(then).all(|(now, then)| includes(now, then))
        }
        _ => now == then,
    }
}

#[test]
fn a_field_may_be_added_and_nothing_else() {
    let then = json!([{"a": 1, "b": [1, 2]}]);
    assert!(includes(&json!([{"a": 1, "b": [1, 2], "c": 3}]), &then));
    for other in [
        json!([{"a": 1}]),
        json!([{"a": 2, "b": [1, 2]}]),
        json!([{"a": 1, "b": [1, 2, 3]}]),
        json!([{"a": 1, "b": [1]}]),
        json!([]),
        json!(null),
    ] {
        assert!(!includes(&other, &then), "{other}");
    }
}
