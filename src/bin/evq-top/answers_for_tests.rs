//! Answers written as JSON, for tests.

use serde_json::Value as Json;

use crate::answer::Answer;

/// The tree of a JSON document, as RESP3 would bring it.
pub(crate) fn answer(json: &Json) -> Answer {
    match json {
        Json::Null => Answer::Null,
        Json::Bool(value) => Answer::Int(i64::from(*value)),
        Json::Number(number) => {
            number.as_i64().map_or_else(|| Answer::Real(number.as_f64().unwrap()), Answer::Int)
        }
        Json::String(text) => Answer::Text(text.clone().into_bytes()),
        Json::Array(items) => Answer::List(items.iter().map(answer).collect()),
        Json::Object(fields) => {
            let pair = |(name, value): (&String, &Json)| {
                (Answer::Text(name.clone().into_bytes()), answer(value))
            };
            Answer::Map(fields.iter().map(pair).collect())
        }
    }
}
