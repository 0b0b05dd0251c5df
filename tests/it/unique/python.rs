//! Client libraries that repeat by themselves: redis-py's retries through a proxy that swallows
//! replies, and the relay of an outbox as the documentation shows it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::events;
use crate::harness::{Endpoint, PATIENCE, Server, TempDir, each_server, must, until};

/// A proxy in front of a server that swallows every tenth reply and closes the connection instead.
struct Lossy {
    port: u16,
    swallowed: Arc<AtomicU64>,
}

impl Lossy {
    fn before(server: &Server) -> Self {
        let Endpoint::Unix(socket) = server.endpoint() else { panic!("a unix socket") };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (replies, swallowed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let lossy = Self { port, swallowed: Arc::clone(&swallowed) };
        std::thread::spawn(move || {
            // Ends with the test's process, or when the server has gone.
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = UnixStream::connect(&socket) else { break };
                let (replies, swallowed) = (Arc::clone(&replies), Arc::clone(&swallowed));
                std::thread::spawn(move || pass_on(&client, &server, &replies, &swallowed));
            }
        });
        lossy
    }
}

/// One connection: its client waits for each reply, so what comes from the server is one reply.
fn pass_on(client: &TcpStream, server: &UnixStream, replies: &AtomicU64, swallowed: &AtomicU64) {
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let (mut server, mut client) = (server, client);
    let mut bytes = vec![0; 1 << 16];
    while let Ok(count @ 1..) = server.read(&mut bytes) {
        if replies.fetch_add(1, Ordering::Relaxed) % 10 == 9 {
            swallowed.fetch_add(1, Ordering::Relaxed);
            break;
        }
        if client.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

fn python(program: &str, arguments: &[&str]) -> Child {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    Command::new("/usr/bin/python3")
        .args(["-B", "-c", program, examples])
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()
        .expect("/usr/bin/python3 with python3-redis, as scripts/install-deps installs them")
}

/// Ends with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The retries that newer versions come with, written out for older ones.
const PRODUCER: &str = "
import sys, redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
errors = [redis.ConnectionError, redis.TimeoutError]
client = redis.Redis(
    port=int(sys.argv[2]), socket_timeout=30, retry_on_error=errors,
    retry=Retry(ExponentialBackoff(cap=0.01, base=0.001), 10))
for n in range(10000):
    client.execute_command(
        'EVQ.TRIGGER', f'k{n % 100}', n, 'RING', 'r', 'UNIQUE', f'event:{n}')
";

#[test]
fn ten_thousand_events_with_lost_replies_are_ten_thousand_events() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 4);
        let proxy = Lossy::before(&server);
        let mut producer = python(PRODUCER, &[&proxy.port.to_string()]);
        assert!(producer.wait().unwrap().success());
        let swallowed = proxy.swallowed.load(Ordering::Relaxed);
        assert!(swallowed > 1000, "{swallowed} replies were swallowed");
        assert_eq!(events(&mut conn), 10_000);
        // In the order of each key.
        for p in 0..4 {
            let entries = must!(conn, "XRANGE", format!("evq:{{r:{p}}}"), "-", "+");
            let mut last = std::collections::BTreeMap::new();
            for entry in entries.array() {
                let key = entry.at(1).at(1).str().to_owned();
                let number: i64 = entry.at(1).at(3).str().parse().unwrap();
                assert!(last.insert(key, number).is_none_or(|before| before < number));
            }
        }
    });
}

const RELAY: &str = "
import sys, sqlite3
sys.path.insert(0, sys.argv[1])
import relay
sys.argv[1:] = sys.argv[2:]
relay.main()
";

const FILL: &str = "
import sys, sqlite3
db = sqlite3.connect(sys.argv[2])
db.execute('CREATE TABLE IF NOT EXISTS outbox '
           '(id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, type TEXT, trace TEXT, payload TEXT)')
for n in range(2000):
    db.execute('INSERT INTO outbox (key, type, trace, payload) VALUES (?, ?, ?, ?)',
               (f'thread:{n % 50}', f'T{n % 3}', None if n % 4 == 0 else f'trace{n}', str(n)))
db.commit()
";

const LEFT: &str = "
import sys, sqlite3
sys.exit(min(sqlite3.connect(sys.argv[2]).execute('SELECT count(*) FROM outbox').fetchone()[0], 99))
";

#[test]
fn the_documented_relay_sends_each_row_once_though_it_dies_and_replies_get_lost() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "default", 4);
        let proxy = Lossy::before(&server);
        let dir = TempDir::new();
        let path = dir.path().join("outbox.db").to_str().unwrap().to_owned();
        assert!(python(FILL, &[&path]).wait().unwrap().success());
        let url = format!("redis://127.0.0.1:{}", proxy.port);
        let mut killed = 0;
        until(PATIENCE, || {
            // Killed wherever it stands.
            let relay = Ends(python(RELAY, &[&url, &path]));
            std::thread::sleep(std::time::Duration::from_millis(150 + 37 * killed));
            killed += 1;
            drop(relay);
            python(LEFT, &[&path]).wait().unwrap().success()
        });
        let mut seen = Vec::new();
        for p in 0..4 {
            let entries = must!(conn, "XRANGE", format!("evq:{{default:{p}}}"), "-", "+");
            for entry in entries.array() {
                let fields: Vec<_> = entry.at(1).array().iter().map(|f| f.str()).collect();
                let number: usize = fields[3].parse().unwrap();
                assert_eq!(fields[1], format!("thread:{}", number % 50));
                assert_eq!(fields[4..6], ["type", &format!("T{}", number % 3)]);
                let trace = format!("trace{number}");
                let trace: &[&str] =
                    if number.is_multiple_of(4) { &[] } else { &["h:trace", &trace] };
                assert_eq!(&fields[6..], trace);
                seen.push(number);
            }
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..2000), "each row once: {} events", seen.len());
    });
}

#[test]
fn the_page_about_retries_shows_the_relay_as_it_is() {
    const PAGE: &str = include_str!("../../../docs/retries.md");
    let relay = include_str!("../../../examples/relay.py");
    assert!(PAGE.contains(&format!("```python\n{relay}```")));
}
