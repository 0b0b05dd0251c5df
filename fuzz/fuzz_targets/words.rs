//! See `src/words.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evq_fuzz::words::run(data));
