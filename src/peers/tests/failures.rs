//! Nodes that are gone, or say nothing.

use std::time::{Duration, Instant};

use super::servers::{Servers, each};
use super::wait::{PATIENCE, until};
use super::{Answer, Ask, Fault, LONG, Lane, Peers, To, ask, command, lose, ok, send, start};
use crate::model::slots::Slot;

/// A deadline that a test waits out.
const SHORT: Duration = Duration::from_millis(300);

fn short(words: &[&str]) -> Ask {
    Ask { deadline: Instant::now() + SHORT, ..command(words) }
}

/// The server that has "key", and a client that is connected to it.
fn connected(servers: &Servers) -> (Peers, usize) {
    let owner = servers.first_owner(Slot::of(b"key").number());
    // A seed that stays.
    let seed = servers.address((owner + 1) % servers.count());
    let peers = Peers::start(vec![seed], super::Access::default()).unwrap();
    assert_eq!(ask(&peers, &["SET", "key", "1"]), ok());
    (peers, owner)
}

#[test]
fn a_command_on_its_way_to_a_node_that_dies_has_an_unknown_outcome() {
    each(|program| {
        let mut servers = Servers::cluster(program, 3);
        let (peers, owner) = connected(&servers);
        let node = servers.address(owner).to_string();
        servers.server(owner).stop();
        let once = send(&peers, command(&["INCR", "key"]));
        let again =
            send(&peers, Ask { is_repeatable: true, ..command(&["GETRANGE", "key", "0", "-1"]) });
        // Both are in the buffers of a process that will never read them.
        assert!(once.recv_timeout(SHORT).is_err());
        servers.server_mut(owner).kill();
        assert_eq!(once.recv().unwrap(), Err(Fault::Unknown(node)));
        servers.server_mut(owner).start_again();
        assert_eq!(again.recv().unwrap(), Ok(super::bulk("")), "repeated: the key is gone");
    });
}

#[test]
fn a_connection_that_ended_before_leaves_nothing_unknown() {
    each(|program| {
        let mut servers = Servers::cluster(program, 3);
        let (peers, owner) = connected(&servers);
        let address = servers.address(owner);
        lose(&peers, address, || servers.server_mut(owner).kill());
        servers.server_mut(owner).start_again();
        assert_eq!(ask(&peers, &["INCR", "key"]), Ok(Answer::Int(1)));
    });
}

#[test]
fn a_node_that_is_gone_is_unreachable_at_the_deadline_and_then_at_once() {
    each(|program| {
        let mut servers = Servers::cluster(program, 3);
        let (peers, owner) = connected(&servers);
        let gone = Err(Fault::Unreachable(servers.address(owner).to_string()));
        let address = servers.address(owner);
        lose(&peers, address, || servers.server_mut(owner).kill());
        let began = Instant::now();
        assert_eq!(send(&peers, short(&["INCR", "key"])).recv().unwrap(), gone);
        assert!(began.elapsed() >= SHORT, "it may have come back until then");
        // With the longest of deadlines: it does not wait for it.
        assert_eq!(ask(&peers, &["INCR", "key"]), gone);
        servers.server_mut(owner).start_again();
        until(PATIENCE, || ask(&peers, &["INCR", "key"]).is_ok());
    });
}

#[test]
fn a_node_that_says_nothing_fails_at_once_until_it_is_heard() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let (peers, owner) = connected(&servers);
        let node = servers.address(owner).to_string();
        servers.server(owner).stop();
        // A longer deadline on the same connection is not cut short by the shorter one.
        let patient = send(&peers, command(&["INCR", "key"]));
        let hasty = send(&peers, short(&["INCR", "key"]));
        assert_eq!(hasty.recv().unwrap(), Err(Fault::Unknown(node.clone())));
        assert!(patient.try_recv().is_err());
        for lane in [Lane::Data, Lane::Control] {
            let asked = Ask { lane, ..command(&["INCR", "key"]) };
            let answer = send(&peers, asked).recv().unwrap();
            assert_eq!(answer, Err(Fault::Unreachable(node.clone())), "{lane:?}");
        }
        servers.server(owner).go_on();
        assert_eq!(patient.recv().unwrap(), Ok(Answer::Int(2)));
        until(PATIENCE, || ask(&peers, &["GET", "key"]).is_ok());
        assert_eq!(ask(&peers, &["GET", "key"]), Ok(super::bulk("3")), "both were executed");
    });
}

#[test]
fn a_node_that_is_replaced_is_left() {
    each(|program| {
        let mut servers = Servers::cluster(program, 3);
        let (peers, owner) = connected(&servers);
        let slot = Slot::of(b"key").number();
        let other = (owner + 1) % 3;
        let address = servers.address(owner);
        lose(&peers, address, || servers.server_mut(owner).kill());
        let answer = send(&peers, command(&["INCR", "key"]));
        // The slot gets another owner: by hand, for the two that are left agree to it.
        let id = servers.server(other).id();
        for number in [other, (owner + 2) % 3] {
            servers.server(number).must(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &id]);
        }
        assert_eq!(answer.recv().unwrap(), Ok(Answer::Int(1)));
    });
}

#[test]
fn a_cluster_of_which_nobody_answers_is_unreachable() {
    each(|program| {
        let mut servers = Servers::cluster(program, 1);
        let address = servers.address(0);
        servers.server_mut(0).kill();
        let peers = start(&servers);
        let nobody = "the owner of slot 12539".to_owned();
        let answer = send(&peers, short(&["INCR", "key"])).recv().unwrap();
        assert_eq!(answer, Err(Fault::Unreachable(nobody)));
        let named = Ask { to: To::Node(address), ..short(&["PING"; 2]) };
        let answer = send(&peers, named).recv().unwrap();
        assert_eq!(answer, Err(Fault::Unreachable(address.to_string())));
        servers.server_mut(0).start_again();
        assert_eq!(ask(&peers, &["INCR", "key"]), Ok(Answer::Int(1)));
    });
}

#[test]
fn the_thread_ends_within_a_second_whatever_waits() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let (peers, owner) = connected(&servers);
        servers.server(owner).stop();
        let answers: Vec<_> = (0..100).map(|_| send(&peers, command(&["INCR", "key"]))).collect();
        assert!(answers[0].recv_timeout(SHORT).is_err());
        let began = Instant::now();
        drop(peers);
        let took = began.elapsed();
        assert!(
            answers.iter().all(|answer| answer.recv_timeout(LONG).is_err()),
            "jobs are dropped"
        );
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}
