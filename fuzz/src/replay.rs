//! Replays the corpora: whatever a fuzzer has found worth keeping is tried by every `cargo test`.

// The fuzz targets share these files, and there they are public.
#![allow(unreachable_pub)]

mod bytes;
mod delivery;
mod ledger;
mod pieces;
mod saved;
mod shell;
mod words;

use std::path::Path;

/// Runs every input of a target; the name of one that fails is printed.
fn replay(target: &str, run: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let inputs = |kind: &str| {
        let dir = std::fs::read_dir(fuzz.join(kind).join(target)).into_iter().flatten();
        dir.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    let mut paths = inputs("corpus");
    assert!(!paths.is_empty(), "no corpus of {target}");
    // What failed once.
    paths.extend(inputs("regressions"));
    paths.sort();
    for path in paths {
        let input = std::fs::read(&path).unwrap();
        if std::panic::catch_unwind(|| run(&input)).is_err() {
            panic!("the failure above is by {}", path.display());
        }
    }
}

#[test]
fn words_are_understood_as_a_naive_reader_does() {
    replay("words", words::run);
}

#[test]
fn saved_bytes_are_refused_or_come_back_the_same() {
    replay("saved", saved::run);
}

#[test]
fn saved_pieces_are_refused_or_come_back_the_same() {
    replay("pieces", pieces::run);
}

#[test]
fn delivery_gives_what_the_ledger_owes() {
    replay("delivery", delivery::run);
}
