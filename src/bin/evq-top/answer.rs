//! What a server answers, as a tree that knows nothing of the wire.
//!
//! A map is a map in RESP3 and a flat list in RESP2; both are read alike. A field that the server
//! does not have is absent, never an error: an older or a newer EVQ shows what it has.

/// A reply, or a part of one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// Null.
    Null,
    /// An integer.
    Int(i64),
    /// A number with a fraction.
    Real(f64),
    /// A string of any bytes.
    Text(Vec<u8>),
    /// An array, or a map of RESP2.
    List(Vec<Answer>),
    /// A map of RESP3.
    Map(Vec<(Answer, Answer)>),
    /// An error among the items of an array.
    Error(String),
}

impl Answer {
    /// The value of the field `name`, if this is a map that has it and it is not null.
    pub(crate) fn get(&self, name: &str) -> Option<&Answer> {
        let is_it = |key: &Answer| matches!(key, Answer::Text(text) if text == name.as_bytes());
        let found = match self {
            Answer::Map(fields) => {
                fields.iter().find(|(key, _)| is_it(key)).map(|(_, value)| value)
            }
            Answer::List(flat) => {
                let mut pairs = flat.chunks_exact(2);
                pairs.find_map(|pair| match pair {
                    [key, value] if is_it(key) => Some(value),
                    _ => None,
                })
            }
            _ => None,
        };
        found.filter(|value| **value != Answer::Null)
    }

    /// The field `name` as a whole number.
    pub(crate) fn int(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(Answer::as_int)
    }

    /// The field `name` as text that a terminal may be shown.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(Answer::as_text)
    }

    /// The field `name` as a list; empty if there is none.
    pub(crate) fn list(&self, name: &str) -> &[Answer] {
        self.get(name).map_or(&[], Answer::as_list)
    }

    /// A whole number, also one that came as text.
    pub(crate) fn as_int(&self) -> Option<i64> {
        match self {
            Answer::Int(value) => Some(*value),
            #[expect(clippy::cast_possible_truncation, reason = "a figure to look at")]
            Answer::Real(value) => Some(value.round() as i64),
            Answer::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok(),
            _ => None,
        }
    }

    /// Text that a terminal may be shown; a number as its digits.
    pub(crate) fn as_text(&self) -> Option<String> {
        match self {
            Answer::Int(value) => Some(value.to_string()),
            Answer::Real(value) => Some(value.to_string()),
            Answer::Text(text) => Some(printable(text)),
            _ => None,
        }
    }

    /// The error, if it is one.
    pub(crate) fn as_error(&self) -> Option<&str> {
        match self {
            Answer::Error(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; of anything else none.
    pub(crate) fn as_list(&self) -> &[Answer] {
        match self {
            Answer::List(items) => items,
            _ => &[],
        }
    }
}

/// Bytes as text without control characters: keys may be anything, and an escape sequence in one
/// must not reach the terminal.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Answer {
        Answer::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn a_map_is_read_in_both_protocols() {
        let flat = Answer::List(vec![text("lag"), Answer::Int(3), text("owner"), Answer::Null]);
        let map = Answer::Map(vec![(text("lag"), text("3")), (text("owner"), Answer::Null)]);
        for answer in [flat, map] {
            assert_eq!(answer.int("lag"), Some(3));
            assert_eq!(answer.text("lag").unwrap(), "3");
            assert_eq!(answer.get("owner"), None, "null is as good as absent");
            assert_eq!(answer.get("later"), None);
            assert!(answer.list("lag").is_empty());
        }
    }

    #[test]
    fn other_kinds_have_no_fields() {
        for answer in [Answer::Null, Answer::Int(1), text("lag"), Answer::List(vec![text("lag")])] {
            assert_eq!(answer.get("lag"), None);
        }
        assert_eq!(text("many").as_int(), None);
        assert_eq!(Answer::Real(2.6).as_int(), Some(3));
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        assert_eq!(printable(b"a\x1b[2Jb\xff\n"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}");
    }
}
