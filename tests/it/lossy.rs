//! Real client libraries with their default settings, where a network loses replies: they send the
//! command again by themselves.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{Endpoint, Fate, Proxy, Random, each_server, must, seed};

/// Threads that trigger events, each of keys of its own.
const PRODUCERS: u64 = 10;
/// Events of all of them.
const EVENTS: u64 = 10_000;

/// What the client waits for a reply is the only setting that is not the library's default: that is
/// 5 seconds or for ever. Older libraries try again only if they are told to; they are told what
/// newer ones do by themselves.
const PRODUCER: &str = "
import sys, threading
import redis

path, producers, events = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
settings = {'unix_socket_path': path, 'socket_timeout': 2}
if int(redis.__version__.split('.')[0]) < 6:
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry
    errors = [redis.ConnectionError, redis.TimeoutError]
    settings.update(retry=Retry(ExponentialBackoff(1, 0.01), 10), retry_on_error=errors)
client = redis.Redis(**settings)
failed = []

def produce(producer):
    try:
        for n in range(events // producers):
            key = f'{producer}:{n % 7}'
            client.execute_command('EVQ.TRIGGER', key, f'{producer} {n}', 'RING', 'lossy')
    except Exception as error:
        failed.append(error)

threads = [threading.Thread(target=produce, args=(n,)) for n in range(producers)]
for thread in threads: thread.start()
for thread in threads: thread.join()
if failed: raise failed[0]
print(redis.__version__)
";

/// redis-py that scripts/install-deps has put beside the system's, if it has.
fn python_path() -> Option<std::path::PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(Into::into);
    let home = || Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let path = cache.or_else(home)?.join("evq/python");
    path.is_dir().then_some(path)
}

/// Triggers all events through the proxy; the library's version.
fn produce(proxy: &Proxy) -> String {
    let Endpoint::Unix(path) = proxy.endpoint() else { panic!("a unix socket") };
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-B", "-c", PRODUCER]).arg(path);
    python.args([PRODUCERS.to_string(), EVENTS.to_string()]).stdin(Stdio::null());
    if let Some(path) = python_path() {
        python.env("PYTHONPATH", path);
    }
    let output = python.output().expect("/usr/bin/python3 with python3-redis");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn redis_py_triggers_again_what_got_no_reply_and_loses_nothing() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "lossy", 8).ok();
        let mut random = Random::new(seed());
        let proxy = Proxy::start(server.endpoint(), move |command| match command {
            b"EVQ.TRIGGER" if random.one_in(500) => Fate::Delay(Duration::from_secs(3)),
            b"EVQ.TRIGGER" if random.one_in(500) => Fate::Mute,
            b"EVQ.TRIGGER" if random.one_in(10) => Fate::Close,
            _ => Fate::Pass,
        });
        let version = produce(&proxy);
        let mut triggered: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for p in 0..8 {
            for entry in must!(conn, "XRANGE", format!("evq:{{lossy:{p}}}"), "-", "+").array() {
                let payload = entry.at(1).get("payload").str();
                let (_, n) = payload.split_once(' ').unwrap();
                let key = entry.at(1).get("key").str().to_owned();
                triggered.entry(key).or_default().push(n.parse().unwrap());
            }
        }
        let all: u64 = triggered.values().map(|of_key| of_key.len() as u64).sum();
        // In the order of each key, whatever was sent again.
        for (key, numbers) in &mut triggered {
            assert!(numbers.is_sorted(), "{key}: {numbers:?}");
            numbers.dedup();
        }
        let once: u64 = triggered.values().map(|of_key| of_key.len() as u64).sum();
        assert_eq!(once, EVENTS, "nothing is missing");
        let sent = proxy.forwarded("EVQ.TRIGGER");
        assert_eq!(all, sent, "each command that arrived is an event");
        let (again, lost) = (all - once, proxy.chosen());
        let counted = format!("redis-py {version}: {again} events again, {lost} replies lost");
        assert!(lost > EVENTS / 20 && again >= lost, "{counted}");
    });
}
