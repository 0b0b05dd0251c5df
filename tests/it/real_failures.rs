//! 17,193 real events and eight workers whose handlers fail: one event in twenty at random, and a
//! few files' events always. Each file's handled order is its triggered order; only what is
//! poisoned stops, and after EVQ.DEAD RETRY it goes on in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::failing::attempt;
use crate::harness::{
    Conn, Endpoint, FileEvent, PATIENCE, Server, Value, args, each_server, file_history, must,
};
use crate::pull::say;

const PARTITIONS: i64 = 8;
const ATTEMPTS: u64 = 3;

/// Handled numbers by file, in the order of their handling.
type Handled = BTreeMap<String, Vec<u64>>;

/// Whether the handler of this event always fails: every fifth event of one file in fifty.
fn is_poison(file: &str, n: u64) -> bool {
    let sum = file.bytes().fold(7_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    sum % 50 == 0 && n % 5 == 3
}

/// How a worker pulls: from a partition of its own, or from any.
#[derive(Clone, Copy)]
enum Form {
    Own,
    Any,
}

struct Workers<'a> {
    form: Form,
    endpoint: Endpoint,
    handled: &'a Mutex<Handled>,
    ending: &'a AtomicBool,
    /// The handler was mended: nothing fails any more.
    mended: bool,
}

impl Workers<'_> {
    fn work(&self, number: i64) {
        let mut conn = self.endpoint.connect();
        let mut seed = u64::try_from(number).unwrap() + 0x9e37_79b9_7f4a_7c15;
        let partition = match self.form {
            Form::Own => number.to_string(),
            Form::Any => "*".to_owned(),
        };
        let pull = args!["EVQ.CONSUME", partition, "RING", "s", "COUNT", 20, "BLOCK", 20];
        let mut ack = Vec::new();
        while !self.ending.load(Ordering::Relaxed) {
            let reply = conn.must(&[&pull[..], &ack[..]].concat());
            ack.clear();
            if reply.is_null() {
                continue;
            }
            let p = reply.at(0).int();
            if let Some(last) = self.handle(&mut conn, p, reply.at(2).array(), &mut seed) {
                ack = match self.form {
                    Form::Own => args!["ACK", last].to_vec(),
                    Form::Any => args!["ACK", p, last].to_vec(),
                };
            }
        }
    }

    /// Handles what one reply gave; the last id is to be acknowledged. If all of it failed or is
    /// held now there is nothing to acknowledge: the partition may be another worker's already.
    fn handle(&self, conn: &mut Conn, p: i64, events: &[Value], seed: &mut u64) -> Option<String> {
        let mut held = BTreeSet::new();
        let mut handled = false;
        for event in events {
            let (id, fields) = (event.at(0).str(), event.at(1));
            let (file, line) = (fields.get("key").str(), fields.get("payload").str());
            if held.contains(id) {
                continue;
            }
            let json: serde_json::Value = serde_json::from_str(line).expect("a JSON line");
            let n = json["n"].as_u64().expect("n");
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            let again = attempt(event);
            let unlucky = (*seed >> 11).is_multiple_of(20) && again.is_none_or(|n| n < ATTEMPTS);
            let failed = !self.mended && (unlucky || is_poison(file, n));
            if failed {
                let reply = must!(conn, "EVQ.NACK", p, id, "RING", "s", "REASON", "handler");
                held.extend(reply.array().iter().map(|id| id.str().to_owned()));
            } else {
                handled = true;
                self.handled.lock().unwrap().entry(file.to_owned()).or_default().push(n);
            }
        }
        events.last().filter(|_| handled).map(|last| last.at(0).str().to_owned())
    }
}

fn lag(conn: &mut Conn) -> usize {
    let lag = say(conn, "EVQ.GROUPS RING s").at(0).get("lag").int();
    usize::try_from(lag).unwrap()
}

/// Lets eight workers run until the lag is `rest`.
fn run(server: &Server, form: Form, mended: bool, handled: &Mutex<Handled>, rest: usize) {
    let mut conn = server.connect();
    let ending = AtomicBool::new(false);
    let endpoint = server.endpoint();
    let workers = Workers { form, endpoint, handled, ending: &ending, mended };
    let workers = &workers;
    std::thread::scope(|scope| {
        for number in 0..PARTITIONS {
            scope.spawn(move || workers.work(number));
        }
        let begun = Instant::now();
        while lag(&mut conn) != rest && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        ending.store(true, Ordering::Relaxed);
    });
    assert_eq!(lag(&mut conn), rest);
}

fn fill(server: &Server, policy: &str) -> Conn {
    let mut conn = server.connect();
    must!(conn, "EVQ.CREATE", "s", PARTITIONS).ok();
    let group =
        format!("EVQ.GROUP default RING s MAXATTEMPTS {ATTEMPTS} BACKOFF 1 5 ONDEAD {policy}");
    say(&mut conn, &group).ok();
    for batch in file_history().chunks(1000) {
        let words =
            |event: &FileEvent| args!["EVQ.TRIGGER", event.file, event.line, "RING", "s"].to_vec();
        conn.pipeline(&batch.iter().map(words).collect::<Vec<_>>());
    }
    conn
}

/// The files' numbers in the order in which they were triggered.
fn triggered() -> Handled {
    let mut all = Handled::new();
    for event in file_history() {
        all.entry(event.file.clone()).or_default().push(event.n);
    }
    all
}

fn check(handled: &Handled, expected: &Handled) {
    for (file, numbers) in expected {
        assert_eq!(handled.get(file).unwrap_or(&Vec::new()), numbers, "{file}");
    }
    let events = |all: &Handled| all.values().map(Vec::len).sum::<usize>();
    assert_eq!(events(handled), events(expected));
}

fn poisoned() -> usize {
    file_history().iter().filter(|event| is_poison(&event.file, event.n)).count()
}

#[test]
fn with_skip_everything_but_the_poison_is_handled_in_order() {
    each_server(|server| {
        let mut conn = fill(&server, "skip");
        let handled = Mutex::default();
        run(&server, Form::Own, false, &handled, 0);
        let mut expected = triggered();
        for (file, numbers) in &mut expected {
            numbers.retain(|n| !is_poison(file, *n));
        }
        check(&handled.lock().unwrap(), &expected);
        let letters = say(&mut conn, "EVQ.DEAD default LIST * RING s COUNT 10000");
        assert!(poisoned() > 20);
        assert_eq!(letters.array().len(), poisoned());
        for letter in letters.array() {
            assert_eq!(letter.at(2).get("attempts").str(), ATTEMPTS.to_string());
            assert_eq!(letter.at(2).get("reason").str(), "handler");
        }
        // They come late, and among themselves in order.
        assert_eq!(say(&mut conn, "EVQ.DEAD default RETRY * * RING s").int(), poisoned() as i64);
        handled.lock().unwrap().clear();
        run(&server, Form::Any, true, &handled, 0);
        let mut expected = triggered();
        for (file, numbers) in &mut expected {
            numbers.retain(|n| is_poison(file, *n));
        }
        check(&handled.lock().unwrap(), &expected);
    });
}

#[test]
fn with_hold_exactly_the_poisoned_files_stop_and_go_on_in_order_after_retry() {
    each_server(|server| {
        let mut conn = fill(&server, "hold");
        // Of a poisoned file everything from its first poison on is left.
        let (mut before, mut after) = (triggered(), triggered());
        let mut files = 0;
        for (file, numbers) in &mut before {
            let stop = numbers.iter().position(|n| is_poison(file, *n));
            let rest = numbers.split_off(stop.unwrap_or(numbers.len()));
            files += i64::from(!rest.is_empty());
            after.insert(file.clone(), rest);
        }
        let left = after.values().map(Vec::len).sum();
        let handled = Mutex::default();
        run(&server, Form::Any, false, &handled, left);
        check(&handled.lock().unwrap(), &before);
        let mut states: BTreeMap<String, i64> = BTreeMap::new();
        for p in 0..PARTITIONS {
            let rows = say(&mut conn, &format!("EVQ.PENDING {p} RING s COUNT 10000"));
            for row in rows.array() {
                *states.entry(row.get("state").str().to_owned()).or_default() += 1;
            }
        }
        let held = i64::try_from(left).unwrap() - files;
        let expected = [("dead".to_owned(), files), ("held".to_owned(), held)];
        assert_eq!(states, expected.into());
        assert!(files > 3 && held > files, "{states:?}");
        handled.lock().unwrap().clear();
        assert_eq!(say(&mut conn, "EVQ.DEAD default RETRY * * RING s").int(), files);
        run(&server, Form::Own, true, &handled, 0);
        check(&handled.lock().unwrap(), &after);
    });
}
