//! The rules of the layers, of heads and of names. Each takes a file's path and text and returns
//! what it breaks, as `path:line: what`.

use crate::File;
use crate::source::{Mention, mentions};
use crate::tokens::tokens;

/// The model is pure: no module API, no layer above it, no clock, no environment, no I/O.
const MODEL_MUST_NOT: [&str; 11] = [
    "redis_module",
    "crate::peers",
    "crate::server",
    "crate::command",
    "crate::module",
    "std::time",
    "SystemTime",
    "Instant",
    "std::env",
    "std::fs",
    "std::net",
];

const SERVER_MUST_NOT: [&str; 2] = ["crate::command", "crate::module"];

/// The client of the cluster runs in a thread of its own, where no module API may be called.
const PEERS_MUST_NOT: [&str; 4] =
    ["redis_module", "crate::server", "crate::command", "crate::module"];

const COMMAND_MUST_NOT: [&str; 3] = ["redis_module", "crate::module", "crate::peers"];

/// Names that say where things were put, not what they are.
const EMPTY_NAMES: [&str; 6] = ["utils", "util", "helpers", "helper", "manager", "common"];

/// Marks of unfinished work. Put together here, or this file would break its own rule.
const UNFINISHED: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("todo", "!("), concat!("dbg", "!(")];

/// The modules of the single commands: `src/command/ack.rs` is `ack`.
pub(crate) fn command_files(files: &[File]) -> Vec<String> {
    let inside = files.iter().filter_map(|(path, _)| path.strip_prefix("src/command/"));
    let names = inside.filter_map(|name| name.strip_suffix(".rs")).filter(|name| *name != "mod");
    names.map(str::to_owned).collect()
}

/// What a file below `src` breaks; `commands` are all modules of single commands.
pub(crate) fn source(path: &str, text: &str, commands: &[String]) -> Vec<String> {
    let found = mentions(path, &tokens(text));
    let mut broken = layer(path, &found, commands);
    if !text.starts_with("//!") {
        broken.push(format!("{path}:1: begins without //!"));
    }
    broken
}

/// What any file of the repository breaks.
pub(crate) fn file(path: &str, text: &str) -> Vec<String> {
    let parts = path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    let empty = parts.filter(|part| EMPTY_NAMES.contains(part));
    let mut broken: Vec<_> = empty.map(|name| format!("{path}: {name} says nothing")).collect();
    for (number, line) in text.lines().enumerate() {
        if let Some(mark) = UNFINISHED.iter().find(|mark| line.contains(**mark)) {
            broken.push(format!("{path}:{}: {mark}", number + 1));
        }
    }
    broken
}

/// The arrows, and where `unsafe` may stand.
fn layer(path: &str, found: &[Mention], commands: &[String]) -> Vec<String> {
    let mut broken = Vec::new();
    let in_server = path.starts_with("src/server/");
    let forbidden: &[&str] = if path.starts_with("src/model/") {
        &MODEL_MUST_NOT
    } else if path.starts_with("src/peers/") {
        &PEERS_MUST_NOT
    } else if in_server {
        &SERVER_MUST_NOT
    } else if path.starts_with("src/command/") {
        &COMMAND_MUST_NOT
    } else {
        &[]
    };
    for mention in found {
        let what = forbidden.iter().find(|what| names(mention, what));
        if let Some(what) = what {
            broken.push(format!("{path}:{}: mentions {what}", mention.line));
        }
        if !in_server && names(mention, "unsafe") {
            broken.push(format!("{path}:{}: unsafe outside src/server", mention.line));
        }
        if let Some(other) = other_command(path, mention, commands) {
            broken.push(format!("{path}:{}: mentions the command {other}", mention.line));
        }
    }
    broken
}

/// A single word is mentioned anywhere in a path, a path at its beginning.
fn names(mention: &Mention, what: &str) -> bool {
    let what: Vec<&str> = what.split("::").collect();
    match what[..] {
        [word] => mention.path.iter().any(|part| part == word),
        _ => mention.path.iter().map(String::as_str).take(what.len()).eq(what.iter().copied()),
    }
}

/// The command that a command's file at `path` must not know of. `mod.rs` knows all: it is the
/// table.
fn other_command<'a>(path: &str, mention: &Mention, commands: &'a [String]) -> Option<&'a str> {
    let own = path.strip_prefix("src/command/")?.strip_suffix(".rs")?;
    let [root, layer, name, ..] = &mention.path[..] else { return None };
    let inside = root == "crate" && layer == "command" && own != "mod" && name != own;
    commands.iter().find(|command| inside && *command == name).map(String::as_str)
}
