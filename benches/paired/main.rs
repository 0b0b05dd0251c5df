//! The paired benchmark: EVQ next to the native way of doing the same work, on the same server, in
//! short slices that take turns. `scripts/bench` starts the server and calls this; see
//! docs/performance.md for the method.
//!
//! The library is deliberately not linked: it carries the server's allocator. Everything here goes
//! over a socket.
//!
//! `resp` and `conn` are the load generator, `server` and `fleet` what is loaded, `rounds` the
//! method, `report` the output; each file in `cases` asks one kind of question.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that prints a table")]

mod cases;
mod conn;
mod fleet;
mod report;
mod resp;
mod rounds;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use conn::Outcome;
use fleet::{Addresses, Fleets};
use rounds::{Case, Shuffle, run};
use serde_json::{Value, json};
use server::{Server, Setting, machine};

const USAGE: &str = "usage: paired --socket PATH --pid PID [--json PATH] [--quick] [--rounds N] \
                     [--setting plain|aof|replica | --cluster PATH:PID,... ...] \
                     [--slice EVENTS] [--seed N] [case ...]";

/// What the command line asks for.
struct Options {
    socket: PathBuf,
    pid: u32,
    json: Option<PathBuf>,
    rounds: usize,
    slice: usize,
    seed: u64,
    setting: Setting,
    clusters: Vec<Addresses>,
    quick: bool,
    cases: Vec<String>,
}

fn options() -> Outcome<Options> {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let (mut socket, mut pid) = (None, None);
    let (mut json, mut cases) = (None, Vec::new());
    let (mut rounds, mut slice, mut seed) = (15, 20_000, clock);
    let (mut setting, mut clusters, mut quick) = (Setting::Plain, Vec::new(), false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(USAGE);
        match word.as_str() {
            "--socket" => socket = Some(PathBuf::from(value()?)),
            "--pid" => pid = Some(value()?.parse()?),
            "--json" => json = Some(PathBuf::from(value()?)),
            "--rounds" => rounds = value()?.parse()?,
            "--slice" => slice = value()?.parse()?,
            "--seed" => seed = value()?.parse()?,
            "--setting" => setting = Setting::named(&value()?).ok_or(USAGE)?,
            "--cluster" => clusters.push(addresses(&value()?)?),
            "--quick" => (rounds, slice, quick) = (5, 10_000, true),
            // Cargo adds this one.
            "--bench" => {}
            _ if word.starts_with('-') => return Err(USAGE.into()),
            _ => cases.push(word),
        }
    }
    let (Some(socket), Some(pid)) = (socket, pid) else { return Err(USAGE.into()) };
    let seed = seed.max(1);
    Ok(Options { socket, pid, json, rounds, slice, seed, setting, clusters, quick, cases })
}

fn addresses(list: &str) -> Outcome<Addresses> {
    let address = |word: &str| -> Outcome<_> {
        let (socket, pid) = word.rsplit_once(':').ok_or(USAGE)?;
        Ok((PathBuf::from(socket), pid.parse()?))
    };
    list.split(',').map(address).collect()
}

fn main() -> ExitCode {
    match options().and_then(|options| measure(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> Outcome<()> {
    let server = Server::new(options.socket.clone(), options.pid, options.setting, options.quick)?;
    let slice = options.slice;
    if options.clusters.is_empty() {
        let make = |make: cases::Make| {
            server.empty()?;
            make(&server, slice)
        };
        let chosen = cases::choose(&options.cases)?;
        compare(options, &server.version, options.setting.name(), chosen, make)?;
        return server.empty();
    }
    let chosen = cases::cluster::choose(&options.cases)?;
    let version = server.version.clone();
    let fleets = Fleets::new(server, &options.clusters)?;
    let make = |make: cases::cluster::Make| make(&fleets, slice);
    compare(options, &version, "cluster", chosen, make)
}

/// Runs the chosen cases, each as soon as it is made, and writes the table and the file.
fn compare<'a, M>(
    options: &Options,
    version: &str,
    setting: &str,
    chosen: Vec<M>,
    make: impl Fn(M) -> Outcome<Case<'a>>,
) -> Outcome<()> {
    println!("{version}, {setting}, on {}", machine());
    println!("{} rounds of {} events, seed {}\n", options.rounds, options.slice, options.seed);
    print!("{}", report::head());
    let mut shuffle = Shuffle(options.seed);
    let mut results: Vec<Value> = Vec::new();
    for case in chosen {
        let measured = run(make(case)?, options.rounds, &mut shuffle)?;
        print!("{}", report::rows(&measured));
        results.push(report::json(&measured));
    }
    if let Some(path) = &options.json {
        let report = json!({
            "server": version,
            "setting": setting,
            "machine": machine(),
            "rounds": options.rounds,
            "events_per_slice": options.slice,
            "seed": options.seed,
            "cases": results,
        });
        std::fs::write(path, format!("{report:#}\n"))?;
    }
    Ok(())
}
