//! The job of scripts/compare on a Redis or Valkey server: with EVQ, and with streams by hand.
//! benches/compare/README.md has the job and what each program prints.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a line")]

#[allow(dead_code, reason = "the paired benchmark uses all of it")]
#[path = "../paired/conn.rs"]
mod conn;
mod evq;
mod job;
#[allow(dead_code, reason = "the paired benchmark uses all of it")]
#[path = "../paired/resp.rs"]
mod resp;
mod streams;

use std::net::TcpStream;
use std::process::ExitCode;

use conn::Outcome;
use job::Given;

const USAGE: &str = "usage: compare evq|streams setup|resize|produce|work ADDRESS [name=value ...]";

/// A connection to the server.
type Conn = conn::Conn<TcpStream>;

fn connect(given: &Given) -> Outcome<Conn> {
    let stream = TcpStream::connect(given.address.as_str())
        .map_err(|error| format!("cannot connect to {}: {error}", given.address))?;
    stream.set_nodelay(true)?;
    Ok(Conn::over(stream))
}

fn main() -> ExitCode {
    // Cargo adds --bench.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Outcome<()> {
    let [peer, task, address, values @ ..] = words else { return Err(USAGE.into()) };
    let given = Given::new(address, values)?;
    match (peer.as_str(), task.as_str()) {
        ("evq", "setup") => evq::set_up(&given),
        ("evq", "resize") => evq::resize(&given),
        ("evq", "produce") => evq::produce(&given),
        ("evq", "work") => evq::work(&given),
        ("streams", "setup") => streams::set_up(&given),
        ("streams", "resize") => job::wait_for_the_word(),
        ("streams", "produce") => streams::produce(&given),
        ("streams", "work") => streams::work(&given),
        _ => Err(USAGE.into()),
    }
}
