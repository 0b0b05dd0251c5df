//! How long a blocked worker takes to have an event in its hands: from the producer's write to the
//! worker's complete reply, one event at a time. The client never sleeps, so that the wake-up of
//! its own process is not measured.

use std::time::Instant;

use super::payload;
use crate::conn::{Conn, Outcome};
use crate::resp::encode;
use crate::rounds::{Case, Goal, Pair, Variant, quantile};
use crate::server::{Sample, Server};

/// A slice has this many times fewer wake-ups than other slices have events.
const FEWER: usize = 20;
const KEY: &str = "order:000001";

type Words = Vec<String>;

pub(super) fn wake(server: &Server, events: usize) -> Outcome<Case<'_>> {
    // `*2 :<partition> ...`; eight partitions have one digit.
    let route = server.call(&["EVQ.ROUTE", KEY])?;
    let partition = char::from(route.get(5).copied().unwrap_or(b'0')).to_string();
    let wakes = events / FEWER;
    let (blpop, xread) = ("BLPOP, LPUSH", "XREAD BLOCK, XADD");
    let (consume, by_hand, any) =
        ("EVQ.CONSUME, EVQ.TRIGGER", "EVQ.CONSUME, XADD", "EVQ.CONSUME *, EVQ.TRIGGER");
    let own = move |last: &str| {
        let wait = words(&["EVQ.CONSUME", &partition, "BLOCK", "0"]);
        if last.is_empty() { wait } else { [wait, words(&["ACK", last])].concat() }
    };
    let stream = format!("evq:{{default:{}}}", char::from(route.get(5).copied().unwrap_or(b'0')));
    let partition = stream.clone();
    let whichever = move |last: &str| {
        let wait = words(&["EVQ.CONSUME", "*", "BLOCK", "0"]);
        if last.is_empty() { wait } else { [wait, words(&["ACK", &partition, last])].concat() }
    };
    let trigger = || words(&["EVQ.TRIGGER", KEY, &payload()]);
    let xadd = |stream: &str| words(&["XADD", stream, "*", "key", KEY, "payload", &payload()]);
    let pop = |_: &str| words(&["BLPOP", "list", "0"]);
    let read = |last: &str| {
        let last = if last.is_empty() { "0" } else { last };
        words(&["XREAD", "COUNT", "1", "BLOCK", "0", "STREAMS", "raw", last])
    };
    let push = words(&["LPUSH", "list", &payload()]);
    Ok(Case {
        name: "wake".to_owned(),
        variants: vec![
            waking(server, blpop, wakes, (0, pop), push)?,
            waking(server, xread, wakes, (4, read), xadd("raw"))?,
            waking(server, consume, wakes, (3, own.clone()), trigger())?,
            waking(server, by_hand, wakes, (3, own), xadd(&stream))?,
            waking(server, any, wakes, (3, whichever), trigger())?,
        ],
        pairs: vec![
            Pair { variant: xread, base: blpop, goal: Goal::Slower },
            Pair { variant: consume, base: blpop, goal: Goal::AtMost(1.12) },
            Pair { variant: consume, base: xread, goal: Goal::AtMost(1.05) },
            Pair { variant: by_hand, base: xread, goal: Goal::AtMost(1.08) },
            Pair { variant: any, base: xread, goal: Goal::Slower },
        ],
    })
}

fn words(words: &[&str]) -> Words {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A variant in which one client waits and another wakes it. `wait` makes the waiter's command from
/// the last id it was given, and the number says how many arrays that id is in.
fn waking<'a>(
    server: &'a Server,
    name: &'static str,
    wakes: usize,
    (id_depth, wait): (usize, impl Fn(&str) -> Words + 'a),
    wake: Words,
) -> Outcome<Variant<'a>> {
    let mut bytes = Vec::new();
    encode(&mut bytes, &wake);
    let (mut producer, mut latencies) = (server.connect()?, Vec::with_capacity(wakes));
    producer.spin()?;
    let slice = move || -> Outcome<Sample> {
        server.empty()?;
        // A worker of its own for each slice: what it held goes with its connection.
        let mut waiter = server.connect()?;
        waiter.spin()?;
        latencies.clear();
        let mut last = String::new();
        let sample = server.measure(wakes, || {
            (0..wakes).try_for_each(|_| {
                waiter.ask(&wait(&last))?;
                // Once this is answered, the waiter waits.
                producer.call(&["PING"])?;
                last.clear();
                latencies.push(one(&mut waiter, &mut producer, &bytes, id_depth, &mut last)?);
                Ok(())
            })
        })?;
        latencies.sort_by(f64::total_cmp);
        let (wall_ns, p99_ns) = (quantile(&latencies, 0.5), Some(quantile(&latencies, 0.99)));
        Ok(Sample { wall_ns, p99_ns, ..sample })
    };
    Ok(Variant { name, slice: Box::new(slice) })
}

/// Wakes the waiter once: how many nanoseconds until its reply was there.
fn one(
    waiter: &mut Conn,
    producer: &mut Conn,
    wake: &[u8],
    id_depth: usize,
    last: &mut String,
) -> Outcome<f64> {
    let start = Instant::now();
    producer.send(wake)?;
    waiter.visit(|depth, id| {
        if depth == id_depth {
            last.push_str(&String::from_utf8_lossy(id));
        }
    })?;
    let taken = start.elapsed().as_nanos() as f64;
    producer.skip(1)?;
    Ok(taken)
}
