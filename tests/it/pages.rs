//! The pages as a whole: the README stays short, links and anchors lead somewhere, and the names on
//! the pages and in the code are the same ones.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::harness::{Value, each_server, must};
use crate::usage::COMMANDS;

const ERRORS: &str = include_str!("../../src/model/error.rs");

/// Every page that people read, by its path from the root.
fn pages() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| Path::new("docs").join(entry.unwrap().file_name()));
    let docs = docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let others = ["README.md", "CHANGELOG.md", "examples/monitoring/README.md"].map(PathBuf::from);
    let all = docs.chain(others);
    all.map(|path| (path.clone(), std::fs::read_to_string(root.join(path)).unwrap())).collect()
}

/// The lines of a page outside of blocks of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// A heading's anchor: lower case, hyphens for spaces, without anything else.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(page: &str) -> BTreeSet<String> {
    prose(page).filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// The targets of `[text](target)`.
fn links(page: &str) -> Vec<&str> {
    let text = prose(page);
    text.flat_map(|line| line.split("](").skip(1).filter_map(|rest| rest.split(')').next()))
        .collect()
}

#[test]
fn the_readme_is_read_in_five_minutes() {
    let lines = pages()[Path::new("README.md")].lines().count();
    assert!(lines <= 260, "{lines} lines");
}

#[test]
fn every_page_is_in_the_index() {
    let pages = pages();
    let readme = &pages[Path::new("README.md")];
    for path in pages.keys().filter(|path| path.starts_with("docs")) {
        let link = format!("]({})", path.display());
        assert!(readme.contains(&link), "{} is not in the README", path.display());
    }
}

#[test]
fn every_link_leads_somewhere() {
    let (pages, root) = (pages(), Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut seen = 0;
    for (path, page) in &pages {
        for link in links(page).into_iter().filter(|link| !link.contains("://")) {
            seen += 1;
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let target = path.parent().unwrap().join(file);
            let target = root.join(if file.is_empty() { path } else { &target });
            assert!(target.exists(), "{}: {link}", path.display());
            let there = || anchors(&std::fs::read_to_string(&target).unwrap());
            assert!(part.is_empty() || there().contains(part), "{}: {link}", path.display());
        }
    }
    assert!(seen > 100, "{seen} links");
}

/// All files of the product, the examples and the scripts, each behind its path.
fn sources() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = Vec::from(["src", "examples", "scripts"].map(|folder| root.join(folder)));
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                files.push(format!("{}\n{text}", path.display()));
            }
        }
    }
    files
}

/// The words of a text that begin like this and go on with these characters.
fn names<'a>(text: &'a str, begin: &'a str, goes_on: fn(char) -> bool) -> BTreeSet<&'a str> {
    let found = text.match_indices(begin).map(move |(at, _)| {
        let rest = &text[at + begin.len()..];
        let end = rest.find(|c| !goes_on(c)).unwrap_or(rest.len());
        &text[at..at + begin.len() + end]
    });
    found.filter(|name| name.len() > begin.len()).collect()
}

#[test]
fn no_page_names_what_does_not_exist_and_the_reference_names_everything() {
    let pages = pages();
    let upper = |c: char| c.is_ascii_uppercase();
    let codes = names(ERRORS, "EVQ", upper);
    let codes: BTreeSet<&str> = codes.into_iter().filter(|code| *code != "EVQ").collect();
    // EVQ.SHARD is among the nodes of a cluster: no test of a single server sends it.
    let commands = COMMANDS.iter().map(|usage| usage.name).chain(["EVQ.SHARD"]);
    let commands: BTreeSet<&str> = commands.collect();
    let options = COMMANDS.iter().flat_map(|usage| usage.options.iter().map(|(name, _)| *name));
    let reference = &pages[Path::new("docs/commands.md")];
    let sources = sources();
    each_server(|server| {
        let settings = must!(server.connect(), "CONFIG", "GET", "evq.*");
        let settings: BTreeSet<&str> = settings.map().iter().map(|(name, _)| name.str()).collect();
        for (path, page) in &pages {
            let path = path.display();
            for code in names(page, "EVQ", upper) {
                assert!(codes.contains(code), "{path}: {code}");
            }
            for command in names(page, "EVQ.", upper) {
                assert!(commands.contains(command), "{path}: {command}");
            }
            let setting = |c: char| c.is_ascii_lowercase() || c == '-';
            for name in names(page, "`evq.", setting) {
                // A setting, or else an event or a file of that name.
                let known = || sources.iter().any(|source| source.contains(&name[1..]));
                assert!(settings.contains(&name[1..]) || known(), "{path}: {name}");
            }
        }
        let readme = &pages[Path::new("README.md")];
        for setting in &settings {
            assert!(readme.contains(&format!("| `{setting}` |")), "{setting}");
        }
    });
    for name in codes.iter().chain(&commands).filter(|name| **name != "EVQ.APPLY") {
        assert!(reference.contains(&format!("`{name}")), "{name} is not in the reference");
    }
    for option in options {
        let is_word = |word: &str| word.trim_matches(|c: char| !c.is_ascii_alphabetic()) == option;
        assert!(reference.split_whitespace().any(is_word), "{option} is not in the reference");
    }
}

#[test]
fn the_page_about_monitoring_names_every_field_of_info() {
    let pages = pages();
    let page = &pages[Path::new("docs/monitoring.md")];
    each_server(|server| {
        let info: Value = must!(server.connect(), "INFO", "evq");
        for line in info.str().lines().filter(|line| line.contains(':')) {
            let (field, _) = line.split_once(':').unwrap();
            let field = field.strip_prefix("evq_").unwrap_or(field);
            assert!(page.contains(field), "{field}");
        }
    });
}
