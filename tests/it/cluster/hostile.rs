//! Every command at every node of a cluster, right, wrong and without arguments, from the table in
//! `usage`: each call gets a reply or one clear error in time, no node ends, and the ring works
//! afterwards. MOVED comes from the server alone: for the slot of the first argument, at a node
//! that does not have it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::scene::{Mapping, PARTITIONS, RING, Scene};
use crate::harness::{Arg, ClusterClient, Conn, Value, args, cmd, each_binary, must};
use crate::kinds::{Kind, NONSENSE};
use crate::model::slots::Slot;
use crate::usage::{COMMANDS, FORMS, Usage};

type Words = Vec<Vec<u8>>;

/// The longest time for a command of all partitions, and some more for a busy machine.
const LIMIT: Duration = Duration::from_secs(45);

/// Codes by which a node says that others are away or disagree, which none does here.
const TROUBLE: [&str; 7] =
    ["EVQBUG", "EVQUNREACHABLE", "EVQUNKNOWN", "UNBLOCKED", "ASK", "TRYAGAIN", "CLUSTERDOWN"];

/// Commands that a cluster refuses, and one for replicas only.
const REFUSED: [&str; 2] = ["EVQ.RESIZE", "EVQ.APPLY"];

/// Names that all belong to one node, so that the server leaves there whatever begins with them.
struct Names {
    ring: String,
    group: String,
    key: String,
    stream: String,
    ticket: String,
}

impl Names {
    #[track_caller]
    fn at(client: &mut ClusterClient, port: u16) -> Self {
        let mut find = |all: &mut dyn Iterator<Item = String>| {
            let mut all = all.filter(|name| client.owner(Slot::of(name.as_bytes())) == Some(port));
            all.next().expect("a name")
        };
        let ring = find(&mut (0..).map(|n| format!("ring-{n}")));
        let stream = |p: u32| format!("evq:{{{ring}:{p}}}");
        let first = find(&mut (0..PARTITIONS).map(stream));
        let mapping = Mapping::of(PARTITIONS);
        let is_there = |key: &String| stream(mapping.partition(key)) == first;
        Self {
            group: find(&mut (0..).map(|n| format!("group-{n}"))),
            // Of this partition: EVQ.APPEND takes no other.
            key: find(&mut (0..).map(|n| format!("key-{n}")).filter(is_there)),
            ticket: find(&mut (1..).map(|n: u32| n.to_string())),
            stream: first,
            ring,
        }
    }

    /// A good value, where the table has one for a ring `r` of two partitions.
    fn good(&self, name: &str, kind: Kind, value: &str) -> Vec<u8> {
        match (kind, value) {
            (Kind::Ring, "r") => self.ring.to_arg(),
            (Kind::Group, _) => self.group.to_arg(),
            (Kind::Bytes, "k") => self.key.to_arg(),
            (Kind::Bytes, "evq:{r}") => format!("evq:{{{}}}", self.ring).to_arg(),
            (Kind::Partition | Kind::PartitionOrAll, "0") => self.stream.to_arg(),
            (Kind::Natural, "1") if name == "EVQ.CANCEL" => self.ticket.to_arg(),
            (Kind::Count, "2") if name == "EVQ.CREATE" => PARTITIONS.to_arg(),
            (_, value) => value.to_arg(),
        }
    }

    fn words(&self, usage: &Usage) -> Words {
        let words = usage.words.iter().map(|(kind, value)| self.good(usage.name, *kind, value));
        [usage.name.to_arg()].into_iter().chain(words).collect()
    }

    fn option(&self, usage: &Usage, name: &str) -> Words {
        let (_, values) = usage.options.iter().find(|(other, _)| *other == name).expect("one");
        let values = values.iter().map(|(kind, value)| self.good(usage.name, *kind, value));
        [name.to_arg()].into_iter().chain(values).collect()
    }

    /// The options that a good call has, but `except`.
    fn given(&self, usage: &Usage, except: &str) -> Words {
        let given = usage.given.iter().filter(|name| **name != except);
        given.flat_map(|name| self.option(usage, name)).collect()
    }

    fn right(&self, usage: &Usage) -> Words {
        [self.words(usage), self.given(usage, "")].concat()
    }

    /// Calls that are wrong in one thing each.
    fn wrong(&self, usage: &Usage) -> Vec<Words> {
        let (words, given) = (self.words(usage), self.given(usage, ""));
        let mut calls: Vec<Words> =
            (1..words.len() - usage.optional).map(|n| words[..n].to_vec()).collect();
        for (at, (kind, _)) in usage.words.iter().enumerate() {
            for bad in bad(*kind) {
                let mut call = [&words[..], &given].concat();
                call[at + 1] = bad;
                calls.push(call);
            }
        }
        for (name, values) in usage.options {
            let option = self.option(usage, name);
            let rest = [words.clone(), self.given(usage, name)].concat();
            calls.extend((1..option.len()).map(|n| [&rest[..], &option[..n]].concat()));
            for (at, (kind, _)) in values.iter().enumerate() {
                for bad in bad(*kind) {
                    let mut option = option.clone();
                    option[at + 1] = bad;
                    calls.push([&rest[..], &option].concat());
                }
            }
        }
        // No ring has such a name, and no option.
        let odd = NONSENSE.iter().map(|word| [&words[..], &given, &[word.to_vec()]].concat());
        calls.extend(odd);
        calls
    }
}

/// Short values that no command takes. Partition 2 is there, and a megabyte is `hostile`'s.
fn bad(kind: Kind) -> impl Iterator<Item = Vec<u8>> {
    kind.bad().into_iter().map(|(value, _)| value).filter(|bad| bad != b"2" && bad.len() < 1000)
}

/// EVQ.CONSUME of any partition of a shard, which no single server's table has.
const ANY: Usage = Usage {
    name: "EVQ.CONSUME",
    words: &[(Kind::Partition, "0"), (Kind::Bytes, "ANY")],
    optional: 1,
    options: &[
        ("WORKER", &[(Kind::Worker, "w")]),
        ("BLOCK", &[(Kind::Natural, "1")]),
        ("NOBLOCK", &[]),
        ("ACK", &[(Kind::Partition, "0"), (Kind::EventId, "1-1")]),
    ],
    given: &["WORKER"],
    repeatable: &[],
    always: None,
    needs: &[],
};

fn usages() -> impl Iterator<Item = &'static Usage> {
    COMMANDS.iter().chain(&FORMS).chain([&ANY])
}

fn shown(words: &Words) -> String {
    let shown = words.iter().map(|word| word.escape_ascii().to_string());
    shown.collect::<Vec<_>>().join(" ")
}

/// Sends each call to the node at `port`; each gets one reply. An error is short, printable, and
/// has an upper-case code that a healthy cluster may reply.
#[track_caller]
fn replies(client: &mut ClusterClient, port: u16, calls: &[Words]) -> Vec<Value> {
    let mark = || args!["ECHO", "the next reply"].to_vec();
    let all: Vec<_> = calls.iter().flat_map(|call| [call.clone(), mark()]).collect();
    let conn = client.conn(port).expect("a node that is up");
    let replies = conn.pipeline(&all);
    for (words, pair) in calls.iter().zip(replies.chunks(2)) {
        assert_eq!(pair[1], Value::bulk("the next reply"), "{}", shown(words));
        if pair[0].is_error() {
            judge_error(client, port, words, &pair[0]);
        }
    }
    replies.into_iter().step_by(2).collect()
}

/// The place of the word by which the server finds a command's node, as it tells clients.
#[track_caller]
fn place_of_key(client: &mut ClusterClient, port: u16, command: &[u8]) -> usize {
    let info = must!(client.conn(port).unwrap(), "COMMAND", "INFO", command);
    usize::try_from(info.at(0).at(3).int()).unwrap()
}

#[track_caller]
fn judge_error(client: &mut ClusterClient, port: u16, words: &Words, reply: &Value) {
    let (text, code) = (reply.err(), reply.err_code());
    let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    assert!(text.len() < 160 && is_printable, "{}: {text:?}", shown(words));
    let is_code = !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_uppercase());
    assert!(is_code && !TROUBLE.contains(&code), "{}: {text}", shown(words));
    if code == "MOVED" {
        let place = place_of_key(client, port, &words[0]);
        assert!(place > 0, "{} names no key: {text}", shown(words));
        let slot = Slot::of(&words[place]);
        let owner = client.owner(slot).expect("an owner");
        assert_ne!(owner, port, "{} at the owner: {text}", shown(words));
        assert_eq!(text, format!("MOVED {slot} 127.0.0.1:{owner}"), "{}", shown(words));
    }
}

/// The ring of these names with an event in its partition, which worker `w` of `default` has.
#[track_caller]
fn make(client: &mut ClusterClient, names: &Names) {
    let dropped = cmd!(client, "EVQ.DROP", names.ring);
    assert!(!dropped.is_error() || dropped.err_code() == "EVQNORING", "{dropped:?}");
    must!(client, "EVQ.CREATE", names.ring, PARTITIONS).ok();
    for group in ["default", &names.group] {
        must!(client, "EVQ.GROUP", group, "RING", names.ring, "FROM", "first").ok();
    }
    must!(client, "XADD", names.stream, "1-1", "key", "k", "payload", "p");
    let lease = args!["EVQ.CONSUME", names.stream, "WORKER", "w", "LEASE", 1_000_000, "NOBLOCK"];
    assert_eq!(client.must(&lease).at(2).array().len(), 1);
}

/// A ring serves producers at each node, and workers.
#[track_caller]
fn assert_works(scene: &mut Scene) {
    scene.client.close();
    let before = scene.length();
    for n in scene.cluster.masters() {
        let mut conn = scene.cluster.connect(n);
        let keys = (0..).map(|n| format!("k{n}"));
        for key in keys.filter(|key| scene.cluster.owner_of(key) == n).take(5) {
            must!(conn, "EVQ.TRIGGER", key, "x", "RING", RING);
        }
    }
    let after = before + 15;
    assert_eq!(scene.length(), after);
    let consumed = (0..PARTITIONS).map(|p| scene.consume_all(p, "g").len());
    assert_eq!(consumed.sum::<usize>(), usize::try_from(after).unwrap());
    scene.cluster.assert_healthy();
}

#[test]
fn every_command_gets_a_reply_or_one_clear_error_at_every_node() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        let ports: Vec<_> =
            scene.cluster.masters().iter().map(|n| scene.cluster.port(*n)).collect();
        let mut client = scene.cluster.client().with_patience(LIMIT);
        for at in &ports {
            let names = Names::at(&mut client, *at);
            let mut done = BTreeSet::new();
            for usage in usages() {
                make(&mut client, &names);
                let right = names.right(usage);
                // In a script and in MULTI too, where some have to be refused.
                let script = args!["EVAL", "return redis.pcall(unpack(ARGV))", 0].to_vec();
                let queued = [args!["MULTI"].to_vec(), right.clone(), args!["EXEC"].to_vec()];
                for port in &ports {
                    let replies = replies(&mut client, *port, std::slice::from_ref(&right));
                    if port == at && !replies[0].is_error() {
                        done.insert(usage.name);
                    }
                    let conn = client.conn(*port).unwrap();
                    let inside = conn.cmd(&[script.clone(), right.clone()].concat());
                    let transaction = conn.pipeline(&queued).pop().unwrap();
                    for reply in [inside, transaction].iter().filter(|reply| reply.is_error()) {
                        let code = reply.err_code().bytes();
                        assert!(
                            code.into_iter().all(|byte| byte.is_ascii_uppercase()),
                            "{reply:?}"
                        );
                    }
                }
            }
            let due = COMMANDS.iter().map(|usage| usage.name);
            let missing: Vec<_> = due.filter(|name| !done.contains(name)).collect();
            assert_eq!(missing, REFUSED, "never carried out");

            make(&mut client, &names);
            for usage in usages() {
                let wrong = names.wrong(usage);
                for port in &ports {
                    let all = wrong.iter().zip(replies(&mut client, *port, &wrong));
                    for (words, reply) in all {
                        assert!(reply.is_error(), "{} replied {reply:?}", shown(words));
                    }
                }
            }
        }
        assert_works(&mut scene);
    });
}

/// The number of a ring without groups: see model/saved/snapshot.rs.
fn id_of(definition: &[u8]) -> u64 {
    let at = definition.len() - 28;
    u64::from_le_bytes(definition[at..at + 8].try_into().unwrap())
}

/// What nodes say to each other, by a client who may not, and by one who may and talks nonsense.
fn messages(key: &str, id: u64, definition: &[u8]) -> Vec<Words> {
    let late = 1_u64 << 60;
    let words =
        |message: &str, more: &[Vec<u8>]| [&args!["EVQ.SHARD", key, message], more].concat();
    let mut calls = vec![args!["EVQ.SHARD"].to_vec(), args!["EVQ.SHARD", key].to_vec()];
    for message in ["READ", "PUT", "CONFIRM", "DECIDE", "STARTS", "FORGET", "RUN", "NOPE", ""] {
        calls.push(words(message, &args!["x"]));
        calls.extend(NONSENSE.iter().map(|word| words(message, &args![0, word, word, word])));
        calls.push(words(message, &vec![b"1".to_vec(); 9]));
    }
    calls.extend([
        words("CONFIRM", &args![0, 1, 1]),
        words("FORGET", &args![1]),
        words("DECIDE", &args![1, id, 1, definition]),
        words("DECIDE", &args![late, 1, 1, definition]),
        words("STARTS", &args!["none", 1, 0, "1-1"]),
        words("RUN", &args![id, 1, "EVQ.TRIGGER", "k", "late"]),
        words("RUN", &args![id + 1, late, "EVQ.TRIGGER", "k", "of another ring"]),
        words("RUN", &args![id, late, "EVQ.SHARD", key, "READ"]),
        words("RUN", &args![id, late, "EVQ.APPLY", key, "x"]),
        words("RUN", &args![id, late, "SET", key, "x"]),
        words("RUN", &args![id, late, "FLUSHALL"]),
    ]);
    // A definition that ends too early, or does not end.
    let cut = (0..definition.len()).step_by(definition.len() / 40).map(|n| &definition[..n]);
    let longer = [definition, b"x"].concat();
    for some in cut.chain([&longer[..]]) {
        calls.push(words("PUT", &args![0, some]));
        calls.push(words("DECIDE", &args![late, id, 1, some]));
    }
    calls
}

#[test]
fn what_nodes_say_to_each_other_is_refused_from_clients_and_checked() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        must!(scene.client, "EVQ.CREATE", "plain", PARTITIONS).ok();
        for n in scene.cluster.masters() {
            let (mut conn, mut peer) = (scene.cluster.connect(n), scene.cluster.connect(n));
            must!(peer, "AUTH", "node", "node-secret").ok();
            let p = (0..PARTITIONS).find(|p| scene.cluster.owner_of(&beside(*p)) == n).unwrap();
            let copy = format!("{}:ring", beside(p));
            let read = must!(peer, "EVQ.SHARD", copy, "READ");
            let (definition, digest) = (read.at(1).bytes(), conn.digest());
            let id = id_of(definition);
            for key in [&copy, &beside(p), "evq:{plain}", "plain", ""] {
                for words in messages(key, id, definition) {
                    let refused = conn.cmd(&words);
                    let codes = ["NOPERM", "MOVED", "ERR"];
                    assert!(codes.contains(&refused.err_code()), "{}: {refused:?}", shown(&words));
                    let reply = peer.cmd(&words);
                    if reply.is_error() {
                        let code = reply.err_code();
                        let is_code = code.bytes().all(|byte| byte.is_ascii_uppercase());
                        assert!(is_code && code != "EVQBUG", "{}: {reply:?}", shown(&words));
                    }
                }
            }
            // Whatever of it was carried out changed nothing.
            assert_eq!(conn.digest(), digest);
            assert_commands_are_checked(&mut peer, p, id);
        }
        assert_works(&mut scene);
    });
}

fn beside(p: u32) -> String {
    format!("evq:{{plain:{p}}}")
}

/// A node that passes on nonsense: each command is judged where it runs, too.
#[track_caller]
fn assert_commands_are_checked(peer: &mut Conn, p: u32, id: u64) {
    let (stream, key) = (beside(p), Mapping::of(PARTITIONS).key_in(p, 0));
    let names = Names {
        ring: "plain".to_owned(),
        group: "default".to_owned(),
        key,
        stream: stream.clone(),
        ticket: "1".to_owned(),
    };
    for usage in usages() {
        let head = args!["EVQ.SHARD", stream, "RUN", id, 1_u64 << 60];
        let calls = [names.wrong(usage), vec![names.right(usage)]].concat();
        let calls: Vec<_> = calls.iter().map(|call| [&head[..], call].concat()).collect();
        for (words, reply) in calls.iter().zip(peer.pipeline(&calls)) {
            let code = if reply.is_error() { reply.err_code() } else { "OK" };
            let is_code = code.bytes().all(|byte| byte.is_ascii_uppercase());
            assert!(is_code && code != "EVQBUG", "{}: {reply:?}", shown(words));
        }
    }
}
