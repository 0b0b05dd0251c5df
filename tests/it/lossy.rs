//! Real client libraries with their default settings, where a network loses replies: they send the
//! command again by themselves. A producer has its events twice then; a worker loses none.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::{
    Conn, Endpoint, Fate, PATIENCE, Proxy, Random, each_server, file_history, must, seed,
};

/// Threads that trigger events, each of keys of its own.
const PRODUCERS: u64 = 10;
/// Events of all of them.
const EVENTS: u64 = 10_000;

/// What the client waits for a reply is the only setting that is not the library's default: that is
/// 5 seconds or for ever. Older libraries try again only if they are told to; they are told what
/// newer ones do by themselves.
const CLIENT: &str = "
import json, sys, threading
import redis

settings = {'unix_socket_path': sys.argv[1], 'socket_timeout': 2}
if int(redis.__version__.split('.')[0]) < 6:
    from redis.backoff import ExponentialBackoff
    from redis.retry import Retry
    errors = [redis.ConnectionError, redis.TimeoutError]
    settings.update(retry=Retry(ExponentialBackoff(1, 0.01), 10), retry_on_error=errors)
failed = []
";

const PRODUCER: &str = "
producers, events = int(sys.argv[2]), int(sys.argv[3])
client = redis.Redis(**settings)

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
pub(crate) fn python_path() -> Option<std::path::PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(Into::into);
    let home = || Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let path = cache.or_else(home)?.join("evq/python");
    path.is_dir().then_some(path)
}

/// Runs a program through the proxy; what it writes.
fn run(proxy: &Proxy, program: &str, args: &[String]) -> String {
    let Endpoint::Unix(path) = proxy.endpoint() else { panic!("a unix socket") };
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-B", "-c", &format!("{CLIENT}{program}")]).arg(path).args(args);
    python.stdin(Stdio::null());
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
        let version = run(&proxy, PRODUCER, &[PRODUCERS.to_string(), EVENTS.to_string()]);
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

/// Four threads that pull and acknowledge in the next pull, as examples/worker.py does: each of its
/// partitions, by number or by the epoch too, or any. Writes what was handled, in its order.
const WORKERS: &str = "
import time
mode, patience, handled, lock = sys.argv[2], float(sys.argv[3]), [], threading.Lock()
stop = threading.Event()

def work(t):
    client = redis.Redis(**settings)
    done, epochs = {}, {}
    while not stop.is_set():
        for source in ['*'] if mode == 'any' else [t, t + 4]:
            words = ['EVQ.CONSUME', source, 'RING', 'h', 'WORKER', f'w{t}']
            words += ['COUNT', 10, 'BLOCK', 20]
            if source in epochs: words += ['EPOCH', epochs[source]]
            if source in done: words += ['ACK', *done.pop(source)]
            try:
                reply = client.execute_command(*words)
            except redis.ResponseError as error:
                if not str(error).startswith('EVQ'): raise
                epochs.pop(source, None)
                continue
            if reply is None: continue
            partition, epoch, events = reply
            if mode == 'epoch': epochs[source] = epoch
            for id, fields in events:
                line = json.loads(dict(zip(fields[::2], fields[1::2]))[b'payload'])
                with lock: handled.append((line['file'], line['n']))
            done[source] = ([partition] if source == '*' else []) + [events[-1][0]]

def watched(t):
    try:
        work(t)
    except Exception as error:
        failed.append(error)

threads = [threading.Thread(target=watched, args=(t,), daemon=True) for t in range(4)]
for thread in threads: thread.start()
client, begun = redis.Redis(**settings), time.monotonic()
while not failed and time.monotonic() - begun < patience:
    [group] = client.execute_command('EVQ.GROUPS', 'RING', 'h')
    if not isinstance(group, dict): group = dict(zip(group[::2], group[1::2]))
    if group[b'lag'] == 0: break
    time.sleep(0.2)
stop.set()
for thread in threads: thread.join()
if failed: raise failed[0]
for file, n in handled: print(n, file)
";

/// Triggers the whole history into a new ring of eight partitions.
fn trigger_history(conn: &mut Conn) {
    let _ = conn.cmd(&["EVQ.DROP", "h"]);
    must!(conn, "EVQ.CREATE", "h", 8).ok();
    // Replies that are lost end leases, and leases that end count attempts.
    must!(conn, "EVQ.GROUP", "default", "RING", "h", "FROM", "first", "MAXATTEMPTS", 1000).ok();
    for events in file_history().chunks(1000) {
        let mut batch = vec!["EVQ.MTRIGGER".to_owned(), events.len().to_string()];
        batch.extend(events.iter().flat_map(|event| [event.file.clone(), event.line.clone()]));
        batch.extend(["RING".to_owned(), "h".to_owned()]);
        conn.must(&batch);
    }
}

#[test]
fn workers_whose_replies_get_lost_handle_every_event_of_a_history_in_order() {
    each_server(|server| {
        let mut conn = server.connect();
        for mode in ["number", "any", "epoch"] {
            trigger_history(&mut conn);
            let mut random = Random::new(seed());
            let proxy = Proxy::start(server.endpoint(), move |command| match command {
                b"EVQ.CONSUME" if random.one_in(800) => Fate::Delay(Duration::from_secs(3)),
                b"EVQ.CONSUME" if random.one_in(800) => Fate::Mute,
                b"EVQ.CONSUME" if random.one_in(100) => Fate::Close,
                _ => Fate::Pass,
            });
            let patience = (4 * PATIENCE).as_secs().to_string();
            let handled = run(&proxy, WORKERS, &[mode.to_owned(), patience]);
            let (mut last, mut duplicates) = (BTreeMap::<&str, u64>::new(), 0);
            for line in handled.lines() {
                let (n, file) = line.split_once(' ').expect("a number and a file");
                let (n, last) = (n.parse::<u64>().unwrap(), last.entry(file).or_default());
                assert!(n <= *last + 1, "{mode}: {n} of {file} comes after {last}");
                duplicates += u64::from(n <= *last);
                *last = n.max(*last);
            }
            let mut expected = BTreeMap::<&str, u64>::new();
            for event in file_history() {
                *expected.entry(&event.file).or_default() += 1;
            }
            assert_eq!(last, expected, "{mode}: nothing is missing");
            let total = u64::try_from(handled.lines().count()).unwrap();
            assert_eq!(total, file_history().len() as u64 + duplicates);
            let lost = proxy.chosen();
            assert!(lost > 8, "{mode}: {lost} replies lost, {duplicates} events twice");
        }
    });
}
