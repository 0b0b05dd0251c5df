//! The server's log. The text goes through `"%s"`, so nothing in it is a printf format, and
//! control characters are escaped, so nothing in it ends or forges a line.

use std::ffi::{CStr, CString};
use std::fmt::Write as _;

use super::ffi::raw;

/// The weight of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    /// Worth knowing once.
    Notice,
    /// Somebody should look.
    Warning,
}

/// Writes one line. `ctx` may be null where there is none.
pub(crate) fn line(ctx: *mut raw::RedisModuleCtx, level: Level, text: &str) {
    let level: &CStr = match level {
        Level::Notice => c"notice",
        Level::Warning => c"warning",
    };
    let text = CString::new(escaped(text)).unwrap_or_default();
    // SAFETY: both strings end with NUL and live through the call; the format takes one string.
    unsafe { api!(RedisModule_Log)(ctx, level.as_ptr(), c"%s".as_ptr(), text.as_ptr()) }
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        if c.is_control() || !c.is_ascii() {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
        out
    })
}
