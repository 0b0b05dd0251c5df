//! docs/cloudevents.md: its sessions are replayed with those of the other pages; here its functions
//! tried by event, there and back.

use std::process::Command;

use crate::harness::{each_server, must};

const PAGE: &str = include_str!("../../docs/cloudevents.md");

/// Triggers events in both modes, reads them back, and compares.
const TRIAL: &str = r#"
import sys
import redis

client = redis.Redis(unix_socket_path=sys.argv[1])
base = {"specversion": "1.0", "source": "/forum", "type": "org.example.post.created"}
trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
         "tracestate": "a=b"}
json_data = {"datacontenttype": "application/json", "data": b'{"text": "\xc3\xa4"}'}
raw_data = {"datacontenttype": "application/octet-stream", "data": bytes(range(256))}
events = [
    {"subject": "thread:1", "time": "2026-11-30T12:00:00Z", "tenant": "t1", **json_data, **trace},
    {"partitionkey": "p", "subject": "thread:1", **raw_data},
    {"dataschema": "https://example.org/schema", **json_data},
]
for number, event in enumerate(events):
    for structured in (False, True):
        sent = {**base, "id": f"{number}-{structured}", **event}
        words = to_evq(sent, structured)
        partition, id = client.execute_command(*words)
        assert [partition, id] == client.execute_command(*words), "a repeat appends nothing"
        [(_, fields)] = client.xrange(f"evq:{{default:{partition}}}", id, id)
        assert from_evq(fields) == sent, (from_evq(fields), sent)
        assert fields[b"type"] == sent["type"].encode()
        assert fields[b"key"].decode() == words[1]
        if "traceparent" in event:
            assert fields[b"h:traceparent"].decode() == event["traceparent"]
key = to_evq({**base, "id": "1", **events[1]})[1]
assert key == "p", key
assert to_evq({**base, "id": "1"})[1] == "/forum"
client.execute_command("EVQ.TRIGGER", "k", "plain", "HEADER", "content-type", "text/plain")
stream = client.execute_command("EVQ.ROUTE", "k")[1]
[[_, plain]] = client.xrevrange(stream, count=1)
assert from_evq(plain) is None
print("passed")
"#;

#[test]
fn the_functions_of_the_page_bring_events_there_and_back() {
    let (_, code) = PAGE.split_once("```python\n").expect("a program");
    let (functions, _) = code.split_once("```").expect("its end");
    each_server(|server| {
        let socket = server.dir().join("s");
        let python = Command::new("/usr/bin/python3")
            .args(["-B", "-c", &format!("{functions}{TRIAL}")])
            .arg(socket)
            .output()
            .expect("/usr/bin/python3");
        let text = String::from_utf8_lossy(&[python.stdout, python.stderr].concat()).into_owned();
        assert!(python.status.success() && text == "passed\n", "{text}");
        assert_eq!(must!(server.connect(), "EVQ.RINGS").array().len(), 1);
    });
}
