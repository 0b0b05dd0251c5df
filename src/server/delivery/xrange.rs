//! A range of a stream as the server's own XRANGE replies it.
//!
//! Reading entry by entry through the module API makes an object of every name and every value.
//! Where many entries go into a reply as they are, XRANGE reads them instead: its reply has the
//! form of ours, so it is passed on whole, and only scanned for the ids of its entries.
//!
//! Servers since 7.2, and those compatible with them, parse a reply to free it and make an object
//! of each word, which costs more than was saved. So the reply is made an empty array before it is
//! freed. No other way reaches that; instructions an event of EVQ.CONSUME COUNT 100 with ACK,
//! counted as by scripts/guard:
//!
//! | way | Redis 7.0.15 | Valkey 8.0.1 |
//! |---|---|---|
//! | a range, its reply emptied before it is freed | 5,850 | 5,970 |
//! | a range, its reply freed as it is | 5,850 | 7,930 |
//! | entries replied one by one | 7,210 | 7,090 |
//! | entries read before the reply begins | 7,470 | 7,320 |

use std::ffi::c_char;

use crate::model::ids::{EventId, leading};
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::{SERVER_VERSION, raw};
use crate::server::api::reply::IdText;
use crate::server::api::text::Text;

/// Entries as the server replies them; freed when dropped.
#[derive(Debug)]
pub(crate) struct Range {
    reply: *mut raw::RedisModuleCallReply,
    /// What it has, if it has anything.
    pub(crate) given: Option<Given>,
}

/// From so many entries on a range costs less than its entries one by one.
const WORTH: u64 = 32;
/// From so many entries on it does on servers before [`LEAN_ENDS`], which spend less on a call.
const WORTH_BEFORE: u64 = 5;
/// 7.2.0, of which servers that came after it say to be or to be like.
const LEAN_ENDS: i32 = 0x0007_0200;

/// Beyond so many bytes the server copies a reply again and again while it grows.
const MOST_BYTES: u64 = 4 << 20;

/// Whether a range of `count` entries of `event_bytes` each costs less than reading them one by
/// one. Where their size is not known they may be large.
pub(crate) fn pays(count: u64, event_bytes: Option<u32>) -> bool {
    if event_bytes.is_none_or(|bytes| u64::from(bytes).saturating_mul(count) > MOST_BYTES) {
        return false;
    }
    let least = if SERVER_VERSION.is_some_and(|version| version < LEAN_ENDS) {
        WORTH_BEFORE
    } else {
        WORTH
    };
    count >= least
}

/// What a reply is made before it is freed.
const EMPTY: &[u8] = b"*0\r\n";

/// The first entries of the stream `name` above `after`, at most `count`. None if the server
/// refuses, as one whose XRANGE has another name. O(log(nodes of the stream) + entries).
pub(crate) fn read(ctx: &Ctx, name: &Text, after: EventId, count: u64) -> Option<Range> {
    let first = Text::new(IdText::new(after.next()?).bytes());
    let [end, word, most] = [&b"+"[..], b"COUNT", count.to_string().as_bytes()].map(Text::new);
    let mut arguments = [name.raw(), first.raw(), end.raw(), word.raw(), most.raw()];
    // SAFETY: "v" takes an array of strings and its length.
    let reply = unsafe {
        api!(RedisModule_Call)(
            ctx.raw(),
            c"XRANGE".as_ptr(),
            c"v".as_ptr(),
            arguments.as_mut_ptr(),
            arguments.len(),
        )
    };
    if reply.is_null() {
        return None;
    }
    let mut range = Range { reply, given: None };
    let (text, length) = range.text();
    // SAFETY: the reply is live, and its text as long as it is.
    let found =
        (!text.is_null()).then(|| unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) });
    let (given, first, last) = found.and_then(scan)?;
    let bytes = length as u64;
    range.given =
        (given > 0).then_some(Given { first, last, count: given, bytes, more: given == count });
    Some(range)
}

/// Replies the entries, as an array.
pub(crate) fn reply(ctx: &Ctx, range: &Range) {
    // SAFETY: the reply is live; what it holds is copied.
    unsafe { api!(RedisModule_ReplyWithCallReply)(ctx.raw(), range.reply) };
}

impl Range {
    /// The reply as it would be sent, and its length.
    fn text(&self) -> (*const c_char, usize) {
        let mut length = 0;
        // SAFETY: the reply is live.
        let text = unsafe { api!(RedisModule_CallReplyProto)(self.reply, &mut length) };
        (text, length)
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        let (text, length) = self.text();
        // SAFETY: the reply was made by the server's call and is freed only here. Its text belongs
        // to it, and the server reads that only to find out what to free with it: for an empty
        // array nothing. Parts of a reply that was parsed before are freed as they are.
        unsafe {
            if !text.is_null() && length >= EMPTY.len() {
                let text = text.cast_mut().cast::<u8>();
                text.copy_from_nonoverlapping(EMPTY.as_ptr(), EMPTY.len());
            }
            api!(RedisModule_FreeCallReply)(self.reply);
        }
    }
}

/// How many entries an XRANGE replied in RESP2, and the ids of the first and the last one.
fn scan(reply: &[u8]) -> Option<(u64, EventId, EventId)> {
    let (entries, mut rest) = header(reply, b'*')?;
    let (mut first, mut last): (&[u8], &[u8]) = (b"0-0", b"0-0");
    for n in 0..entries {
        let (2, entry) = header(rest, b'*')? else { return None };
        let (id, entry) = bulk(entry)?;
        let (words, entry) = header(entry, b'*')?;
        (last, rest) = (id, entry);
        if n == 0 {
            first = id;
        }
        for _ in 0..words {
            (_, rest) = bulk(rest)?;
        }
    }
    Some((entries, EventId::parse(first)?, EventId::parse(last)?))
}

/// The number in a line of this kind, and what follows the line.
fn header(text: &[u8], kind: u8) -> Option<(u64, &[u8])> {
    let (number, rest) = leading(text.strip_prefix(&[kind])?)?;
    Some((number, rest.strip_prefix(b"\r\n")?))
}

/// A bulk string, and what follows it.
fn bulk(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, text) = header(text, b'$')?;
    let (bulk, rest) = text.split_at_checked(usize::try_from(length).ok()?)?;
    Some((bulk, rest.strip_prefix(b"\r\n")?))
}

/// What was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// The first event.
    pub(crate) first: EventId,
    /// The last event.
    pub(crate) last: EventId,
    /// How many they were.
    pub(crate) count: u64,
    /// About how many bytes they took; 0 if that is not known.
    pub(crate) bytes: u64,
    /// There is more, as far as was looked.
    pub(crate) more: bool,
}

impl Given {
    /// About how many bytes an event took, if that is known.
    pub(crate) fn event_bytes(&self) -> Option<u32> {
        let bytes = self.bytes.checked_div(self.count).filter(|bytes| *bytes > 0)?;
        Some(u32::try_from(bytes).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_scanned() {
        let one = "*2\r\n$3\r\n5-0\r\n*4\r\n$3\r\nkey\r\n$2\r\n\r\n\r\n$7\r\npayload\r\n$0\r\n\r\n";
        let other = "*2\r\n$4\r\n5-17\r\n*2\r\n$1\r\n*\r\n$5\r\n$1\r\nx\r\n";
        let look = |text: String| scan(text.as_bytes());
        let (none, first, second) =
            (EventId::ZERO, EventId { ms: 5, seq: 0 }, EventId { ms: 5, seq: 17 });
        assert_eq!(look("*0\r\n".to_owned()), Some((0, none, none)));
        assert_eq!(look(format!("*1\r\n{one}")), Some((1, first, first)));
        assert_eq!(look(format!("*2\r\n{one}{other}")), Some((2, first, second)));
        let whole = format!("*2\r\n{one}{other}");
        for end in 0..whole.len() {
            assert_eq!(look(whole[..end].to_owned()), None, "{end}");
        }
        for bad in
            ["-ERR no\r\n", "*-1\r\n", "*1\r\n*3\r\n", "*1\r\n$3\r\n5-0\r\n", "$3\r\n5-0\r\n"]
        {
            assert_eq!(look(bad.to_owned()), None, "{bad}");
        }
    }
}
