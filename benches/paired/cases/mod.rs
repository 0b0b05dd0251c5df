//! The cases by name, and the events that all of them use.

mod ack;
pub(crate) mod cluster;
mod consume;
mod end;
mod idle;
mod later;
mod memory;
mod nack;
mod produce;
mod resize;
mod scale;
mod unique;
mod wake;

use crate::conn::Outcome;
use crate::resp::Commands;
use crate::rounds::Case;
use crate::server::Server;

/// Partitions of a ring, and streams of the native way.
pub(crate) const PARTITIONS: usize = 8;
/// Different commands of a slice; then they come again.
const DISTINCT: usize = 4000;

/// Makes a case for slices of so many events.
pub(crate) type Make = fn(&Server, usize) -> Outcome<Case<'_>>;

const ALL: [(&str, Make); 26] = [
    ("idle-standbys", idle::standbys),
    ("idle-workers", idle::workers),
    ("trigger-1", produce::trigger_1),
    ("trigger-16", produce::trigger_16),
    ("trigger-100", produce::trigger_100),
    ("mtrigger", produce::mtrigger),
    ("unique-trigger", unique::trigger),
    ("unique-mtrigger", unique::mtrigger),
    ("later", later::later),
    ("consume-1", consume::count_1),
    ("consume-10", consume::count_10),
    ("consume-100", consume::count_100),
    ("consume-1000", consume::count_1000),
    ("ack", ack::ack),
    ("nack", nack::nack),
    ("wake", wake::wake),
    ("resize", resize::trigger),
    ("resize-call", resize::call),
    ("end-16", end::pipeline_16),
    ("end-100", end::pipeline_100),
    ("script", produce::script),
    ("consume-script", consume::script),
    ("memory", memory::memory),
    ("partitions", scale::partitions),
    ("groups", scale::groups),
    ("growth", scale::growth),
];

/// The cases of these names, or that begin with them and a dash; all without any.
pub(crate) fn choose(names: &[String]) -> Outcome<Vec<Make>> {
    choose_of(&ALL, names)
}

fn choose_of<M: Copy>(all: &[(&str, M)], names: &[String]) -> Outcome<Vec<M>> {
    let is_asked = |case: &str, name: &String| {
        case == name || case.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('-'))
    };
    if let Some(name) = names.iter().find(|name| !all.iter().any(|(c, _)| is_asked(c, name))) {
        let known: Vec<&str> = all.iter().map(|(case, _)| *case).collect();
        return Err(format!("no case {name}; there are: {}", known.join(" ")).into());
    }
    let wanted = |case: &str| names.is_empty() || names.iter().any(|name| is_asked(case, name));
    Ok(all.iter().filter(|(case, _)| wanted(case)).map(|(_, make)| *make).collect())
}

/// The key of event number `n`: 12 bytes.
pub(crate) fn key(n: usize) -> String {
    format!("order:{n:06}")
}

/// 200 bytes of JSON.
fn payload() -> String {
    let text = r#"{"type":"OrderPlaced","at":1732400000123,"customer":"c-118231","note":""#;
    format!("{text}{}\"}}", "x".repeat(200 - text.len() - 2))
}

/// The stream that a client would choose for event number `n` by the key's hash. One after the
/// other would be an order that the processor learns, and no load has it.
fn scattered(n: usize, streams: usize) -> usize {
    // FNV-1a.
    let hash = key(n)
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash as usize % streams
}

/// The stream that stands for a partition in the native way; as long as an EVQ stream's name.
fn native_stream(n: usize) -> String {
    format!("raw:{{default:{n}}}")
}

/// EVQ.TRIGGER over all partitions of the default ring.
fn triggers() -> Commands {
    let (mut commands, payload) = (Commands::default(), payload());
    for n in 0..DISTINCT {
        commands.push(&["EVQ.TRIGGER", &key(n), &payload]);
    }
    commands
}

/// XADD of the same fields over as many streams.
fn xadds() -> Commands {
    let (mut commands, payload) = (Commands::default(), payload());
    for n in 0..DISTINCT {
        let stream = native_stream(scattered(n, PARTITIONS));
        commands.push(&["XADD", &stream, "*", "key", &key(n), "payload", &payload]);
    }
    commands
}
