//! A producer: counts each of its keys up, by every way there is to trigger. What it has no reply
//! for it does not repeat, so that a number is there once or not at all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::book::{Event, Outcome, Sent};
use super::compass::Era;
use super::{Campaign, Promise, RING};
use crate::harness::{Conn, Random, Value, args};

const KEYS: u64 = 25;

/// Errors of a server that is no primary any more, or not yet.
pub(super) const AWAY: [&str; 6] =
    ["READONLY", "LOADING", "MASTERDOWN", "UNBLOCKED", "MISCONF", "NOREPLICAS"];

pub(super) fn produce(campaign: &Campaign, producer: usize, mut random: Random) {
    let mut numbers = vec![0; usize::try_from(KEYS).unwrap()];
    let going_on = || campaign.producing.load(Ordering::Relaxed);
    while going_on() {
        let Some((mut conn, era)) = campaign.compass.try_connect() else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        while going_on() {
            let sent = send(campaign, producer, &mut conn, &era, &mut numbers, &mut random);
            let gone = matches!(sent.outcome, Outcome::Unknown | Outcome::Refused);
            let mut book = campaign.book.lock().unwrap();
            book.sent.entry(producer).or_default().push(sent);
            book.count(if gone { "broken off" } else { "triggered" });
            drop(book);
            if gone {
                std::thread::sleep(Duration::from_millis(5));
            }
            if gone || random.one_in(500) {
                break;
            }
            std::thread::sleep(Duration::from_micros(random.below(4000)));
        }
    }
}

/// Triggers one or some events by one command.
fn send(
    campaign: &Campaign,
    producer: usize,
    conn: &mut Conn,
    era: &Era,
    numbers: &mut [u64],
    random: &mut Random,
) -> Sent {
    let mut next = || {
        let k = usize::try_from(random.below(KEYS)).unwrap();
        numbers[k] += 1;
        Event { key: format!("{producer}-{k}"), n: numbers[k] }
    };
    let first = next();
    let how = campaign_choice(first.n);
    let (events, reply) = match how {
        How::Many => {
            let events = vec![first, next(), next()];
            let mut words = args!["EVQ.MTRIGGER", events.len()].to_vec();
            for event in &events {
                words.extend(args![event.key, event.n]);
            }
            words.extend(args!["RING", RING, "TYPE", "A"]);
            let reply = conn.try_cmd(&words);
            (events, reply)
        }
        How::Transaction => {
            let counter = format!("count:{producer}");
            let steps = [
                args!["MULTI"].to_vec(),
                args!["INCR", counter].to_vec(),
                args!["EVQ.TRIGGER", first.key, first.n, "RING", RING, "TYPE", "A"].to_vec(),
                args!["EXEC"].to_vec(),
            ];
            let mut replies = conn.try_pipeline(&steps);
            let all = replies.len() == steps.len();
            let last = if all { replies.pop() } else { None };
            (vec![first], last.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into()))
        }
        How::One => {
            let kind = if first.n % 3 == 0 { "B" } else { "A" };
            let words = args!["EVQ.TRIGGER", first.key, first.n, "RING", RING, "TYPE", kind];
            let reply = conn.try_cmd(&words);
            (vec![first], reply)
        }
    };
    let outcome = match reply {
        Err(_) => Outcome::Unknown,
        Ok(Value::Error(text)) => {
            let code = text.split(' ').next().unwrap_or_default();
            let known = AWAY.contains(&code) || code == "EXECABORT";
            assert!(known, "a producer got {text}");
            Outcome::Refused
        }
        Ok(_) if campaign.promise == Promise::Confirmed && events[0].n % 4 == 0 => {
            match conn.try_cmd(&["WAIT", "1", "2000"]) {
                Ok(Value::Int(1..)) => Outcome::Confirmed,
                Ok(_) | Err(_) => Outcome::Acknowledged,
            }
        }
        Ok(_) => Outcome::Acknowledged,
    };
    Sent { era: era.clone(), events, outcome, counted: matches!(how, How::Transaction) }
}

enum How {
    One,
    Many,
    Transaction,
}

/// By the number, so that what is in the streams tells how it came there.
fn campaign_choice(n: u64) -> How {
    match n % 7 {
        0 => How::Many,
        1 => How::Transaction,
        _ => How::One,
    }
}
