//! What was found to break a module in a cluster, one test for each.

use std::collections::BTreeMap;

use super::scene::{PARTITIONS, RING, Scene, asking, numbers, slot_of, stream};
use crate::harness::{
    ClusterClient, PATIENCE, Value, args, cmd, each_binary, left_out, must, until,
};
use crate::pull::{IN_TIME, QUIET};
use crate::usage::COMMANDS;

/// How many events each partition should have.
#[derive(Default)]
struct Counted(BTreeMap<i64, i64>);

impl Counted {
    /// Counts the event of a reply of TRIGGER or APPEND.
    #[track_caller]
    fn take(&mut self, reply: &Value) {
        *self.0.entry(reply.at(0).int()).or_default() += 1;
    }

    #[track_caller]
    fn assert_stored(&self, client: &mut ClusterClient) {
        for p in 0..PARTITIONS {
            let length = must!(client, "XLEN", stream(p)).int();
            assert_eq!(length, self.0.get(&i64::from(p)).copied().unwrap_or(0), "partition {p}");
        }
    }
}

/// Every key of a partition's slot is one that a command finds: storage and lookup agree.
#[track_caller]
fn assert_keys_are_found(scene: &Scene) {
    for n in scene.cluster.masters() {
        let mut conn = scene.cluster.connect(n);
        let mut in_slots = 0;
        for p in scene.partitions_at(n) {
            let slot = slot_of(p).number();
            let keys = must!(conn, "CLUSTER", "GETKEYSINSLOT", slot, 1000);
            for key in keys.array() {
                assert_eq!(must!(conn, "EXISTS", key.bytes()).int(), 1, "{key:?}");
                assert!(key.str().starts_with(&stream(p)), "{key:?} in the slot of {p}");
            }
            in_slots += keys.array().len();
        }
        let authority = usize::from(scene.authority() == n);
        let all = usize::try_from(must!(conn, "DBSIZE").int()).unwrap();
        assert_eq!(all, in_slots + authority, "node {n} has keys in other slots");
    }
}

/// T1: newer servers take the slot of a key from the command that runs. Whatever a command stores
/// in another slot is lost to every other command, without an error.
#[test]
fn t1_a_direct_event_lies_in_the_slot_of_its_partition() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 1);
        let mut counted = Counted::default();
        for p in 0..PARTITIONS {
            let (key, stream) = (scene.mapping.key_in(p, 0), stream(p));
            counted.take(&must!(scene.client, "EVQ.APPEND", stream, key, "inline"));
            let mut conn = scene.cluster.connect(scene.cluster.owner_of(&stream));
            // Behind a command of another slot, on the same connection.
            let words = [args!["EVQ.APPEND", stream, key, "pipelined"]];
            let words = words.iter().cycle().take(3);
            conn.pipeline(&words.collect::<Vec<_>>()).iter().for_each(|it| counted.take(it));
            must!(conn, "MULTI").ok();
            must!(conn, "EVQ.APPEND", stream, key, "MULTI");
            must!(conn, "SET", format!("{stream}:own"), 1);
            must!(conn, "EVQ.APPEND", stream, key, "MULTI");
            let replies = must!(conn, "EXEC");
            counted.take(replies.at(0));
            counted.take(replies.at(2));
            let script = "return redis.call('EVQ.APPEND', KEYS[1], ARGV[1], 'script')";
            counted.take(&must!(conn, "EVAL", script, 1, stream, key));
            must!(conn, "EVQ.CONSUME", stream, "GROUP", "g", "WORKER", "w", "NOBLOCK");
        }
        counted.assert_stored(&mut scene.client);
        assert_keys_are_found(&scene);
        scene.cluster.assert_equal_replicas();
        for n in scene.cluster.masters() {
            // What lay in a wrong slot would lie in another one now.
            must!(scene.cluster.connect(n), "DEBUG", "RELOAD").ok();
        }
        counted.assert_stored(&mut scene.client);
        assert_keys_are_found(&scene);
    });
}

/// T1 once more, for events that are passed on: the command's own key has another slot.
#[test]
fn t1_a_triggered_event_lies_in_the_slot_of_its_partition() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 1);
        let mut counted = Counted::default();
        for n in 0..200 {
            let reply = must!(scene.client, "EVQ.TRIGGER", format!("k{n}"), n, "RING", RING);
            assert_eq!(reply.at(0).int(), i64::from(scene.mapping.partition(&format!("k{n}"))));
            counted.take(&reply);
        }
        for n in 0..20 {
            let mut words = args!["EVQ.MTRIGGER", 10].to_vec();
            (0..10).for_each(|i| words.extend(args![format!("m{}", 10 * n + i), "batch"]));
            words.extend(args!["RING", RING]);
            scene.client.must(&words).array().iter().for_each(|it| counted.take(it));
        }
        for n in scene.cluster.masters() {
            // Only those that the server itself leaves here: it knows the key's slot.
            let here = |key: &String| scene.cluster.owner_of(key) == n;
            let keys = (0..).map(|n| format!("p{n}")).filter(here).take(50);
            let words = keys.map(|key| args!["EVQ.TRIGGER", key, "pipelined", "RING", RING]);
            let replies = scene.cluster.connect(n).pipeline(&words.collect::<Vec<_>>());
            replies.iter().for_each(|it| counted.take(it));
        }
        counted.assert_stored(&mut scene.client);
        assert_keys_are_found(&scene);
        scene.cluster.assert_equal_replicas();
    });
}

/// T1, the reads: a look into another slot would find nothing, and a cursor would start again.
#[test]
fn t1_a_group_goes_on_where_it_was() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        for p in 0..PARTITIONS {
            scene.append_all(p, 3);
            assert_eq!(scene.consume_all(p, "g"), numbers(0..3));
        }
        for p in 0..PARTITIONS {
            scene.append(p, "last");
            assert_eq!(scene.consume_all(p, "g"), ["last"]);
        }
    });
}

/// T2: a timer that asks the server who owns which slot kills Valkey 8.0.1.
#[test]
fn t2_timers_run_while_slots_come_and_go() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        let (p, from) = scene.elsewhere();
        let to = scene.authority();
        scene.append_all(p, 2);
        let mut owner = scene.cluster.connect(from);
        // A lease that expires, a failure that is due: both are the timer's.
        let words =
            args!["EVQ.CONSUME", stream(p), "GROUP", "g", "WORKER", "w", "LEASE", 100, "NOBLOCK"];
        let pulled = owner.must(&words);
        let id = pulled.at(2).at(0).at(0).str().to_owned();
        must!(owner, "EVQ.NACK", stream(p), id, "GROUP", "g", "WORKER", "w", "DELAY", 50);
        let mut waiting = scene.cluster.connect(from);
        waiting.send(&args!["EVQ.CONSUME", stream(p), "GROUP", "g", "BLOCK", 0]);
        for (from, to) in [(from, to), (to, from)] {
            scene.cluster.move_somehow(slot_of(p), to);
            // Turns of both event loops, with what is due meanwhile.
            let (mut here, mut there) = (scene.cluster.connect(from), scene.cluster.connect(to));
            for _ in 0..50 {
                must!(here, "PING");
                must!(there, "PING");
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        drop(waiting);
        until(PATIENCE, || !scene.consume_all(p, "g").is_empty());
        scene.cluster.assert_healthy();
    });
}

/// T3: the module's own way to a key checks no slot. Half of a partition would be made anew where
/// it has just left.
#[test]
fn t3_nothing_is_made_anew_where_it_has_left() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        let (p, _) = scene.elsewhere();
        scene.append_all(p, 5);
        // A partition that lacks a key is not served where its slot arrives, before it has.
        let words = args!["EVQ.CONSUME", stream(p), "GROUP", "g", "WORKER", "w", "NOBLOCK"];
        let first = scene.client.must(&words).at(2).at(0).at(0).str().to_owned();
        must!(scene.client, "EVQ.ACK", stream(p), first, "GROUP", "g", "WORKER", "w");
        must!(scene.client, "EVQ.RELEASE", stream(p), "GROUP", "g", "WORKER", "w").ok();
        let key = scene.mapping.key_in(p, 0);
        let moving = scene.cluster.begin_move(slot_of(p), scene.authority());
        moving.migrate_all();
        let moved = moving.keys_at(moving.to());
        let mut source = scene.cluster.connect(moving.from());
        for words in [
            args!["EVQ.APPEND", stream(p), key, "x"].to_vec(),
            args!["EVQ.CONSUME", stream(p), "GROUP", "g", "NOBLOCK"].to_vec(),
            args!["EVQ.ACK", stream(p), "1-1", "GROUP", "g", "EPOCH", 1].to_vec(),
            args!["EVQ.NACK", stream(p), "1-1", "GROUP", "g", "EPOCH", 1].to_vec(),
            args!["EVQ.PENDING", stream(p), "GROUP", "g"].to_vec(),
        ] {
            let reply = source.cmd(&words);
            assert!(reply.is_error(), "{}: {reply:?}", String::from_utf8_lossy(&words[0]));
            assert!(["ASK", "TRYAGAIN"].contains(&reply.err_code()), "{reply:?}");
            assert_eq!(moving.keys(), Vec::<Vec<u8>>::new());
        }
        let mut target = scene.cluster.connect(moving.to());
        let append = args!["EVQ.APPEND", stream(p), key, "asked"];
        assert!(!asking(&mut target, &append).is_error());
        assert_eq!(cmd!(target, "EVQ.APPEND", stream(p), key, "x").err_code(), "MOVED");
        assert_eq!(moving.keys_at(moving.to()), moved);
        moving.finish();
        let mut all = numbers(0..5);
        all.push("asked".to_owned());
        assert_eq!(scene.stored(p), all);
        assert_eq!(scene.consume_all(p, "g"), all[1..]);
    });
}

/// T4: the cluster's own bus stalls under back-to-back messages, and loses what a node that is away
/// was sent.
#[test]
fn t4_nothing_goes_over_the_bus() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 0);
        for n in 0..50 {
            must!(scene.client, "EVQ.TRIGGER", format!("k{n}"), n, "RING", RING);
        }
        for n in scene.cluster.masters() {
            let info = must!(scene.cluster.connect(n), "CLUSTER", "INFO");
            assert!(!info.str().contains("messages_module"), "{info:?}");
        }
    });
}

/// T5: a timer that is made while the server is about to sleep may come 70 ms late on Redis 7.0. A
/// pipeline that waited for one at each command would take longer than this test is patient.
#[test]
fn t5_a_pipeline_of_passed_on_events_waits_for_no_timer() {
    each_binary(|binary| {
        let scene = Scene::start(binary, 0);
        let n = scene.authority();
        let sent_here = |key: &String| {
            let partition = scene.mapping.partition(key);
            scene.cluster.owner_of(key) == n && scene.cluster.owner_of(&stream(partition)) != n
        };
        let keys: Vec<_> = (0..400).map(|n| format!("k{n}")).filter(sent_here).collect();
        assert!(keys.len() > 20, "{keys:?}");
        let keys = keys.iter().cycle().take(3000);
        let words = keys.map(|key| args!["EVQ.TRIGGER", key, "x", "RING", RING]);
        let replies = scene.cluster.connect(n).pipeline(&words.collect::<Vec<_>>());
        let mut last = BTreeMap::new();
        for reply in &replies {
            let (p, id) = (reply.at(0).int(), reply.at(1).str());
            let (ms, seq) = id.split_once('-').unwrap();
            let id: (u64, u64) = (ms.parse().unwrap(), seq.parse().unwrap());
            assert!(last.insert(p, id).is_none_or(|before| before < id), "order of a connection");
        }
    });
}

/// T6: the server redirects by a command's first key, as COMMAND has it, and by nothing else.
#[test]
fn t6_the_server_redirects_what_belongs_elsewhere() {
    each_binary(|binary| {
        let scene = Scene::start(binary, 0);
        let mut conn = scene.cluster.connect(scene.authority());
        let (p, _) = scene.elsewhere();
        for words in [
            args!["EVQ.APPEND", stream(p), "k", "x"].to_vec(),
            args!["EVQ.CONSUME", stream(p), "NOBLOCK"].to_vec(),
            args!["EVQ.CONSUME", stream(p), "ANY", "NOBLOCK"].to_vec(),
            args!["EVQ.ACK", stream(p), "1-1"].to_vec(),
            args!["EVQ.NACK", stream(p), "1-1"].to_vec(),
            args!["EVQ.EXTEND", stream(p)].to_vec(),
            args!["EVQ.RELEASE", stream(p)].to_vec(),
            args!["EVQ.PENDING", stream(p)].to_vec(),
        ] {
            let moved = format!("MOVED {} ", slot_of(p));
            let reply = conn.cmd(&words);
            assert!(reply.is_error() && reply.err().starts_with(&moved), "{words:?}: {reply:?}");
        }
        // Clients read the place of the first key from here, and refuse a command without one.
        for command in &COMMANDS {
            let info = must!(conn, "COMMAND", "INFO", command.name);
            let first = info.at(0).at(3).int();
            let has_words = !command.words.is_empty() && command.optional < command.words.len();
            assert!(first > 0 || !has_words, "{}: first key {first}", command.name);
        }
    });
}

/// T7: a module that does not say that it bears them keeps Valkey 9 from moving slots at once.
#[test]
fn t7_a_slot_moves_at_once_with_its_ring() {
    each_binary(|binary| {
        let mut scene = Scene::start(binary, 1);
        if !scene.cluster.moves_at_once() {
            left_out(&format!("CLUSTER MIGRATESLOTS, which {binary} does not have"));
            return;
        }
        let (p, from) = scene.elsewhere();
        scene.append_all(p, 50);
        let mut worker = scene.cluster.client();
        let pull = |worker: &mut ClusterClient| {
            must!(worker, "EVQ.CONSUME", stream(p), "GROUP", "g", "WORKER", "w", "COUNT", 10)
        };
        let first = pull(&mut worker);
        let last = first.at(2).at(9).at(0).str().to_owned();
        must!(worker, "EVQ.ACK", stream(p), last, "GROUP", "g", "WORKER", "w");
        let mut blocked = scene.cluster.connect(from);
        blocked.send(&args!["EVQ.CONSUME", stream(p), "GROUP", "other", "BLOCK", 0]);
        // There is no such group in a cluster until somebody makes it.
        assert_eq!(blocked.read().err_code(), "EVQNOGROUP");
        blocked.send(&args!["EVQ.CONSUME", stream(p), "GROUP", "g", "BLOCK", 0]);
        assert_eq!(blocked.try_read(QUIET), None);
        scene.cluster.move_at_once(slot_of(p), scene.authority());
        let reply = blocked.try_read(IN_TIME).expect("a reply in time");
        assert!(["MOVED", "TRYAGAIN"].contains(&reply.err_code()), "{reply:?}");
        let again = pull(&mut worker);
        assert!(again.at(1).int() > first.at(1).int(), "a higher epoch: {again:?}");
        assert_eq!(again.at(2).at(0).at(1).get("payload").str(), "10");
        must!(worker, "EVQ.RELEASE", stream(p), "GROUP", "g", "WORKER", "w").ok();
        assert_eq!(scene.consume_all(p, "g"), numbers(10..50));
        scene.cluster.assert_equal_replicas();
    });
}
