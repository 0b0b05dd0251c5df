//! See `src/saved.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evq_fuzz::saved::run(data));
