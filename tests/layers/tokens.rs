//! From the text of a Rust file to its tokens, as far as the rules need them.
//!
//! Comments, strings and character literals are blanked first, so that words in them do not count.

use std::ops::Range;

/// A word, `::`, or any other character that is not white space, with its line.
pub(crate) type Token = (usize, String);

/// The tokens of a test item's attribute.
const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// The tokens of `text`.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    for (number, line) in blank(text).lines().enumerate() {
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

/// The tokens without the items marked `#[cfg(test)]`: the code that ships.
pub(crate) fn shipped(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().map(|(_, word)| word).take(TEST.len()).eq(TEST) {
            at = item_end(tokens, at + TEST.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The end of the item at `from`: the index after its `;`, or after the `}` that closes its block.
pub(crate) fn item_end(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, (_, word)) in tokens.iter().enumerate().skip(from) {
        match word.as_str() {
            ";" if depth == 0 => return at + 1,
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 0 => return at,
            "}" if depth == 1 => return at + 1,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

/// `text` with comments, strings and characters blanked; lines stay lines.
pub(crate) fn blank(text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for span in spans(&chars) {
        for c in chars[span].iter_mut().filter(|c| **c != '\n') {
            *c = ' ';
        }
    }
    chars.into_iter().collect()
}

/// The string and character literals of `text`, each from its line on.
pub(crate) fn literals(text: &str) -> Vec<(usize, String)> {
    let chars: Vec<char> = text.chars().collect();
    let (mut line, mut counted) = (1, 0);
    let mut found = Vec::new();
    for span in spans(&chars) {
        line += chars[counted..span.start].iter().filter(|c| **c == '\n').count();
        counted = span.start;
        if chars[span.start] != '/' {
            found.push((line, chars[span].iter().collect()));
        }
    }
    found
}

/// The comments, strings and character literals among `chars`.
fn spans(chars: &[char]) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let length = literal_or_comment(&chars[at..], chars[..at].last());
        if length > 0 {
            spans.push(at..at + length);
        }
        at += length.max(1);
    }
    spans
}

/// The length of the comment, string or character literal that begins here; 0 without one.
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

/// Letters, digits and the underscore make words.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
