//! The house rules that no compiler checks, as tests: which layer and which room may know of
//! which, where `unsafe` may stand, how long files, functions and lines may be, what a file must
//! begin with.
//!
//! `tokens` and `source` turn a file into the paths it names, `arrows` the files into a graph.
//! `rules` judges a file by its layer, `rooms` and `circles` judge the arrows, `measures` counts.
//! All work on text, so each rule also has a test that it catches a planted violation.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod arrows;
mod circles;
mod globals;
mod measures;
mod peers_test;
mod rooms;
mod rules;
mod rules_test;
mod source;
mod tokens;

use std::path::Path;
use std::process::Command;

use arrows::Arrow;
use measures::measures;

/// A file of the repository: its path from the root, and its text.
type File = (String, String);

#[test]
fn sources_keep_to_their_layer() {
    let files = tracked_and_new();
    let commands = rules::command_files(&files);
    let sources: Vec<_> = files.iter().filter(|(path, _)| is_source(path)).collect();
    assert!(sources.len() > 5, "the sources are not where this test looks");
    let broken = sources.iter().flat_map(|(path, text)| rules::source(path, text, &commands));
    report(broken.collect());
}

#[test]
fn sources_keep_to_their_room() {
    let files = tracked_and_new();
    let lost = files.iter().filter_map(|(path, _)| rooms::place(path));
    report(lost.chain(rooms::order(&arrows(&files))).collect());
}

#[test]
fn sources_name_each_other_in_no_circle() {
    report(circles::circles(&arrows(&tracked_and_new())));
}

#[test]
fn files_keep_to_their_measures() {
    report(tracked_and_new().iter().flat_map(|(path, text)| measures(path, text)).collect());
}

#[test]
fn files_are_finished_and_well_named() {
    report(tracked_and_new().iter().flat_map(|(path, text)| rules::file(path, text)).collect());
}

#[test]
fn globals_are_in_their_table() {
    let files = tracked_and_new();
    let (_, page) = files.iter().find(|(path, _)| path == globals::PAGE).expect("the page");
    let sources = files.iter().filter(|(path, _)| is_source(path));
    report(sources.flat_map(|(path, text)| globals::missing(path, text, page)).collect());
}

/// The arrows between the sources, of which there are many.
fn arrows(files: &[File]) -> Vec<Arrow> {
    let arrows = arrows::arrows(files);
    assert!(arrows.len() > 200, "{} arrows: this test reads no paths", arrows.len());
    arrows
}

fn is_source(path: &str) -> bool {
    path.starts_with("src/") && path.ends_with(".rs")
}

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// All text files that are in git or are about to be: ignored files do not count.
fn tracked_and_new() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = git_names(root).unwrap_or_else(|| {
        let mut names = Vec::new();
        walk(root, "", &mut names);
        names
    });
    // What is not UTF-8 is data; what cannot be read has been deleted and not committed yet.
    let read = |path: String| Some((path.clone(), std::fs::read_to_string(root.join(path)).ok()?));
    names.into_iter().filter_map(read).collect()
}

/// What git knows of; none where the sources were unpacked without git.
fn git_names(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        // The clone may belong to another user, as in a container.
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .args(["--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let names = String::from_utf8(output.stdout).ok()?;
    Some(names.split_terminator('\0').map(str::to_owned).collect())
}

/// All files below `root/prefix`, but for hidden directories and cargo's output.
fn walk(root: &Path, prefix: &str, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(root.join(prefix)).expect("a directory") {
        let entry = entry.expect("a directory's entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        if !entry.path().is_dir() {
            names.push(path);
        } else if name != "target" && !name.starts_with('.') {
            walk(root, &path, names);
        }
    }
}
