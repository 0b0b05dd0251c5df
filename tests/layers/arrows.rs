//! The arrows between the files of `src`: which file names the module of which other.
//!
//! An arrow stands for a path, however it is spelled: absolute, by `super`, by a name that a `use`
//! brings in, by a child module's name, or by a macro that the other file defines. A `mod x;` is
//! no arrow, a re-export is one. Tests are exempt: they do not ship.

use std::collections::{BTreeMap, BTreeSet};

use crate::File;
use crate::source::{Mention, crate_of, home, mentions};
use crate::tokens::{Token, shipped, tokens};

/// Folders that only tests use, as their `#[cfg(test)]` says.
const TEST_FOLDERS: [&str; 2] = ["src/model/simulator/", "src/peers/tests/"];

/// The most `use` declarations that a name is followed through.
const MAX_STEPS: usize = 4;

/// A file that names another, and the first line that does so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrow {
    pub(crate) from: String,
    pub(crate) line: usize,
    pub(crate) to: String,
}

/// The modules of the shipped files: `crate::model::ids` is `src/model/ids.rs`.
type Modules = BTreeMap<Vec<String>, String>;

/// The macros of the shipped files, each with its file.
type Macros = BTreeMap<String, String>;

/// All arrows between the shipped files among `files`, crate by crate, ordered, one for each pair
/// of files.
pub(crate) fn arrows(files: &[File]) -> Vec<Arrow> {
    let sources: Vec<(&str, Vec<Token>)> = files
        .iter()
        .filter(|(path, _)| is_shipped(path))
        .map(|(path, text)| (path.as_str(), shipped(&tokens(text))))
        .collect();
    let crates: BTreeSet<&str> = sources.iter().map(|(path, _)| crate_of(path)).collect();
    let of = |name: &str| -> Vec<&(&str, Vec<Token>)> {
        sources.iter().filter(|(path, _)| crate_of(path) == name).collect()
    };
    crates.into_iter().flat_map(|name| arrows_within(&of(name))).collect()
}

/// The arrows of one crate.
fn arrows_within(sources: &[&(&str, Vec<Token>)]) -> Vec<Arrow> {
    let modules = sources.iter().map(|(path, _)| (home(path), (*path).to_owned())).collect();
    let macros = sources.iter().flat_map(|(path, tokens)| macros_of(path, tokens)).collect();
    sources.iter().flat_map(|(path, tokens)| arrows_of(path, tokens, &modules, &macros)).collect()
}

fn is_shipped(path: &str) -> bool {
    let is_test =
        path.ends_with("_tests.rs") || TEST_FOLDERS.iter().any(|folder| path.starts_with(folder));
    path.starts_with("src/") && path.ends_with(".rs") && !is_test
}

fn macros_of(path: &str, tokens: &[Token]) -> Vec<(String, String)> {
    let defined = tokens.windows(3).filter(|next| next[0].1 == "macro_rules" && next[1].1 == "!");
    defined.map(|next| (next[2].1.clone(), path.to_owned())).collect()
}

fn arrows_of(path: &str, tokens: &[Token], modules: &Modules, macros: &Macros) -> Vec<Arrow> {
    let found = mentions(path, tokens);
    let scope = Scope { home: home(path), found: &found, modules };
    let named = found.iter().flat_map(|m| scope.files(m).into_iter().map(|to| (m.line, to)));
    let opens = |token: &Token| matches!(token.1.as_str(), "(" | "[" | "{");
    let calls = tokens.windows(3).filter(|next| next[1].1 == "!" && opens(&next[2]));
    let called = calls.filter_map(|next| Some((next[0].0, macros.get(&next[0].1)?.clone())));
    let mut first_lines: BTreeMap<String, usize> = BTreeMap::new();
    for (line, to) in named.chain(called).filter(|(_, to)| to != path) {
        let first = first_lines.entry(to).or_insert(line);
        *first = line.min(*first);
    }
    let arrow = |(to, line)| Arrow { from: path.to_owned(), line, to };
    first_lines.into_iter().map(arrow).collect()
}

/// The names that a file can spell a path with.
struct Scope<'a> {
    home: Vec<String>,
    found: &'a [Mention],
    modules: &'a Modules,
}

impl Scope<'_> {
    /// The files that `mention` names. A single word names none; its `use` does.
    fn files(&self, mention: &Mention) -> Vec<String> {
        if mention.path.len() < 2 {
            return Vec::new();
        }
        let whole = self.absolute(&mention.path, MAX_STEPS);
        whole.iter().filter_map(|path| self.file(path)).collect()
    }

    /// The file of the innermost module on `path`.
    fn file(&self, path: &[String]) -> Option<String> {
        (1..=path.len()).rev().find_map(|length| self.modules.get(&path[..length]).cloned())
    }

    /// The absolute paths that `path` may stand for; empty for other crates and for locals.
    fn absolute(&self, path: &[String], steps: usize) -> Vec<Vec<String>> {
        let Some(first) = path.first().filter(|_| steps > 0) else { return Vec::new() };
        if first == "crate" {
            return vec![path.to_vec()];
        }
        let mut found: Vec<_> = self.child(&self.home, path).into_iter().collect();
        for used in self.found.iter().filter(|used| used.path != path) {
            let Some(name) = &used.name else { continue };
            if name == first {
                let whole = self.absolute(&used.path, steps - 1).into_iter();
                found.extend(whole.map(|base| [&base, &path[1..]].concat()));
            } else if name == "*" {
                let whole = self.absolute(&used.path, steps - 1);
                found.extend(whole.iter().filter_map(|base| self.child(base, path)));
            }
        }
        found
    }

    /// `path` from `base` on, if its first word is a module there.
    fn child(&self, base: &[String], path: &[String]) -> Option<Vec<String>> {
        self.modules.get(&[base, &path[..1]].concat()).map(|_| [base, path].concat())
    }
}
