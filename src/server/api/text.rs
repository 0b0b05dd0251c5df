//! Strings in the server's own form, made once and used many times.
//!
//! The server counts their references without a lock, so they belong to its main thread. Those that
//! are kept lie in thread locals: a `lazy_static` would have to be shared between threads.

use super::ffi::raw;

/// An owned server string; freed when dropped. Only ever used on the server's main thread.
#[derive(Debug)]
pub(crate) struct Text(*mut raw::RedisModuleString);

impl Text {
    /// Copies any bytes, NUL included.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        // SAFETY: pointer and length describe `bytes`; without a context the string is ours to
        // free, which Drop does.
        Self(unsafe {
            api!(RedisModule_CreateString)(std::ptr::null_mut(), bytes.as_ptr().cast(), bytes.len())
        })
    }

    /// The pointer to lend to the server.
    pub(crate) fn raw(&self) -> *mut raw::RedisModuleString {
        self.0
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the string lives as long as `self` and is not changed while it does.
        unsafe { bytes_of(self.0) }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        // SAFETY: made without a context in `new`, so this is the one owner.
        unsafe { api!(RedisModule_FreeString)(std::ptr::null_mut(), self.0) }
    }
}

/// The bytes of a server string.
///
/// # Safety
/// `string` must be valid and unchanged for the lifetime `'a`.
pub(crate) unsafe fn bytes_of<'a>(string: *const raw::RedisModuleString) -> &'a [u8] {
    let mut length = 0;
    // SAFETY: the caller vouches for `string`; the server gives a pointer to `length` bytes.
    unsafe {
        let start = api!(RedisModule_StringPtrLen)(string, &mut length);
        std::slice::from_raw_parts(start.cast(), length)
    }
}
