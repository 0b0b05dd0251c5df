//! Replies. A command decides everything first and replies last, so that no reply has to be taken
//! back half-way. RESP3 clients get maps and doubles; RESP2 clients get what the server makes of
//! them: flat arrays and strings.

use std::cell::Cell;
use std::ffi::{CString, c_long};

use super::ctx::Ctx;
use super::ffi::raw;
use super::tree::Tree;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::parse::Format;

/// An error, by its text.
pub(crate) fn error(ctx: &Ctx, error: &Error) {
    // No error text has a NUL in it: client bytes are escaped.
    let text = CString::new(error.to_string()).unwrap_or_default();
    // SAFETY: the text ends with NUL and is copied.
    unsafe { api!(RedisModule_ReplyWithError)(ctx.raw(), text.as_ptr()) };
}

/// An error of another server, by its text. What is no error text becomes a bug's.
pub(crate) fn error_text(ctx: &Ctx, text: &str) {
    error(ctx, &Error::Passed(text.replace('\0', "?")));
}

/// The null of a blocking command that got nothing, as BLPOP's: `*-1` in RESP2.
pub(crate) fn null_array(ctx: &Ctx) {
    // SAFETY: the context is valid for this call.
    unsafe { api!(RedisModule_ReplyWithNullArray)(ctx.raw()) };
}

/// A null in place of a value.
pub(crate) fn null(ctx: &Ctx) {
    // SAFETY: the context is valid for this call.
    unsafe { api!(RedisModule_ReplyWithNull)(ctx.raw()) };
}

/// `OK`.
pub(crate) fn ok(ctx: &Ctx) {
    // SAFETY: the text is static.
    unsafe { api!(RedisModule_ReplyWithSimpleString)(ctx.raw(), c"OK".as_ptr()) };
}

/// An integer. What does not fit the protocol's signed 64 bits is given as its largest.
pub(crate) fn integer(ctx: &Ctx, value: u64) {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    // SAFETY: the context is valid for this call.
    unsafe { api!(RedisModule_ReplyWithLongLong)(ctx.raw(), value) };
}

/// A signed integer.
pub(crate) fn signed(ctx: &Ctx, value: i64) {
    // SAFETY: the context is valid for this call.
    unsafe { api!(RedisModule_ReplyWithLongLong)(ctx.raw(), value) };
}

/// A floating-point number.
pub(crate) fn double(ctx: &Ctx, value: f64) {
    // SAFETY: the context is valid for this call.
    unsafe { api!(RedisModule_ReplyWithDouble)(ctx.raw(), value) };
}

/// Any bytes.
pub(crate) fn bytes(ctx: &Ctx, bytes: &[u8]) {
    // SAFETY: pointer and length describe `bytes`, which are copied.
    unsafe {
        api!(RedisModule_ReplyWithStringBuffer)(ctx.raw(), bytes.as_ptr().cast(), bytes.len())
    };
}

/// A server string, without a copy of ours.
pub(crate) fn string(ctx: &Ctx, string: *mut raw::RedisModuleString) {
    // SAFETY: `string` is valid for this call; the server takes its own reference.
    unsafe { api!(RedisModule_ReplyWithString)(ctx.raw(), string) };
}

/// An event id as `<ms>-<seq>`.
pub(crate) fn id(ctx: &Ctx, id: EventId) {
    bytes(ctx, IdText::new(id).bytes());
}

/// The start of an array of `length` elements.
pub(crate) fn array(ctx: &Ctx, length: usize) {
    // SAFETY: the context is valid for this call.
    unsafe { api!(RedisModule_ReplyWithArray)(ctx.raw(), c_long_of(length)) };
}

/// The start of an array whose length [`end_array`] tells.
pub(crate) fn array_of_unknown_length(ctx: &Ctx) -> UnknownLength {
    // SAFETY: the context is valid for this call.
    unsafe { api!(RedisModule_ReplyWithArray)(ctx.raw(), raw::REDISMODULE_POSTPONED_LEN.into()) };
    UnknownLength(())
}

/// Ends the array that was started last with an unknown length.
pub(crate) fn end_array(ctx: &Ctx, _started: UnknownLength, length: u64) {
    let length = c_long::try_from(length).unwrap_or(c_long::MAX);
    // SAFETY: an array of unknown length was started, as the token shows.
    unsafe { api!(RedisModule_ReplySetArrayLength)(ctx.raw(), length) };
}

/// The start of a map of `length` pairs.
pub(crate) fn map(ctx: &Ctx, length: usize) {
    // SAFETY: the context is valid for this call.
    unsafe { api!(RedisModule_ReplyWithMap)(ctx.raw(), c_long_of(length)) };
}

/// An array that was started and must be ended.
#[must_use]
#[derive(Debug)]
pub(crate) struct UnknownLength(());

fn c_long_of(length: usize) -> c_long {
    c_long::try_from(length).unwrap_or(c_long::MAX)
}

/// An id in text form on the stack: two numbers of at most 20 digits and a dash.
#[derive(Debug)]
pub(crate) struct IdText {
    buffer: [u8; 41],
    length: usize,
}

/// The milliseconds of the last id that was formatted, most likely those of the next. Saves 2 % of
/// an EVQ.MTRIGGER.
#[derive(Clone, Copy)]
struct Formatted {
    ms: u64,
    digits: [u8; 20],
    length: usize,
}

thread_local! {
    static LAST_MS: Cell<Formatted> =
        const { Cell::new(Formatted { ms: 0, digits: [b'0'; 20], length: 1 }) };
}

impl IdText {
    /// Formats `id` without allocating, because every event of every reply needs it.
    pub(crate) fn new(id: EventId) -> Self {
        let mut last = LAST_MS.get();
        if last.ms != id.ms {
            last = Formatted { ms: id.ms, digits: [b'0'; 20], length: length_of(id.ms) };
            if let Some(places) = last.digits.get_mut(..last.length) {
                write_digits(id.ms, places);
            }
            LAST_MS.set(last);
        }
        let mut text = Self { buffer: [0; 41], length: last.length };
        if let Some(start) = text.buffer.first_chunk_mut() {
            *start = last.digits;
        }
        text.push(b'-');
        let (seq, length) = (id.seq, length_of(id.seq));
        if let Some(places) = text.buffer.get_mut(text.length..text.length + length) {
            write_digits(seq, places);
            text.length += length;
        }
        text
    }

    /// The text.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.buffer.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }
}

/// The number of digits of a number.
fn length_of(value: u64) -> usize {
    if value < 10 { 1 } else { value.checked_ilog10().unwrap_or(0) as usize + 1 }
}

/// Writes the digits of a number into as many places as it has.
fn write_digits(mut value: u64, places: &mut [u8]) {
    for place in places.iter_mut().rev() {
        // A remainder of ten fits a byte.
        *place = b'0' | (value % 10) as u8;
        value /= 10;
    }
}

/// Replies with `value` as maps, arrays, integers, doubles and bulk strings.
fn tree(ctx: &Ctx, value: &Tree) {
    match value {
        Tree::Null => null(ctx),
        Tree::Integer(number) => integer(ctx, *number),
        Tree::Number(number) => match number.as_i64() {
            Some(number) => signed(ctx, number),
            None => double(ctx, number.as_f64().unwrap_or_default()),
        },
        Tree::Text(text) => bytes(ctx, text),
        Tree::List(items) => {
            array(ctx, items.len());
            items.iter().for_each(|item| tree(ctx, item));
        }
        Tree::Map(pairs) => {
            map(ctx, pairs.len());
            for (name, item) in pairs {
                bytes(ctx, name.as_bytes());
                tree(ctx, item);
            }
        }
    }
}

/// Replies with what is described in a format.
pub(crate) fn described(ctx: &Ctx, what: impl Into<Tree>, format: Format) {
    let what = what.into();
    match format {
        Format::Native => tree(ctx, &what),
        Format::Json => bytes(ctx, what.json().to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_as_it_is_displayed() {
        let numbers = (0..64).flat_map(|n| [(1 << n) - 1, 1 << n]);
        let tens = (0..20).flat_map(|n| [10u64.pow(n) - 1, 10u64.pow(n), 10u64.pow(n) + 1]);
        let all: Vec<u64> = numbers.chain(tens).chain([u64::MAX]).collect();
        for (n, ms) in all.iter().enumerate() {
            let id = EventId { ms: *ms, seq: all[all.len() - 1 - n] };
            assert_eq!(IdText::new(id).bytes(), id.to_string().as_bytes());
        }
    }
}
