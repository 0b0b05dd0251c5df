//! See `src/pieces.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evq_fuzz::pieces::run(data));
