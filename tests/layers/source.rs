//! From the text of a Rust file to the paths it names, as far as the rules need it.
//!
//! Comments, strings and character literals are blanked first, so that words in them do not count.
//! `use` groups are spread out and `self` and `super` resolved, so that no spelling of a path
//! escapes a rule.

/// A path as the code names it, with the line it is on: `crate::server::key`, or one word.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mention {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
}

/// All paths and words of the file at `file`, a path like `src/model/ids.rs`.
pub(crate) fn mentions(file: &str, text: &str) -> Vec<Mention> {
    let tokens = tokens(&blank(text));
    let mut reader = Reader { tokens: &tokens, at: 0, home: home(file), blocks: Vec::new() };
    let mut found = Vec::new();
    while reader.at < tokens.len() {
        reader.next(&mut found);
    }
    found
}

/// `text` with comments, strings and characters blanked; lines stay lines.
pub(crate) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = at + literal_or_comment(&chars[at..], chars[..at].last());
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

/// How many characters of a comment, string or character literal begin here; 0 if none does.
fn literal_or_comment(rest: &[char], before: Option<&char>) -> usize {
    let in_word = before.is_some_and(|&c| is_word(c));
    match rest {
        ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
        ['/', '*', ..] => block_comment(rest),
        ['"', ..] => quoted(rest, '"'),
        ['r', '"' | '#', ..] if !in_word => raw_string(rest),
        ['b' | 'c', 'r', '"' | '#', ..] if !in_word => match raw_string(&rest[1..]) {
            0 => 0,
            length => length + 1,
        },
        // 'a' and '\n' are characters, 'a without a closing quote is a lifetime.
        ['\'', '\\', ..] => quoted(rest, '\''),
        ['\'', _, '\'', ..] => 3,
        _ => 0,
    }
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let step = match rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                2
            }
            ['*', '/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            c if c == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A raw string from its `r` on; 0 for a raw identifier such as `r#type`.
fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let mut close = vec!['"'];
    close.resize(1 + hashes, '#');
    let body = 2 + hashes;
    let found = rest[body..].windows(close.len()).position(|window| window == close);
    found.map_or(rest.len(), |at| body + at + close.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A word, `::`, or any other character that is not white space, with its line.
type Token = (usize, String);

fn tokens(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push((number + 1, rest[..length].to_owned()));
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// The module a file is: `src/model/ids.rs` is `crate::model::ids`.
fn home(file: &str) -> Vec<String> {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    let inside = inside.strip_suffix(".rs").unwrap_or(inside);
    let names = inside.split('/').filter(|name| !matches!(*name, "mod" | "lib"));
    std::iter::once("crate").chain(names).map(str::to_owned).collect()
}

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
        found.push(self.mention(line, &path));
    }

    /// One branch of a `use` tree below `prefix`, up to its `,`, `}` or `;`.
    fn tree(&mut self, prefix: &[String], found: &mut Vec<Mention>) {
        let line = self.line();
        let mut path = prefix.to_vec();
        loop {
            match self.word(0) {
                "" | ";" | "," | "}" => break,
                "{" => {
                    self.at += 1;
                    while !matches!(self.word(0), "}" | "") {
                        self.tree(&path, found);
                        if self.word(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                // `use x as y`: y is a name of this file's own.
                "as" => self.at += 2,
                word if word.starts_with(is_word) => {
                    let word = self.take();
                    path.push(word);
                }
                _ => self.at += 1,
            }
        }
        found.push(self.mention(line, &path));
    }

    /// The mention of `path`, resolved against the module it stands in.
    fn mention(&self, line: usize, path: &[String]) -> Mention {
        let ups = path.iter().take_while(|word| *word == "super" || *word == "self").count();
        if ups == 0 {
            return Mention { line, path: path.to_vec() };
        }
        let supers = path[..ups].iter().filter(|word| *word == "super").count();
        let mut whole = self.home[..self.home.len().saturating_sub(supers)].to_vec();
        whole.extend_from_slice(&path[ups..]);
        Mention { line, path: whole }
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
