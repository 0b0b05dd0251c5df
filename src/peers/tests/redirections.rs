//! Slots that are elsewhere, or on their way there.

use std::collections::BTreeSet;
use std::time::Instant;

use super::servers::{Servers, each};
use super::wait::{PATIENCE, until};
use super::{Answer, Ask, Fault, Lane, Word, ask, bulk, command, ok, run, send, settle, start};
use crate::model::slots::Slot;

/// A key, its slot, the server that has it, and another one.
fn spot(servers: &Servers) -> (&'static str, u16, usize, usize) {
    let slot = Slot::of(b"{t}a").number();
    let from = servers.first_owner(slot);
    ("{t}a", slot, from, (from + 1) % servers.count())
}

#[test]
fn a_command_finds_the_owner_of_its_slot_from_one_seed() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let peers = start(&servers);
        for number in 0..100 {
            let (key, value) = (format!("key-{number}"), format!("value-{number}"));
            assert_eq!(ask(&peers, &["SET", &key, &value]), ok());
            assert_eq!(ask(&peers, &["GET", &key]), Ok(bulk(&value)));
        }
        let sizes = (0..3).map(|n| servers.server(n).must(&["DBSIZE"]));
        let sizes: Vec<i64> = sizes.map(|size| redis::from_redis_value(size).unwrap()).collect();
        assert_eq!(sizes.iter().sum::<i64>(), 100, "{sizes:?}");
        assert!(sizes.iter().all(|size| *size > 10), "{sizes:?}");
        assert_eq!((0..3).map(|n| servers.server(n).errors("MOVED")).sum::<u64>(), 0);
    });
}

#[test]
fn a_slot_that_has_moved_is_followed_and_noted() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let peers = start(&servers);
        let (key, slot, from, to) = spot(&servers);
        assert_eq!(ask(&peers, &["SET", key, "1"]), ok());
        settle(&peers);
        servers.begin_to_move(slot, from, to);
        servers.migrate(key, from, to);
        servers.end_move(slot, from, to);
        assert_eq!(ask(&peers, &["INCR", key]), Ok(Answer::Int(2)));
        assert_eq!(servers.server(from).errors("MOVED"), 1);
        assert_eq!(ask(&peers, &["INCR", key]), Ok(Answer::Int(3)));
        assert_eq!(servers.server(from).errors("MOVED"), 1, "what was said once is remembered");
    });
}

#[test]
fn a_key_that_has_gone_ahead_is_asked_for_at_the_target() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let peers = start(&servers);
        let (key, slot, from, to) = spot(&servers);
        assert_eq!(ask(&peers, &["SET", key, "1"]), ok());
        servers.begin_to_move(slot, from, to);
        assert_eq!(ask(&peers, &["INCR", key]), Ok(Answer::Int(2)));
        servers.migrate(key, from, to);
        assert_eq!(ask(&peers, &["INCR", key]), Ok(Answer::Int(3)));
        assert_eq!(servers.server(from).errors("ASK"), 1);
        assert_eq!(servers.server(to).errors("MOVED"), 0, "ASKING goes first");
        // The slot still belongs to the source: what is asked next is asked there.
        assert_eq!(ask(&peers, &["INCR", key]), Ok(Answer::Int(4)));
        assert_eq!(servers.server(from).errors("ASK"), 2);
    });
}

#[test]
fn what_is_torn_is_tried_again_until_it_is_whole() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let peers = start(&servers);
        let (key, slot, from, to) = spot(&servers);
        assert_eq!(ask(&peers, &["MSET", "{t}a", "1", "{t}b", "1"]), ok());
        servers.begin_to_move(slot, from, to);
        servers.migrate(key, from, to);
        let both = send(&peers, command(&["MSET", "{t}a", "2", "{t}b", "2"]));
        until(PATIENCE, || servers.server(from).errors("TRYAGAIN") >= 3);
        assert!(both.try_recv().is_err(), "no answer while the slot is torn");
        let hasty = Ask { deadline: Instant::now(), ..command(&["GET", key]) };
        let moving = Fault::Moving(servers.address(from).to_string());
        assert_eq!(send(&peers, hasty).recv().unwrap(), Err(moving), "it waited for the slot too");
        servers.migrate("{t}b", from, to);
        servers.end_move(slot, from, to);
        assert_eq!(both.recv().unwrap(), ok());
        assert_eq!(ask(&peers, &["MGET", "{t}a", "{t}b"]), Ok(Answer::Array(vec![bulk("2"); 2])));
    });
}

#[test]
fn a_cluster_that_is_down_is_waited_for() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let peers = start(&servers);
        let (key, _, owner, other) = spot(&servers);
        assert_eq!(ask(&peers, &["SET", key, "1"]), ok());
        let full = ["CONFIG", "SET", "cluster-require-full-coverage", "yes"];
        servers.server(owner).must(&full);
        // Any slot without an owner takes the whole cluster down.
        let slot = (other * 16_384 / 3 + 1).to_string();
        for number in 0..3 {
            servers.server(number).must(&["CLUSTER", "DELSLOTS", &slot]);
        }
        let state = || servers.server(owner).text(&["CLUSTER", "INFO"]);
        until(PATIENCE, || state().contains("cluster_state:fail"));
        let answer = send(&peers, command(&["INCR", key]));
        until(PATIENCE, || servers.server(owner).errors("CLUSTERDOWN") >= 3);
        assert!(answer.try_recv().is_err(), "no answer while the cluster is down");
        servers.server(other).must(&["CLUSTER", "ADDSLOTS", &slot]);
        assert_eq!(answer.recv().unwrap(), Ok(Answer::Int(2)));
    });
}

#[test]
fn nodes_are_found_whatever_clients_are_told_to_call_them() {
    each(|program| {
        for kind in ["ip", "hostname", "unknown-endpoint"] {
            let servers = Servers::with(program, 3, |number, _| {
                // A name that nobody resolves: the nodes' own addresses are used.
                let name = format!("node-{number}.evq.invalid");
                let words = [
                    "--cluster-announce-hostname",
                    &name,
                    "--cluster-preferred-endpoint-type",
                    kind,
                ];
                words.map(str::to_owned).into()
            });
            // Names travel after the nodes have met.
            for number in 0..3 {
                let nodes = || servers.server(number).text(&["CLUSTER", "NODES"]);
                until(PATIENCE, || nodes().matches(".invalid").count() == 3);
            }
            let peers = start(&servers);
            for number in 0..30 {
                assert_eq!(ask(&peers, &["SET", &format!("key-{number}"), kind]), ok());
            }
            let (key, slot, from, to) = spot(&servers);
            assert_eq!(ask(&peers, &["SET", key, "1"]), ok());
            servers.begin_to_move(slot, from, to);
            servers.migrate(key, from, to);
            assert_eq!(ask(&peers, &["INCR", key]), Ok(Answer::Int(2)), "ASK with {kind}");
            servers.end_move(slot, from, to);
            assert_eq!(ask(&peers, &["INCR", key]), Ok(Answer::Int(3)), "MOVED with {kind}");
        }
    });
}

#[test]
fn each_master_answers_for_itself() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let peers = start(&servers);
        let answers = run(&peers, |client| async move {
            let words = ["CLUSTER", "MYID"].map(Word::from).to_vec();
            client.ask_each_master(words, Instant::now() + super::LONG).await
        });
        let expected: BTreeSet<String> = (0..3).map(|number| servers.server(number).id()).collect();
        let nodes: BTreeSet<_> = answers.iter().map(|(node, _)| *node).collect();
        assert_eq!(nodes, (0..3).map(|number| servers.address(number)).collect());
        let ids = answers.into_iter().map(|(_, answer)| match answer {
            Ok(Answer::Bulk(id)) => String::from_utf8(id).unwrap(),
            other => panic!("{other:?}"),
        });
        assert_eq!(ids.collect::<BTreeSet<_>>(), expected);
    });
}

#[test]
fn an_error_of_a_command_is_its_result() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let peers = start(&servers);
        assert_eq!(ask(&peers, &["SET", "text", "x"]), ok());
        for lane in [Lane::Data, Lane::Control] {
            let mut ask = command(&["INCR", "text"]);
            ask.lane = lane;
            let error = "ERR value is not an integer or out of range".to_owned();
            assert_eq!(send(&peers, ask).recv().unwrap(), Ok(Answer::Error(error)));
        }
    });
}

#[test]
fn a_deadline_goes_along_by_the_clock_of_the_node() {
    each(|program| {
        let servers = Servers::cluster(program, 1);
        let peers = start(&servers);
        let time = || {
            let reply = servers.server(0).must(&["TIME"]);
            let [seconds, _]: [i64; 2] = redis::from_redis_value(reply).unwrap();
            seconds
        };
        let before = time();
        let mut set = command(&["SET", "key"]);
        set.words.push(Word::Deadline);
        assert_eq!(send(&peers, set).recv().unwrap(), ok());
        let Ok(Answer::Bulk(digits)) = ask(&peers, &["GET", "key"]) else { panic!("no deadline") };
        let deadline: i64 = String::from_utf8(digits).unwrap().parse().unwrap();
        // Half of the time that a slow machine takes to connect is the error.
        let from_now = i64::try_from(super::LONG.as_secs()).unwrap();
        let expected = before + from_now - 30..=time() + from_now + 30;
        assert!(expected.contains(&(deadline / 1000)), "{deadline} is not in {expected:?}");
    });
}
