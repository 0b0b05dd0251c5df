//! A command as words, of which one may depend on the node that gets it.

use redis::Cmd;

/// A word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The command's deadline in unix milliseconds, by the clock of the node that gets it.
    Deadline,
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::Bytes(text.into())
    }
}

impl From<&[u8]> for Word {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<Vec<u8>> for Word {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Self::Bytes(text.into_bytes())
    }
}

/// The bytes that `words` take on the way, to within a few for each.
pub(crate) fn size(words: &[Word]) -> usize {
    let size = |word: &Word| match word {
        Word::Bytes(bytes) => bytes.len() + 16,
        Word::Deadline => 32,
    };
    words.iter().map(size).sum()
}

/// The command, for a node by whose clock its deadline is `deadline_ms`.
pub(crate) fn command(words: &[Word], deadline_ms: i64) -> Cmd {
    let mut command = Cmd::with_capacity(words.len(), size(words));
    for word in words {
        match word {
            Word::Bytes(bytes) => command.arg(bytes.as_slice()),
            Word::Deadline => command.arg(deadline_ms),
        };
    }
    command
}

#[cfg(test)]
mod tests {
    use redis::Arg;

    use super::{Word, command};

    #[test]
    fn words_are_bytes_and_the_deadline() {
        let words = ["RUN".into(), Word::Deadline, Word::from(vec![0, b'\n'])];
        let command = command(&words, -5);
        let words: Vec<_> = command.args_iter().collect();
        let expected: [&[u8]; 3] = [b"RUN", b"-5", b"\0\n"];
        assert!(words == expected.map(Arg::Simple), "{words:?}");
    }
}
