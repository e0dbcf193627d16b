#![no_main]
#![allow(missing_docs, reason = "an entry point of libFuzzer")]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tessera_fuzz::targets::rules::target(data));
