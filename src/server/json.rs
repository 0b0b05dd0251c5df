//! Descriptions as one tree that is given either as a native reply or as a JSON document, so that
//! the two can never differ.

use serde_json::Value;

use super::ctx::Ctx;

impl Ctx {
    /// Replies with `value` as maps, arrays, integers, doubles and bulk strings.
    pub(crate) fn reply_tree(&self, value: &Value) {
        match value {
            Value::Null => self.reply_null(),
            Value::Bool(flag) => self.reply_integer(u64::from(*flag)),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => self.reply_signed(number),
                (None, Some(number)) => self.reply_integer(number),
                (None, None) => self.reply_double(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => self.reply_bytes(text.as_bytes()),
            Value::Array(items) => {
                self.reply_array(items.len());
                items.iter().for_each(|item| self.reply_tree(item));
            }
            Value::Object(pairs) => {
                self.reply_map(pairs.len());
                for (name, item) in pairs {
                    self.reply_bytes(name.as_bytes());
                    self.reply_tree(item);
                }
            }
        }
    }

    /// Replies with `value` as one JSON document, or natively.
    pub(crate) fn reply_described(&self, value: &Value, json: bool) {
        if json {
            self.reply_bytes(value.to_string().as_bytes());
        } else {
            self.reply_tree(value);
        }
    }
}
