//! A range of a stream in the server's own words.
//!
//! Reading entry by entry through the module API makes an object of every name and every value.
//! Where many entries go into a reply as they are, XRANGE is asked for them instead: its reply has
//! the same form as ours, so it is passed on whole, and only looked through for what it holds.
//!
//! Servers since 7.2 (and what is compatible with them) make an object of everything once more when
//! the reply is freed, which costs what is saved: they are not asked.

use std::cell::OnceCell;

use super::ctx::Ctx;
use super::ffi::raw;
use super::reply::IdText;
use super::text::Text;
use crate::model::error::Error;
use crate::model::ids::{EventId, leading};

struct Words {
    end: Text,
    count: Text,
}

thread_local! {
    static WORDS: Words = Words { end: Text::new(b"+"), count: Text::new(b"COUNT") };
}

/// Entries as the server replies them; freed when dropped.
#[derive(Debug)]
pub(crate) struct Range {
    reply: *mut raw::RedisModuleCallReply,
    /// How many there are.
    pub(crate) count: u64,
    /// The id of the first one.
    pub(crate) first: EventId,
    /// The id of the last one.
    pub(crate) last: EventId,
}

/// The first server that takes a reply to pieces to free it: 7.2.0.
const TAKES_TO_PIECES: i32 = 0x0007_0200;

thread_local! {
    static IS_CHEAP: OnceCell<bool> = const { OnceCell::new() };
}

/// Whether a range costs less than its entries one by one.
pub(crate) fn is_cheap() -> bool {
    let version = || {
        // SAFETY: takes no arguments.
        optional_api!(RedisModule_GetServerVersion).map(|version| unsafe { version() })
    };
    IS_CHEAP.with(|cheap| *cheap.get_or_init(|| version().is_some_and(|v| v < TAKES_TO_PIECES)))
}

impl Ctx {
    /// The first entries of the stream `name` above `after`, at most `count`; none if there is
    /// none. O(log(nodes of the stream) + entries).
    ///
    /// # Errors
    /// [`Error::Bug`] if the server's reply is not what it should be.
    pub(crate) fn range(
        &self,
        name: &Text,
        after: EventId,
        count: u64,
    ) -> Result<Option<Range>, Error> {
        let Some(first) = after.next() else { return Ok(None) };
        let first = Text::new(IdText::new(first).bytes());
        let count = Text::new(count.to_string().as_bytes());
        let reply = WORDS.with(|words| {
            let mut arguments =
                [name.raw(), first.raw(), words.end.raw(), words.count.raw(), count.raw()];
            // SAFETY: "v" takes an array of strings and its length.
            unsafe {
                api!(RedisModule_Call)(
                    self.raw(),
                    c"XRANGE".as_ptr(),
                    c"v".as_ptr(),
                    arguments.as_mut_ptr(),
                    arguments.len(),
                )
            }
        });
        if reply.is_null() {
            return Err(Error::Bug("the server refused XRANGE"));
        }
        let mut range = Range { reply, count: 0, first: EventId::ZERO, last: EventId::ZERO };
        let mut length = 0;
        // SAFETY: the reply is live, and its text as long as it is.
        let found = unsafe {
            let text = api!(RedisModule_CallReplyProto)(reply, &mut length);
            (!text.is_null()).then(|| std::slice::from_raw_parts(text.cast(), length))
        };
        let found = found.and_then(look_through);
        (range.count, range.first, range.last) =
            found.ok_or(Error::Bug("a reply of XRANGE that is none"))?;
        Ok((range.count > 0).then_some(range))
    }

    /// Replies the entries, as an array.
    pub(crate) fn reply_range(&self, range: &Range) {
        // SAFETY: the reply is live; what it holds is copied.
        unsafe { api!(RedisModule_ReplyWithCallReply)(self.raw(), range.reply) };
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        // SAFETY: made by the server's call and freed only here.
        unsafe { api!(RedisModule_FreeCallReply)(self.reply) };
    }
}

/// How many entries an XRANGE replied in RESP2, and the ids of the first and the last one.
fn look_through(reply: &[u8]) -> Option<(u64, EventId, EventId)> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_looked_through() {
        let one = "*2\r\n$3\r\n5-0\r\n*4\r\n$3\r\nkey\r\n$2\r\n\r\n\r\n$7\r\npayload\r\n$0\r\n\r\n";
        let other = "*2\r\n$4\r\n5-17\r\n*2\r\n$1\r\n*\r\n$5\r\n$1\r\nx\r\n";
        let look = |text: String| look_through(text.as_bytes());
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
