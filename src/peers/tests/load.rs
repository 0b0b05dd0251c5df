//! Much to do: what may wait, and what remains of it.

use std::process::Command;
use std::sync::mpsc;

use super::servers::{Servers, each};
use super::wait::{PATIENCE, until};
use super::{Answer, Ask, Fault, Lane, Word, ask, command, ok, send, start};
use crate::model::slots::Slot;
use crate::peers::DATA_BYTES;

/// How many commands the test of memory asks.
const ASKS: usize = 100_000;

/// How many of them at once.
const AT_ONCE: usize = 500;

#[test]
fn what_waits_for_a_node_is_bounded() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let peers = start(&servers);
        assert_eq!(ask(&peers, &["SET", "key", "1"]), ok());
        let owner = servers.first_owner(Slot::of(b"key").number());
        servers.server(owner).stop();
        let mega = vec![b'x'; 1 << 20];
        let many = DATA_BYTES / mega.len() + 4;
        let answers: Vec<_> = (0..many)
            .map(|_| {
                let mut asked = command(&["SET", "key"]);
                asked.words.push(Word::from(mega.clone()));
                send(&peers, asked)
            })
            .collect();
        let full = Err(Fault::Unreachable(servers.address(owner).to_string()));
        assert_eq!(answers.last().unwrap().recv().unwrap(), full);
        servers.server(owner).go_on();
        let results: Vec<_> = answers[..many - 1].iter().map(|a| a.recv().unwrap()).collect();
        let done = results.iter().filter(|result| **result == ok()).count();
        assert!((many - 6..many).contains(&done), "{done} of {many}");
        assert!(results.iter().all(|result| *result == ok() || *result == full));
        assert_eq!(
            ask(&peers, &["STRLEN", "key"]),
            Ok(Answer::Int(1 << 20)),
            "there is room again"
        );
    });
}

#[test]
fn data_does_not_hold_up_control() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let peers = start(&servers);
        // A connection that waits for ever: all that follows on it waits too.
        let waits = send(&peers, command(&["BLPOP", "{t}list", "0"]));
        let clients = || servers.server(servers.first_owner(Slot::of(b"{t}list").number()));
        until(PATIENCE, || clients().text(&["INFO", "clients"]).contains("blocked_clients:1"));
        let behind = send(&peers, command(&["SET", "{t}key", "1"]));
        let control = Ask { lane: Lane::Control, ..command(&["RPUSH", "{t}other", "x"]) };
        assert_eq!(send(&peers, control).recv().unwrap(), Ok(Answer::Int(1)));
        assert!(behind.try_recv().is_err(), "the data lane stands");
        let control = Ask { lane: Lane::Control, ..command(&["RPUSH", "{t}list", "x"]) };
        assert_eq!(send(&peers, control).recv().unwrap(), Ok(Answer::Int(1)));
        assert!(waits.recv().unwrap().is_ok());
        assert_eq!(behind.recv().unwrap(), ok());
    });
}

/// The variable that names the server to a process that measures its own memory.
const ALONE: &str = "EVQ_PEERS_ALONE";

#[test]
fn a_hundred_thousand_commands_leave_nothing_behind() {
    if let Ok(program) = std::env::var(ALONE) {
        return measure(&program);
    }
    // Other tests run in this process, and take and free memory.
    each(|program| {
        let name = "peers::tests::load::a_hundred_thousand_commands_leave_nothing_behind";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(ALONE, program)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{output:?}");
    });
}

fn measure(program: &str) {
    let servers = Servers::cluster(program, 3);
    let peers = start(&servers);
    let (sender, receiver) = mpsc::channel();
    let mut held = Vec::new();
    for round in 0..ASKS / AT_ONCE {
        for number in 0..AT_ONCE {
            let answer = peers.client().ask(command(&["SET", &format!("key-{number}"), "x"]));
            let sender = sender.clone();
            peers.client().spawn(async move {
                sender.send(answer.await).unwrap();
            });
        }
        (0..AT_ONCE).for_each(|_| assert_eq!(receiver.recv().unwrap(), ok()));
        if round % (ASKS / AT_ONCE / 4) == 0 {
            held.push(held_kb());
        }
    }
    held.push(held_kb());
    // Three quarters of the commands: a hundred bytes for each would be 7500 kB.
    let [_, second, .., last] = held[..] else { panic!("{held:?}") };
    assert!(last < second + 2000, "{held:?}");
    assert_eq!(peers.client().lines.count(), 0);
    // Two connections to each node at most.
    until(PATIENCE, || peers.client().runtime.metrics().num_alive_tasks() <= 6);
}

/// The memory that this process has taken for data, in kB. Of its program, the machine keeps what
/// it likes.
fn held_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kb = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    kb("RssAnon:") + kb("VmSwap:")
}
