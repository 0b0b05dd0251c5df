//! Replies of other nodes as plain values, and what a reply that is no result requires.

use redis::{ServerError, Value};

/// A reply, owned by whoever asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Null.
    Null,
    /// An integer.
    Int(i64),
    /// A double.
    Real(f64),
    /// A boolean.
    Bool(bool),
    /// A simple string, such as OK.
    Simple(String),
    /// A bulk string.
    Bulk(Vec<u8>),
    /// An array.
    Array(Vec<Self>),
    /// A set.
    Set(Vec<Self>),
    /// A map, in the order of the reply.
    Map(Vec<(Self, Self)>),
    /// An error as the server wrote it, without its `-`. Never MOVED or ASK: for a client that
    /// speaks to another node those would be about a wrong slot.
    Error(String),
}

/// What a reply means for the command that it is for.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// It was executed or refused for good: this is the result.
    Result(Answer),
    /// It was not executed: the slot belongs to another node.
    Moved(Endpoint),
    /// It was not executed: this time, another node is to be asked.
    Ask(Endpoint),
    /// It was not executed, and may be in a moment. `is_stale` is whether another node may have
    /// the slot by now.
    Again { is_stale: bool },
}

/// A node as a redirection names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    /// An address, a name, or nothing.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Endpoint {
    /// Reads `127.0.0.1:6379`; an IPv6 address has further colons.
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        Some(Self { host: host.to_owned(), port: port.parse().ok()? })
    }
}

impl Verdict {
    /// What `reply` means.
    pub(crate) fn of(reply: Value) -> Self {
        let Value::ServerError(error) = &reply else { return Self::Result(reply.into()) };
        // "MOVED 3999 127.0.0.1:6381"
        let endpoint =
            error.details().and_then(|text| Endpoint::parse(text.split_whitespace().nth(1)?));
        match (error.code(), endpoint) {
            ("MOVED", Some(endpoint)) => Self::Moved(endpoint),
            ("ASK", Some(endpoint)) => Self::Ask(endpoint),
            ("MOVED" | "ASK" | "CLUSTERDOWN" | "MASTERDOWN" | "READONLY" | "LOADING", _) => {
                Self::Again { is_stale: true }
            }
            ("TRYAGAIN", _) => Self::Again { is_stale: false },
            _ => Self::Result(reply.into()),
        }
    }
}

impl From<Value> for Answer {
    fn from(reply: Value) -> Self {
        let all = |items: Vec<Value>| items.into_iter().map(Self::from).collect();
        match reply {
            Value::Int(number) => Self::Int(number),
            Value::Double(number) => Self::Real(number),
            Value::Boolean(is_true) => Self::Bool(is_true),
            Value::BulkString(bytes) | Value::BigNumber(bytes) => Self::Bulk(bytes),
            Value::SimpleString(text) => Self::Simple(text),
            Value::Okay => Self::Simple("OK".to_owned()),
            Value::VerbatimString { text, .. } => Self::Bulk(text.into_bytes()),
            Value::Array(items) => Self::Array(all(items)),
            Value::Set(items) => Self::Set(all(items)),
            Value::Map(fields) => Self::Map(
                fields.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            ),
            Value::Attribute { data, .. } => (*data).into(),
            Value::ServerError(error) => Self::Error(text(&error)),
            _ => Self::Null,
        }
    }
}

/// An error as the server wrote it, but for a redirection.
pub(crate) fn text(error: &ServerError) -> String {
    match (error.code(), error.details()) {
        ("MOVED" | "ASK", _) => "TRYAGAIN The slot is moving to another node".to_owned(),
        (code, Some(details)) => format!("{code} {details}"),
        (code, None) => code.to_owned(),
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
