//! What a command describes: maps, lists, numbers and texts of any bytes, to be replied natively or
//! as one JSON document. Nothing is lost either way: where a text is not UTF-8, JSON has it as
//! `<name>-base64` in place of `<name>`, and a list of which any text is not has them all so.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

/// A value that is described.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Tree {
    /// There is none.
    Null,
    /// A whole number.
    Integer(u64),
    /// Any other number.
    Number(Number),
    /// Any bytes.
    Text(Vec<u8>),
    /// Values in order.
    List(Vec<Tree>),
    /// Values by name, in order.
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// A map of these names and values.
    pub(crate) fn map<const N: usize>(pairs: [(&str, Tree); N]) -> Self {
        Self::Map(pairs.map(|(name, value)| (name.to_owned(), value)).into())
    }

    /// Any bytes.
    pub(crate) fn bytes(bytes: &[u8]) -> Self {
        Self::Text(bytes.to_vec())
    }

    /// Of a list, its items; of anything else, none.
    pub(crate) fn items(&self) -> &[Tree] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// Of a list, its items, and of anything else, none.
    pub(crate) fn into_items(self) -> Vec<Tree> {
        match self {
            Self::List(items) => items,
            _ => Vec::new(),
        }
    }

    /// The value of this name in a map.
    pub(crate) fn get(&self, name: &str) -> Option<&Tree> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// As [`Tree::get`], to be changed.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Tree> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter_mut().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Adds a value to a map.
    pub(crate) fn push(&mut self, name: &str, value: Tree) {
        if let Self::Map(pairs) = self {
            pairs.push((name.to_owned(), value));
        }
    }

    /// Reads a text that is a JSON document.
    pub(crate) fn read_json(&mut self) {
        if let Self::Text(text) = self {
            *self = serde_json::from_slice::<Value>(text).map_or(Self::Null, Self::from);
        }
    }

    /// A whole number, 0 for anything else.
    pub(crate) fn whole(&self) -> u64 {
        match self {
            Self::Integer(number) => *number,
            _ => 0,
        }
    }

    /// Whether JSON can have it under its own name.
    fn is_text(&self) -> bool {
        match self {
            Self::Text(bytes) => std::str::from_utf8(bytes).is_ok(),
            Self::List(items) => items.iter().all(Self::is_text),
            Self::Null | Self::Integer(_) | Self::Number(_) | Self::Map(_) => true,
        }
    }

    /// As JSON, with texts in base64 or as they are.
    fn encode(&self, in_base64: bool) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => (*number).into(),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(bytes) if in_base64 => STANDARD.encode(bytes).into(),
            Self::Text(bytes) => String::from_utf8_lossy(bytes).into(),
            Self::List(items) => items.iter().map(|item| item.encode(in_base64)).collect(),
            Self::Map(pairs) => {
                let pair = |(name, value): &(String, Tree)| match value.is_text() {
                    true => (name.clone(), value.encode(false)),
                    false => (format!("{name}-base64"), value.encode(true)),
                };
                Value::Object(pairs.iter().map(pair).collect::<Map<_, _>>())
            }
        }
    }

    /// The JSON document.
    pub(crate) fn json(&self) -> Value {
        self.encode(false)
    }
}

impl From<u64> for Tree {
    fn from(number: u64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Tree {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<&str> for Tree {
    fn from(text: &str) -> Self {
        Self::bytes(text.as_bytes())
    }
}

impl From<String> for Tree {
    fn from(text: String) -> Self {
        Self::Text(text.into_bytes())
    }
}

impl<T: Into<Tree>> From<Option<T>> for Tree {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl FromIterator<Tree> for Tree {
    fn from_iter<I: IntoIterator<Item = Tree>>(items: I) -> Self {
        Self::List(items.into_iter().collect())
    }
}

impl From<Value> for Tree {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Integer(flag.into()),
            Value::Number(number) => number.as_u64().map_or(Self::Number(number), Self::Integer),
            Value::String(text) => text.into(),
            Value::Array(items) => items.into_iter().map(Self::from).collect(),
            Value::Object(pairs) => {
                Self::Map(pairs.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_utf_8_stands_in_base64_under_another_name() {
        let texts = |all: &[&[u8]]| all.iter().map(|text| Tree::bytes(text)).collect::<Tree>();
        let tree = Tree::map([
            ("good", Tree::bytes("gr\u{fc}n".as_bytes())),
            ("bad", Tree::bytes(b"\xff\0")),
            ("none", None::<u64>.into()),
            ("texts", texts(&[b"a", b"\n"])),
            ("types", texts(&[b"a", b"\xfe"])),
            ("rows", Tree::from_iter([Tree::map([("key", Tree::bytes(b"\x80"))])])),
        ]);
        let expected = json!({
            "good": "gr\u{fc}n",
            "bad-base64": "/wA=",
            "none": null,
            "texts": ["a", "\n"],
            "types-base64": ["YQ==", "/g=="],
            "rows": [{ "key-base64": "gA==" }],
        });
        assert_eq!(tree.json(), expected);
        let names: Vec<_> = tree.json().as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["good", "bad-base64", "none", "texts", "types-base64", "rows"]);
    }
}
