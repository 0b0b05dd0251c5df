//! EVQ.GROUPS gives the totals of what is there, and of what EVQ.STATS shows, whatever clients and
//! operators do: each figure is compared with what reading the streams and EVQ.PENDING gives.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use crate::harness::{Conn, PATIENCE, Random, Value, each_server, must, seed, until_some};
use crate::pull::{say, words};

/// In the order of their names.
const GROUPS: [&str; 3] = ["all", "holding", "some"];

type Id = (u64, u64);

fn number(id: &str) -> Id {
    let (ms, seq) = id.split_once('-').expect("an id");
    (ms.parse().unwrap(), seq.parse().unwrap())
}

/// What a group has in a partition, by reading.
#[derive(Debug, Default, PartialEq)]
struct Truth {
    lag: i64,
    oldest: Option<Id>,
    in_flight: i64,
    retrying: i64,
    held: i64,
    dead: i64,
    letters: i64,
}

/// One look: what the commands say and what they were asked about, all at the same time.
struct Look {
    stats: Json,
    groups: Json,
    /// For each partition and group what was read.
    truth: Vec<Vec<Truth>>,
}

fn partitions(conn: &mut Conn) -> Vec<i64> {
    let ring = say(conn, "EVQ.RING t");
    ring.get("partitions").array().iter().map(|row| row.get("partition").int()).collect()
}

fn json(reply: &Value) -> Json {
    serde_json::from_str(reply.str()).unwrap()
}

fn look(conn: &mut Conn) -> Look {
    let all = partitions(conn);
    must!(conn, "MULTI").ok();
    let mut queue = |line: String| assert_eq!(conn.must(&words(&line)).str(), "QUEUED");
    queue("EVQ.STATS t JSON".into());
    queue("EVQ.GROUPS RING t JSON".into());
    for p in &all {
        queue(format!("XRANGE evq:{{t:{p}}} - +"));
        for group in GROUPS {
            queue(format!("EVQ.PENDING {p} RING t GROUP {group} COUNT 10000"));
            queue(format!("XRANGE evq:{{t:{p}}}:dead:{group} - +"));
        }
    }
    let replies = must!(conn, "EXEC");
    let (stats, groups) = (json(replies.at(0)), json(replies.at(1)));
    let mut rest = replies.array()[2..].iter();
    let mut truth = Vec::new();
    for (at, _) in all.iter().enumerate() {
        let stream = rest.next().unwrap();
        let rows = stats["partitions"][at]["groups"].as_array().unwrap();
        let of =
            rows.iter().map(|row| read(row, stream, rest.next().unwrap(), rest.next().unwrap()));
        truth.push(of.collect());
    }
    Look { stats, groups, truth }
}

/// What is not finished: entries above the cursor of a type that the group takes, unless they are
/// dead and skipped, and below it what EVQ.PENDING lists.
fn read(row: &Json, stream: &Value, pending: &Value, letters: &Value) -> Truth {
    let name = row["group"].as_str().unwrap();
    let cursor = number(row["cursor"].as_str().unwrap());
    let takes = |entry: &&Value| {
        let fields = entry.at(1).map();
        let kind = fields.iter().find(|(name, _)| name.bytes() == b"type");
        name != "some" || kind.is_some_and(|(_, kind)| kind.str() == "T")
    };
    let id = |entry: &Value| number(entry.at(0).str());
    let entries: BTreeSet<Id> = stream.array().iter().filter(takes).map(id).collect();
    let letter = |letter: &Value| number(letter.at(1).get("id").str());
    let skipped: BTreeSet<Id> = match name {
        "holding" => BTreeSet::new(),
        _ => letters.array().iter().map(letter).collect(),
    };
    let pending: Vec<(Id, &str)> = pending
        .array()
        .iter()
        .map(|row| (number(row.get("id").str()), row.get("state").str()))
        .collect();
    let waits = |id: &Id| pending.iter().any(|(other, _)| other == id);
    let above = entries.iter().filter(|id| **id > cursor);
    let above = above.filter(|id| waits(id) || !skipped.contains(id)).copied();
    let below = pending.iter().filter(|(id, _)| *id <= cursor).map(|(id, _)| *id);
    let unfinished: BTreeSet<Id> = above.chain(below).collect();
    let count =
        |state| i64::try_from(pending.iter().filter(|(_, of)| *of == state).count()).unwrap();
    Truth {
        lag: i64::try_from(unfinished.len()).unwrap(),
        oldest: unfinished.first().copied(),
        in_flight: count("in-flight"),
        retrying: count("retry"),
        held: count("held"),
        dead: count("dead"),
        letters: i64::try_from(letters.array().len()).unwrap(),
    }
}

impl Look {
    fn is_exact(&self) -> bool {
        self.groups.as_array().unwrap().iter().all(|group| group["lag-exact"] == 1)
    }

    /// `loose` where something that waits was removed by hand, which is noticed a little later.
    fn check(&self, loose: bool, story: &[String]) {
        let story = || story.join("\n");
        for (at, name) in GROUPS.iter().enumerate() {
            let group = &self.groups[at];
            assert_eq!(group["group"], *name);
            let rows: Vec<_> = self.stats["partitions"].as_array().unwrap().iter().collect();
            let rows: Vec<_> = rows.iter().map(|row| &row["groups"][at]).collect();
            let sum =
                |field: &str| rows.iter().map(|row| row[field].as_i64().unwrap()).sum::<i64>();
            for field in ["lag", "in-flight", "retrying", "held", "dead-held", "dead-letters"] {
                assert_eq!(group[field].as_i64(), Some(sum(field)), "{name} {field}\n{}", story());
            }
            let owned = rows.iter().filter(|row| !row["owner"].is_null()).count();
            assert_eq!(group["owners"].as_i64(), i64::try_from(owned).ok());
            let eldest = rows.iter().filter_map(|row| row["oldest-unfinished-ms"].as_i64()).max();
            let told = group["oldest-unfinished-ms"].as_i64();
            match (eldest, told) {
                // The second command was a little later.
                (Some(eldest), Some(told)) => assert!((0..5000).contains(&(told - eldest))),
                _ => assert_eq!(eldest, told, "{name}\n{}", story()),
            }
            for (row, truth) in rows.iter().zip(self.truth.iter().map(|groups| &groups[at])) {
                let of = |field: &str| row[field].as_i64().unwrap();
                let told = Truth {
                    lag: of("lag"),
                    oldest: row["oldest-unfinished-id"].as_str().map(number),
                    in_flight: of("in-flight"),
                    retrying: if loose { truth.retrying } else { of("retrying") },
                    held: if loose { truth.held } else { of("held") },
                    dead: if loose { truth.dead } else { of("dead-held") },
                    letters: of("dead-letters"),
                };
                assert_eq!(told, *truth, "{name}: {row}\n{}", story());
            }
        }
    }
}

/// A history: who asked for what, and what was handed out.
struct History {
    conn: Conn,
    random: Random,
    story: Vec<String>,
    /// What was handed out, by group: partition and id.
    handed_out: Vec<(usize, i64, String)>,
    /// Whether entries are removed by hand, too.
    removes: bool,
    loose: bool,
}

impl History {
    fn say(&mut self, line: String) -> Value {
        let reply = say(&mut self.conn, &line);
        self.story.push(format!("{line} -> {reply:?}"));
        reply
    }

    fn any_partition(&mut self) -> i64 {
        let all = partitions(&mut self.conn);
        self.random.one_of(&all)
    }

    fn pull(&mut self) {
        let (group, p) = (self.random.one_of(&[0, 1, 2]), self.any_partition());
        let (name, count) = (GROUPS[group], 1 + self.random.below(12));
        let worker = ["w", "v"][usize::from(self.random.one_in(9))];
        let line = format!("EVQ.CONSUME {p} RING t GROUP {name} WORKER {worker} COUNT {count}");
        let reply = self.say(format!("{line} NOBLOCK"));
        if !reply.is_null() && !reply.is_error() {
            let ids = reply.at(2).array().iter().map(|event| event.at(0).str().to_owned());
            self.handed_out.extend(ids.map(|id| (group, p, id)));
        }
    }

    /// Acknowledges or refuses something that was handed out, however long ago.
    fn answer(&mut self) {
        if self.handed_out.is_empty() {
            return self.pull();
        }
        let newest = self.handed_out.len() as u64;
        let at = newest - 1 - self.random.below(newest.min(20));
        let (group, p, id) = self.handed_out[usize::try_from(at).unwrap()].clone();
        let of = format!("RING t GROUP {} WORKER w", GROUPS[group]);
        match self.random.below(5) {
            0 => self.say(format!("EVQ.NACK {p} {id} {of} DELAY 0")),
            1 => self.say(format!("EVQ.NACK {p} {id} {of} DELAY 600000")),
            _ => self.say(format!("EVQ.ACK {p} {id} {of}")),
        };
    }

    /// Removes entries of a partition as an operator might.
    fn remove_by_hand(&mut self) {
        let p = self.any_partition();
        let key = format!("evq:{{t:{p}}}");
        let stream = must!(self.conn, "XRANGE", key, "-", "+");
        if stream.array().is_empty() {
            return;
        }
        let at = self.random.below(stream.array().len() as u64);
        let id = stream.at(usize::try_from(at).unwrap()).at(0).str().to_owned();
        self.loose = true;
        match self.random.below(6) {
            0 => self.say(format!("XTRIM {key} MINID {id}")),
            1 => self.say(format!("DEL {key}")),
            _ => self.say(format!("XDEL {key} {id}")),
        };
    }

    fn operate(&mut self) {
        let (p, group) = (self.any_partition(), GROUPS[self.random.one_of(&[0, 1, 2])]);
        let line = match self.random.below(12) {
            0 => format!("EVQ.RELEASE {p} RING t GROUP {group} WORKER w"),
            1 => {
                // An event that is handed out anew is not over because it has an old letter.
                self.say(format!("DEL evq:{{t:{p}}}:dead:{group}"));
                format!("EVQ.SEEK {group} {p} first RING t")
            }
            2 => format!("EVQ.SEEK {group} {p} last RING t"),
            3 => format!("EVQ.DEAD {group} RETRY {p} * RING t"),
            4 => format!("XADD evq:{{t:{p}}} * key by-hand type T"),
            5 => format!("XTRIM evq:{{t:{p}}}:dead:holding MAXLEN 1"),
            6 => format!("EVQ.RESIZE t {}", 1 + self.random.below(4)),
            7 if self.random.one_in(3) => "DEBUG RELOAD".into(),
            8 if self.random.one_in(3) => format!("EVQ.GROUP {group} RING t MAXATTEMPTS 3"),
            _ if self.removes => return self.remove_by_hand(),
            _ => return self.pull(),
        };
        self.say(line);
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=4 => {
                let (key, kind) =
                    (self.random.below(6), ["T", "U"][usize::from(self.random.one_in(2))]);
                self.say(format!("EVQ.TRIGGER k{key} p RING t TYPE {kind}"));
            }
            5..=10 => self.pull(),
            11..=17 => self.answer(),
            _ => self.operate(),
        }
    }
}

#[test]
fn totals_are_what_is_there_whatever_happens() {
    each_server(|server| {
        for round in 0..4 {
            let mut conn = server.connect();
            must!(conn, "FLUSHALL").ok();
            must!(conn, "EVQ.CREATE", "t", 3, "MAXLEN", 60, "MAXAGE", 0).ok();
            for (name, options) in
                GROUPS.iter().zip(["MAXATTEMPTS 2", "MAXATTEMPTS 1 ONDEAD hold", "TYPES 1 T"])
            {
                say(&mut conn, &format!("EVQ.GROUP {name} RING t FROM first {options}")).ok();
            }
            let random = Random::new(seed().wrapping_mul(1000) + round);
            let (story, handed_out) = (Vec::new(), Vec::new());
            let removes = round % 2 == 1;
            let mut history = History { conn, random, story, handed_out, removes, loose: false };
            for _ in 0..250 {
                history.step();
                let found =
                    until_some(PATIENCE, || Some(look(&mut history.conn)).filter(Look::is_exact));
                found.check(history.loose, &history.story);
            }
        }
    });
}

#[test]
fn stats_of_one_partition_or_one_group_are_those_rows() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "t", 3).ok();
        for group in ["a", "b"] {
            say(&mut conn, &format!("EVQ.GROUP {group} RING t FROM first")).ok();
        }
        for n in 0..20 {
            must!(conn, "EVQ.TRIGGER", n, "p", "RING", "t");
        }
        let rows = |conn: &mut Conn, line: &str| {
            let reply = say(conn, line);
            let mut rows = Vec::new();
            for partition in reply.get("partitions").array() {
                for group in partition.get("groups").array() {
                    let name = group.get("group").str().to_owned();
                    rows.push((partition.get("partition").int(), name, group.get("lag").int()));
                }
            }
            rows
        };
        let all = rows(&mut conn, "EVQ.STATS t");
        assert_eq!(all.len(), 6);
        assert_eq!(all.iter().map(|(.., lag)| lag).sum::<i64>(), 40);
        let of = |p: Option<i64>, name: Option<&str>| -> Vec<_> {
            let wanted = all.iter().filter(|(partition, group, _)| {
                p.is_none_or(|p| p == *partition) && name.is_none_or(|name| name == group)
            });
            wanted.cloned().collect()
        };
        for (line, p, group) in [
            ("EVQ.STATS t PARTITION 1", Some(1), None),
            ("EVQ.STATS t partition evq:{t:2}", Some(2), None),
            ("EVQ.STATS PARTITION evq:{t:2}", Some(2), None),
            ("EVQ.STATS t GROUP b", None, Some("b")),
            ("EVQ.STATS t GROUP b PARTITION 0", Some(0), Some("b")),
            ("EVQ.STATS GROUP a PARTITION evq:{t:0}", Some(0), Some("a")),
        ] {
            assert_eq!(rows(&mut conn, line), of(p, group), "{line}");
        }
        let text = say(&mut conn, "EVQ.STATS t JSON PARTITION 1 GROUP a");
        let found = json(&text);
        assert_eq!(found["partitions"][0]["groups"][0]["group"], "a");
        assert_eq!(found["partitions"].as_array().unwrap().len(), 1);
        for (line, code) in [
            ("EVQ.STATS t PARTITION 3", "EVQNOPARTITION"),
            ("EVQ.STATS t GROUP c", "EVQNOGROUP"),
            ("EVQ.STATS t PARTITION evq:{u:1}", "ERR"),
            ("EVQ.STATS t PARTITION x", "ERR"),
            ("EVQ.STATS t PARTITION 1 PARTITION 2", "ERR"),
            ("EVQ.STATS t GROUP", "ERR"),
            ("EVQ.STATS t GROUP a/b", "EVQNAME"),
        ] {
            assert_eq!(say(&mut conn, line).err_code(), code, "{line}");
        }
        // A ring may be called like an option.
        for ring in ["json", "group", "PARTITION"] {
            must!(conn, "EVQ.CREATE", ring, 1).ok();
            for line in ["JSON", "GROUP g JSON", "PARTITION 0 JSON"] {
                must!(conn, "EVQ.GROUP", "g", "RING", ring, "MAXATTEMPTS", 3).ok();
                let reply = say(&mut conn, &format!("EVQ.STATS {ring} {line}"));
                if (ring, line) == ("group", "JSON") {
                    // The group JSON of the default ring.
                    assert_eq!(reply.err_code(), "EVQNOGROUP");
                } else {
                    assert_eq!(json(&reply)["name"], ring, "{ring} {line}");
                }
            }
        }
    });
}
