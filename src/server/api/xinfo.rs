//! Facts about a stream that only XINFO STREAM reports: the entries ever added, and the last id
//! that was given out even if its entry is gone.

use std::ffi::CStr;

use super::ctx::Ctx;
use super::ffi::raw;
use super::text::Text;
use crate::model::error::Error;
use crate::model::ids::EventId;

/// A stream that exists.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Info {
    /// The number of entries.
    pub(crate) length: u64,
    /// Entries ever added.
    pub(crate) added: u64,
    /// The first entry.
    pub(crate) first: EventId,
    /// The last id that was given out, whether or not its entry still exists.
    pub(crate) last: EventId,
}

impl Info {
    /// Entries ever removed.
    pub(crate) fn removed(&self) -> u64 {
        self.added.saturating_sub(self.length)
    }

    /// Asks the server.
    ///
    /// # Errors
    /// [`Error::Bug`] if there is no such stream.
    pub(crate) fn of(ctx: &Ctx, stream: &Text) -> Result<Self, Error> {
        let word = Text::new(b"STREAM");
        let mut arguments = [word.raw(), stream.raw()];
        // SAFETY: "v" takes an array of strings and its length; the reply is freed below.
        unsafe {
            let reply = api!(RedisModule_Call)(
                ctx.raw(),
                c"XINFO".as_ptr(),
                c"v".as_ptr(),
                arguments.as_mut_ptr(),
                arguments.len(),
            );
            if reply.is_null() {
                return Err(Error::Bug("the server refused XINFO"));
            }
            let id = |name| {
                let text = element_after(reply, name).map(text_of);
                text.and_then(|text| EventId::parse(&text)).unwrap_or_default()
            };
            let info = Self {
                length: element_after(reply, c"length").map_or(0, integer_of),
                added: element_after(reply, c"entries-added").map_or(0, integer_of),
                first: id(c"recorded-first-entry-id"),
                last: id(c"last-generated-id"),
            };
            api!(RedisModule_FreeCallReply)(reply);
            Ok(info)
        }
    }
}

type CallReply = *mut raw::RedisModuleCallReply;

/// The value after the name `name` in a flat array of names and values.
fn element_after(reply: CallReply, name: &CStr) -> Option<CallReply> {
    // SAFETY: the reply is live; elements belong to it.
    unsafe {
        let length = api!(RedisModule_CallReplyLength)(reply);
        let element = |index| api!(RedisModule_CallReplyArrayElement)(reply, index);
        let at =
            (0..length).step_by(2).find(|index| text_of(element(*index)) == name.to_bytes())?;
        let value = element(at + 1);
        (!value.is_null()).then_some(value)
    }
}

fn text_of(reply: CallReply) -> Vec<u8> {
    let mut length = 0;
    // SAFETY: the reply is live, and its text as long as it is.
    unsafe {
        let text = api!(RedisModule_CallReplyStringPtr)(reply, &mut length);
        if text.is_null() {
            return Vec::new();
        }
        std::slice::from_raw_parts(text.cast(), length).to_vec()
    }
}

fn integer_of(reply: CallReply) -> u64 {
    // SAFETY: the reply is live.
    unsafe { api!(RedisModule_CallReplyInteger)(reply) }.try_into().unwrap_or(0)
}
