//! Whether the promises were kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::book::{Book, Event, Outcome, Sent};
use super::compass::Era;
use super::{Campaign, GROUPS, MOST_PARTITIONS, PRODUCERS, Promise};
use crate::harness::{Conn, Server, Value, must, wait_for_sync};

/// What is in the streams: each event's type.
pub(super) type Stored = BTreeMap<Event, String>;

/// Whether enough has happened to judge by.
pub(super) fn is_eventful(book: &Book) -> bool {
    let often = |what| book.happened.get(what).is_some_and(|times| *times >= 20);
    ["triggered", "given", "failed"].into_iter().all(often)
}

pub(super) fn judge(campaign: &Campaign, primary: &Server, replicas: &[&Server]) {
    let mut conn = primary.connect();
    let stored = stored(&mut conn);
    let book = campaign.book.lock().unwrap();
    #[allow(clippy::print_stderr)]
    {
        eprintln!(
            "{} seed {}: {} events stored, {} s, {:?}",
            primary.binary(),
            campaign.seed,
            stored.len(),
            book.seconds,
            book.happened,
        );
    }
    // A campaign in which nothing happens proves nothing.
    assert!(is_eventful(&book), "hardly anything happened: {:?}", book.happened);
    for sent in book.sent.values() {
        durable(campaign.promise, sent, &stored);
        whole(sent, &stored);
        prefix(sent, &stored);
    }
    groups(&book, &stored);
    counters(&book, &stored, &mut conn);
    cursors(campaign, &mut conn);
    for replica in replicas {
        wait_for_sync(primary, replica);
        assert_eq!(replica.digest(), conn.digest(), "a replica differs");
    }
}

/// Reads the streams; in each the numbers of a key grow, and none is in two of them. After a resize
/// a key goes on in another one.
fn stored(conn: &mut Conn) -> Stored {
    let mut stored = Stored::new();
    for p in 0..MOST_PARTITIONS {
        let (mut from, mut last) = ("-".to_owned(), HashMap::<String, u64>::new());
        loop {
            let part = must!(conn, "XRANGE", Campaign::stream(p), from, "+", "COUNT", 10_000);
            let Some(end) = part.array().last() else { break };
            from = format!("({}", end.at(0).str());
            for entry in part.array() {
                let field = |name: &str| entry.at(1).get(name).str().to_owned();
                let event = Event { key: field("key"), n: field("payload").parse().unwrap() };
                let before = last.insert(event.key.clone(), event.n);
                assert!(before.is_none_or(|n| n < event.n), "{event:?} in {p} after {before:?}");
                let twice = stored.insert(event, field("type"));
                assert!(twice.is_none(), "{:?} is in {p} and in another", entry.at(1));
            }
        }
    }
    stored
}

fn is_there(sent: &Sent, stored: &Stored) -> bool {
    sent.events.iter().all(|event| stored.contains_key(event))
}

/// What had to stay is there, what was refused is not.
pub(super) fn durable(promise: Promise, all: &[Sent], stored: &Stored) {
    for sent in all {
        let must_be_there = match sent.outcome {
            Outcome::Confirmed => true,
            Outcome::Acknowledged => promise == Promise::All,
            Outcome::Unknown | Outcome::Refused => false,
        };
        assert!(!must_be_there || is_there(sent, stored), "lost: {sent:?}");
        let refused = sent.outcome == Outcome::Refused;
        assert!(!refused || !is_there(sent, stored), "refused and there: {sent:?}");
    }
}

/// One command's events are there together.
pub(super) fn whole(all: &[Sent], stored: &Stored) {
    for sent in all {
        let there = sent.events.iter().filter(|event| stored.contains_key(event)).count();
        assert!(there == 0 || there == sent.events.len(), "{there} of {sent:?}");
    }
}

/// In one era, behind something acknowledged that is lost there is nothing.
pub(super) fn prefix(all: &[Sent], stored: &Stored) {
    let mut lost: HashMap<&Era, &Sent> = HashMap::new();
    for sent in all {
        if is_there(sent, stored) {
            let before = lost.get(&sent.era);
            assert!(before.is_none(), "a hole: {sent:?} is there, and not {before:?}");
        } else if matches!(sent.outcome, Outcome::Acknowledged | Outcome::Confirmed) {
            lost.entry(&sent.era).or_insert(sent);
        }
    }
}

/// Each group was given all of its events, and each key's in order.
pub(super) fn groups(book: &Book, stored: &Stored) {
    for (number, group) in GROUPS.iter().enumerate() {
        let taken = |(_, kind): &(&Event, &String)| group.only.is_none_or(|only| only == *kind);
        let events = stored.iter().filter(taken).map(|(event, _)| event);
        let missing = book.missing(number, events);
        assert!(missing.is_empty(), "{} never got {missing:?}", group.name);
        for ((_, key), given) in book.given.iter().filter(|((g, _), _)| *g == number) {
            // What was lost with its server is not compared: another one never knew of it.
            let kept = |n: &&u64| stored.contains_key(&Event { key: key.clone(), n: **n });
            let first: Vec<u64> = given.first.iter().filter(kept).copied().collect();
            assert!(first.is_sorted(), "{} of {}: {first:?}", key, group.name);
        }
    }
}

/// What changes together with the events agrees with them: the producers' transactions, and the
/// script that counts each event once.
fn counters(book: &Book, stored: &Stored, conn: &mut Conn) {
    for producer in 0..PRODUCERS {
        let sent = book.sent.get(&producer).into_iter().flatten();
        let there = sent.filter(|sent| sent.counted && is_there(sent, stored)).count();
        let count = conn.must(&["GET", &format!("count:{producer}")]);
        let count: usize = if count.is_null() { 0 } else { count.str().parse().unwrap() };
        assert_eq!(count, there, "transactions of producer {producer}");
    }
    let mut keys = BTreeMap::<&str, u64>::new();
    for event in stored.keys() {
        *keys.entry(&event.key).or_default() += 1;
    }
    let counted = must!(conn, "HGETALL", "once");
    let counted: BTreeMap<&str, u64> =
        counted.map().into_iter().map(|(key, n)| (key.str(), n.str().parse().unwrap())).collect();
    assert_eq!(counted, keys, "each event counts once");
}

/// No group is beyond its stream, and no dead letter is of an event that never was.
pub(super) fn cursors(campaign: &Campaign, conn: &mut Conn) {
    let stats = must!(conn, "EVQ.STATS", super::RING);
    for partition in stats.get("partitions").array() {
        let groups = partition.get("groups").array();
        let stream = partition.get("key").str();
        let exists = must!(conn, "EXISTS", stream).int() == 1;
        let last = if exists {
            id(must!(conn, "XINFO", "STREAM", stream).get("last-generated-id"))
        } else {
            (0, 0)
        };
        let names: BTreeSet<_> = groups.iter().map(|group| group.get("group").str()).collect();
        assert_eq!(names.len(), GROUPS.len(), "groups of {}: {names:?}", campaign.seed);
        for group in groups {
            let cursor = id(group.get("cursor"));
            assert!(cursor <= last, "{stream}: {cursor:?} is beyond {last:?}: {group:?}");
        }
    }
}

fn id(value: &Value) -> (u64, u64) {
    let (ms, seq) = value.str().split_once('-').expect("an id");
    (ms.parse().unwrap(), seq.parse().unwrap())
}
