//! The 17,193 real events of `tests/data/file-history.jsonl.gz`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::OnceLock;

use flate2::read::GzDecoder;

/// One change of one file of a project's history.
#[derive(Debug)]
pub(crate) struct FileEvent {
    /// The key to trigger by.
    pub(crate) file: String,
    /// 1, 2, 3 ... per file: whoever sees a gap or a step back has found a broken order.
    pub(crate) n: u64,
    /// The whole JSON line: the payload.
    pub(crate) line: String,
}

/// All events in the order they happened.
pub(crate) fn file_history() -> &'static [FileEvent] {
    static EVENTS: OnceLock<Vec<FileEvent>> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/file-history.jsonl.gz");
        let file = File::open(path).unwrap_or_else(|e| panic!("{path}: {e}"));
        BufReader::new(GzDecoder::new(file)).lines().map(|line| parse(line.unwrap())).collect()
    })
}

/// The first `count` events of all of them over and over, numbered on: each line begins with its
/// event's number.
pub(crate) fn file_history_repeated(count: usize) -> Vec<FileEvent> {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    let all = file_history().iter().cycle().take(count);
    let numbered_on = all.map(|event| {
        let n = last.entry(&event.file).or_default();
        *n += 1;
        FileEvent { file: event.file.clone(), n: *n, line: format!("{n} {}", event.line) }
    });
    numbered_on.collect()
}

fn parse(line: String) -> FileEvent {
    let json: serde_json::Value = serde_json::from_str(&line).expect("a JSON line");
    let file = json["file"].as_str().expect("file").to_owned();
    let n = json["n"].as_u64().expect("n");
    FileEvent { file, n, line }
}
