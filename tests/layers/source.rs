//! From the tokens of a Rust file to the paths it names, as far as the rules need it.
//!
//! `use` groups are spread out and `self` and `super` resolved, so that no spelling of a path
//! escapes a rule.

use crate::tokens::{Token, is_word};

/// A path as the code names it, with the line it is on: `crate::server::key`, or one word.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
    /// The name that a `use` gives it, `*` for all names below it; null outside `use`.
    pub(crate) name: Option<String>,
}

/// All paths and words of the file at `file`, a path like `src/model/ids.rs`.
pub(crate) fn mentions(file: &str, tokens: &[Token]) -> Vec<Mention> {
    let mut reader = Reader { tokens, at: 0, home: home(file), blocks: Vec::new() };
    let mut found = Vec::new();
    while reader.at < tokens.len() {
        reader.next(&mut found);
    }
    found
}

/// The folder of the crate that a file belongs to: a binary below `src/bin` is one of its own.
pub(crate) fn crate_of(file: &str) -> &str {
    let inside = file.strip_prefix("src/bin/").and_then(|inside| inside.split_once('/'));
    let length = inside.map_or("src/".len(), |(name, _)| "src/bin/".len() + name.len() + 1);
    file.get(..length).unwrap_or(file)
}

/// The module a file is: `src/model/ids.rs` is `crate::model::ids`.
pub(crate) fn home(file: &str) -> Vec<String> {
    let inside = file.strip_prefix(crate_of(file)).unwrap_or(file);
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let names = inside.split('/').filter(|name| !matches!(*name, "mod" | "lib" | "main"));
    std::iter::once("crate").chain(names).map(str::to_owned).collect()
}

/// The words that a restricted `pub` may begin with.
const PATH_STARTS: [&str; 4] = ["crate", "super", "self", "in"];

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The module the reader is in.
    home: Vec<String>,
    /// For each open `{`: whether it opened a module.
    blocks: Vec<bool>,
}

impl Reader<'_> {
    /// Reads on to the next path or mark.
    fn next(&mut self, found: &mut Vec<Mention>) {
        match self.word(0) {
            "mod" if self.word(2) == "{" => {
                let name = self.word(1).to_owned();
                self.home.push(name);
                self.blocks.push(true);
                self.at += 3;
            }
            // `pub(super)` says how far a name reaches and names nothing.
            "pub" if self.word(1) == "(" && PATH_STARTS.contains(&self.word(2)) => {
                while !matches!(self.word(0), ")" | "") {
                    self.at += 1;
                }
            }
            // `+ use<'a>` says what a type captures and names nothing.
            "use" if self.word(1) == "<" => {
                while !matches!(self.word(0), ">" | "") {
                    self.at += 1;
                }
            }
            "use" => {
                self.at += 1;
                self.tree(&[], found);
            }
            "{" => {
                self.blocks.push(false);
                self.at += 1;
            }
            "}" => {
                if self.blocks.pop() == Some(true) {
                    self.home.pop();
                }
                self.at += 1;
            }
            first if first.starts_with(is_word) => self.path(found),
            _ => self.at += 1,
        }
    }

    /// A path outside `use`, from its first word on.
    fn path(&mut self, found: &mut Vec<Mention>) {
        let line = self.line();
        let mut path = vec![self.take()];
        while self.word(0) == "::" && self.word(1).starts_with(is_word) {
            self.at += 1;
            path.push(self.take());
        }
        found.push(self.mention(line, &path, None));
    }

    /// One branch of a `use` tree below `prefix`, up to its `,`, `}` or `;`.
    fn tree(&mut self, prefix: &[String], found: &mut Vec<Mention>) {
        let line = self.line();
        let mut path = prefix.to_vec();
        let mut name = None;
        loop {
            match self.word(0) {
                "" | ";" | "," | "}" => break,
                "{" => {
                    self.at += 1;
                    while !matches!(self.word(0), "}" | ";" | "") {
                        self.tree(&path, found);
                        if self.word(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                // `use x as y`: y is a name of this file's own.
                "as" => {
                    name = Some(self.word(1).to_owned());
                    self.at += 2;
                }
                "*" => {
                    name = Some(self.take());
                }
                word if word.starts_with(is_word) => {
                    let word = self.take();
                    path.push(word);
                }
                _ => self.at += 1,
            }
        }
        // `use x::{self}` is `use x`.
        path.pop_if(|last| last == "self");
        let name = name.or_else(|| path.last().cloned());
        found.push(self.mention(line, &path, name));
    }

    /// The mention of `path`, resolved against the module it stands in.
    fn mention(&self, line: usize, path: &[String], name: Option<String>) -> Mention {
        let ups = path.iter().take_while(|word| *word == "super" || *word == "self").count();
        if ups == 0 {
            return Mention { line, path: path.to_vec(), name };
        }
        let supers = path[..ups].iter().filter(|word| *word == "super").count();
        let mut whole = self.home[..self.home.len().saturating_sub(supers)].to_vec();
        whole.extend_from_slice(&path[ups..]);
        Mention { line, path: whole, name }
    }

    fn word(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", |(_, word)| word)
    }

    fn line(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |(line, _)| *line)
    }

    fn take(&mut self) -> String {
        let word = self.word(0).to_owned();
        self.at += 1;
        word
    }
}
