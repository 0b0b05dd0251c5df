//! Every error a client can get, with one text each: a stable upper-case code, then what was
//! wanted. No text carries a client's bytes unescaped.

use std::fmt;

use super::limits;

/// Why a request was refused. After any of these nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An unknown, repeated or incomplete option; holds the word, made printable.
    Syntax(String),
    /// Too few or too many arguments; holds the command's name.
    Arity(&'static str),
    /// An argument that must be a whole number between two bounds.
    Number {
        /// The name of the number.
        what: &'static str,
        /// Smallest allowed.
        min: i64,
        /// Largest allowed.
        max: i64,
    },
    /// Anything else about the arguments that makes no sense; holds the explanation.
    Usage(&'static str),
    /// A key EVQ needs holds another type.
    WrongType,
    /// The user's ACL does not cover a key the command would touch.
    NoPermission,
    /// The ring does not exist.
    NoRing,
    /// EVQ.CREATE of a ring that exists with another shape.
    RingExists,
    /// The partition number is outside the ring.
    NoPartition,
    /// The key of an event belongs to another partition than the one given; holds that one's number
    /// and stream key.
    Moved(u32, String),
    /// The slot of the partition moves, and not all its keys are on one node.
    TryAgain,
    /// The server is over its memory limit.
    OutOfMemory,
    /// Among the nodes of a cluster: the ring was changed since it was read.
    Stale,
    /// Among the nodes of a cluster: the command came after its deadline.
    Late,
    /// In a cluster: another node is needed, and nothing was done there; holds the node and why.
    Unreachable(String, String),
    /// In a cluster: another node did not answer in time; holds the node.
    Unknown(String),
    /// In a cluster: the slot of another node's partition moved for as long as a command may wait;
    /// holds the node.
    Moving(String),
    /// In a cluster: the error of another node, as it wrote it.
    Passed(String),
    /// The group does not exist.
    NoGroup,
    /// The caller does not hold the lease.
    Fenced,
    /// A malformed event id, or one not handed out under this lease.
    BadId(&'static str),
    /// A bad name; holds which kind of name.
    Name(&'static str),
    /// A documented bound; holds what is bounded and the bound.
    Limit(&'static str, u64),
    /// The ring takes JSON payloads only; where the parser stopped.
    Payload {
        /// Line of the payload, from 1.
        line: usize,
        /// Column in that line, from 1.
        column: usize,
    },
    /// A partition has reached the ring's MAXDEPTH, and not enough of it is finished.
    Full,
    /// The last possible id of the partition's stream is used up.
    Exhausted,
    /// An internal error that was caught before anything changed.
    Bug(&'static str),
}

impl Error {
    /// A syntax error near `word`, which may be any bytes of a client: shortened, printable.
    #[must_use]
    pub fn syntax(word: &[u8]) -> Self {
        Self::Syntax(printable(word))
    }
}

/// At most 32 bytes of `bytes`, everything but plain ASCII escaped.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    const SHOWN_BYTES: usize = 32;
    let head = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
    let tail = if head.len() < bytes.len() { "..." } else { "" };
    format!("{}{tail}", head.escape_ascii())
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(word) => write!(f, "ERR syntax error near '{word}'"),
            Self::Arity(command) => {
                write!(f, "ERR wrong number of arguments for '{command}' command")
            }
            Self::Number { what, min, max } => {
                write!(f, "ERR {what} must be a whole number between {min} and {max}")
            }
            Self::Usage(text) => write!(f, "ERR {text}"),
            Self::WrongType => {
                write!(f, "WRONGTYPE Operation against a key holding the wrong kind of value")
            }
            Self::NoPermission => {
                write!(f, "NOPERM No permissions to access a key of this ring")
            }
            Self::NoRing => write!(f, "EVQNORING no such ring; EVQ.CREATE creates one"),
            Self::RingExists => write!(f, "EVQRINGEXISTS the ring exists with another shape"),
            Self::NoPartition => write!(f, "EVQNOPARTITION no such partition in this ring"),
            Self::Moved(partition, key) => write!(f, "EVQMOVED {partition} {key}"),
            Self::TryAgain | Self::Moving(_) => {
                write!(f, "TRYAGAIN the partition is moving to another node; try again")
            }
            Self::OutOfMemory => {
                write!(f, "OOM command not allowed when used memory > 'maxmemory'.")
            }
            Self::Stale => write!(f, "EVQSTALE the ring was changed since it was read"),
            Self::Late => write!(f, "EVQLATE the command came after its deadline"),
            Self::Unreachable(node, why) => write!(f, "EVQUNREACHABLE {node} {why}"),
            Self::Unknown(node) => write!(
                f,
                "EVQUNKNOWN {node} did not answer in time; the event may have been appended"
            ),
            Self::Passed(text) => write!(f, "{text}"),
            Self::NoGroup => write!(f, "EVQNOGROUP no such group in this ring"),
            Self::Fenced => {
                write!(f, "EVQFENCED the caller does not hold the lease; call EVQ.CONSUME again")
            }
            Self::BadId(why) => write!(f, "EVQBADID {why}"),
            Self::Name(kind) => write!(
                f,
                "EVQNAME a {kind} name is 1 to {} bytes of letters, digits and {}",
                limits::MAX_NAME_BYTES,
                if *kind == "ring" { "._-" } else { "._-:" }
            ),
            Self::Limit(what, max) => write!(f, "EVQLIMIT {what}: at most {max}"),
            Self::Payload { line, column } => {
                write!(f, "EVQPAYLOAD the payload is not JSON: line {line} column {column}")
            }
            Self::Full => write!(
                f,
                "EVQFULL the depth limit of the partition is reached; nothing was written"
            ),
            Self::Exhausted => {
                write!(f, "ERR the stream has reached the last possible id; nothing was added")
            }
            Self::Bug(what) => {
                write!(f, "EVQBUG internal error, nothing was changed, please report: {what}")
            }
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_bytes_are_escaped_and_shortened() {
        let text = Error::syntax(b"a\r\n\0%s%n\xff'").to_string();
        assert_eq!(text, r"ERR syntax error near 'a\r\n\x00%s%n\xff\''");
        assert!(Error::syntax(&vec![b'x'; 1 << 20]).to_string().len() < 80);
    }
}
