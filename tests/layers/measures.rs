//! The measures of a file: its lines, their width, its functions, its characters. Each rule
//! returns what a file breaks, as `path:line: what`.

use crate::tokens::{Token, item_end, literals, tokens};

/// The most lines of a file: what a reader can hold in mind at once.
const MAX_LINES: usize = 400;

/// The most lines of a function, from its `fn` to its closing brace.
const MAX_FUNCTION: usize = 75;

/// The most characters of a line; the width that rustfmt keeps for code.
const MAX_WIDTH: usize = 100;

/// The length from which a string literal excuses the width of its line: it is data, as are the
/// summaries of COMMAND DOCS, and a break would split it.
const LONG_LITERAL: usize = 60;

/// The measures that the file at `path` exceeds. Width holds for all Rust files, length in `src`
/// and `tests`, the rest in `src`.
pub(crate) fn measures(path: &str, text: &str) -> Vec<String> {
    let folder = path.split('/').next().unwrap_or_default();
    if !path.ends_with(".rs") {
        return Vec::new();
    }
    match folder {
        "src" => [length(text), width(text), functions(text), ascii(text)].concat(),
        "tests" => [length(text), width(text)].concat(),
        "benches" | "fuzz" | "examples" => width(text),
        _ => Vec::new(),
    }
    .into_iter()
    .map(|(line, what)| format!("{path}:{line}: {what}"))
    .collect()
}

/// A line, and the rule that is broken there.
type Broken = (usize, String);

fn length(text: &str) -> Vec<Broken> {
    let lines = text.lines().count();
    let long = (lines > MAX_LINES).then(|| format!("{lines} lines, at most {MAX_LINES}"));
    long.map(|what| (MAX_LINES + 1, what)).into_iter().collect()
}

fn width(text: &str) -> Vec<Broken> {
    let excused = lines_of_long_literals(text);
    let widths = text.lines().map(|line| line.chars().count()).zip(1..);
    widths
        .filter(|(width, number)| *width > MAX_WIDTH && !excused.contains(number))
        .map(|(width, number)| (number, format!("{width} characters, at most {MAX_WIDTH}")))
        .collect()
}

/// The lines that hold a string literal, or a line of one, of more than [`LONG_LITERAL`]
/// characters.
fn lines_of_long_literals(text: &str) -> Vec<usize> {
    let parts = |(first, literal): (usize, String)| {
        let lengths: Vec<_> = literal.lines().map(|part| part.chars().count()).collect();
        lengths.into_iter().zip(first..).filter(|(length, _)| *length > LONG_LITERAL)
    };
    literals(text).into_iter().flat_map(parts).map(|(_, line)| line).collect()
}

fn functions(text: &str) -> Vec<Broken> {
    let tokens = tokens(text);
    let starts = (0..tokens.len()).filter(|at| is_function(&tokens[*at..]));
    let sizes = starts.map(|at| (at, lines_of(&tokens, at)));
    sizes
        .filter(|(_, lines)| *lines > MAX_FUNCTION)
        .map(|(at, lines)| {
            let name = &tokens[at + 1].1;
            (tokens[at].0, format!("fn {name} has {lines} lines, at most {MAX_FUNCTION}"))
        })
        .collect()
}

/// A function has a name after its `fn`, a function pointer has none.
fn is_function(tokens: &[Token]) -> bool {
    matches!(tokens, [(_, word), (_, name), ..] if word == "fn" && name != "(" && name != "$")
}

fn lines_of(tokens: &[Token], at: usize) -> usize {
    let last = item_end(tokens, at) - 1;
    tokens[last].0 - tokens[at].0 + 1
}

fn ascii(text: &str) -> Vec<Broken> {
    let first = |line: &str| line.chars().find(|c| !c.is_ascii());
    let strange = text.lines().zip(1..).filter_map(|(line, number)| Some((first(line)?, number)));
    strange
        .map(|(c, number)| (number, format!("{c} (U+{:04X}) is not ASCII", u32::from(c))))
        .collect()
}
