//! The client against real clusters of plain servers, on every server of `EVQ_TEST_SERVERS`.

#![allow(clippy::print_stderr)]

#[allow(dead_code)]
#[path = "../../../tests/it/harness/process.rs"]
mod process;
#[path = "../../../tests/it/harness/tempdir.rs"]
mod tempdir;
#[allow(dead_code)]
#[path = "../../../tests/it/harness/wait.rs"]
mod wait;

mod access;
mod failures;
mod load;
mod order;
mod redirections;
mod servers;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Access, Answer, Ask, Client, Fault, Lane, Peers, To, Word};
use crate::model::slots::Slot;
use servers::Servers;

/// Longer than any answer takes: a passing test never waits it out.
const LONG: Duration = Duration::from_secs(60);

type Result = std::result::Result<Answer, Fault>;

/// The thread, with the first of `servers` as its only seed.
fn start(servers: &Servers) -> Peers {
    Peers::start(vec![servers.address(0)], Access::default()).unwrap()
}

/// A command for the owner of its second word.
fn command(words: &[&str]) -> Ask {
    Ask {
        to: To::Slot(Slot::of(words[1].as_bytes())),
        words: words.iter().map(|word| Word::from(*word)).collect(),
        deadline: Instant::now() + LONG,
        lane: Lane::Data,
        is_repeatable: false,
    }
}

/// Sends a command. The receiver gets what comes of it.
fn send(peers: &Peers, ask: Ask) -> mpsc::Receiver<Result> {
    let (sender, receiver) = mpsc::channel();
    let answer = peers.client().ask(ask);
    peers.client().spawn(async move {
        let _ = sender.send(answer.await);
    });
    receiver
}

fn ask(peers: &Peers, words: &[&str]) -> Result {
    send(peers, command(words)).recv().unwrap()
}

/// Runs a future of the client's and returns its output.
fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    peers: &Peers,
    job: impl FnOnce(Client) -> F,
) -> T {
    let (sender, receiver) = mpsc::channel();
    let job = job(peers.client().clone());
    peers.client().spawn(async move {
        let _ = sender.send(job.await);
    });
    receiver.recv().unwrap()
}

/// Waits until the client does nothing of its own accord.
fn settle(peers: &Peers) {
    wait::until(wait::PATIENCE, || !peers.client().cluster.is_refreshing());
}

/// Does what ends the connections to a node, and waits until the client has noticed. Each
/// connection has a task while it lasts, and nothing else goes on.
fn lose(peers: &Peers, node: SocketAddr, end: impl FnOnce()) {
    settle(peers);
    let metrics = peers.client().runtime.metrics();
    let links = peers.client().cluster.node(node).links();
    let left = metrics.num_alive_tasks() - links;
    end();
    assert!(links > 0, "nothing to lose");
    wait::until(wait::PATIENCE, || metrics.num_alive_tasks() <= left);
}

fn ok() -> Result {
    Ok(Answer::Simple("OK".to_owned()))
}

fn bulk(text: &str) -> Answer {
    Answer::Bulk(text.into())
}
