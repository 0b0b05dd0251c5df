//! A reply of the server, in RESP2 or RESP3, and short ways to take it apart.
//!
//! The accessors are for tests: where the reply is something else, they fail with its whole text.

use std::fmt;
use std::io::{self, BufRead, Error, ErrorKind};

/// One reply. RESP2's null bulk and null array and RESP3's null are the same [`Value::Null`].
#[derive(Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Double(f64),
    Bool(bool),
    /// A bulk string; RESP3's verbatim strings too, without their format.
    Bulk(Vec<u8>),
    Simple(String),
    /// The whole message, the code first.
    Error(String),
    BigNumber(String),
    Array(Vec<Value>),
    Set(Vec<Value>),
    /// Out of band: client tracking, pub/sub.
    Push(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// A bulk string, to compare replies with.
    pub(crate) fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// Whether this is null.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether this is an error reply.
    pub(crate) fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// The integer.
    #[track_caller]
    pub(crate) fn int(&self) -> i64 {
        let Self::Int(n) = self else { panic!("not an integer: {self:?}") };
        *n
    }

    /// The floating point number; RESP2 sends it as text.
    #[track_caller]
    pub(crate) fn double(&self) -> f64 {
        match self {
            Self::Double(n) => *n,
            other => other.str().parse().unwrap_or_else(|_| panic!("not a number: {other:?}")),
        }
    }

    /// The bytes of a bulk or simple string.
    #[track_caller]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bulk(bytes) => bytes,
            Self::Simple(text) => text.as_bytes(),
            other => panic!("not a string: {other:?}"),
        }
    }

    /// The text of a bulk or simple string.
    #[track_caller]
    pub(crate) fn str(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap_or_else(|_| panic!("not UTF-8: {self:?}"))
    }

    /// The elements of an array, set or push.
    #[track_caller]
    pub(crate) fn array(&self) -> &[Self] {
        match self {
            Self::Array(items) | Self::Set(items) | Self::Push(items) => items,
            other => panic!("not an array: {other:?}"),
        }
    }

    /// Element `index` of an array.
    #[track_caller]
    pub(crate) fn at(&self, index: usize) -> &Self {
        self.array().get(index).unwrap_or_else(|| panic!("no element {index}: {self:?}"))
    }

    /// The pairs of a map: RESP3's own, or RESP2's flat array.
    #[track_caller]
    pub(crate) fn map(&self) -> Vec<(&Self, &Self)> {
        match self {
            Self::Map(pairs) => pairs.iter().map(|(key, value)| (key, value)).collect(),
            Self::Array(flat) if flat.len() % 2 == 0 => {
                flat.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect()
            }
            other => panic!("not a map: {other:?}"),
        }
    }

    /// The value of `field` in a map.
    #[track_caller]
    pub(crate) fn get(&self, field: &str) -> &Self {
        let found = self.map().into_iter().find(|(key, _)| key.bytes() == field.as_bytes());
        found.unwrap_or_else(|| panic!("no field {field:?}: {self:?}")).1
    }

    /// The message of an error reply.
    #[track_caller]
    pub(crate) fn err(&self) -> &str {
        let Self::Error(message) = self else { panic!("not an error: {self:?}") };
        message
    }

    /// The code of an error reply: its first word.
    #[track_caller]
    pub(crate) fn err_code(&self) -> &str {
        self.err().split(' ').next().unwrap_or_default()
    }

    /// Fails unless this is `+OK`.
    #[track_caller]
    pub(crate) fn ok(&self) {
        assert_eq!(*self, Self::Simple("OK".to_owned()));
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Double(n) => write!(f, "{n:?}"),
            Self::Bool(b) => write!(f, "{b}"),
            Self::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Self::Simple(text) => write!(f, "+{text}"),
            Self::Error(text) => write!(f, "-{text}"),
            Self::BigNumber(text) => write!(f, "({text}"),
            Self::Array(items) => f.debug_list().entries(items).finish(),
            Self::Set(items) => f.debug_set().entries(items).finish(),
            Self::Push(items) => f.write_str(">").and(f.debug_list().entries(items).finish()),
            Self::Map(pairs) => f.debug_map().entries(pairs.iter().map(|(k, v)| (k, v))).finish(),
        }
    }
}

/// Reads one whole reply.
///
/// # Errors
/// Those of `input`; `UnexpectedEof` if the server closed the connection.
pub(crate) fn read_value(input: &mut impl BufRead) -> io::Result<Value> {
    let line = read_line(input)?;
    let (kind, rest) = line.split_at_checked(1).ok_or_else(|| odd(&line))?;
    Ok(match kind {
        "+" => Value::Simple(rest.to_owned()),
        "-" => Value::Error(rest.to_owned()),
        ":" => Value::Int(rest.parse().map_err(|_| odd(&line))?),
        "," => Value::Double(rest.parse().map_err(|_| odd(&line))?),
        "(" => Value::BigNumber(rest.to_owned()),
        "#" => Value::Bool(rest == "t"),
        "_" => Value::Null,
        "$" | "*" if rest == "-1" => Value::Null,
        "$" => Value::Bulk(read_bytes(input, count(&line)?)?),
        "=" => Value::Bulk(read_bytes(input, count(&line)?)?.split_off(4)),
        "!" => {
            let message = read_bytes(input, count(&line)?)?;
            Value::Error(String::from_utf8_lossy(&message).into_owned())
        }
        "*" => Value::Array(read_many(input, count(&line)?)?),
        "~" => Value::Set(read_many(input, count(&line)?)?),
        ">" => Value::Push(read_many(input, count(&line)?)?),
        "%" => Value::Map(read_pairs(input, count(&line)?)?),
        "|" => {
            // Attributes are notes on the value that follows; no test asks for them.
            read_pairs(input, count(&line)?)?;
            read_value(input)?
        }
        _ => return Err(odd(&line)),
    })
}

fn read_many(input: &mut impl BufRead, count: usize) -> io::Result<Vec<Value>> {
    (0..count).map(|_| read_value(input)).collect()
}

fn read_pairs(input: &mut impl BufRead, count: usize) -> io::Result<Vec<(Value, Value)>> {
    (0..count).map(|_| Ok((read_value(input)?, read_value(input)?))).collect()
}

fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let text = line.strip_suffix(b"\r\n").ok_or_else(|| odd(&String::from_utf8_lossy(&line)))?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn read_bytes(input: &mut impl BufRead, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count + 2];
    input.read_exact(&mut bytes)?;
    if !bytes.ends_with(b"\r\n") {
        return Err(Error::new(ErrorKind::InvalidData, "a bulk string without its CR LF"));
    }
    bytes.truncate(count);
    Ok(bytes)
}

fn count(line: &str) -> io::Result<usize> {
    line[1..].parse().map_err(|_| odd(line))
}

fn odd(line: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("not RESP: {line:?}"))
}
