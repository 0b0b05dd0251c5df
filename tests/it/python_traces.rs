//! examples/python/traces.py with OpenTelemetry's own SDK: the handler's span is the child of the
//! producer's, in another process.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value as Json;

use crate::harness::{Server, each_binary, left_out, must};

/// What both processes begin with; `tell` prints their spans when they are through.
const BEGINNING: &str = r#"
import json, os, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from evq import Queue
from traces import traced

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
queue = traced(Queue(sys.argv[1], group="mailer", block_ms=100))

def tell():
    for span in spans.get_finished_spans():
        print(json.dumps({
            "name": span.name, "kind": span.kind.name, "status": span.status.status_code.name,
            "trace": span.context.trace_id, "span": span.context.span_id,
            "parent": span.parent and span.parent.span_id, "about": dict(span.attributes)}))
"#;

const PRODUCER: &str = r#"
with trace.get_tracer("shop").start_as_current_span("POST /orders"):
    queue.trigger("order:1", {"n": 1}, type="OrderPaid", headers={"tenant": "t1"})
queue.trigger("order:1", {"n": 2}, type="OrderPaid")
tell()
"#;

const WORKER: &str = r#"
left = 3
@queue.on("OrderPaid")
def work(event):
    global left
    left -= 1
    if left == 0:
        queue.stop()
    with trace.get_tracer("shop").start_as_current_span("INSERT"):
        pass
    if event.attempt == 1 and event.json()["n"] == 1:
        assert event.headers["tenant"] == "t1"
        raise RuntimeError("not yet")
@queue.on
def others(event):
    raise AssertionError(event.type)
assert len(queue.handlers[None]) == 1
queue.work()
tell()
"#;

/// Where `scripts/install-deps` puts it.
fn opentelemetry() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    cache.or_else(home).map(|cache| cache.join("evq/opentelemetry")).filter(|path| path.is_dir())
}

fn spans(server: &Server, sdk: &std::path::Path, program: &str) -> Vec<Json> {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/python");
    let paths = std::env::join_paths([std::path::Path::new(examples), sdk]).unwrap();
    let output = Command::new("/usr/bin/python3")
        .args(["-B", "-c", &format!("{BEGINNING}{program}")])
        .arg(format!("redis://127.0.0.1:{}", server.port().unwrap()))
        .env("PYTHONPATH", paths)
        .output()
        .expect("/usr/bin/python3");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_handlers_span_is_the_child_of_the_producers() {
    let Some(sdk) = opentelemetry() else {
        left_out("traces in Python: there is no opentelemetry-sdk");
        return;
    };
    each_binary(|binary| {
        // The queue of the example sets a time-out that redis-py has for TCP only.
        let server = Server::with(binary).tcp().start();
        let mut conn = server.connect();
        must!(conn, "EVQ.GROUP", "mailer", "FROM", "first", "BACKOFF", 1, 1);
        let produced = spans(&server, &sdk, PRODUCER);
        let [first, request, second] = &produced[..] else { panic!("{produced:?}") };
        assert_eq!((&first["name"], &first["kind"]), (&"send default".into(), &"PRODUCER".into()));
        assert_eq!(first["parent"], request["span"], "{produced:?}");
        assert_ne!(first["trace"], second["trace"]);

        let worked = spans(&server, &sdk, WORKER);
        let of = |name: &'static str| worked.iter().filter(move |span| span["name"] == name);
        let handled: Vec<_> = of("process default").collect();
        // The first event twice, the second after it: they have one key.
        for (span, (sent, attempt)) in handled.iter().zip([(first, 1), (first, 2), (second, 1)]) {
            assert_eq!(span["kind"], "CONSUMER");
            assert_eq!((&span["parent"], &span["trace"]), (&sent["span"], &sent["trace"]));
            assert_eq!(span["about"]["evq.attempt"], attempt);
            for name in ["messaging.message.id", "messaging.destination.partition.id"] {
                assert_eq!(span["about"][name], sent["about"][name], "{name}");
            }
            assert_eq!(span["about"]["messaging.consumer.group.name"], "mailer");
        }
        let ends: Vec<_> = handled.iter().map(|span| span["status"].as_str().unwrap()).collect();
        assert_eq!(ends, ["ERROR", "UNSET", "UNSET"]);
        // What the handler does is inside its span.
        let parents: Vec<_> = of("INSERT").map(|span| &span["parent"]).collect();
        assert_eq!(parents, handled.iter().map(|span| &span["span"]).collect::<Vec<_>>());
    });
}
